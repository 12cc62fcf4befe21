"""Warm-up or none, post-norm and pre-norm, over learning rates: what the warm-up is for.

    python -m benchmarks.warmup --out tfmlib/records/warmup.json

Transformers of the paper's depth (6 + 6 layers), otherwise small, learn to translate number words.
After the warm-up the learning rate stays as it is, so that with and without differ in nothing else.
No gradient is clipped. Every batch is new, so the training loss is that of unseen examples. About
20 CPU-minutes on one thread (`--jobs 2` runs two at a time, and with `--parts` a run that was
done is not done again).
"""

import argparse
import itertools
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tfmlib import records
from tfmlib.data.number_words import number_pairs, number_vocabulary
from tfmlib.training.batching import PairBatch, TokenBudgetBatches, pair_loss
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.transformer import Transformer, TransformerConfig

SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "data": {"n_train": 20_000, "n_valid": 0, "n_test": 0, "seed": 0},
    "model": {
        "d_model": 64,
        "n_heads": 4,
        "d_ff": 128,
        "n_encoder_layers": 6,
        "n_decoder_layers": 6,
        "dropout": 0.0,
    },
    "max_tokens": 600,
    "steps": 240,
    "norm_places": ["post", "pre"],
    "warmups": [0, 80],
    "learning_rates": [3e-4, 1e-3, 3e-3, 1e-2],
    "betas": [0.9, 0.98],
    "curve_every": 20,
    "n_first": 10,
}


def job_name(place: str, warmup: int, lr: float) -> str:
    """Return the name under which a record stands: "post, warm-up 80, lr 0.001"."""
    return f"{place}, warm-up {warmup}, lr {lr:g}"


def new_model(place: str, seed: int, settings: dict[str, Any] = SETTINGS) -> nn.Module:
    """Return a model with the norm at that place, its weights drawn from this seed."""
    torch.manual_seed(seed)
    size = settings["model"] | {"vocab_size": len(number_vocabulary()), "norm_place": place}
    return Transformer(TransformerConfig(**size))


def batches_of(seed: int, settings: dict[str, Any] = SETTINGS) -> Iterator[PairBatch]:
    """Yield the batches; all runs with this seed see the same."""
    vocabulary = number_vocabulary()
    encode = vocabulary.encode
    pairs = [
        (encode(p.source_tokens), encode(p.target_tokens))
        for p in number_pairs(**settings["data"]).train
    ]
    batches = TokenBudgetBatches(
        pairs,
        max_tokens=settings["max_tokens"],
        seed=seed,
        pad_id=vocabulary.pad_id,
        start_id=vocabulary.start_id,
        end_id=vocabulary.end_id,
    )
    yield from batches.epoch(0)  # of which a run must not see the end


def losses_of(
    place: str,
    warmup: int,
    lr: float,
    seed: int,
    steps: int,
    settings: dict[str, Any] = SETTINGS,
) -> list[float]:
    """Train, and return the loss at every step, in nats per target token."""
    model = new_model(place, seed, settings)
    optimizer = adamw(model, lr=lr, betas=tuple(settings["betas"]))
    losses: list[float] = []
    for step, batch in enumerate(itertools.islice(batches_of(seed, settings), steps), 1):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, step / warmup) if warmup else lr
        total, tokens = pair_loss(model, batch, pad_id=0)
        optimizer.zero_grad()
        (total / tokens).backward()
        optimizer.step()
        losses.append(total.item() / tokens)
    if len(losses) != steps:
        raise ValueError(f"{steps} steps asked for, but an epoch has {len(losses)} batches")
    return losses


def run(place: str, warmup: int, lr: float, seed: int, parts: Path | None = None) -> dict[str, Any]:
    """Return the numbers of one run, on one thread; with `parts`, from its file if there is one."""
    part = None if parts is None else parts / f"{job_name(place, warmup, lr)}, {seed}.json"
    if part is not None and part.exists():
        result: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
        return result
    torch.set_num_threads(1)
    losses = losses_of(place, warmup, lr, seed, SETTINGS["steps"])
    every = SETTINGS["curve_every"]
    curve = [round(sum(losses[i : i + every]) / every, 4) for i in range(0, len(losses), every)]
    print(job_name(place, warmup, lr), seed, curve[-1], flush=True)
    result = {
        "first_losses": [round(loss, 4) for loss in losses[: SETTINGS["n_first"]]],
        "curve": curve,  # means over intervals of that many steps
        "last": round(sum(losses[-2 * every :]) / (2 * every), 4),
    }
    if part is not None:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(result), encoding="utf-8")
    return result


def main() -> None:
    """Run the sweep and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    parser.add_argument("--parts", type=Path, help="a folder for the result of each single run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    options = parser.parse_args()
    grid = list(
        itertools.product(SETTINGS["norm_places"], SETTINGS["warmups"], SETTINGS["learning_rates"])
    )
    numbers: dict[str, dict[str, Any]] = {job_name(*how): {} for how in grid}
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        runs = [
            (how, seed, pool.submit(run, *how, seed, options.parts))
            for how in grid
            for seed in SEEDS
        ]
        for how, seed, result in runs:
            numbers[job_name(*how)][str(seed)] = result.result()
    records.save(
        options.out,
        settings=SETTINGS,
        numbers=numbers,
        command="python -m benchmarks.warmup --out tfmlib/records/warmup.json",
        seeds=SEEDS,
        note="Losses are training losses in nats per target token, each on examples not seen yet.",
    )


if __name__ == "__main__":
    main()
