"""Checkers for the exercises of the chapter on the position-wise feed-forward network."""

import math
from typing import Any

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker, difference


def _draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _matrices(got: Any, *shapes: tuple[str, ...]) -> tuple[str, tuple[Tensor, ...]]:
    """Return what is wrong with a tuple of matrices (or ""), and the matrices in float64."""
    if not isinstance(got, tuple | list) or len(got) != len(shapes):
        names = ", ".join(f"[{' '.join(shape)}]" for shape in shapes)
        return f"expected {len(shapes)} results: {names}", ()
    tensors = tuple(torch.as_tensor(item).double() for item in got)
    sizes: dict[str, int] = {}
    for number, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True), 1):
        fits = tensor.ndim == len(shape) and all(
            size == (int(name) if name.isdigit() else sizes.setdefault(name, size))
            for size, name in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            return f"result {number}: expected [{' '.join(shape)}], got {list(tensor.shape)}", ()
    return "", tensors


# -- two linear maps are one -------------------------------------------------------------------


def _merge(W_1: Tensor, b_1: Tensor, W_2: Tensor, b_2: Tensor) -> tuple[Tensor, Tensor]:
    return W_1 @ W_2, b_1 @ W_2 + b_2


def _linear_pair(d_in: int, d_ff: int, d_out: int, seed: int) -> Case:
    return Case(
        _draw(d_in, d_ff, seed=seed),
        _draw(d_ff, seed=seed + 1),
        _draw(d_ff, d_out, seed=seed + 2),
        _draw(d_out, seed=seed + 3),
    )


check_merge = Checker(
    "merge",
    _merge,
    [
        Case(
            torch.tensor([[2.0]]), torch.tensor([1.0]), torch.tensor([[3.0]]), torch.tensor([5.0])
        ),
        Case(torch.eye(2), torch.ones(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2)),
        _linear_pair(3, 5, 2, seed=0),
        _linear_pair(8, 32, 8, seed=4),
    ],
)


# -- a hat out of ReLUs ------------------------------------------------------------------------


def _hat(centre: float, width: float) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.ones(1, 3),
        torch.tensor([width - centre, -centre, -centre - width]),
        torch.tensor([[1.0], [-2.0], [1.0]]) / width,
    )


def _judge_hat(got: Any, centre: float, width: float) -> str:
    wrong, matrices = _matrices(got, ("1", "d_ff"), ("d_ff",), ("d_ff", "1"))
    if wrong:
        return wrong
    W_1, b_1, W_2 = matrices
    steps = torch.tensor([0.0, -1.0, 1.0, -2.0, 2.0, -0.5, 0.5, -0.25, 0.25, -20.0, 20.0])
    x = centre + width * steps.double()
    y = ((x[:, None] @ W_1 + b_1).relu() @ W_2)[:, 0]
    expected = (1 - steps.abs()).clamp(min=0).double()
    far = ~torch.isclose(y, expected, atol=1e-5)
    if far.any():
        first = int(far.nonzero()[0])
        return (
            f"at x = {x[first]:.4g} the network says {y[first]:.4g}, expected {expected[first]:.4g}"
        )
    return ""


check_hat = Checker(
    "hat",
    _hat,
    [Case(0.0, 1.0), Case(0.0, 2.0), Case(3.0, 1.0), Case(-1.5, 0.5), Case(10.0, 4.0)],
    judge=_judge_hat,
)


# -- a gate that multiplies --------------------------------------------------------------------


def _multiplier(i: int, j: int, d_model: int) -> tuple[Tensor, Tensor, Tensor]:
    W_g, W_1 = torch.zeros(d_model, 2), torch.zeros(d_model, 2)
    W_g[i], W_1[j] = torch.tensor([1.0, -1.0]), torch.tensor([1.0, -1.0])
    return W_g, W_1, torch.ones(2, 1)


def _judge_multiplier(got: Any, i: int, j: int, d_model: int) -> str:
    wrong, matrices = _matrices(got, (str(d_model), "d_ff"), (str(d_model), "d_ff"), ("d_ff", "1"))
    if wrong:
        return wrong
    W_g, W_1, W_2 = matrices
    if W_g.shape[1] > 2:
        return f"two hidden units are enough, got {W_g.shape[1]}"
    x = torch.cat([2 * torch.ones(1, d_model), _draw(40, d_model, seed=d_model, scale=3.0)])
    x = x.double()
    y = (torch.nn.functional.silu(x @ W_g) * (x @ W_1) @ W_2)[:, 0]
    expected = x[:, i] * x[:, j]
    far = ~torch.isclose(y, expected, rtol=1e-4, atol=1e-4)
    if far.any():
        k = int(far.nonzero()[0])
        return (
            f"for x_i = {x[k, i]:.3g} and x_j = {x[k, j]:.3g} the network says {y[k]:.4g}, "
            f"expected {expected[k]:.4g}"
        )
    return ""


check_multiplier = Checker(
    "multiplier",
    _multiplier,
    [Case(0, 1, 2), Case(1, 0, 2), Case(2, 0, 4), Case(1, 1, 3), Case(3, 7, 16)],
    judge=_judge_multiplier,
)


# -- how wide a gated network is ---------------------------------------------------------------


def _gated_width(d_model: int, multiple_of: int) -> int:
    return math.ceil(8 * d_model / 3 / multiple_of) * multiple_of


check_gated_width = Checker(
    "gated_width",
    _gated_width,
    [Case(3, 1), Case(4, 1), Case(768, 1), Case(768, 256), Case(4096, 256), Case(5120, 256),
     Case(64, 8)],
)  # fmt: skip


# -- change one fact ---------------------------------------------------------------------------


def _edit(W_2: Tensor, hidden: Tensor, wanted: Tensor) -> Tensor:
    return W_2 + torch.outer(hidden, wanted - hidden @ W_2) / (hidden @ hidden)


def _judge_edit(got: Any, W_2: Tensor, hidden: Tensor, wanted: Tensor) -> str:
    found = difference(_edit(W_2, hidden, wanted), got, rtol=1e-4, atol=1e-5)
    if not found or not isinstance(got, Tensor) or got.shape != W_2.shape:
        return found
    wrong = difference(wanted, hidden @ got.to(W_2.dtype), rtol=1e-4, atol=1e-5)
    if wrong:
        return f"hidden @ result is not what is wanted: {wrong}"
    size = (got - W_2).norm()
    least = (_edit(W_2, hidden, wanted) - W_2).norm()
    return f"hidden @ result is right, but the change has norm {size:.4g}, and {least:.4g} would do"


check_edit = Checker(
    "edit",
    _edit,
    [
        Case(torch.tensor([[1.0], [1.0]]), torch.tensor([1.0, 0.0]), torch.tensor([3.0])),
        Case(torch.zeros(2, 2), torch.tensor([1.0, 2.0]), torch.tensor([5.0, 10.0])),
        Case(_draw(5, 3, seed=1), _draw(5, seed=2).relu(), _draw(3, seed=3)),
        Case(_draw(32, 8, seed=4), _draw(32, seed=5).relu(), _draw(8, seed=6)),
    ],
    judge=_judge_edit,
)
