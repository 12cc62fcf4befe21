"""Checkers for the exercises of the chapter on sampling."""

import math

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker

_HALF = torch.tensor([0.5, 0.3, 0.2])
_MIXED = torch.tensor([0.05, 0.4, 0.15, 0.3, 0.1])

# -- temperature, from probabilities -----------------------------------------------------------


def _temperature(p: Tensor, T: float) -> Tensor:
    powers = p ** (1 / T)
    return powers / powers.sum()


check_temperature = Checker(
    "at_temperature_from",
    _temperature,
    [
        Case(_HALF, T=1.0),
        Case(_HALF, T=0.5),
        Case(_HALF, T=2.0),
        Case(torch.tensor([0.0, 0.75, 0.25]), T=0.5),
        Case(_MIXED, T=0.1),
        Case(_MIXED, T=30.0),
    ],
)

# -- drawing with running sums -----------------------------------------------------------------


def _pick(p: Tensor, u: float) -> int:
    total = 0.0
    for i, chance in enumerate(p.tolist()):
        total += chance
        if u < total:
            return i
    return int(p.nonzero()[-1])


check_pick = Checker(
    "pick",
    _pick,
    [
        Case(torch.tensor([0.5, 0.25, 0.25]), u=0.6),
        Case(torch.tensor([0.5, 0.25, 0.25]), u=0.0),
        Case(torch.tensor([0.5, 0.25, 0.25]), u=0.8),
        Case(torch.tensor([0.5, 0.25, 0.25]), u=0.5),
        Case(torch.tensor([0.0, 0.5, 0.5]), u=0.0),
        Case(torch.tensor([0.25, 0.0, 0.0, 0.75]), u=0.25),
        Case(torch.tensor([0.125, 0.5, 0.25, 0.125]), u=0.99),
    ],
)

# -- top-p as a mask ---------------------------------------------------------------------------


def _nucleus(p: Tensor, s: float) -> Tensor:
    kept, total = torch.zeros(len(p), dtype=torch.bool), 0.0
    for i in p.argsort(descending=True).tolist():
        if total >= s:
            break
        kept[i] = True
        total += p[i].item()
    return kept


check_nucleus = Checker(
    "nucleus",
    _nucleus,
    [
        Case(torch.tensor([0.5, 0.3, 0.2]), s=0.6),
        Case(torch.tensor([0.2, 0.5, 0.3]), s=0.6),
        Case(torch.tensor([0.1, 0.9]), s=0.4),
        Case(_MIXED, s=0.75),
        Case(_MIXED, s=0.35),
        Case(_MIXED, s=0.99),
    ],
)

# -- no sequence of n tokens twice -------------------------------------------------------------


def _no_repeat(logits: Tensor, tokens: Tensor, n: int) -> Tensor:
    written, out = tokens.tolist(), logits.clone()
    last = written[len(written) - n + 1 :]
    for i in range(len(written) - n + 1):
        if written[i : i + n - 1] == last:
            out[written[i + n - 1]] = -math.inf
    return out


_LOGITS = torch.tensor([1.0, -0.5, 2.0, 0.25, -3.0])

check_no_repeat = Checker(
    "no_repeat",
    _no_repeat,
    [
        Case(_LOGITS, torch.tensor([3, 1, 3]), n=2),
        Case(_LOGITS, torch.tensor([0, 1, 2, 0, 1]), n=3),
        Case(_LOGITS, torch.tensor([0, 1, 2, 0, 1, 4, 0, 1]), n=3),
        Case(_LOGITS, torch.tensor([0, 1, 2, 1, 0]), n=3),
        Case(_LOGITS, torch.tensor([2, 2]), n=2),
        Case(_LOGITS, torch.tensor([2, 2]), n=3),
        Case(_LOGITS, torch.tensor([4]), n=3),
        Case(_LOGITS, torch.tensor([1, 4, 2, 4, 0, 3, 4]), n=2),
    ],
)

# -- a penalty that does not depend on where zero lies -----------------------------------------


def _count_penalty(logits: Tensor, tokens: Tensor, alpha: float) -> Tensor:
    out = logits.clone()
    for row, written in zip(out, tokens.tolist(), strict=True):
        for token in written:
            row[token] -= alpha
    return out


check_count_penalty = Checker(
    "count_penalty",
    _count_penalty,
    [
        Case(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1]]), alpha=0.5),
        Case(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1, 1]]), alpha=0.5),
        Case(torch.stack([_LOGITS, -_LOGITS]), torch.tensor([[0, 4, 0], [2, 2, 2]]), alpha=1.0),
        Case(torch.stack([_LOGITS, _LOGITS]), torch.tensor([[3, 4], [1, 3]]), alpha=-0.25),
    ],
)
