"""Checkers for the exercises of the chapter on positions."""

import math
from typing import Any

import torch
from torch import Tensor

from tfmlib.blocks.positions import Rotary, T5RelativeBias, sinusoidal_table
from tfmlib.exercises import Case, Checker, difference, show


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- clocks that have not gone round once ------------------------------------------------------


def _unfinished(length: int, d_model: int) -> int:
    turns = [length / 10_000 ** (2 * p / d_model) / (2 * math.pi) for p in range(d_model // 2)]
    return sum(turn < 1 for turn in turns)


check_turns = Checker(
    "unfinished_clocks",
    _unfinished,
    [
        Case(length=6, d_model=2),
        Case(length=7, d_model=2),
        Case(length=100, d_model=8),
        Case(length=512, d_model=512),
        Case(length=2048, d_model=128),
        Case(length=100_000, d_model=64),
    ],
)


# -- the shift of sinusoids whose sines come first ---------------------------------------------


def _shift(k: int, d_model: int) -> Tensor:
    pair = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = k * 10_000 ** (-pair / d_model)
    c, s = torch.diag(angle.cos()), torch.diag(angle.sin())
    return torch.cat([torch.cat([c, -s], dim=1), torch.cat([s, c], dim=1)])


def _judge_shift(got: Any, k: int, d_model: int) -> str:
    if not isinstance(got, Tensor) or got.shape != (d_model, d_model):
        return f"expected a matrix of shape ({d_model}, {d_model}), got {show(got)}"
    table = sinusoidal_table(300, d_model, layout="halves")
    t = torch.arange(100, 200)
    found = difference(table[t + k], table[t] @ got.double(), rtol=0.0)
    return f"table[t] @ matrix is not table[t + k] for t = 100..199: {found}" if found else ""


check_shift = Checker(
    "shift_halves",
    _shift,
    [
        Case(k=0, d_model=2),
        Case(k=1, d_model=2),
        Case(k=1, d_model=4),
        Case(k=-3, d_model=8),
        Case(k=90, d_model=64),
    ],
    judge=_judge_shift,
)


# -- interleaved weights for a layer that pairs halves -----------------------------------------


def _repack(weight: Tensor, n_heads: int) -> Tensor:
    d_head = weight.shape[0] // n_heads
    within = [*range(0, d_head, 2), *range(1, d_head, 2)]
    return weight[[head * d_head + row for head in range(n_heads) for row in within]]


def _scores(weight: Tensor, n_heads: int, pairing: str) -> Tensor:
    """Scores of each head between six tokens; queries and keys from the same weight."""
    x, time = _draw(1, 6, weight.shape[1], seed=9), torch.arange(6)
    heads = (x @ weight.T).unflatten(-1, (n_heads, -1)).transpose(1, 2)
    turned: Tensor = Rotary(heads.shape[-1], pairing=pairing)(heads, time)
    return turned @ turned.transpose(-2, -1)


def _judge_repack(got: Any, weight: Tensor, n_heads: int) -> str:
    if not isinstance(got, Tensor) or got.shape != weight.shape:
        return f"expected a tensor of shape {tuple(weight.shape)}, got {show(got)}"
    wanted = _scores(weight, n_heads, "interleaved")
    found = difference(wanted, _scores(got, n_heads, "halves"))
    return f"the scores are not those of the interleaved layer: {found}" if found else ""


check_repack = Checker(
    "to_halves",
    _repack,
    [
        Case(weight=_draw(4, 4, seed=1), n_heads=1),
        Case(weight=_draw(8, 3, seed=2), n_heads=2),
        Case(weight=_draw(24, 12, seed=3), n_heads=3),
        Case(weight=_draw(64, 32, seed=4), n_heads=4),
    ],
    judge=_judge_repack,
)


# -- T5's buckets in one direction -------------------------------------------------------------


def _bucket(distance: int, n_buckets: int, max_distance: int) -> int:
    bias = T5RelativeBias(1, bidirectional=False, n_buckets=n_buckets, max_distance=max_distance)
    return int(bias.buckets(torch.tensor(-distance)))


check_bucket = Checker(
    "bucket",
    _bucket,
    [
        Case(distance=distance, n_buckets=n_buckets, max_distance=max_distance)
        for n_buckets, max_distance, distances in (
            (8, 32, (0, 3, 4, 5, 6, 7, 11, 12, 19, 20, 31, 33, 500)),
            (32, 128, (0, 15, 16, 17, 20, 50, 100, 127, 1000)),
            (6, 50, (2, 3, 4, 10, 40, 60)),
        )
        for distance in distances
    ],
)


# -- positions from the averages of a causal head ----------------------------------------------


def _position(average: Tensor) -> Tensor:
    return 1 / average - 1


check_count = Checker(
    "position",
    _position,
    [
        Case(average=torch.tensor([1.0])),
        Case(average=1 / torch.arange(1.0, 5.0)),
        Case(average=1 / torch.arange(1.0, 101.0)),
    ],
    rtol=1e-4,
)
