"""What each measure buys on a CPU: one training step, rung by rung; and bfloat16 by width.

    python -m benchmarks.device_ladder --out tfmlib/records/device_ladder.json

Every rung of the ladder adds one measure to those below it and runs in a process of its own, three
times. Times are processor seconds of one thread, so that other work on the machine disturbs them
little; the best of a few steps counts for each run. The peak of memory is that of a step's tensors.
About 10 CPU-minutes, and as much again for three compilations.
"""

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from tfmlib import records
from tfmlib.training.device import (
    keep_freed_memory,
    language_model_flops,
    next_token_loss,
    peak_memory,
    recompute_layers,
)
from tfmlib.training.loop import add_gradients
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

RUNS = (0, 1, 2)
RUNGS: dict[str, dict[str, Any]] = {
    "plain": {"fused": False},
    "fused AdamW": {"fused": True},
    "freed memory kept": {"keep": True},
    "loss in chunks": {"chunk": 256},
    "bfloat16": {"precision": "bf16"},
    "compiled": {"compile": True},
    "layers recomputed": {"recompute": True, "compile": False},
}
SETTINGS: dict[str, Any] = {
    "model": {
        "vocab_size": 8192,
        "max_length": 128,
        "d_model": 384,
        "n_layers": 4,
        "n_heads": 6,
        "positions": "rotary",
    },
    "rows": 8,
    "time": 128,
    "steps": 5,
    "rungs": RUNGS,
    "widths": [64, 128, 192, 256, 384, 512, 768],
    "width_model": {"vocab_size": 1024, "max_length": 128, "n_layers": 2, "positions": "rotary"},
    "width_head": 32,
    "width_steps": 8,
    "matrix": 1024,
}


def cumulative(rung: str) -> dict[str, Any]:
    """Return the options of a rung: its own on top of those below it."""
    options: dict[str, Any] = {"chunk": None, "precision": "fp32"}
    for name, own in RUNGS.items():
        options |= own
        if name == rung:
            return options
    raise ValueError(f"unknown rung {rung!r}")


def cpu_seconds() -> float:
    """Return the processor time of this process and of those it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds_of(run: Callable[[], Any], repeats: int) -> tuple[float, list[float]]:
    """Return the processor seconds of the first call, and of the others."""
    found = []
    for _ in range(repeats + 1):
        start = cpu_seconds()
        run()
        found.append(cpu_seconds() - start)
    return found[0], found[1:]


def tokens_for(seed: int, rows: int, time: int, vocab_size: int) -> torch.Tensor:
    """Return random tokens, [rows, time + 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, (rows, time + 1), generator=generator)


def climb(rung: str, seed: int, settings: dict[str, Any] = SETTINGS) -> dict[str, float]:
    """Run one rung: times of steps, the most memory, and the loss of the first step."""
    how, size = cumulative(rung), settings["model"]
    torch.manual_seed(seed)
    if how.get("keep") and settings.get("keep", True):  # holds for the whole process
        keep_freed_memory()
    model = LanguageModel(LanguageModelConfig(**size))
    optimizer = adamw(model, lr=1e-3, fused=how["fused"])
    tokens = tokens_for(seed, settings["rows"], settings["time"], size["vocab_size"])
    loss = functools.partial(next_token_loss, chunk=how["chunk"])
    if how.get("compile"):
        model.decoder.compile()
    losses: list[float] = []

    def step() -> None:
        total, n = add_gradients(model, [tokens], loss, precision=how["precision"])
        optimizer.step()
        losses.append(total / n)

    with recompute_layers(model) if how.get("recompute") else nullcontext():
        first, times = seconds_of(step, settings["steps"])
        optimizer.zero_grad()
        result = {
            "seconds": round(min(times), 4),
            "first": round(first, 3),
            "loss": round(losses[0], 5),
        }
        if not how.get("compile"):  # compiled code keeps its buffers to itself
            result["peak"] = peak_memory(step)
    return result


def ceiling(dtype: torch.dtype, size: int, repeats: int = 8) -> float:
    """Return the operations a processor second of products of square matrices, the best of some."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    _, times = seconds_of(lambda: a @ b, repeats)
    return 2 * size**3 / min(times)


def by_width(width: int, seed: int, settings: dict[str, Any] = SETTINGS) -> dict[str, float]:
    """Return the seconds of a forward and backward pass in float32 and in bfloat16."""
    size = settings["width_model"] | {
        "d_model": width,
        "n_heads": width // settings["width_head"],
    }
    torch.manual_seed(seed)
    model = LanguageModel(LanguageModelConfig(**size))
    tokens = tokens_for(seed, settings["rows"], settings["time"], size["vocab_size"])
    loss = functools.partial(next_token_loss, chunk=None)
    found = {}
    for precision in ("fp32", "bf16"):
        step = functools.partial(add_gradients, model, [tokens], loss, precision=precision)
        _, times = seconds_of(step, settings["width_steps"])
        found[precision] = round(min(times), 5)
    return found


def one(what: str, seed: int) -> Any:
    """Return the numbers of one job, in this process and on one thread."""
    torch.set_num_threads(1)
    if what == "ceilings":
        size = SETTINGS["matrix"]
        return {
            name: round(ceiling(dtype, size) / 1e9, 1)
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        }
    return by_width(int(what), seed) if what.isdigit() else climb(what, seed)


def apart(what: str, seed: int) -> Any:
    """Return the numbers of one job, from a process of its own without any cache."""
    command = [sys.executable, "-m", "benchmarks.device_ladder", "--one", what, "--seed", str(seed)]
    alone = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    alone |= {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    text = subprocess.check_output(command, text=True, env=os.environ | alone)
    result = json.loads(text.splitlines()[-1])
    print(what, seed, result, flush=True)
    return result


def main() -> None:
    """Run everything and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="the record to write")
    parser.add_argument("--one", help="run one job and print its numbers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.seed)))
        return
    if options.out is None:
        parser.error("--out is missing")
    config = LanguageModelConfig(**SETTINGS["model"])
    widths = list(map(str, SETTINGS["widths"]))
    records.save(
        options.out,
        settings=SETTINGS,
        numbers={
            "flops_per_token": 3 * sum(language_model_flops(config, SETTINGS["time"]).values()),
            "ceilings": {str(seed): apart("ceilings", seed) for seed in RUNS},
            "widths": {w: {str(seed): apart(w, seed) for seed in RUNS} for w in widths},
            "rungs": {r: {str(seed): apart(r, seed) for seed in RUNS} for r in RUNGS},
        },
        command="python -m benchmarks.device_ladder --out tfmlib/records/device_ladder.json",
        seeds=RUNS,
        note="Processor seconds of one thread, best of the steps; peaks in bytes of tensors, "
        "beyond model and optimizer; ceilings in 10^9 operations a processor second.",
    )


if __name__ == "__main__":
    main()
