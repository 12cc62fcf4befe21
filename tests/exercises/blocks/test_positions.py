"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.blocks import positions as exercises


def omega(d_model):
    return 10_000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


def blocks(k, d_model, sign=1.0):
    c, s = (k * omega(d_model)).cos().diag(), sign * (k * omega(d_model)).sin().diag()
    return torch.cat([torch.cat([c, -s], 1), torch.cat([s, c], 1)])


def interleaved(k, d_model):
    pairs = [
        torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]).double()
        for a in (k * omega(d_model)).tolist()
    ]
    return torch.block_diag(*pairs)


def shift_by_filling(k, d_model):
    out, half = torch.zeros(d_model, d_model, dtype=torch.float64), d_model // 2
    for p, w in enumerate(omega(d_model).tolist()):
        out[p, p] = out[p + half, p + half] = math.cos(k * w)
        out[p, p + half], out[p + half, p] = -math.sin(k * w), math.sin(k * w)
    return out


def bucket(distance, n_buckets, max_distance, rounding=int, exact=None, cap=True):
    exact = n_buckets // 2 if exact is None else exact
    if distance < exact:
        return distance
    share = math.log(distance / exact) / math.log(max_distance / exact)
    number = exact + rounding(share * (n_buckets - exact))
    return min(n_buckets - 1, number) if cap else number


def bucket_by_edges(distance, n_buckets, max_distance):
    exact = n_buckets // 2
    edges = [
        exact * (max_distance / exact) ** (j / (n_buckets - exact))
        for j in range(n_buckets - exact)
    ]
    return distance if distance < exact else exact - 1 + sum(distance >= e for e in edges)


def rows(order):
    """A repacking from the order of rows within a head of so many features."""
    return lambda weight, n_heads: torch.cat(
        [part[order(part.shape[0])] for part in weight.chunk(n_heads)]
    )


RIGHT = {
    "turns": [
        lambda length, d_model: int((length * omega(d_model) < 2 * math.pi).sum()),
        lambda length, d_model: (2 * math.pi / omega(d_model) > length).sum(),
        lambda length, d_model: sum(
            2 * math.pi * 10_000 ** (2 * p / d_model) > length for p in range(d_model // 2)
        ),
    ],
    "shift": [blocks, shift_by_filling, lambda k, d_model: blocks(-k, d_model).T],
    "repack": [
        rows(lambda d: [*range(0, d, 2), *range(1, d, 2)]),
        lambda weight, n_heads: (
            weight.view(n_heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        ),
        # Turned by half a turn, queries and keys alike: the scores stay.
        lambda weight, n_heads: (
            -rows(lambda d: [*range(0, d, 2), *range(1, d, 2)])(weight, n_heads)
        ),
    ],
    "bucket": [
        bucket,
        bucket_by_edges,
        lambda distance, n_buckets, max_distance: torch.tensor(
            bucket(distance, n_buckets, max_distance)
        ),
    ],
    "count": [
        lambda average: 1 / average - 1,
        lambda average: (1 - average) / average,
        lambda average: average.reciprocal().round() - 1,
        lambda average: [1 / a - 1 for a in average.tolist()],
    ],
}

WRONG = {
    "turns": [
        lambda length, d_model: int((length * omega(d_model) > 2 * math.pi).sum()),
        lambda length, d_model: int((length * omega(d_model) < 1).sum()),
        lambda length, d_model: 2 * int((length * omega(d_model) < 2 * math.pi).sum()),
        lambda length, d_model: int((length * omega(d_model) < math.pi).sum()),
    ],
    "shift": [
        lambda k, d_model: blocks(k, d_model).T,
        lambda k, d_model: blocks(k, d_model, sign=-1.0),
        interleaved,
        lambda k, d_model: torch.eye(d_model),
        lambda k, d_model: blocks(1, d_model),
        lambda k, d_model: blocks(k, d_model)[: d_model // 2],
    ],
    "repack": [
        lambda weight, n_heads: weight,
        # All heads at once instead of each by itself.
        lambda weight, n_heads: torch.cat([weight[0::2], weight[1::2]]),
        # The way back.
        rows(lambda d: [i for p in range(d // 2) for i in (p, p + d // 2)]),
        # Sines and cosines exchanged: turns the other way.
        lambda weight, n_heads: rows(lambda d: [*range(1, d, 2), *range(d - 2, -1, -2)])(
            weight, n_heads
        ),
        lambda weight, n_heads: weight.T,
    ],
    "bucket": [
        lambda distance, n_buckets, max_distance: bucket(
            distance, n_buckets, max_distance, cap=False
        ),
        lambda distance, n_buckets, max_distance: bucket(
            distance, n_buckets, max_distance, rounding=round
        ),
        lambda distance, n_buckets, max_distance: bucket(
            distance, n_buckets, max_distance, rounding=math.ceil
        ),
        lambda distance, n_buckets, max_distance: min(distance, n_buckets - 1),
        lambda distance, n_buckets, max_distance: bucket(
            distance, n_buckets, max_distance, exact=max(1, n_buckets // 4)
        ),
    ],
    "count": [
        lambda average: 1 / average,
        lambda average: torch.arange(1.0, len(average) + 1),
        lambda average: 1 - average,
        lambda average: average,
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
