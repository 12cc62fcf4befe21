"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers
from torch.nn import functional as F

from tfmlib.exercises.sequences import fit as exercises


def step_by_autograd(logits, token, lr):
    z = logits.clone().requires_grad_()
    F.cross_entropy(z[None], torch.tensor([token])).backward()
    return z.detach() - lr * z.grad


def step_by_loop(logits, token, lr):
    top = max(logits.tolist())
    powers = [math.exp(z - top) for z in logits.tolist()]
    moved = []
    for j, z in enumerate(logits.tolist()):
        moved.append(z - lr * (powers[j] / sum(powers) - (j == token)))
    return moved


def step_in_place(logits, token, lr):
    logits -= lr * (logits.softmax(0) - F.one_hot(torch.tensor(token), len(logits)))
    return logits


def floor_by_entropies(counts):
    rows = counts.sum(1)
    kept = counts[rows > 0]
    p = kept / kept.sum(1, keepdim=True)
    entropy = torch.special.entr(p).sum(1)
    return (entropy * kept.sum(1)).sum() / counts.sum()


def floor_by_nansum(counts):
    p = counts / counts.sum(1, keepdim=True)
    return -torch.nansum(counts * p.log()) / counts.sum()


def clip_by_torch(gradients, limit):
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g
    torch.nn.utils.clip_grad_norm_(parameters, limit)
    return [p.grad for p in parameters]


def clip_by_vector(gradients, limit):
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(limit / norm, max=1.0) if norm > 0 else 1.0
    return tuple(factor * g for g in gradients)


def trapezoid(rise=1, fall=0, start=1.0):
    """A family of schedules; the defaults are right."""

    def run(step, steps, warmup, cooldown):
        rising = start * (step + rise) / warmup if warmup else 1.0
        falling = (steps - step - fall) / cooldown if cooldown else 1.0
        return min(1.0, rising, falling)

    return run


def trapezoid_by_ranges(step, steps, warmup, cooldown):
    up = [(i + 1) / warmup for i in range(warmup)]
    down = [1 - i / cooldown for i in range(cooldown)]
    return [*up, *[1.0] * (steps - warmup - cooldown), *down][step]


RIGHT = {
    "step": [step_by_autograd, step_by_loop, step_in_place],
    "floor": [floor_by_entropies, floor_by_nansum],
    "schedule": [trapezoid(), trapezoid_by_ranges],
    "clip": [clip_by_torch, clip_by_vector],
}
WRONG = {
    "step": [
        lambda logits, token, lr: logits + lr * (logits.softmax(0)),
        # towards the wrong side
        lambda logits, token, lr: (
            logits + lr * (logits.softmax(0) - F.one_hot(torch.tensor(token), len(logits)))
        ),
        # only the token that came moves
        lambda logits, token, lr: (
            logits + lr * (1 - logits.softmax(0)) * F.one_hot(torch.tensor(token), len(logits))
        ),
        # probabilities instead of logits
        lambda logits, token, lr: step_by_autograd(logits, token, lr).softmax(0),
        # overflows
        lambda logits, token, lr: step_by_autograd(logits.exp(), token, lr),
    ],
    "floor": [
        lambda counts: -torch.xlogy(counts, counts / counts.sum()).sum() / counts.sum(),
        lambda counts: (
            -torch.xlogy(counts, counts / counts.sum(0).clamp(min=1)).sum() / counts.sum()
        ),
        lambda counts: floor_by_nansum(counts) * counts.sum(),
        lambda counts: floor_by_nansum(counts) / math.log(2),
        # the mean of the rows' entropies, as if all rows were equally frequent
        lambda counts: (
            torch.special.entr(counts / counts.sum(1, keepdim=True).clamp(min=1)).sum(1).mean()
        ),
        lambda counts: (
            -(counts * (counts / counts.sum(1, keepdim=True)).log()).sum() / counts.sum()
        ),
    ],
    "schedule": [
        trapezoid(rise=0),
        trapezoid(fall=1),
        trapezoid(start=0.5),
        lambda step, steps, warmup, cooldown: (step + 1) / warmup if step < warmup else 1.0,
        lambda step, steps, warmup, cooldown: (
            (step + 1) / max(warmup, 1)
            if step < warmup
            else 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))
        ),
    ],
    "clip": [
        lambda gradients, limit: [clip_by_torch([g], limit)[0] for g in gradients],
        lambda gradients, limit: [g.clamp(-limit, limit) for g in gradients],
        lambda gradients, limit: [
            g * limit / max(torch.cat([x.flatten() for x in gradients]).norm().item(), 1e-9)
            for g in gradients
        ],
        lambda gradients, limit: gradients,
        # the sum of the norms instead of the joint norm
        lambda gradients, limit: [
            g * min(1.0, limit / max(sum(x.norm().item() for x in gradients), 1e-9))
            for g in gradients
        ],
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
