"""Checkers for the exercises of the chapter on the device."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return scale * drawn.double() + shift


# -- bytes that stay between steps -------------------------------------------------------------


def _state_bytes(parameters: int, trained: int) -> int:
    return 4 * parameters + (4 + 8) * trained


check_state_bytes = Checker(
    "state_bytes",
    _state_bytes,
    [
        Case(1, trained=1),
        Case(1000, trained=10),
        Case(65_000_000, 65_000_000),
        Case(7_000_000_000, 4_000_000),
    ],
    rtol=1e-6,
    atol=0.0,
)


# -- activations of a stack, by formula --------------------------------------------------------


def _activation_bytes(
    tokens: int, d_model: int, d_ff: int, n_layers: int, recompute: bool = False
) -> int:
    inside = 7 * d_model + 2 * d_ff  # of a layer, beside its input
    if recompute:
        return 4 * tokens * (n_layers * d_model + inside)
    return 4 * tokens * n_layers * (d_model + inside)


check_activation_bytes = Checker(
    "activation_bytes",
    _activation_bytes,
    [
        Case(1, d_model=2, d_ff=8, n_layers=1),
        Case(1, d_model=2, d_ff=8, n_layers=3),
        Case(1, d_model=2, d_ff=6, n_layers=3, recompute=True),
        Case(1024, 64, 256, 4),
        Case(8192, 512, 2048, 24, True),
        Case(5, 16, 16, 1, True),
    ],
    rtol=1e-6,
    atol=0.0,
)


# -- the logarithm of a sum that comes in pieces -----------------------------------------------


def _streaming_logsumexp(chunks: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(chunks), dim=-1).logsumexp(-1)


check_streaming = Checker(
    "streaming_logsumexp",
    _streaming_logsumexp,
    [
        Case([torch.tensor([[0.0]]), torch.tensor([[0.0]])]),
        Case([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])]),
        Case([torch.tensor([[3.0]]), torch.tensor([[1.0, 2.0]])]),
        Case([torch.tensor([[-1000.0]]), torch.tensor([[1000.0]])]),
        Case([torch.tensor([[1000.0], [-5.0]]), torch.tensor([[-1000.0], [-4.0]])]),
        Case(
            [_draw(3, 4, seed=1), _draw(3, 4, seed=2, shift=50.0), _draw(3, 2, seed=3, scale=9.0)]
        ),
        Case([_draw(2, 5, seed=4)]),
        Case([torch.full((2, 3), -math.inf), torch.zeros(2, 2)]),
    ],
)


# -- the scale of a float16 loss ---------------------------------------------------------------


def _scales(finite: Sequence[bool], start: float, interval: int) -> list[float]:
    found, scale, good = [], start, 0
    for fine in finite:
        found.append(scale)
        good = good + 1 if fine else 0
        if not fine:
            scale = scale / 2
        elif good == interval:
            scale, good = scale * 2, 0
    return found


check_scales = Checker(
    "scales",
    _scales,
    [
        Case([True, False, True], start=8.0, interval=100),
        Case([True, True, True], 8.0, interval=2),
        Case([True, True, True, True, True, True, True], 1024.0, 3),
        Case([True, False, True, True, True, False, False, True], 16.0, 2),
        Case([True], 2.0, 1),
    ],
    rtol=0.0,
    atol=0.0,
)


# -- utilisation by hand -----------------------------------------------------------------------


def _utilisation(
    parameters: float,
    n_layers: int,
    d_model: int,
    time: int,
    tokens_per_second: float,
    chips: int,
    peak: float,
) -> float:
    per_token = 6 * parameters + 3 * n_layers * 4 * time * d_model
    return tokens_per_second * per_token / (chips * peak)


check_utilisation = Checker(
    "utilisation",
    _utilisation,
    [
        Case(100.0, n_layers=1, d_model=1, time=1, tokens_per_second=1.0, chips=1, peak=1224.0),
        Case(100.0, 2, 3, 5, 1.0, 1, 1000.0),
        Case(1e9, 24, 2048, 1024, 20_000.0, 4, 312e12),
        Case(85e6, 12, 768, 1024, 150_000.0, 1, 312e12),
    ],
    rtol=1e-9,
    atol=0.0,
)
