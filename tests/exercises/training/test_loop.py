"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers
from torch import nn

from tfmlib.exercises.training import loop as exercises


def by_torch(gradients, limit):
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, g in zip(parameters, gradients, strict=True):
        parameter.grad = g.clone()
    nn.utils.clip_grad_norm_(parameters, limit)
    return [parameter.grad for parameter in parameters]


def each_by_itself(gradients, limit):
    return [g * min(1.0, limit / max(g.norm().item(), 1e-12)) for g in gradients]


def scaled(factor):
    def clip(gradients, limit):
        norm = torch.cat([g.flatten() for g in gradients]).norm().item()
        return [g * factor(norm, limit) for g in gradients]

    return clip


def early_stop(better=lambda new, best: new < best, bad_more=0):
    def stop(losses, patience):
        best, bad = 0, 0
        for i in range(1, len(losses)):
            if better(losses[i], losses[best]):
                best, bad = i, 0
            else:
                bad += 1
            if bad == patience + bad_more:
                return best, i
        return best, len(losses) - 1

    return stop


def counts_rises(losses, patience):
    """Compares with the evaluation before, not with the best."""
    bad = 0
    for i in range(1, len(losses)):
        bad = bad + 1 if losses[i] >= losses[i - 1] else 0
        if bad == patience:
            return min(range(i + 1), key=losses.__getitem__), i
    return min(range(len(losses)), key=losses.__getitem__), len(losses) - 1


RIGHT = {
    "combine": [
        lambda gradients, tokens: torch.stack(
            [g * (n / sum(tokens)) for g, n in zip(gradients, tokens, strict=True)]
        ).sum(0),
        lambda gradients, tokens: torch.tensordot(
            torch.tensor(tokens).float() / sum(tokens), torch.stack(list(gradients)), dims=1
        ),
    ],
    "clip": [
        by_torch,
        scaled(lambda norm, limit: limit / max(norm, limit)),
        scaled(lambda norm, limit: 1.0 if norm <= limit else limit / norm),
    ],
    "dropout": [
        lambda x, p, uniform: x.masked_fill(uniform < p, 0.0) / (1 - p),
        lambda x, p, uniform: x * (uniform >= p).float() / (1 - p),
    ],
    "spacing": [
        lambda x: 2.0 ** (math.frexp(x)[1] - 8),
        lambda x: torch.finfo(torch.bfloat16).eps * 2 ** math.floor(math.log2(x)),
    ],
    "early": [early_stop(), lambda losses, patience: list(early_stop()(losses, patience))],
}
WRONG = {
    "combine": [
        lambda gradients, tokens: sum(gradients) / len(gradients),
        lambda gradients, tokens: sum(gradients),
        lambda gradients, tokens: sum(gradients) / sum(tokens),
        lambda gradients, tokens: sum(g * n for g, n in zip(gradients, tokens, strict=True)),
    ],
    "clip": [
        each_by_itself,
        lambda gradients, limit: [g.clamp(-limit, limit) for g in gradients],
        scaled(lambda norm, limit: limit / max(norm, 1e-12)),  # lengthens short ones
        scaled(lambda norm, limit: min(1.0, limit / max(norm, 1e-12) ** 2)),
        lambda gradients, limit: list(gradients),
    ],
    "dropout": [
        lambda x, p, uniform: x * (uniform >= p),
        lambda x, p, uniform: x * (uniform >= p) * (1 - p),
        lambda x, p, uniform: x * (uniform < p) / p if p else x,
        lambda x, p, uniform: x * (uniform >= p) / p if p else x,
        lambda x, p, uniform: x,
    ],
    "spacing": [
        lambda x: 2.0**-7,
        lambda x: x * 2.0**-7,
        lambda x: 2.0 ** (math.floor(math.log2(x)) - 8),
        lambda x: torch.finfo(torch.float16).eps * 2 ** math.floor(math.log2(x)),
    ],
    "early": [
        early_stop(better=lambda new, best: new <= best),
        early_stop(bad_more=1),
        early_stop(better=lambda new, best: new > best),
        counts_rises,
        lambda losses, patience: (min(range(len(losses)), key=losses.__getitem__), len(losses) - 1),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
