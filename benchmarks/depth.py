"""Residual connections, the place of the norm, warm-up and the norm at the end: a sweep over depth.

    python -m benchmarks.depth --out tfmlib/records/depth.json

Small language models of source code, from 2 to 12 layers, each kind with two learning rates: a
kind is judged by its best. All start from Xavier's initialisation (Glorot and Bengio 2010), as the
models of Xiong et al. 2020 did; the deepest also from that of GPT-2 (Radford et al. 2019), which
makes every sub-layer small. About 11 CPU-minutes on one thread.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.ablations import (
    Batch,
    remove_final_norm,
    remove_residuals,
    run_all,
    train,
    validation,
    validation_loss,
)
from tfmlib import records
from tfmlib.blocks.residual import xavier_init_
from tfmlib.data.source_code import CHARACTERS
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "text": "sklearn",
    "d_model": 32,
    "n_heads": 4,
    "length": 32,
    "batch": 16,
    "steps": 200,
    "betas": [0.9, 0.98],
    "clip": None,
    "pieces": 256,
    "depths": [2, 6, 12],
    "lrs": [3e-3, 1e-2],
    "warmup": 50,
    # name -> kind, initialisation, and what differs from the above
    "groups": {
        "pre-norm": ["pre", "xavier", {}],
        "pre-norm, no warm-up": ["pre", "xavier", {"warmup": 0}],
        "post-norm": ["post", "xavier", {}],
        "post-norm, no warm-up": ["post", "xavier", {"warmup": 0}],
        "no residuals": ["none", "xavier", {}],
        "no final norm": ["no_final", "xavier", {}],
        "pre-norm, small start": ["pre", "small", {"depths": [12], "lrs": [3e-3]}],
        "post-norm, small start": ["post", "small", {"depths": [12], "lrs": [3e-3]}],
        "no residuals, small start": ["none", "small", {"depths": [12], "lrs": [3e-3]}],
        "no final norm, small start": ["no_final", "small", {"depths": [12], "lrs": [3e-3]}],
        "post-norm, longer": [
            "post",
            "xavier",
            {"depths": [12], "lrs": [3e-4], "steps": 1000, "warmup": 250},
        ],
    },
    "first_steps": [1, 10, 20, 30],
}


def build(kind: str, init: str, n_layers: int, seed: int) -> LanguageModel:
    """Return a new model: kind "pre", "post", "none" or "no_final", init "xavier" or "small"."""
    torch.manual_seed(seed)
    model = LanguageModel(
        LanguageModelConfig(
            vocab_size=len(CHARACTERS),
            max_length=SETTINGS["length"],
            d_model=SETTINGS["d_model"],
            n_heads=SETTINGS["n_heads"],
            n_layers=n_layers,
            positions="sinusoidal",
            norm_place="post" if kind == "post" else "pre",
        )
    )
    if init == "xavier":
        xavier_init_(model)
    if kind == "none":
        remove_residuals(model)
    if kind == "no_final":
        remove_final_norm(model)
    return model


@torch.no_grad()
def stream_rms(model: LanguageModel, batch: Batch) -> list[float]:
    """Return the root mean square of what enters each layer, and of what leaves the last."""
    seen: list[float] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0].square().mean().sqrt().item())

    handles = [
        m.register_forward_pre_hook(keep) for m in (*model.decoder.layers, model.decoder.norm)
    ]
    try:
        model.eval()
        model(batch[0])
    finally:
        for handle in handles:
            handle.remove()
    return seen


def run(group: str, n_layers: int, lr: float, seed: int) -> dict[str, Any]:
    """Train and score one model."""
    kind, init, changes = SETTINGS["groups"][group]
    settings = SETTINGS | changes
    model = build(kind, init, n_layers, seed)
    batch = validation(SETTINGS)
    result: dict[str, Any] = {
        "loss_before": round(validation_loss(model, batch), 4),
        "stream_before": [round(x, 3) for x in stream_rms(model, batch)],
    }
    try:
        losses = train(model, settings, seed, lr=lr)
    except FloatingPointError as error:
        result["failed"] = str(error)
        return result
    every = settings["steps"] // 10
    chunks = [losses[i : i + every] for i in range(0, len(losses), every)]
    result |= {
        "first_losses": [round(losses[i - 1], 4) for i in SETTINGS["first_steps"]],
        "curve": [round(sum(chunk) / len(chunk), 4) for chunk in chunks],
        "valid_loss": round(validation_loss(model, batch), 4),
        "stream_after": [round(x, 3) for x in stream_rms(model, batch)],
    }
    print(group, n_layers, lr, seed, result["valid_loss"], flush=True)
    return result


def job(group: str, n_layers: int, lr: float, seed: int) -> dict[str, Any]:
    """Run one model on one thread, in whatever process."""
    torch.set_num_threads(1)
    return run(group, n_layers, lr, seed)


def main() -> None:
    """Run the sweep and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--parts", type=Path, help="a folder that keeps finished runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arguments = [
        (group, n_layers, lr, seed)
        for group, (_, _, changes) in SETTINGS["groups"].items()
        for n_layers in (SETTINGS | changes)["depths"]
        for lr in (SETTINGS | changes)["lrs"]
        for seed in SEEDS
    ]
    numbers: dict[str, Any] = {}
    for (group, n_layers, lr, seed), result in zip(
        arguments, run_all(job, arguments, options.jobs, options.parts), strict=True
    ):
        by_rate = numbers.setdefault(group, {}).setdefault(str(n_layers), {})
        by_rate.setdefault(str(lr), {})[str(seed)] = result
    records.save(
        options.out,
        settings=SETTINGS,
        numbers=numbers,
        command="python -m benchmarks.depth --out tfmlib/records/depth.json",
        seeds=SEEDS,
        note=(
            "Losses are in nats per character of files that were not trained on. The "
            "learning rates were fixed before the sweep, the same for every kind."
        ),
    )


if __name__ == "__main__":
    main()
