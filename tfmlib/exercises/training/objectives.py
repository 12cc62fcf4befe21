"""Checkers for the exercises of the chapter on objectives."""

import math

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- inputs and targets of masked tokens -------------------------------------------------------


def _masked(tokens: Tensor, chosen: Tensor, mask_id: int, pad_id: int) -> tuple[Tensor, Tensor]:
    return tokens.masked_fill(chosen, mask_id), tokens.masked_fill(~chosen, pad_id)


check_masked = Checker(
    "masked_example",
    _masked,
    [
        Case(torch.tensor([[5, 6, 7]]), torch.tensor([[False, True, False]]), mask_id=3, pad_id=0),
        Case(torch.tensor([[5, 6, 7]]), torch.tensor([[True, False, True]]), mask_id=4, pad_id=-1),
        Case(
            torch.tensor([[5, 6, 0], [7, 5, 9]]),
            torch.tensor([[False, False, False], [True, True, True]]),
            mask_id=3,
            pad_id=0,
        ),
    ],
)


# -- the gradient with respect to the logits ---------------------------------------------------


def _gradient(logits: Tensor, target: int) -> Tensor:
    wanted = torch.zeros_like(logits)
    wanted[target] = 1.0
    return logits.softmax(-1) - wanted


check_gradient = Checker(
    "gradient",
    _gradient,
    [
        Case(torch.tensor([0.0, 0.0]), target=0),
        Case(torch.tensor([1.0, 2.0, 3.0]), target=1),
        Case(torch.tensor([100.0, 0.0, -100.0]), target=2),
        Case(_draw(9, seed=1, scale=2.0), target=8),
    ],
)


# -- a mean over the tokens of several batches -------------------------------------------------


def _mean_over_tokens(batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(float(losses[real].sum()) for losses, real in batches)
    return total / sum(int(real.sum()) for _, real in batches)


def _batch(*lengths: int, seed: int) -> tuple[Tensor, Tensor]:
    losses = _draw(len(lengths), max(lengths), seed=seed).abs()
    return losses, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


check_mean = Checker(
    "mean_over_tokens",
    _mean_over_tokens,
    [
        Case([(torch.tensor([[1.0, 3.0], [8.0, 5.0]]), torch.tensor([[1, 1], [1, 0]]).bool())]),
        Case([(torch.tensor([[2.0, 4.0]]), torch.tensor([[1, 1]]).bool()),
              (torch.tensor([[9.0]]), torch.tensor([[1]]).bool())]),
        Case([_batch(5, 2, 1, seed=3), _batch(4, 4, seed=4), _batch(1, seed=5)]),
    ],
)  # fmt: skip


# -- where label smoothing wants the logits to be ----------------------------------------------


def _gap(epsilon: float, vocab: int) -> float:
    return math.log1p(vocab * (1 - epsilon) / epsilon)


check_gap = Checker(
    "best_gap",
    _gap,
    [
        Case(0.5, vocab=2),
        Case(0.1, vocab=4),
        Case(0.1, vocab=37_000),
        Case(0.3, vocab=3),
        Case(1.0, vocab=5),
    ],
)


# -- calibration -------------------------------------------------------------------------------


def _calibration_error(confidence: Tensor, right: Tensor, bins: int) -> float:
    place = (confidence * bins).long().clamp(max=bins - 1)
    error = 0.0
    for b in range(bins):
        inside = place == b
        if inside.any():
            gap = confidence[inside].mean() - right[inside].float().mean()
            error += float(inside.float().mean() * gap.abs())
    return error


check_calibration = Checker(
    "calibration_error",
    _calibration_error,
    [
        Case(torch.tensor([0.9, 0.9]), torch.tensor([True, False]), bins=10),
        Case(torch.tensor([0.15, 0.85, 0.95]), torch.tensor([False, True, False]), bins=2),
        Case(torch.tensor([1.0, 1.0, 0.31]), torch.tensor([True, True, False]), bins=5),
        Case(
            _draw(200, seed=6).sigmoid(),
            _draw(200, seed=7) > 0.3,
            bins=15,
        ),
    ],
)
