"""Checkers for the exercises of the chapter on weights of fewer bits."""

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker


def _numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- whole numbers and the scale of a row ------------------------------------------------------


def _row(row: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    scale = row.abs().max() / (2 ** (bits - 1) - 1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (row / scale).round(), scale


check_row = Checker(
    "row_of_numbers",
    _row,
    [
        Case(torch.tensor([0.6, -1.27, 0.004, 0.334]), bits=8),
        Case(torch.tensor([0.6, -1.4, 0.4, -0.04]), bits=4),
        Case(torch.tensor([-3.0, 1.1, 2.2]), bits=3),
        Case(torch.zeros(3), bits=8),
        Case(_numbers(40, seed=0), bits=6),
    ],
)

# -- bits that a weight costs, its share of the scales included --------------------------------


def _storage(rows: int, columns: int, bits: int, group: int) -> float:
    groups = -(-columns // group)
    return (rows * columns * bits + rows * groups * 16) / (rows * columns)


check_storage = Checker(
    "stored",
    _storage,
    [
        Case(rows=1, columns=64, bits=4, group=16),
        Case(rows=8, columns=64, bits=8, group=64),
        Case(rows=10, columns=100, bits=4, group=64),
        Case(rows=3, columns=48, bits=3, group=128),
        Case(rows=2, columns=4096, bits=4, group=128),
    ],
)

# -- a scale for each group of columns ---------------------------------------------------------


def _groups(weight: Tensor, bits: int, group: int) -> Tensor:
    pieces = []
    for piece in weight.split(group, dim=1):
        scale = piece.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        pieces.append((piece / scale).round() * scale)
    return torch.cat(pieces, dim=1)


check_groups = Checker(
    "in_groups",
    _groups,
    [
        Case(torch.tensor([[0.6, -0.7, 7.0, 3.2]]), bits=4, group=2),
        Case(torch.tensor([[0.6, -0.7, 7.0], [1.0, 0.3, -0.2]]), bits=4, group=2),
        Case(torch.tensor([[0.0, 0.0, 7.0, 3.2]]), bits=4, group=2),
        Case(_numbers(6, 16, seed=1) * torch.logspace(-1, 1, 16), bits=8, group=4),
        Case(_numbers(5, 10, seed=2), bits=3, group=4),
        Case(_numbers(3, 5, seed=3), bits=4, group=8),
    ],
)

# -- the gain of fewer bits, for several texts at once -----------------------------------------


def _step(bits: int, batch: int, balance: float) -> float:
    computing = 2 * batch / balance
    return max(4.0, computing) / max(bits / 8, computing)


check_step = Checker(
    "times_as_fast",
    _step,
    [
        Case(bits=8, batch=1, balance=100.0),
        Case(bits=16, batch=1, balance=4.0),
        Case(bits=8, batch=4, balance=4.0),
        Case(bits=8, batch=100, balance=4.0),
        Case(bits=4, batch=1, balance=2.0),
        Case(bits=4, batch=64, balance=200.0),
    ],
)

# -- with a zero point -------------------------------------------------------------------------


def _affine(x: Tensor, bits: int) -> Tensor:
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    most = 2**bits - 1
    scale = (high - low) / most
    zero = (-low / scale).round()
    return (((x / scale).round() + zero).clamp(0, most) - zero) * scale


check_affine = Checker(
    "affine",
    _affine,
    [
        Case(torch.tensor([0.0, 0.5, 1.5]), bits=2),
        Case(torch.tensor([-0.5, 0.2, 1.0]), bits=2),
        Case(torch.tensor([2.0, 3.1, 4.0]), bits=3),
        Case(torch.tensor([-4.0, -1.3, -2.0]), bits=3),
        Case(torch.tensor([-0.35, 0.65, 0.1]), bits=2),
        Case(_numbers(40, seed=4).relu(), bits=6),
        Case(_numbers(40, seed=5) + 0.5, bits=8),
    ],
)
