"""Checkers for the exercises of the chapter on speculative decoding."""

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker

# -- how many drafted tokens are accepted ------------------------------------------------------


def _accepted(proposed: Tensor, wanted: Tensor) -> int:
    for i, (ours, theirs) in enumerate(zip(proposed.tolist(), wanted.tolist(), strict=False)):
        if ours != theirs:
            return i
    return len(proposed)


check_accepted = Checker(
    "accepted",
    _accepted,
    [
        Case(torch.tensor([4, 7, 1]), torch.tensor([4, 7, 2, 9])),
        Case(torch.tensor([4, 7, 1]), torch.tensor([4, 7, 1, 9])),
        Case(torch.tensor([4, 7, 1]), torch.tensor([5, 7, 1, 9])),
        Case(torch.tensor([4, 7, 1, 3]), torch.tensor([4, 8, 1, 3, 2])),
        Case(torch.tensor([6]), torch.tensor([2, 6])),
    ],
)

# -- the number of passes for a string of agreements -------------------------------------------


def _passes(agrees: list[bool], count: int) -> int:
    place = passes = 0
    while place < len(agrees):
        run = 0
        while run < count and place + run < len(agrees) and agrees[place + run]:
            run += 1
        place, passes = place + run + 1, passes + 1
    return passes


check_passes = Checker(
    "passes",
    _passes,
    [
        Case([True, True, False, True], count=2),
        Case([False, False, False], count=4),
        Case([True] * 6, count=2),
        Case([True] * 6, count=4),
        Case([True, False] * 4, count=3),
        Case([False, True, True, True, True, False, True, True], count=3),
        Case([True], count=1),
    ],
)

# -- tokens for each pass, expected ------------------------------------------------------------


def _expected(alpha: float, count: int) -> float:
    return sum(alpha**i for i in range(count + 1))


check_expected = Checker(
    "expected_tokens",
    _expected,
    [
        Case(alpha=0.5, count=1),
        Case(alpha=0.5, count=3),
        Case(alpha=0.0, count=4),
        Case(alpha=1.0, count=4),
        Case(alpha=0.9, count=7),
    ],
)

# -- the best length of a draft ----------------------------------------------------------------


def _best(alpha: float, cost: float, most: int) -> int:
    gains = [_expected(alpha, count) / (cost * count + 1) for count in range(most + 1)]
    return gains.index(max(gains))


check_best = Checker(
    "best_count",
    _best,
    [
        Case(alpha=0.8, cost=0.1, most=10),
        Case(alpha=0.3, cost=0.5, most=10),
        Case(alpha=0.6, cost=0.05, most=10),
        Case(alpha=0.9, cost=0.0, most=5),
        Case(alpha=0.52, cost=0.5, most=10),
        Case(alpha=0.95, cost=0.02, most=30),
    ],
)

# -- what to draw from after a refusal ---------------------------------------------------------


def _leftover(p: Tensor, q: Tensor) -> Tensor:
    missing = torch.clamp(p - q, min=0.0)
    return missing / missing.sum()


check_leftover = Checker(
    "leftover",
    _leftover,
    [
        Case(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])),
        Case(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.1])),
        Case(torch.tensor([0.25, 0.25, 0.25, 0.25]), torch.tensor([0.7, 0.1, 0.1, 0.1])),
        Case(torch.tensor([0.0, 0.6, 0.4]), torch.tensor([0.9, 0.05, 0.05])),
    ],
)
