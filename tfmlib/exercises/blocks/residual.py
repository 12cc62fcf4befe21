"""Checkers for the exercises of the chapter on residual connections and normalization."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tfmlib.blocks.residual import Residual
from tfmlib.exercises import Case, Checker, Named


def _draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


# -- how long the paths are --------------------------------------------------------------------


def _path_share(a: float, depth: int, k: int) -> float:
    return math.comb(depth, k) * a**k / (1 + a) ** depth


check_path_share = Checker(
    "path_share",
    _path_share,
    [Case(0.5, 1, 0), Case(0.5, 2, 1), Case(0.5, 2, 2), Case(0.1, 64, 0), Case(0.1, 64, 6),
     Case(1.0, 10, 5)],
)  # fmt: skip


# -- two orders, one loop ----------------------------------------------------------------------


def _stack(
    x: Tensor,
    sublayers: Sequence[Callable[[Tensor], Tensor]],
    norm: Callable[[Tensor], Tensor],
    place: str,
) -> Tensor:
    connection = Residual(x.shape[-1], place=place).double()  # its norm does what `norm` does
    for sublayer in sublayers:
        x = connection(x[None], sublayer)[0].detach()
    return x if place == "post" else norm(x)


def _maps(n: int, d_model: int, seed: int) -> list[Named]:
    matrices = _draw(n, d_model, d_model, seed=seed)
    return [
        Named(f"tanh(h @ W_{i})", lambda h, matrix=matrix: (h @ matrix).tanh())
        for i, matrix in enumerate(matrices, 1)
    ]


_NORM = Named("layer_norm", lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]))
_ROLL = Named("h.roll(1, -1)", lambda h: h.roll(1, -1))

check_stack = Checker(
    "stack",
    _stack,
    [
        Case(torch.tensor([[1.0, 1.0, 4.0]]).double(), [_ROLL], _NORM, "post"),
        Case(torch.tensor([[1.0, 1.0, 4.0]]).double(), [_ROLL], _NORM, "pre"),
        Case(_draw(4, 8, seed=1, scale=3.0), _maps(3, 8, seed=2), _NORM, "post"),
        Case(_draw(4, 8, seed=1, scale=3.0), _maps(3, 8, seed=2), _NORM, "pre"),
        Case(_draw(2, 6, seed=3), [], _NORM, "pre"),
    ],
)


# -- the way back through a norm ---------------------------------------------------------------


def _norm_backward(x: Tensor, upstream: Tensor, eps: float) -> Tensor:
    x = x.detach().clone().requires_grad_()
    normed = torch.nn.functional.rms_norm(x, x.shape[-1:], eps=eps)
    return torch.autograd.grad(normed, x, upstream)[0]


check_norm_backward = Checker(
    "norm_backward",
    _norm_backward,
    [
        Case(torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[1.0, 0.0]]).double(), 0.0),
        Case(torch.tensor([[1.0, 1.0, 4.0]]).double(), torch.ones(1, 3).double(), 0.0),
        Case(torch.zeros(1, 2).double(), torch.tensor([[1.0, 2.0]]).double(), 0.25),
        Case(_draw(5, 8, seed=5, scale=0.1), _draw(5, 8, seed=6), 0.01),
        Case(_draw(2, 3, 16, seed=7, scale=3.0), _draw(2, 3, 16, seed=8), 1e-6),
    ],
)


# -- a gain moves into the next map ------------------------------------------------------------


def _fold_gain(gain: Tensor, bias: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.diag(gain) @ W, bias @ W + b


check_fold_gain = Checker(
    "fold_gain",
    _fold_gain,
    [
        Case(
            torch.tensor([2.0, 3.0]),
            torch.tensor([1.0, 0.0]),
            torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
            torch.tensor([0.5, 0.0]),
        ),
        Case(_draw(4, seed=9), _draw(4, seed=10), _draw(4, 4, seed=11), _draw(4, seed=12)),
        Case(_draw(6, seed=13), _draw(6, seed=14), _draw(6, 3, seed=15), _draw(3, seed=16)),
    ],
)


# -- without the mean --------------------------------------------------------------------------


def _centre(W_2: Tensor, b_2: Tensor) -> tuple[Tensor, Tensor]:
    d_model = W_2.shape[1]
    subtract = torch.eye(d_model, dtype=W_2.dtype) - 1 / d_model
    return W_2 @ subtract, b_2 @ subtract


check_centre = Checker(
    "centre",
    _centre,
    [
        Case(torch.tensor([[1.0, 3.0]]), torch.tensor([0.0, 2.0])),
        Case(torch.tensor([[1.0, 3.0], [5.0, 0.0]]), torch.tensor([1.0, 1.0])),
        Case(_draw(7, 4, seed=17), _draw(4, seed=18)),
    ],
)
