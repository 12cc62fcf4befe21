"""Check, measure and train on one NVIDIA GPU, in one call: `make bench-gpu`.

    python -m benchmarks.gpu --text shakespeare.txt [--minutes 9] [--out FILE] [--parts ...]

Ends with 1 where a check or a measurement failed, with 2 where it cannot begin. `--smoke` runs the
same code on the CPU with tiny sizes, without compiling anything.
"""

import argparse
import copy
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.characters import run_characters
from benchmarks.gpu.checks import Check, attention_checks, run_checks
from benchmarks.gpu.decoding import run_decoding
from benchmarks.gpu.generation_checks import generation_checks
from benchmarks.gpu.ladder import run_ladder
from benchmarks.gpu.report import Report
from benchmarks.gpu.training_checks import training_checks
from tfmlib.training.device import pick_device

# Part -> the share of the whole time that may have passed at its end.
PARTS = {"checks": 0.18, "ladder": 0.55, "decoding": 0.75, "characters": 1.0}
SETTINGS: dict[str, Any] = {
    "ladder": {
        "model": {"max_length": 1024, "d_model": 768, "n_layers": 12, "n_heads": 12},
        "vocab": 50257,
        "padded_vocab": 50304,
        # With many rows all logits are fewer than 2^31, so that 32 bits can number them.
        "rows": {"few": 8, "many": 32, "most": 64},
        "chunk": 8192,
        "warmup": 3,
        "steps": 10,
        "matrix": 8192,
        "compile": True,
        "scale": 1.0,
        "goal": 0.5,
    },
    "decoding": {
        "model": {
            "vocab_size": 32_000,
            "max_length": 512,
            "d_model": 2048,
            "n_layers": 16,
            "n_heads": 16,
            "d_ff": 8192,
            "positions": "rotary",
            "norm": "rms",
            "activation": "silu",
            "gated": True,
            "bias": False,
        },
        "cores": ["auto", "naive"],
        "prompt": 32,
        "new": 256,
        "warmup": 2,
        "turns": 3,
        "copy": 2**32,
        "compile": True,
        "needs": 45.0,
        "goal": 0.8,
    },
    "characters": {
        "model": {
            "max_length": 256,
            "d_model": 384,
            "n_layers": 6,
            "n_heads": 6,
            "dropout": 0.2,
        },
        "recipes": {
            "rotary": {"positions": "rotary", "lr": 1e-3, "weight_decay": 0.5},
            "learned positions": {"positions": "learned", "lr": 1e-3, "weight_decay": 0.1},
        },
        "rows": 64,
        "steps": 5000,
        "warmup": 100,
        "evaluate_every": 250,
        "average": 0.998,
        "seconds": 180.0,
        "needs": 60.0,
        "compile": True,
    },
}
SMOKE: dict[str, Any] = {
    "ladder": {
        "model": {"max_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
        "vocab": 61,
        "padded_vocab": 64,
        "rows": {"few": 2, "many": 3, "most": 4},
        "chunk": 16,
        "warmup": 1,
        "steps": 1,
        "matrix": 64,
        "compile": False,
        "scale": 0.01,
    },
    "decoding": {
        "model": SETTINGS["decoding"]["model"]
        | {"vocab_size": 61, "max_length": 24, "d_model": 32, "n_layers": 2, "n_heads": 2}
        | {"d_ff": 64},
        "prompt": 4,
        "new": 8,
        "turns": 1,
        "copy": 2**16,
        "compile": False,
        "needs": 0.5,
    },
    "characters": {
        "model": {"max_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2, "dropout": 0.2},
        "rows": 4,
        "steps": 6,
        "warmup": 2,
        "evaluate_every": 3,
        "needs": 0.5,
        "compile": False,
    },
}
# What --smoke learns if no text is given; its characters are all that counts.
SENTENCE = "The part that is left over by one is what the next one may use. "


def settings_for(smoke: bool) -> dict[str, Any]:
    """Return the settings: the real ones, or the tiny ones on top of them."""
    settings = copy.deepcopy(SETTINGS)
    for part, own in SMOKE.items() if smoke else ():
        settings[part] |= own
    return settings


def read_text(path: Path | None, smoke: bool) -> str:
    """Return the text to learn; raises ValueError that says what is missing."""
    if path is None:
        if smoke:
            return 20 * SENTENCE
        raise ValueError("the character model needs --text FILE, such as tinyshakespeare")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the text {path}: {error}") from None
    if len(text) < 1000:
        raise ValueError(f"the text {path} has {len(text)} characters, too few to learn from")
    return text


def all_checks() -> list[Check]:
    """Return the checks, those that are compiled last."""
    return [*attention_checks(), *training_checks(), *generation_checks()]


def measure(options: argparse.Namespace) -> Report:
    """Run all parts that were asked for; raises ValueError where that cannot begin."""
    if not options.minutes > 0:
        raise ValueError(f"--minutes must be positive, got {options.minutes}")
    if options.out is None:
        if options.smoke:
            raise ValueError("--smoke needs --out FILE: it must not replace the real record")
        options.out = Path("tfmlib/records/gpu.json")
    device, reason = pick_device("cpu" if options.smoke else "cuda")
    text = read_text(options.text, options.smoke) if "characters" in options.parts else ""
    settings = settings_for(options.smoke)
    settings["minutes"], settings["parts"] = options.minutes, list(options.parts)
    settings["characters"]["text"] = {
        "characters": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    name = "" if options.text is None else f" --text {options.text.name}"
    command = f"python -m benchmarks.gpu{' --smoke' * options.smoke}{name}"
    if list(options.parts) != list(PARTS):
        command += f" --parts {' '.join(options.parts)}"
    report = Report(options.out, settings, command, device, minutes=options.minutes)
    report.say(reason)
    try:
        report.save()  # now, and not after minutes, is seen whether it can be written
    except OSError as error:
        raise ValueError(f"cannot write the record {options.out}: {error}") from None
    work: dict[str, Callable[[Report], None]] = {
        "checks": lambda r: run_checks(r, all_checks()),
        "ladder": run_ladder,
        "decoding": run_decoding,
        "characters": lambda r: run_characters(r, text),
    }
    for part in options.parts:
        report.part(part, PARTS[part], work[part])
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, measure, say what failed; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--text", type=Path, help="the text that the character model learns")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything (default 9)")
    parser.add_argument("--out", type=Path, help="the record (default tfmlib/records/gpu.json)")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on the CPU")
    options = parser.parse_args(arguments)
    options.parts = [part for part in PARTS if part in options.parts]
    try:
        report = measure(options)
    except ValueError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    numbers = report.numbers
    checks = numbers["checks"]
    report.say(
        f"{sum(c['passed'] for c in checks)} of {len(checks)} checks passed, "
        f"{len(numbers['failed'])} failures, {len(numbers['skipped'])} skipped: {options.out}"
    )
    for failure in numbers["failed"]:
        print(f"FAILED {failure['name']}: {failure['reason']}", file=sys.stderr)
    return 1 if numbers["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
