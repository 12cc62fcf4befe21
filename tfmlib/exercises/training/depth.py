"""Checkers for the exercises of the chapter on depth: residuals, norms and scale."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker, Named


def _draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- the Jacobian of a stack ---------------------------------------------------------------------


def _stack_jacobian(jacobians: Sequence[Tensor], residual: bool) -> Tensor:
    whole = torch.eye(len(jacobians[0]))
    for jacobian in jacobians:  # first layer first: each later one multiplies from the left
        whole = jacobian @ whole + (whole if residual else 0)
    return whole


_UP, _RIGHT = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])

check_jacobian = Checker(
    "stack_jacobian",
    _stack_jacobian,
    [
        Case([torch.tensor([[0.5]])], residual=False),
        Case([torch.tensor([[0.5]])], residual=True),
        Case([torch.tensor([[0.5]]), torch.tensor([[-0.1]])], residual=True),
        Case([_UP, _RIGHT], residual=False),
        Case([_UP, _RIGHT], residual=True),
        Case(list(_draw(5, 4, 4, seed=1, scale=0.3)), residual=False),
        Case(list(_draw(12, 4, 4, seed=2, scale=0.3)), residual=True),
    ],
)


# -- a pre-norm stack ----------------------------------------------------------------------------


_DOUBLE = Named("2 * h", lambda h: 2 * h)
_SHIFT = Named("h.roll(1, -1) + 1", lambda h: h.roll(1, -1) + 1)
_SQUARE = Named("h * h", lambda h: h * h)
_RMS = Named("x / rms(x)", lambda x: x / x.square().mean(-1, keepdim=True).sqrt())


def _pre_norm_stack(
    x: Tensor, sublayers: Sequence[Callable[[Tensor], Tensor]], norm: Callable[[Tensor], Tensor]
) -> Tensor:
    for sublayer in sublayers:
        x = x + sublayer(norm(x))
    return norm(x)


check_pre_norm = Checker(
    "pre_norm_stack",
    _pre_norm_stack,
    [
        Case(torch.tensor([[3.0, 4.0]]), [], _RMS),
        Case(torch.tensor([[3.0, 4.0]]), [_SHIFT], _RMS),
        Case(torch.tensor([[3.0, -4.0]]), [_SQUARE, _SHIFT], _RMS),
        Case(_draw(3, 4, seed=3, scale=3.0), [_DOUBLE, _SHIFT, _SQUARE], _RMS),
        Case(_draw(2, 3, 8, seed=4), [_SHIFT] * 6, _RMS),
    ],
)


# -- a residual stream that grows as much as one wants -------------------------------------------


def _branch_scale(n_layers: int, start: float, branch: float, growth: float) -> float:
    return math.sqrt((growth - 1) * start / (2 * n_layers * branch))


check_branch_scale = Checker(
    "branch_scale",
    _branch_scale,
    [
        Case(n_layers=1, start=1.0, branch=1.0, growth=3.0),
        Case(n_layers=2, start=1.0, branch=1.0, growth=5.0),
        Case(n_layers=12, start=1.0, branch=1.0, growth=2.0),
        Case(n_layers=12, start=2.0, branch=0.5, growth=1.5),
        Case(n_layers=96, start=0.1, branch=0.3, growth=4.0),
    ],
    rtol=1e-3,
)


# -- how large scores are at the start -----------------------------------------------------------


def _score_std(d_model: int, d_k: int, std: float, scaled: bool) -> float:
    score = math.sqrt(d_k) * d_model * std**2
    return score / math.sqrt(d_k) if scaled else score


def _judge_score_std(got: Any, d_model: int, d_k: int, std: float, scaled: bool) -> str:
    value, expected = float(got), _score_std(d_model, d_k, std, scaled)
    if abs(value / expected - 1) < 1e-3:
        return ""
    generator = torch.Generator().manual_seed(d_k)
    draw: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    x, y = torch.randn(2, 500, d_model, **draw)
    w_q, w_k = std * torch.randn(2, d_model, d_k, **draw)
    scores = (x @ w_q) @ (y @ w_k).mT / (math.sqrt(d_k) if scaled else 1.0)
    return f"got {value:.4g}, but a draw of such weights gives scores with std {scores.std():.2g}"


check_score_std = Checker(
    "score_std",
    _score_std,
    [
        Case(d_model=64, d_k=16, std=0.125, scaled=True),
        Case(d_model=64, d_k=16, std=0.125, scaled=False),
        Case(d_model=128, d_k=128, std=0.02, scaled=False),
        Case(d_model=768, d_k=64, std=0.02, scaled=True),
        Case(d_model=32, d_k=8, std=0.5, scaled=False),
    ],
    judge=_judge_score_std,
)
