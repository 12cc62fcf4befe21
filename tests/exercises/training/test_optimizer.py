"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import itertools
import math

import torch
from answers import Answers

from tfmlib.exercises.training import optimizer as exercises


def by_torch(corrected):
    """Adam of torch with the two corrections in it, or taken out again."""

    def moves(gradients, lr, beta1, beta2):
        p = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        adam = torch.optim.Adam([p], lr=lr, betas=(beta1, beta2), eps=0.0)
        found = []
        for t, g in enumerate(gradients, 1):
            before = p.item()
            p.grad = torch.tensor(g, dtype=torch.float64)
            adam.step()
            factor = 1 if corrected else (1 - beta1**t) / math.sqrt(1 - beta2**t)
            found.append((p.item() - before) * factor)
        return found

    return moves


def by_sums(gradients, lr, beta1, beta2):
    g = torch.tensor(gradients, dtype=torch.float64)
    lag = torch.arange(len(g))[:, None] - torch.arange(len(g))
    m = ((1 - beta1) * torch.tensor(beta1, dtype=torch.float64) ** lag.clamp(min=0)).tril() @ g
    v = ((1 - beta2) * torch.tensor(beta2, dtype=torch.float64) ** lag.clamp(min=0)).tril() @ g**2
    return -lr * m / v.sqrt()


def decaying(condition):
    return lambda model: sorted(n for n, p in model.named_parameters() if condition(n, p))


def with_duplicates(model):
    named = model.named_parameters(remove_duplicate=False)
    return sorted(n for n, p in named if p.requires_grad and p.ndim >= 2)


RIGHT = {
    "warmup_for": [
        lambda peak, d_model: 1 / (d_model * peak**2),
        lambda peak, d_model: peak**-2 / d_model,
        lambda peak, d_model: torch.tensor(d_model**-0.5 / peak).square(),
    ],
    "adam": [by_torch(corrected=False), by_sums],
    "settles": [
        lambda beta1: ((1 - beta1) / (1 + beta1)) ** 0.5,
        lambda beta1: (1 - beta1) / math.sqrt(1 - beta1**2),
        lambda beta1: (1 - beta1) * math.sqrt(sum(beta1 ** (2 * k) for k in range(3000))),
    ],
    "decays": [
        decaying(lambda n, p: p.requires_grad and p.dim() > 1),
        decaying(lambda n, p: p.requires_grad and len(p.shape) >= 2),
        lambda model: tuple(decaying(lambda n, p: p.requires_grad and p.ndim >= 2)(model)),
    ],
    "memory": [lambda n: 16 * n, lambda n: n * 4 + n * 4 + 2 * n * 4, lambda n: float(n) * 16],
}
WRONG = {
    "warmup_for": [
        lambda peak, d_model: 1 / (d_model * peak),
        lambda peak, d_model: 1 / (d_model**2 * peak**2),
        lambda peak, d_model: d_model**-0.5 / peak,
        lambda peak, d_model: 4000,
    ],
    "adam": [
        by_torch(corrected=True),
        lambda gradients, lr, beta1, beta2: [-lr * math.copysign(1, g) for g in gradients],
        lambda gradients, lr, beta1, beta2: [-m for m in by_sums(gradients, lr, beta1, beta2)],
        lambda gradients, lr, beta1, beta2: by_sums(gradients, lr, beta2, beta1),
        lambda gradients, lr, beta1, beta2: list(
            itertools.accumulate(by_sums(gradients, lr, beta1, beta2).tolist())
        ),
    ],
    "settles": [
        lambda beta1: (1 - beta1) / (1 + beta1),
        lambda beta1: math.sqrt(1 - beta1),
        lambda beta1: 1 - beta1,
        lambda beta1: 0.23,
    ],
    "decays": [
        decaying(lambda n, p: p.requires_grad),
        decaying(lambda n, p: p.ndim >= 2),
        decaying(lambda n, p: p.requires_grad and n.endswith("weight")),
        decaying(lambda n, p: p.requires_grad and p.ndim == 2),
        decaying(lambda n, p: p.requires_grad and p.ndim < 2),
        with_duplicates,
    ],
    "memory": [lambda n: 8 * n, lambda n: 12 * n, lambda n: 4 * n, lambda n: 2 * 16 * n],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
