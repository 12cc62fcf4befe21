"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
import torch.nn.functional as F
from answers import Answers

from tfmlib.exercises.blocks import embedding as exercises


def gradient_by_loop(tokens, upstream, vocab_size):
    rows = [torch.zeros(upstream.shape[-1]) for _ in range(vocab_size)]
    for ids, gradients in zip(tokens.tolist(), upstream, strict=True):
        for id, gradient in zip(ids, gradients, strict=True):
            rows[id] = rows[id] + gradient
    return torch.stack(rows)


def gradient_by_put(tokens, upstream, vocab_size):
    table = torch.zeros(vocab_size, upstream.shape[-1])
    return table.index_put((tokens,), upstream, accumulate=True)


def gradient_overwritten(tokens, upstream, vocab_size):
    table = torch.zeros(vocab_size, upstream.shape[-1])
    table[tokens] += upstream
    return table


def nearest_by_similarity(table, id, k):
    cosines = F.cosine_similarity(table, table[id][None], dim=1)
    return [i for i in cosines.argsort(descending=True).tolist() if i != id][:k]


def nearest_by_angle(table, id, k):
    def cosine(i):
        norms = math.sqrt(float(table[i] @ table[i]) * float(table[id] @ table[id]))
        return float(table[i] @ table[id]) / norms if norms else 0.0

    others = [i for i in range(len(table)) if i != id]
    return sorted(others, key=cosine, reverse=True)[:k]


def random_rows(table, extra):
    torch.manual_seed(0)
    return torch.cat([table, torch.randn(extra, table.shape[1])])


RIGHT = {
    "share": [
        lambda d, std, factor: std**2 * factor**2 / (std**2 * factor**2 + 0.5),
        lambda d, std, factor: 1 / (1 + 1 / (2 * (std * factor) ** 2)),
        lambda d, std, factor: torch.tensor((std * factor) ** 2 / ((std * factor) ** 2 + 1 / 2)),
    ],
    "gradient": [gradient_by_loop, gradient_by_put],
    "nearest": [
        nearest_by_similarity,
        nearest_by_angle,
        lambda table, id, k: torch.tensor(nearest_by_angle(table, id, k)),
    ],
    "grow": [
        lambda table, extra: torch.vstack([table, *[table.sum(0)[None] / len(table)] * extra]),
        lambda table, extra: F.pad(table - table.mean(0), (0, 0, 0, extra)) + table.mean(0),
    ],
}  # fmt: skip

WRONG = {
    "share": [
        lambda d, std, factor: std * factor / (std * factor + math.sqrt(0.5)),
        lambda d, std, factor: 0.5 / ((std * factor) ** 2 + 0.5),
        lambda d, std, factor: (std * factor) ** 2 / ((std * factor) ** 2 + 1),
        lambda d, std, factor: (std * factor) ** 2 * 2,
        lambda d, std, factor: std**2 / (std**2 + 0.5),
    ],
    "gradient": [
        gradient_overwritten,
        lambda t, g, v: gradient_by_put(t, g, v) / g.shape[0],
        lambda t, g, v: gradient_by_put(t, g, v)[: int(t.max()) + 1],
        lambda t, g, v: gradient_by_put(t[:1], g[:1], v),
        lambda t, g, v: (gradient_by_put(t, g, v) != 0).float(),
    ],
    "nearest": [
        lambda table, id, k: (table @ table[id]).topk(k).indices.tolist(),
        lambda table, id, k: (F.normalize(table, dim=1) @ table[id]).topk(k).indices.tolist(),
        lambda table, id, k: [
            i for i in torch.cdist(table, table[id][None])[:, 0].argsort().tolist() if i != id
        ][:k],
        lambda table, id, k: nearest_by_angle(table, id, k)[::-1],
        lambda table, id, k: F.normalize(table, dim=1).mv(table[id]).argsort()[:k].tolist(),
    ],
    "grow": [
        random_rows,
        lambda table, extra: F.pad(table, (0, 0, 0, extra)),
        lambda table, extra: F.pad(table, (0, 0, 0, extra)) + table.mean(0),
        lambda table, extra: torch.cat([table.mean(0).expand(extra, -1), table]),
        lambda table, extra: torch.cat([table, table.median(0).values.expand(extra, -1)]),
        lambda table, extra: torch.cat([table, table.mean().expand(extra, table.shape[1])]),
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
