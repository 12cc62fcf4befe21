"""How many heads, what each of them does, and what happens past the training length: one sweep.

    python -m benchmarks.heads_and_length --out tfmlib/records/heads_and_length.json

Small language models of source code, characters as tokens. The first group differs in the number
of heads and in nothing else, not even in the number of parameters; in those with four, every head
is removed in turn (Michel et al. 2019; Voita et al. 2019). The second group differs in how it is
told about positions, and is read far past the length it was trained on (Press et al. 2022); rotary
positions are also slowed down (Chen et al. 2023; Peng et al. 2024). About 13 CPU-minutes on one
thread.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations import (
    Batch,
    core_of,
    losses_by_position,
    mean_loss,
    run_all,
    text,
    train,
    validation,
    validation_loss,
)
from tfmlib import records
from tfmlib.blocks.attention import attention_weights
from tfmlib.blocks.multihead import record_attention
from tfmlib.data.source_code import CHARACTERS, windows
from tfmlib.sequences.fit import fit
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

SEEDS = (0, 1, 2, 3, 4)
SETTINGS: dict[str, Any] = {
    "text": "sklearn",
    "d_model": 64,
    "n_layers": 2,
    "length": 64,
    "batch": 16,
    "steps": 500,
    "lr": 3e-3,
    "warmup": 50,
    "betas": [0.9, 0.98],
    "clip": 1.0,
    "pieces": 256,
    "heads": [1, 2, 4, 8, 16],
    "heads_with_rotary": [1, 2, 8, 16],
    "positions": ["learned", "sinusoidal", "rotary", "alibi", "t5", "none"],
    "heads_for_positions": 4,
    "position_seeds": 3,  # of the models with other than learned positions
    "longest": 512,
    "long_pieces": 96,
    "bin": 32,
    "stretch": 4,
    "remedies": ["as_trained", "interpolated", "slow_pairs", "larger_base"],
    "fine_tuning": {"steps": [0, 10, 30, 100], "lr": 1e-3, "batch": 4},
    "first_steps": [1, 10, 20, 30],
}


def build(n_heads: int, positions: str, seed: int) -> LanguageModel:
    """Return a new model; its tables reach as far as it will ever be read."""
    torch.manual_seed(seed)
    return LanguageModel(
        LanguageModelConfig(
            vocab_size=len(CHARACTERS),
            max_length=SETTINGS["longest"],
            d_model=SETTINGS["d_model"],
            n_layers=SETTINGS["n_layers"],
            n_heads=n_heads,
            positions=positions,
        )
    )


# -- heads ---------------------------------------------------------------------------------------


def without(*heads: int) -> Callable[[Any], Any]:
    """Return what makes a core in which these heads hand over nothing."""

    def make(core: Any) -> Any:
        def pruned(q: Tensor, k: Tensor, v: Tensor, **how: Any) -> Tensor:
            out = core(q, k, v, **how)  # [batch heads queries d_head]
            keep = torch.ones(out.shape[1], 1, 1)
            keep[list(heads)] = 0.0
            return out * keep

        return pruned

    return make


def same_pattern(core: Any) -> Any:
    """Make a core in which all heads use one pattern, the mean of theirs; values stay their own."""

    def averaged(q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0, **how: Any) -> Tensor:
        return attention_weights(q, k, **how).mean(1, keepdim=True) @ v

    return averaged


def divergence(weights: Tensor) -> Tensor:
    """Return the mean Jensen-Shannon divergence between heads, in nats, [heads, heads].

    The weights are [batch, heads, queries, keys]. 0 means the same pattern at every query; ln 2 is
    the largest possible, two heads that never look at the same place.
    """
    a, b = weights.unsqueeze(2), weights.unsqueeze(1)  # [batch heads heads queries keys]

    def entropy(p: Tensor) -> Tensor:
        return -torch.xlogy(p, p).sum(-1)

    return (entropy((a + b) / 2) - (entropy(a) + entropy(b)) / 2).mean((0, 3))


@torch.no_grad()
def patterns(model: LanguageModel, batch: Batch) -> list[dict[str, Any]]:
    """Describe the attention of every layer: distances, entropies, how much the heads differ."""
    model.eval()
    with record_attention(model) as maps:
        model(batch[0])
    layers = []
    for (weights,) in maps.values():  # [batch heads queries keys]
        place = torch.arange(weights.shape[-1])
        distance = (place[:, None] - place).clamp(min=0)
        far = weights[:, :, 1:]  # the first query has no choice
        layers.append(
            {
                "distance": (far * distance[1:]).sum(-1).mean((0, 2)).tolist(),
                "entropy": (-torch.xlogy(far, far).sum(-1)).mean((0, 2)).tolist(),
                "on_itself": weights.diagonal(0, -2, -1)[..., 1:].mean((0, 2)).tolist(),
                "on_the_one_before": weights.diagonal(-1, -2, -1).mean((0, 2)).tolist(),
                "divergence": divergence(far).tolist(),
            }
        )
    return layers


def removals(model: LanguageModel, batch: Batch, whole: float) -> dict[str, Any]:
    """Return by how much the loss rises when heads are taken away, or are all given one pattern."""
    n_heads, n_layers = model.config.n_heads, model.config.n_layers

    def rise(layer: int, make: Callable[[Any], Any]) -> float:
        with core_of(model, layer, make):
            return validation_loss(model, batch) - whole

    return {
        "one": [[rise(i, without(h)) for h in range(n_heads)] for i in range(n_layers)],
        "all": [rise(i, without(*range(n_heads))) for i in range(n_layers)],
        "one_pattern": [rise(i, same_pattern) for i in range(n_layers)],
    }


# -- length --------------------------------------------------------------------------------------


def by_bin(losses: Tensor) -> list[float]:
    """Return the mean loss of each stretch of positions."""
    return losses.unflatten(1, (-1, SETTINGS["bin"])).mean((0, 2)).tolist()


def restarted(model: LanguageModel, batch: Batch) -> list[float]:
    """Return the loss by position if the model never reads further than it was trained to.

    Past the training length, every character is scored in the second half of a piece of its own.
    """
    length = SETTINGS["length"]
    half = length // 2
    losses = [losses_by_position(model, (batch[0][:, :length], batch[1][:, :length]))]
    for start in range(half, batch[0].shape[1] - half, half):
        piece = (batch[0][:, start : start + length], batch[1][:, start : start + length])
        losses.append(losses_by_position(model, piece, at_once=96)[:, half:])
    return by_bin(torch.cat(losses, 1))


def slowed(frequency: Tensor, factor: float, how: str) -> Tensor:
    """Return the frequencies of a rotation with which texts `factor` times as long can be read.

    "interpolated" slows every pair (Chen et al. 2023), "slow_pairs" those that do not come round
    within the training length, "larger_base" each by more than the one before, the first not at all
    and the last by the whole factor (Peng et al. 2024, section 3.1).
    """
    if how == "as_trained":
        return frequency
    if how == "interpolated":
        return frequency / factor
    if how == "slow_pairs":
        comes_round = SETTINGS["length"] * frequency >= 2 * math.pi
        return torch.where(comes_round, frequency, frequency / factor)
    return frequency * factor ** -torch.linspace(0, 1, len(frequency))


def slow_down(model: LanguageModel, factor: float, how: str) -> None:
    """Change the rotation of a model in place."""
    rotary = {id(x): x for x in (layer.self_attention.rotary for layer in model.decoder.layers)}
    for turning in rotary.values():  # the layers share one
        turning.frequency.copy_(slowed(turning.frequency, factor, how))


def far_half(model: LanguageModel, batch: Batch) -> float:
    """Return the loss in the second half of long pieces."""
    losses = losses_by_position(model, batch)
    return losses[:, losses.shape[1] // 2 :].mean().item()


def interpolation(model: LanguageModel, batch: Batch, seed: int) -> dict[str, Any]:
    """Read pieces `stretch` times too long, with each remedy, and train on a little."""
    tuning = SETTINGS["fine_tuning"]
    length = SETTINGS["length"] * SETTINGS["stretch"]
    piece = (batch[0][:, :length], batch[1][:, :length])
    far = restarted(model, piece)[length // SETTINGS["bin"] // 2 :]
    result: dict[str, Any] = {"restarted": sum(far) / len(far)}
    for how in SETTINGS["remedies"]:
        tuned = build(model.config.n_heads, "rotary", seed)
        tuned.load_state_dict(model.state_dict())
        slow_down(tuned, SETTINGS["stretch"], how)
        batches = windows(text().train, length, batch=tuning["batch"], seed=1000 + seed)
        curve = [far_half(tuned, piece)]
        for before, after in itertools.pairwise(tuning["steps"]):
            fit(tuned, batches, mean_loss, steps=after - before, lr=tuning["lr"], clip=1.0)
            curve.append(far_half(tuned, piece))
        result[how] = curve
    return result


def windowed(model: LanguageModel, batch: Batch) -> list[float]:
    """Return the loss by position if every layer looks back no further than in training."""
    place = torch.arange(batch[0].shape[1])
    near = place[:, None] - place < SETTINGS["length"]
    return by_bin(losses_by_position(model, batch, mask=near))


# -- the sweep -----------------------------------------------------------------------------------


def rounded(value: Any, digits: int = 4) -> Any:
    """Round every number in a nest of lists and dictionaries."""
    if isinstance(value, dict):
        return {name: rounded(item, digits) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return round(value, digits)


def run(n_heads: int, positions: str, seed: int) -> dict[str, Any]:
    """Train and examine one model."""
    model = build(n_heads, positions, seed)
    batch = validation(SETTINGS)
    result: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    examined = (n_heads, positions) == (SETTINGS["heads_for_positions"], "learned")
    if examined:
        result["patterns_before"] = patterns(model, batch)
    losses = train(model, SETTINGS, seed)
    result["first_losses"] = [losses[i - 1] for i in SETTINGS["first_steps"]]
    result["valid_loss"] = whole = validation_loss(model, batch)
    if examined:
        result["patterns"] = patterns(model, batch)
        result["removed"] = removals(model, batch, whole)
    if n_heads == SETTINGS["heads_for_positions"]:
        long = validation(SETTINGS | {"pieces": SETTINGS["long_pieces"]}, SETTINGS["longest"])
        result["by_position"] = by_bin(losses_by_position(model, long))
        result["restarted"] = restarted(model, long)
        if positions != "learned" and positions != "sinusoidal":
            result["windowed"] = windowed(model, long)
        if positions == "rotary":
            result["interpolation"] = interpolation(model, long, seed)
    print(n_heads, positions, seed, round(whole, 3), flush=True)
    return rounded(result)


def job(n_heads: int, positions: str, seed: int) -> dict[str, Any]:
    """Run one model on one thread, in whatever process."""
    torch.set_num_threads(1)
    return run(n_heads, positions, seed)


def main() -> None:
    """Run the sweep and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--parts", type=Path, help="a folder that keeps finished runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = SETTINGS["heads_for_positions"]
    few = SEEDS[: SETTINGS["position_seeds"]]
    others = [name for name in SETTINGS["positions"] if name != "learned"]
    arguments = [
        *((n, "learned", seed) for n in SETTINGS["heads"] for seed in SEEDS),
        *((kept, name, seed) for name in others for seed in few),
        *((n, "rotary", seed) for n in SETTINGS["heads_with_rotary"] for seed in few),
    ]
    numbers: dict[str, dict[str, Any]] = {}
    for (n_heads, positions, seed), result in zip(
        arguments, run_all(job, arguments, options.jobs, options.parts), strict=True
    ):
        numbers.setdefault(f"{positions}, {n_heads} heads", {})[str(seed)] = result
    records.save(
        options.out,
        settings=SETTINGS,
        numbers=numbers,
        command=(
            "python -m benchmarks.heads_and_length --out tfmlib/records/heads_and_length.json"
        ),
        seeds=SEEDS,
        note=(
            "Losses are in nats per character of files that were not trained on. Every model has "
            "the same settings, which were not tuned for any of them. The group that differs in "
            "positions has the first three seeds."
        ),
    )


if __name__ == "__main__":
    main()
