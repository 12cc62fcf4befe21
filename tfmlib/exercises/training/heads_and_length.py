"""Checkers for the exercises of the chapter on heads and length."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- what a head costs ---------------------------------------------------------------------------


def _attention_parameters(d_model: int, n_heads: int, d_head: int) -> int:
    width = n_heads * d_head
    return 3 * (d_model * width + width) + width * d_model + d_model


check_parameters = Checker(
    "attention_parameters",
    _attention_parameters,
    [
        Case(d_model=1, n_heads=1, d_head=1),
        Case(d_model=64, n_heads=1, d_head=64),
        Case(d_model=64, n_heads=8, d_head=8),
        Case(d_model=64, n_heads=8, d_head=64),
        Case(d_model=768, n_heads=12, d_head=64),
    ],
    rtol=0.0,
)


# -- taking heads away ---------------------------------------------------------------------------


def _without(out: Tensor, heads: Sequence[int]) -> Tensor:
    keep = torch.ones(out.shape[1], 1, 1)
    keep[list(heads)] = 0.0
    return out * keep


def _leaves_its_input_alone(candidate: Callable[..., Any]) -> Callable[..., Any]:
    def run(out: Tensor, heads: Sequence[int]) -> Any:
        before = out.clone()
        got = candidate(out, heads)
        if not torch.equal(out, before):
            raise ValueError("the tensor that was handed in has been changed")
        return got

    return run


check_without = Checker(
    "without_heads",
    _without,
    [
        Case(torch.arange(1.0, 5.0).view(1, 2, 1, 2), [0]),
        Case(torch.arange(1.0, 5.0).view(1, 2, 1, 2), []),
        Case(torch.arange(1.0, 9.0).view(2, 2, 2, 1), [1]),
        Case(_draw(3, 4, 5, 2, seed=1), [2]),
        Case(_draw(4, 4, 4, 4, seed=2), [0, 3]),
        Case(_draw(1, 2, 3, 4, seed=3), [0, 1]),
    ],
    adapt=_leaves_its_input_alone,
)


# -- how far a head with ALiBi looks -------------------------------------------------------------


def _alibi_reach(n_heads: int, head: int, factor: float) -> float:
    return math.log(factor) * 2 ** (8 * head / n_heads)


check_reach = Checker(
    "alibi_reach",
    _alibi_reach,
    [
        Case(n_heads=8, head=1, factor=math.e),
        Case(n_heads=8, head=8, factor=math.e),
        Case(n_heads=4, head=1, factor=100.0),
        Case(n_heads=4, head=4, factor=100.0),
        Case(n_heads=1, head=1, factor=2.0),
    ],
    rtol=1e-3,
)


# -- reading further with the angles one has -----------------------------------------------------


def _interpolated(positions: Tensor, trained: int) -> Tensor:
    length = int(positions.max()) + 1
    return positions * min(1.0, trained / length)


check_interpolated = Checker(
    "interpolated",
    _interpolated,
    [
        Case(torch.arange(4), trained=2),
        Case(torch.arange(4), trained=4),
        Case(torch.arange(3), trained=8),
        Case(torch.arange(8), trained=2),
        Case(torch.arange(256), trained=64),
        Case(torch.arange(100), trained=64),
    ],
)
