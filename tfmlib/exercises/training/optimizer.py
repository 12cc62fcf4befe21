"""Checkers for the exercises of the chapter on the optimizer and its schedule."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tfmlib.exercises import Case, Checker
from tfmlib.training.optimizer import parameter_groups


def _warmup_for(peak: float, d_model: int) -> float:
    return 1 / (d_model * peak**2)


check_warmup_for = Checker(
    "warmup_for",
    _warmup_for,
    [Case(peak=1.0, d_model=1), Case(0.5, 1), Case(0.01, 100), Case(7e-4, 512), Case(2e-3, 64)],
)


def _uncorrected(gradients: Sequence[float], lr: float, beta1: float, beta2: float) -> list[float]:
    m = v = 0.0
    moves = []
    for g in gradients:
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        moves.append(-lr * m / math.sqrt(v))
    return moves


check_adam = Checker(
    "uncorrected",
    _uncorrected,
    [
        Case([4.0], lr=1.0, beta1=0.9, beta2=0.98),
        Case([4.0, -2.0], lr=1.0, beta1=0.9, beta2=0.98),
        Case([-0.5, 2.0, 1.0], lr=0.1, beta1=0.9, beta2=0.999),
        Case([1.0, 1.0, 1.0, -3.0, 0.25], lr=0.01, beta1=0.5, beta2=0.5),
        Case([3.0, -1.0], lr=1.0, beta1=0.0, beta2=0.98),
    ],
)


def _settles(beta1: float) -> float:
    return math.sqrt((1 - beta1) / (1 + beta1))


check_settles = Checker("settles", _settles, [Case(0.0), Case(0.5), Case(0.9), Case(0.99)])


# -- which parameters decay --------------------------------------------------------------------


class _Model(nn.Module):
    """Two maps and a norm around a table; its output may share the table."""

    def __init__(self, *, tied: bool = False, frozen: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.expand = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.output = nn.Linear(4 if not tied else 3, 5, bias=False)
        if tied:
            self.output.weight = self.table.weight
        self.expand.weight.requires_grad_(not frozen)
        self.kind = "tied" if tied else "frozen in part" if frozen else "plain"

    def __repr__(self) -> str:
        return f"<table, expand, norm, output: {self.kind}>"


class _Bare(nn.Module):
    """A matrix, a vector and a number of its own, under names that say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(2, 3))
        self.b = nn.Parameter(torch.ones(3))
        self.c = nn.Parameter(torch.ones(()))
        self.d = nn.Conv1d(2, 2, 3)

    def __repr__(self) -> str:
        return "<parameters a, b, c and a convolution d>"


def _decaying(model: nn.Module) -> list[str]:
    groups = parameter_groups(model, 0.1)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    return sorted(name for name, p in model.named_parameters() if id(p) in decayed)


def _judge_decaying(got: Any, model: nn.Module) -> str:
    expected = _decaying(model)
    if not isinstance(got, list | tuple | set):
        return f"expected a list of names, got {got!r}"
    unknown = [name for name in got if name not in dict(model.named_parameters())]
    if unknown:
        return f"{unknown[0]!r} is no name in named_parameters()"
    for name in expected:
        if name not in got:
            return f"{name} should decay and is missing"
    for name in got:
        if name not in expected:
            return f"{name} should not be in the list"
    return "" if list(got) == expected else f"expected {expected}, got {list(got)}"


check_decays = Checker(
    "decaying",
    _decaying,
    [Case(_Model()), Case(_Model(tied=True)), Case(_Model(frozen=True)), Case(_Bare())],
    judge=_judge_decaying,
)


def _training_bytes(n: int) -> int:
    return 16 * n


check_memory = Checker(
    "training_bytes", _training_bytes, [Case(1), Case(1000), Case(124_000_000), Case(0)]
)
