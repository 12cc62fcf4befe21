"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math
from functools import reduce

import torch
from answers import Answers

from tfmlib.exercises.transformer import encoder as exercises


def by_module(d_model, d_ff, layers, last_norm):
    layer = torch.nn.TransformerEncoderLayer(d_model, 1, d_ff)
    norm = torch.nn.LayerNorm(d_model)
    count = [sum(p.numel() for p in module.parameters()) for module in (layer, norm)]
    return layers * count[0] + last_norm * count[1]


def by_sets(masks):
    known = [{i} for i in range(len(masks[0]))]
    for mask in masks:
        known = [
            own.union(*(known[j] for j in mask[i].nonzero().flatten().tolist()))
            for i, own in enumerate(known)
        ]
    return [[j in row for j in range(len(known))] for row in known]


def by_product(masks):
    n = masks[0].shape[0]
    steps = [(mask | torch.eye(n, dtype=torch.bool)).int() for mask in masks]
    return reduce(lambda done, step: ((step @ done) > 0).int(), steps).bool()


def by_rows(h, real):
    rows = [x[keep].mean(0) if keep.any() else x.new_zeros(x.shape[1])
            for x, keep in zip(h, real, strict=True)]  # fmt: skip
    return torch.stack(rows)


RIGHT = {
    "parameters": [
        by_module,
        lambda d_model, d_ff, layers, last_norm: (
            layers * (d_model * (4 * d_model + 2 * d_ff + 9) + d_ff) + 2 * d_model * last_norm
        ),
    ],
    "depends": [by_sets, by_product],
    "mean_of_real": [
        by_rows,
        lambda h, real: (
            h.masked_fill(~real.unsqueeze(-1), 0).sum(1) / real.sum(1).clamp(min=1)[:, None]
        ),
    ],
    "layers_needed": [
        lambda note: next(n for n in range(99) if 3**n >= 2 * note - 1),
        lambda note: math.ceil(round(math.log(2 * note - 1, 3), 9)),
    ],
}

WRONG = {
    "parameters": [
        lambda d_model, d_ff, layers, last_norm: layers * (4 * d_model**2 + 2 * d_model * d_ff),
        lambda d_model, d_ff, layers, last_norm: by_module(d_model, d_ff, layers, False),
        lambda d_model, d_ff, layers, last_norm: layers * by_module(d_model, d_ff, 1, last_norm),
        lambda d_model, d_ff, layers, last_norm: (
            layers * (d_model * (3 * d_model + 2 * d_ff + 8) + d_ff) + 2 * d_model * last_norm
        ),
    ],
    "depends": [
        lambda masks: by_product(masks[::-1]),  # the layers in the wrong order
        lambda masks: reduce(lambda a, b: (b.int() @ a.int()) > 0, masks),  # no residual
        lambda masks: reduce(torch.logical_or, masks) | torch.eye(len(masks[0]), dtype=torch.bool),
        lambda masks: by_product(masks).T,
        lambda masks: by_product(masks).int(),
    ],
    "mean_of_real": [
        lambda h, real: h.mean(1),
        lambda h, real: (h * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1),
        lambda h, real: (h * real[..., None]).mean(1),
        lambda h, real: h.masked_fill(~real[..., None], 0).sum(1) / real.sum(1, keepdim=True),
        lambda h, real: h[:, 0],
    ],
    "layers_needed": [
        lambda note: math.ceil(math.log2(note)),
        lambda note: note - 1,
        lambda note: math.ceil(math.log(note, 3)),
        lambda note: math.ceil(math.log(2 * note - 1, 3)) + 1,
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
