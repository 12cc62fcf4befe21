"""Training with scores divided by the root of d_k, and without: widths, initial sizes, rates.

    python -m benchmarks.attention_scale --out tfmlib/records/attention_scale.json

Small language models of source code, two layers, 128 features in eight heads or in one, that start
from Xavier's initialisation, from queries and keys three times as large, or from GPT-2's small
weights. With and without the scale, each with two learning rates. About 7 CPU-minutes on one
thread.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablations import (
    enlarge_queries_and_keys,
    remove_scale,
    run_all,
    train,
    validation,
    validation_loss,
)
from tfmlib import records
from tfmlib.blocks.multihead import record_attention
from tfmlib.blocks.residual import xavier_init_
from tfmlib.data.source_code import CHARACTERS
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "text": "sklearn",
    "d_model": 128,
    "n_layers": 2,
    "length": 32,
    "batch": 16,
    "steps": 200,
    "warmup": 50,
    "betas": [0.9, 0.98],
    "clip": None,
    "pieces": 256,
    # name -> d_k, factor on the weights of queries and keys after Xavier; 0: GPT-2's weights
    "starts": {
        "d_k 16": [16, 1],
        "d_k 128": [128, 1],
        "d_k 128, larger": [128, 3],
        "d_k 128, small": [128, 0],
    },
    "lrs": [3e-3, 1e-2],
    "longer": {"start": "d_k 128", "steps": 800, "lr": 3e-3},
    "first_steps": [1, 10, 20, 30],
}


def build(d_k: int, factor: float, scaled: bool, seed: int) -> LanguageModel:
    """Return a new model, with or without the scale on its scores."""
    torch.manual_seed(seed)
    model = LanguageModel(
        LanguageModelConfig(
            vocab_size=len(CHARACTERS),
            max_length=SETTINGS["length"],
            d_model=SETTINGS["d_model"],
            n_heads=SETTINGS["d_model"] // d_k,
            n_layers=SETTINGS["n_layers"],
            positions="sinusoidal",
        )
    )
    if factor:
        xavier_init_(model)
        enlarge_queries_and_keys(model, factor)
    if not scaled:
        remove_scale(model)
    return model


@torch.no_grad()
def entropy(model: LanguageModel, tokens: torch.Tensor) -> float:
    """Return the mean entropy of the attention weights, as a share of the largest possible."""
    model.eval()
    with record_attention(model) as maps:
        model(tokens)
    largest = torch.arange(2, tokens.shape[1] + 1).log()  # the first query has no choice
    shares = [-torch.xlogy(w, w).sum(-1)[..., 1:] / largest for (w,) in maps.values()]
    return torch.stack([s.mean() for s in shares]).mean().item()


def run(start: str, scaled: bool, lr: float, seed: int, steps: int) -> dict[str, Any]:
    """Train and score one model."""
    model = build(*SETTINGS["starts"][start], scaled, seed)
    batch = validation(SETTINGS)
    result: dict[str, Any] = {"entropy_before": round(entropy(model, batch[0]), 3)}
    losses = train(model, SETTINGS | {"steps": steps}, seed, lr=lr)
    result |= {
        "first_losses": [round(losses[i - 1], 4) for i in SETTINGS["first_steps"]],
        "valid_loss": round(validation_loss(model, batch), 4),
        "entropy_after": round(entropy(model, batch[0]), 3),
    }
    print(start, scaled, lr, seed, steps, result["valid_loss"], flush=True)
    return result


def job(start: str, scaled: bool, lr: float, seed: int, steps: int) -> dict[str, Any]:
    """Run one model on one thread, in whatever process."""
    torch.set_num_threads(1)
    return run(start, scaled, lr, seed, steps)


def main() -> None:
    """Run the sweep and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--parts", type=Path, help="a folder that keeps finished runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    longer = SETTINGS["longer"]
    plan = [
        (start, lr, SETTINGS["steps"]) for start in SETTINGS["starts"] for lr in SETTINGS["lrs"]
    ]
    plan.append((longer["start"], longer["lr"], longer["steps"]))
    arguments = [
        (start, scaled, lr, seed, steps)
        for start, lr, steps in plan
        for scaled in (True, False)
        for seed in SEEDS
    ]
    numbers: dict[str, Any] = {}
    for (start, scaled, lr, seed, steps), result in zip(
        arguments, run_all(job, arguments, options.jobs, options.parts), strict=True
    ):
        name = start if steps == SETTINGS["steps"] else f"{start}, longer"
        by_scale = numbers.setdefault(name, {}).setdefault("scaled" if scaled else "not scaled", {})
        by_scale.setdefault(str(lr), {})[str(seed)] = result
    records.save(
        options.out,
        settings=SETTINGS,
        numbers=numbers,
        command="python -m benchmarks.attention_scale --out tfmlib/records/attention_scale.json",
        seeds=SEEDS,
        note=(
            "Losses are in nats per character of files that were not trained on. The two "
            "learning rates were fixed before the sweep, the same with and without the scale."
        ),
    )


if __name__ == "__main__":
    main()
