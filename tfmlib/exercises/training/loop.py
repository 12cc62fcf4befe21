"""Checkers for the exercises of the chapter on the training loop."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- gradients of means of unequal pieces ------------------------------------------------------


def _combine(gradients: Sequence[Tensor], tokens: Sequence[int]) -> Tensor:
    total = torch.zeros_like(gradients[0])
    for gradient, n in zip(gradients, tokens, strict=True):
        total = total + gradient * n
    return total / sum(tokens)


check_combine = Checker(
    "combine",
    _combine,
    [
        Case([torch.tensor([4.0]), torch.tensor([1.0])], tokens=[1, 3]),
        Case([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 6.0])], [2, 2]),
        Case([torch.tensor([5.0])], [7]),
        Case([torch.tensor([5.0]), torch.tensor([1.0])], [0, 4]),
        Case([_draw(2, 3, seed=1), _draw(2, 3, seed=2), _draw(2, 3, seed=3)], [5, 1, 9]),
    ],
)


# -- clipping by the norm of all ---------------------------------------------------------------


def _clip_all(gradients: Sequence[Tensor], limit: float) -> tuple[Tensor, ...]:
    norm = torch.stack([g.norm() for g in gradients]).norm().item()
    factor = min(1.0, limit / norm) if norm > 0 else 1.0
    return tuple(g * factor for g in gradients)


check_clip = Checker(
    "clip_all",
    _clip_all,
    [
        Case([torch.tensor([3.0, 4.0])], limit=1.0),
        Case([torch.tensor([3.0]), torch.tensor([4.0])], 1.0),
        Case([torch.tensor([0.3]), torch.tensor([0.4])], 1.0),
        Case([torch.tensor([-3.0, 0.0]), torch.tensor([[0.0], [4.0]])], 2.5),
        Case([torch.zeros(2)], 1.0),
        Case([_draw(3, 2, seed=4, scale=5.0), _draw(7, seed=5)], 2.0),
    ],
)


# -- dropout with given numbers ----------------------------------------------------------------


def _drop(x: Tensor, p: float, uniform: Tensor) -> Tensor:
    return torch.where(uniform < p, 0.0, x / (1 - p))


check_dropout = Checker(
    "drop",
    _drop,
    [
        Case(torch.tensor([1.0, 2.0]), p=0.5, uniform=torch.tensor([0.2, 0.7])),
        Case(torch.tensor([1.0, 2.0]), 0.0, torch.tensor([0.2, 0.7])),
        Case(torch.tensor([-8.0, 4.0, 1.0]), 0.75, torch.tensor([0.8, 0.1, 0.74])),
        Case(
            _draw(3, 5, seed=6), 0.1, torch.rand(3, 5, generator=torch.Generator().manual_seed(7))
        ),
    ],
)


# -- the distance to the next bfloat16 ---------------------------------------------------------


def _spacing(x: float) -> float:
    here = torch.tensor(x, dtype=torch.bfloat16)
    # The next larger number of the format is the next integer, read as bits.
    there = (here.view(torch.int16) + 1).view(torch.bfloat16)
    return (there.double() - here.double()).item()


check_spacing = Checker(
    "spacing",
    _spacing,
    [Case(1.0), Case(3.0), Case(0.5), Case(2.0), Case(100.0), Case(0.0078125), Case(1.9921875)],
    atol=0.0,
)


# -- when to stop ------------------------------------------------------------------------------


def _early_stop(losses: Sequence[float], patience: int) -> tuple[int, int]:
    best, smallest = 0, math.inf
    for i, loss in enumerate(losses):
        if loss < smallest:
            best, smallest = i, loss
        if i - best == patience:
            return best, i
    return best, len(losses) - 1


check_early = Checker(
    "early_stop",
    _early_stop,
    [
        Case([3.0, 2.0, 2.5, 2.6, 1.0], patience=2),
        Case([3.0, 2.0, 1.0], 2),
        Case([3.0, 2.0, 2.5, 1.0, 1.5], 2),
        Case([1.0, 2.0], 1),
        Case([2.0, 2.0, 2.0, 2.0], 3),
        Case([1.0], 5),
        Case([5.0, 4.0, 4.5, 3.0, 3.5, 3.4, 3.3, 2.0], 3),
    ],
)
