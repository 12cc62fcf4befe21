"""The record of a translator trained on Multi30k, German to English.

    python -m tfmlib translation train --train train.de.gz train.en.gz \\
        --valid val.de.gz val.en.gz --out run
    python -m benchmarks.multi30k --run run --train train.de.gz train.en.gz \\
        --test test_2016_flickr.de.gz test_2016_flickr.en.gz \\
        --out tfmlib/records/multi30k_de_en.json
"""

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.translation_analysis import analyse, repeating, words
from tfmlib import records
from tfmlib.cli.main import main as tfmlib_command
from tfmlib.data.parallel import read_lines, read_parallel
from tfmlib.generation.translation import Translator
from tfmlib.training.loop import History

SAMPLED = range(0, 1000, 100)  # every hundredth sentence: chosen before anything was translated


def scored(run: Path, test: Sequence[Path], translations: Path, *more: str) -> dict[str, Any]:
    """Translate the test set, write the translations to a file and return their score."""
    command = ["translation", "score", "--run", str(run), "--test", *map(str, test), "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = tfmlib_command([*command, "--translations", str(translations), *more])
    if code:
        raise SystemExit(code)
    return json.loads(printed.getvalue())


def main() -> None:
    """Score the run on the test set and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="the folder of the run")
    pair = {"type": Path, "nargs": 2, "metavar": ("SRC", "TGT"), "required": True}
    parser.add_argument("--train", **pair, help="the training text, to count its words")
    parser.add_argument("--test", **pair, help="the test set")
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    options = parser.parse_args()
    translations = options.run / "test.txt"
    score = scored(options.run, options.test, translations)
    with tempfile.TemporaryDirectory() as folder:
        others = Path(folder) / "greedy.txt"
        greedy = scored(options.run, options.test, others, "--beam", "1")
        greedy["repeating"] = repeating(map(words, read_lines(others)))
    history = History.read(options.run).records
    last_cpu, curve = 0.0, []
    for entry in history:
        last_cpu = entry.get("cpu_seconds", last_cpu)
        if "valid_loss" in entry:
            minutes = round(last_cpu / 60, 2)
            loss = round(entry["valid_loss"], 4)
            curve.append({"step": entry["step"], "valid_loss": loss, "cpu_minutes": minutes})
    written = read_lines(translations)
    pairs = read_parallel(*options.test)
    sources, references = zip(*pairs, strict=True)
    training_targets = [target for _, target in read_parallel(*options.train)]
    model = Translator.load(options.run).model
    records.save(
        options.out,
        settings=json.loads((options.run / "settings.json").read_text(encoding="utf-8")),
        numbers={
            **score,
            "parameters": sum(p.numel() for p in model.parameters()),
            "cpu_minutes": round(last_cpu / 60, 2),
            "curve": curve,
            "greedy": {name: greedy[name] for name in ("bleu", "chrf", "repeating")},
            "analysis": analyse(sources, references, written, training_targets),
            "samples": [[*pairs[i], written[i]] for i in SAMPLED],
        },
        command="see benchmarks/multi30k.py",
        seeds=[json.loads((options.run / "settings.json").read_text(encoding="utf-8"))["seed"]],
    )


if __name__ == "__main__":
    main()
