"""Checkers for the exercises of the chapter on convolutions."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- how many layers reach so far --------------------------------------------------------------


def _layers(distance: int, kernel: int) -> int:
    layers = reach = 0
    while reach < distance:
        reach += (kernel - 1) * 2**layers
        layers += 1
    return layers


check_layers = Checker(
    "layers_for",
    _layers,
    [
        Case(distance=distance, kernel=kernel)
        for kernel in (2, 3, 5)
        for distance in (1, 0, 2, 3, 4, 6, 7, 8, 14, 15, 28, 60, 62, 100, 255, 1023)
    ],
)


# -- a convolution of numbers ------------------------------------------------------------------


def _convolve(x: Tensor, weights: Tensor, dilation: int) -> Tensor:
    padded = F.pad(x, ((len(weights) - 1) * dilation, 0))
    return F.conv1d(padded[None, None], weights.flip(0)[None, None], dilation=dilation)[0, 0]


_CASES = (
    (torch.tensor([1.0, 3.0, 2.0, 5.0]), torch.tensor([2.0, -1.0]), 1),
    (torch.tensor([1.0, 3.0, 2.0, 5.0]), torch.tensor([2.0, -1.0]), 2),
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0, 100.0]), 1),
    (torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0]), 1),
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0]), 5),
    (_draw(20, seed=1), _draw(4, seed=2), 3),
)

check_convolve = Checker(
    "convolve_numbers",
    _convolve,
    [Case(x=x, weights=weights, dilation=dilation) for x, weights, dilation in _CASES],
)


# -- a convolution as a matrix -----------------------------------------------------------------


def _matrix(weights: Tensor, n: int, dilation: int) -> Tensor:
    return torch.stack([_convolve(unit, weights, dilation) for unit in torch.eye(n)], dim=1)


check_matrix = Checker(
    "matrix_of",
    _matrix,
    [
        Case(weights=weights, n=n, dilation=dilation)
        for weights, n, dilation in (
            (torch.tensor([2.0, -1.0]), 3, 1),
            (torch.tensor([2.0, -1.0]), 3, 2),
            (torch.tensor([1.0, 2.0, 3.0]), 2, 1),
            (torch.tensor([5.0]), 2, 3),
            (_draw(3, seed=3), 8, 2),
        )
    ],
)


# -- a convolution of numbers that come one by one ---------------------------------------------


def _one_at_a_time(candidate: Callable[..., Any]) -> Callable[..., Any]:
    def run(numbers: list[float], weights: list[float]) -> Any:
        asked = 0

        def source() -> Iterator[float]:
            nonlocal asked
            for number in numbers:
                asked += 1
                yield number

        outputs = candidate(source(), weights)
        if not isinstance(outputs, Iterator):
            return outputs
        found = []
        for output in outputs:
            found.append(float(output))
            if asked != len(found):
                raise ValueError(f"{asked} numbers were taken before output {len(found)} was given")
        return found

    return run


def _stream(numbers: list[float], weights: list[float]) -> list[float]:
    return _convolve(torch.tensor(numbers), torch.tensor(weights), 1).tolist()


check_stream = Checker(
    "convolve_stream",
    _stream,
    [
        Case([1.0, 3.0, 2.0, 5.0], [2.0, -1.0]),
        Case([1.0, 2.0, 4.0], [1.0, 10.0, 100.0]),
        Case([1.0, 2.0], [1.0, 2.0, 3.0, 4.0]),
        Case([1.0, 2.0, 3.0], [5.0]),
        Case(_draw(30, seed=4).tolist(), _draw(5, seed=5).tolist()),
    ],
    atol=1e-4,
    adapt=_one_at_a_time,
)
