"""Checkers for the exercises of the chapter on scaled dot-product attention."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tfmlib.blocks.attention import attention_weights, naive
from tfmlib.exercises import Case, Checker, difference, show


def _draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- the temperature at which two keys share their weight in a given way -----------------------


def _temperature(gap: float, weight: float) -> float:
    return gap / math.log(weight / (1 - weight))


check_temperature = Checker(
    "temperature_for",
    _temperature,
    [Case(1.0, 0.75), Case(2.0, 0.75), Case(1.0, 0.99), Case(0.5, 0.6), Case(3.0, 0.999)],
)


# -- a causal mask that looks back so far and no further ---------------------------------------


def _window(queries: int, keys: int, width: int) -> Tensor:
    mine = torch.arange(queries)[:, None] + keys - queries  # the key at the query's own place
    theirs = torch.arange(keys)
    return (theirs <= mine) & (theirs > mine - width)


check_window = Checker(
    "window_mask",
    _window,
    [
        Case(queries=3, keys=3, width=1),
        Case(queries=3, keys=3, width=2),
        Case(queries=1, keys=4, width=2),
        Case(queries=2, keys=4, width=3),
        Case(queries=4, keys=4, width=9),
        Case(queries=3, keys=2, width=2),
        Case(queries=6, keys=9, width=4),
    ],
)


# -- a softmax that survives an empty row ------------------------------------------------------


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    # Any finite score does: it is the weight that has to vanish, and the gradient with it.
    powers = torch.where(mask, scores, 0.0)
    powers = torch.where(mask, (powers - powers.amax(-1, keepdim=True)).exp(), 0.0)
    total = powers.sum(-1, keepdim=True)
    return powers / torch.where(total > 0, total, 1.0)


def _with_gradient(candidate: Callable[..., Any]) -> Callable[..., Any]:
    def run(scores: Tensor, mask: Tensor) -> Any:
        scores = scores.requires_grad_()
        weights = candidate(scores, mask)
        if not isinstance(weights, Tensor):
            return weights
        if not weights.requires_grad:
            return weights.detach(), None
        # Squares, for the sum of a softmax has gradient 0 everywhere.
        (gradient,) = torch.autograd.grad(weights.square().sum(), scores, allow_unused=True)
        return weights.detach(), gradient

    return run


def _judge_masked_softmax(got: Any, scores: Tensor, mask: Tensor) -> str:
    if not isinstance(got, tuple):
        return f"expected a tensor, got {show(got)}"
    weights, gradient = got
    expected, slope = _with_gradient(_masked_softmax)(scores, mask)
    found = difference(expected, weights)
    if found:
        return found
    if gradient is None:
        return "the weights are right, but carry no gradient"
    found = difference(slope, gradient)
    return f"the weights are right; gradient of the sum of their squares: {found}" if found else ""


check_masked_softmax = Checker(
    "masked_softmax",
    _masked_softmax,
    [
        Case(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[True, True, False]])),
        Case(torch.tensor([[1.0, 2.0]]), torch.tensor([[False, False]])),
        Case(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[False, False], [True, True]])),
        Case(torch.tensor([[200.0, 100.0]]), torch.tensor([[False, True]])),
        Case(torch.tensor([[-200.0, -210.0]]), torch.tensor([[True, True]])),
        Case(_draw(2, 3, 4, 5, seed=1), _draw(2, 1, 4, 5, seed=2) > 0.6),
    ],
    judge=_judge_masked_softmax,
    adapt=_with_gradient,
)


# -- one pass over the keys --------------------------------------------------------------------


def _attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return naive(q[None, None, None], keys[None, None], values[None, None])[0, 0, 0]


def _one_pair_at_a_time(candidate: Callable[..., Any]) -> Callable[..., Any]:
    def pairs(keys: Tensor, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        key, value = torch.empty_like(keys[0]), torch.empty_like(values[0])
        for k, v in zip(keys, values, strict=True):
            key.copy_(k)  # each pair overwrites the one before: keeping them all does not help
            value.copy_(v)
            yield key, value

    return lambda q, keys, values: candidate(q, pairs(keys, values))


check_stream = Checker(
    "attend_stream",
    _attend,
    [
        Case(torch.tensor([1.0]), torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]])),
        Case(torch.tensor([1.0]), torch.tensor([[2.0], [1.0]]), torch.tensor([[1.0], [3.0]])),
        Case(torch.tensor([1.0, 0.0]), torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 3.0]])),
        Case(torch.tensor([9.0]), torch.tensor([[30.0], [31.0]]), torch.tensor([[1.0], [3.0]])),
        Case(torch.tensor([9.0]), torch.tensor([[-30.0], [-31.0]]), torch.tensor([[1.0], [3.0]])),
        Case(_draw(4, seed=3), _draw(7, 4, seed=4), _draw(7, 3, seed=5)),
        Case(_draw(16, seed=6, scale=9.0), _draw(50, 16, seed=7, scale=9.0), _draw(50, 8, seed=8)),
    ],
    adapt=_one_pair_at_a_time,
)


# -- attention as kernel regression ------------------------------------------------------------


def _bandwidth(d_k: int) -> float:
    return d_k**0.25


def _judge_bandwidth(got: Any, d_k: int) -> str:
    width = float(got)
    if not width > 0:
        return f"a width must be positive, got {width:g}"
    keys = torch.nn.functional.normalize(_draw(5, d_k, seed=d_k), dim=-1)
    q = _draw(1, d_k, seed=d_k + 1, scale=3.0)
    kernel = (-torch.cdist(q, keys).square() / (2 * width**2)).softmax(-1)[0]
    weights = attention_weights(q[None, None], keys[None, None])[0, 0, 0]
    found = difference(weights, kernel, atol=1e-5)
    return (
        f"with width {width:.4g} the kernel's weights are not those of attention: {found}"
        * bool(found)
    )


check_bandwidth = Checker(
    "bandwidth",
    _bandwidth,
    [Case(4), Case(16), Case(2), Case(81)],
    judge=_judge_bandwidth,
)
