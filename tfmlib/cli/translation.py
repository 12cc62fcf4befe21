"""python -m tfmlib translation train | score | translate: a translator from one's own text."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from tfmlib.cli.train_translator import Settings, train_translator
from tfmlib.data.parallel import read_parallel
from tfmlib.generation.translation import Casing, Translator
from tfmlib.training.device import keep_freed_memory, pick_device

EXAMPLE = """\
example, German to English, with one sentence a line in each file (plain text or .gz):

  python -m tfmlib translation train --train train.de train.en --valid val.de val.en --out run
  python -m tfmlib translation score --run run --test test.de test.en
  echo "Ein Hund läuft im Schnee." | python -m tfmlib translation translate --run run
"""


def add_commands(commands: Any) -> None:
    """Add `translation` with its three commands to the parser."""
    parser = commands.add_parser(
        "translation",
        help="train, score and use a translator",
        description="Train an encoder-decoder Transformer on parallel text, score it, use it.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    _add_train(steps)
    _add_score(steps)
    _add_translate(steps)


def _add_train(steps: Any) -> None:
    d = Settings()
    p = steps.add_parser(
        "train",
        help="train on parallel text; the same command resumes a run that was interrupted",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.set_defaults(run=_train)
    files = p.add_argument_group("files")
    pair = {"nargs": 2, "metavar": ("SRC", "TGT"), "type": Path, "required": True}
    files.add_argument("--train", **pair, help="the text to learn from")
    files.add_argument("--valid", **pair, help="the text to watch the training with")
    files.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")

    def number(group: Any, name: str, default: int | float, text: str) -> None:
        flag = "--" + name.replace("_", "-")
        group.add_argument(
            flag, type=type(default), default=default, help=f"{text} (default: {default})"
        )

    model = p.add_argument_group("model")
    number(model, "vocab_size", d.vocab_size, "tokens of the shared vocabulary")
    number(model, "d_model", d.d_model, "width")
    number(model, "n_heads", d.n_heads, "attention heads")
    number(model, "d_ff", d.d_ff, "width inside the feed-forward networks")
    number(model, "n_layers", d.n_layers, "layers of the encoder, and of the decoder")
    number(model, "dropout", d.dropout, "dropout")
    model.add_argument("--norm-place", choices=["pre", "post"], default=d.norm_place)
    model.add_argument(
        "--keep-source-case", action="store_true", help="do not lowercase the source"
    )
    model.add_argument(
        "--keep-target-case",
        action="store_true",
        help="learn capitals at the beginning of a target, instead of adding them afterwards",
    )
    training = p.add_argument_group("training")
    number(training, "epochs", d.epochs, "passes over the training text")
    number(training, "peak_lr", d.peak_lr, "highest learning rate")
    number(training, "warmup", d.warmup, "steps until the highest learning rate")
    number(training, "batch_tokens", d.batch_tokens, "padded tokens a side in a batch")
    number(
        training,
        "merge_dropout",
        d.merge_dropout,
        "chance that a merge of the tokenizer is left out, so that words are cut in many ways",
    )
    number(training, "label_smoothing", d.label_smoothing, "label smoothing")
    number(training, "average", d.average, "last epochs whose weights are averaged")
    number(training, "seed", d.seed, "seed of everything that is drawn")
    training.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default=d.precision)
    training.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    training.add_argument("--threads", type=int, help="processor threads (default: PyTorch's)")


def _train(a: argparse.Namespace) -> None:
    for path in (*a.train, *a.valid):
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
    if a.threads is not None:
        if a.threads < 1:
            raise ValueError(f"--threads must be positive; got {a.threads}")
        torch.set_num_threads(a.threads)
    names = Settings.__dataclass_fields__.keys() & vars(a).keys()
    settings = Settings(
        **{name: getattr(a, name) for name in names},
        casing=Casing(
            lowercase_source=not a.keep_source_case, decapitalize_target=not a.keep_target_case
        ),
    )
    device, why = pick_device(a.device)
    print(why, file=sys.stderr)
    if device.type == "cpu":
        keep_freed_memory()  # a fifth faster: the logits' memory is not fetched anew at each step
    train_translator(
        read_parallel(*a.train),
        read_parallel(*a.valid),
        settings,
        folder=a.out,
        device=device,
        say=lambda text: print(text, file=sys.stderr),
    )


def _add_run_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--run", type=Path, required=True, dest="folder", help="folder of the run")
    p.add_argument(
        "--beam", type=int, default=5, help="width of the beam; 1 is greedy (default: 5)"
    )
    p.add_argument(
        "--length-exponent",
        type=float,
        default=1.4,
        help="log probabilities are divided by length to this power (default: 1.4)",
    )
    p.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: cpu)")


def _add_score(steps: Any) -> None:
    p = steps.add_parser("score", help="BLEU and chrF on a test set")
    p.set_defaults(run=_score)
    _add_run_options(p)
    p.add_argument(
        "--test", nargs=2, metavar=("SRC", "TGT"), type=Path, required=True, help="the test set"
    )
    p.add_argument("--json", action="store_true", help="print the result as JSON")
    p.add_argument("--translations", type=Path, metavar="FILE", help="write the translations here")


def _score(a: argparse.Namespace) -> None:
    try:
        metrics = importlib.import_module("sacrebleu.metrics")
    except ImportError as error:
        raise ImportError("scoring needs sacrebleu: pip install 'tfmlib[translation]'") from error
    translator = _load(a)
    pairs = read_parallel(*a.test)
    translations = translator.translate(
        [source for source, _ in pairs],
        beam=a.beam,
        length_exponent=a.length_exponent,
        progress=True,
    )
    if a.translations is not None:
        a.translations.write_text("".join(t + "\n" for t in translations), encoding="utf-8")
    references = [[target for _, target in pairs]]
    bleu = metrics.BLEU(references=references)
    score = bleu.corpus_score(translations, None, n_bootstrap=1000)
    chrf = metrics.CHRF(references=references)
    result = {
        "bleu": round(score.score, 2),
        # sacreBLEU gives the middle and half the width of the 95 % interval of its resamples.
        "bleu_low": round(score._mean - score._ci, 2),
        "bleu_high": round(score._mean + score._ci, 2),
        "signature": str(bleu.get_signature()),
        "brevity_penalty": round(score.bp, 4),
        "chrf": round(chrf.corpus_score(translations, None).score, 2),
        "chrf_signature": str(chrf.get_signature()),
        "sentences": len(pairs),
        "beam": a.beam,
        "length_exponent": a.length_exponent,
    }
    if a.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"BLEU {result['bleu']} (95 % interval {result['bleu_low']} to {result['bleu_high']}) "
        f"{result['signature']}\n"
        f"chrF {result['chrf']} {result['chrf_signature']}\n"
        f"{len(pairs)} sentences, beam {a.beam}, length exponent {a.length_exponent}"
    )


def _add_translate(steps: Any) -> None:
    p = steps.add_parser("translate", help="translate standard input, line by line")
    p.set_defaults(run=_translate)
    _add_run_options(p)


def _translate(a: argparse.Namespace) -> None:
    translator = _load(a)
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    if sys.stdin.isatty():
        print("one sentence a line; end with Ctrl-D", file=sys.stderr)
    for line in sys.stdin:
        (text,) = translator.translate(
            [line.rstrip("\n")], beam=a.beam, length_exponent=a.length_exponent
        )
        print(text, flush=True)


def _load(a: argparse.Namespace) -> Translator:
    if a.beam < 1:
        raise ValueError(f"--beam must be positive; got {a.beam}")
    device, _ = pick_device(a.device)
    if not a.folder.is_dir():
        raise ValueError(f"{a.folder}: no such folder")
    return Translator.load(a.folder, device=device)
