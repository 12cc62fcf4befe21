"""Dropout and the gap between training and validation, for little data and for more.

    python -m benchmarks.dropout --out tfmlib/records/dropout.json

A small Transformer learns to translate number words from 200, 1 000 or 5 000 examples, for the
same number of steps, with dropout of 0, 0.1 and 0.3. Both losses are measured in evaluation mode,
on as many examples. About 9 CPU-minutes on one thread (`--jobs 2` runs two at a time, and with
`--parts` a run that was done is not done again).
"""

import argparse
import itertools
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tfmlib import records
from tfmlib.data.number_words import NumberPair, number_pairs, number_vocabulary
from tfmlib.training.batching import Pair, TokenBudgetBatches, collate, pair_loss
from tfmlib.training.optimizer import adamw, warmup_inverse_square_root
from tfmlib.transformer.transformer import Transformer, TransformerConfig

SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "examples": [200, 1000, 5000],
    "dropouts": [0.0, 0.1, 0.3],
    "n_valid": 200,
    "data_seed": 0,
    "model": {
        "d_model": 64,
        "n_heads": 4,
        "d_ff": 128,
        "n_encoder_layers": 2,
        "n_decoder_layers": 2,
        "norm_place": "pre",
    },
    "max_tokens": 600,
    "steps": 600,
    "peak": 2e-3,
    "warmup": 60,
    "measured_at": [10, 100, 200, 300, 400, 500, 600],
}
SPECIAL = {"pad_id": 0, "start_id": 1, "end_id": 2}


def encoded(pairs: Sequence[NumberPair]) -> list[Pair]:
    """Return the token ids of source and target of each pair."""
    encode = number_vocabulary().encode
    return [(encode(p.source_tokens), encode(p.target_tokens)) for p in pairs]


def job_name(examples: int, dropout: float) -> str:
    """Return the name under which a record stands: "200 examples, dropout 0.1"."""
    return f"{examples} examples, dropout {dropout:g}"


@torch.no_grad()
def loss_on(model: nn.Module, pairs: Sequence[Pair]) -> float:
    """Return the loss in nats per target token, in evaluation mode."""
    model.eval()
    total, tokens = pair_loss(model, collate(pairs, **SPECIAL), pad_id=0)
    model.train()
    return total.item() / tokens


def losses_of(
    examples: int, dropout: float, seed: int, steps: int, settings: dict[str, Any] = SETTINGS
) -> list[dict[str, float]]:
    """Train, and return both losses at the steps where they are measured."""
    data = number_pairs(
        n_train=examples, n_valid=settings["n_valid"], n_test=0, seed=settings["data_seed"]
    )
    train, valid = encoded(data.train), encoded(data.valid)
    torch.manual_seed(seed)
    size = settings["model"] | {"vocab_size": len(number_vocabulary()), "dropout": dropout}
    model = Transformer(TransformerConfig(**size))
    optimizer = adamw(model, lr=settings["peak"])
    schedule = warmup_inverse_square_root(settings["peak"], settings["warmup"])
    batches = TokenBudgetBatches(train, max_tokens=settings["max_tokens"], seed=seed, **SPECIAL)
    stream = itertools.chain.from_iterable(map(batches.epoch, itertools.count()))
    found = []
    for step, batch in enumerate(itertools.islice(stream, steps), 1):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step)
        total, tokens = pair_loss(model, batch, pad_id=0)
        optimizer.zero_grad()
        (total / tokens).backward()
        optimizer.step()
        if step in settings["measured_at"]:
            pieces = {"train": train[: len(valid)], "valid": valid}
            both = {name: round(loss_on(model, pairs), 4) for name, pairs in pieces.items()}
            found.append({"step": step, **both})
    return found


def run(examples: int, dropout: float, seed: int, parts: Path | None = None) -> Any:
    """Return the numbers of one run, on one thread; with `parts`, from its file if there is one."""
    part = None if parts is None else parts / f"{job_name(examples, dropout)}, {seed}.json"
    if part is not None and part.exists():
        return json.loads(part.read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    result = losses_of(examples, dropout, seed, SETTINGS["steps"])
    print(job_name(examples, dropout), seed, result[-1], flush=True)
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
    grid = list(itertools.product(SETTINGS["examples"], SETTINGS["dropouts"]))
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
        command="python -m benchmarks.dropout --out tfmlib/records/dropout.json",
        seeds=SEEDS,
        note="Both losses in nats per target token, in evaluation mode; no label smoothing.",
    )


if __name__ == "__main__":
    main()
