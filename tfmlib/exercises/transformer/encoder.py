"""Checkers for the exercises of the chapter on the encoder."""

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker

# -- the parameters of an encoder, as a formula ------------------------------------------------


def _parameters(d_model: int, d_ff: int, layers: int, last_norm: bool) -> int:
    attention = 4 * (d_model**2 + d_model)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norm = 2 * d_model
    return layers * (attention + feed_forward + 2 * norm) + (norm if last_norm else 0)


check_parameters = Checker(
    "encoder_parameters",
    _parameters,
    [
        Case(d_model=2, d_ff=3, layers=1, last_norm=False),
        Case(d_model=2, d_ff=3, layers=1, last_norm=True),
        Case(d_model=4, d_ff=16, layers=3, last_norm=True),
        Case(d_model=512, d_ff=2048, layers=6, last_norm=False),
    ],
)


# -- which inputs an output depends on, from the masks of the layers ---------------------------


def _depends(masks: list[Tensor]) -> Tensor:
    n = masks[0].shape[0]
    depends = torch.eye(n, dtype=torch.bool)
    for mask in masks:  # first layer to last
        depends = depends | (mask.double() @ depends.double() > 0)
    return depends


def _mask(*rows: str) -> Tensor:
    return torch.tensor([[c == "x" for c in row] for row in rows])


def _drawn(n: int, layers: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(n, n, generator=generator) < 0.2 for _ in range(layers)]


check_depends = Checker(
    "depends_on",
    _depends,
    [
        Case([_mask("x..", "x..", ".x.")]),
        Case([_mask("...", "x..", "..."), _mask("...", "...", ".x.")]),
        Case([_mask("...", "...", ".x."), _mask("...", "x..", "...")]),
        Case([_mask("x..", "xx.", ".xx")] * 2),
        Case(_drawn(7, 3, 0)),
        Case(_drawn(9, 4, 1)),
    ],
)


# -- the mean of the real tokens ---------------------------------------------------------------


def _mean_of_real(h: Tensor, real: Tensor) -> Tensor:
    total = torch.where(real[..., None], h, 0.0).sum(1)
    return total / real.sum(1, keepdim=True).clamp(min=1)


def _states(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _with_nan() -> Tensor:
    h = _states(2, 3, 2, seed=3)
    h[0, 2] = torch.nan  # what stands behind the padding is nobody's business
    return h


check_mean_of_real = Checker(
    "mean_of_real",
    _mean_of_real,
    [
        Case(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]])),
        Case(_states(2, 3, 2, seed=0), torch.tensor([[True] * 3, [True, False, False]])),
        Case(_states(2, 2, 2, seed=1), torch.tensor([[True, True], [False, False]])),
        Case(_states(3, 3, 4, seed=2), torch.tensor([[True, False, True]] * 3)),
        Case(_with_nan(), torch.tensor([[True, True, False], [True, True, True]])),
    ],
)


# -- how many layers a note needs --------------------------------------------------------------


def _layers_needed(note: int) -> int:
    layers = 0
    while (3**layers + 1) // 2 < note:
        layers += 1
    return layers


check_layers_needed = Checker(
    "layers_needed",
    _layers_needed,
    [Case(note) for note in (1, 2, 3, 5, 6, 14, 15, 41, 42, 1000)],
)
