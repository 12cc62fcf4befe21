"""Checkers for the exercises of the chapter on training."""

import math

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- one step of gradient descent on the cross-entropy -----------------------------------------


def _step(logits: Tensor, token: int, lr: float) -> Tensor:
    came = torch.zeros_like(logits)
    came[token] = 1.0
    return logits - lr * (logits.softmax(0) - came)


check_step = Checker(
    "step_once",
    _step,
    [
        Case(torch.zeros(2), token=0, lr=1.0),
        Case(torch.zeros(3), token=1, lr=3.0),
        Case(torch.tensor([1.0, -1.0, 0.5]), token=2, lr=0.1),
        Case(torch.tensor([0.0, 50.0]), token=0, lr=2.0),
        Case(_draw(20, seed=1), token=19, lr=0.5),
    ],
)


# -- the smallest loss of a bigram table -------------------------------------------------------


def _floor(counts: Tensor) -> float:
    total = loss = 0.0
    for row in counts.double().tolist():
        for count in row:
            if count > 0:
                loss -= count * math.log(count / sum(row))
                total += count
    return loss / total


check_floor = Checker(
    "floor_of",
    _floor,
    [
        Case(torch.tensor([[1.0, 1.0], [1.0, 1.0]])),
        Case(torch.tensor([[3.0, 1.0], [1.0, 1.0]])),
        Case(torch.tensor([[0.0, 5.0], [5.0, 0.0]])),
        Case(torch.tensor([[8.0, 8.0], [1.0, 0.0]])),
        Case(torch.tensor([[2.0, 0.0, 2.0], [0.0, 0.0, 0.0], [1.0, 7.0, 0.0]])),
        Case(_draw(6, 6, seed=2).mul(9).abs().floor()),
    ],
)


# -- a learning rate that rises, stays and falls -----------------------------------------------


def _trapezoid(step: int, steps: int, warmup: int, cooldown: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    if step >= steps - cooldown:
        return (steps - step) / cooldown
    return 1.0


check_schedule = Checker(
    "trapezoid",
    _trapezoid,
    [
        Case(step=step, steps=steps, warmup=warmup, cooldown=cooldown)
        for steps, warmup, cooldown in ((6, 2, 2), (10, 3, 4), (5, 0, 2), (5, 2, 0), (6, 2, 4))
        for step in range(steps)
    ],
)


# -- clipping by the joint norm ----------------------------------------------------------------


def _clip(gradients: list[Tensor], limit: float) -> tuple[Tensor, ...]:
    norm = torch.cat([g.flatten() for g in gradients]).norm().item()
    return tuple(g * (limit / norm) if norm > limit else g for g in gradients)


check_clip = Checker(
    "clip_all",
    _clip,
    [
        Case([torch.tensor([3.0, 4.0])], limit=1.0),
        Case([torch.tensor([0.3, 0.4])], limit=1.0),
        Case([torch.tensor([3.0]), torch.tensor([4.0])], limit=4.0),
        Case([torch.tensor([0.0, 0.0])], limit=1.0),
        Case([_draw(2, 3, seed=3), 100 * _draw(4, seed=4), _draw(1, seed=5)], limit=0.5),
    ],
)
