"""Checkers for the exercises of the chapter on embeddings."""

from typing import Any

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker, difference, show


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- the embedding's share of embedding plus position ------------------------------------------


def _share(d_model: int, std: float, factor: float) -> float:
    mine, positions = d_model * (std * factor) ** 2, d_model / 2
    return mine / (mine + positions)


check_share = Checker(
    "embedding_share",
    _share,
    [
        Case(64, 1.0, 1.0),
        Case(64, 0.125, 1.0),
        Case(64, 0.125, 8.0),
        Case(512, 1.0, 22.627417),
        Case(8, 0.5, 2.0),
        Case(2, 0.7071068, 1.0),
    ],
)


# -- the gradient of a lookup ------------------------------------------------------------------


def _gradient(tokens: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    one_hot = torch.nn.functional.one_hot(tokens.flatten(), vocab_size).to(upstream.dtype)
    return one_hot.T @ upstream.flatten(0, 1)


check_gradient = Checker(
    "table_gradient",
    _gradient,
    [
        Case(torch.tensor([[1]]), torch.tensor([[[1.0, 2.0]]]), 3),
        Case(torch.tensor([[2, 0, 2]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]]), 3),
        Case(torch.tensor([[1], [1]]), torch.tensor([[[1.0]], [[3.0]]]), 2),
        Case(torch.tensor([[0, 1], [1, 0]]), _draw(2, 2, 3, seed=1), 4),
        Case(torch.arange(24).view(4, 6) % 5, _draw(4, 6, 8, seed=2), 7),
    ],
)


# -- the nearest rows by cosine ----------------------------------------------------------------


def _nearest(table: Tensor, id: int, k: int) -> list[int]:
    unit = table / table.norm(dim=1, keepdim=True).clamp(min=1e-12)
    order = (unit @ unit[id]).argsort(descending=True).tolist()
    return [i for i in order if i != id][:k]


def _judge_nearest(got: Any, table: Tensor, id: int, k: int) -> str:
    expected = _nearest(table, id, k)
    if isinstance(got, Tensor):
        got = got.tolist()
    if isinstance(got, list | tuple) and [int(i) for i in got] == expected:
        return ""
    return f"expected {show(expected)}, got {show(got)}"


_LONG = torch.tensor([[1.0, 0.1], [1.0, 0.0], [50.0, 50.0], [0.1, 1.0], [-1.0, 0.0]])
_PADDED = torch.tensor([[0.0, 0.0], [2.0, 1.0], [1.0, 1.0], [-1.0, -2.0], [-3.0, 0.1]])

check_nearest = Checker(
    "nearest_rows",
    _nearest,
    [
        Case(_LONG, 0, 1),
        Case(_LONG, 0, 4),
        Case(_LONG, 2, 2),
        Case(_PADDED, 1, 4),
        Case(_draw(30, 6, seed=3) * torch.arange(1, 31)[:, None], 7, 5),
    ],
    judge=_judge_nearest,
)


# -- rows for new tokens -----------------------------------------------------------------------


def _grow(table: Tensor, extra: int) -> Tensor:
    return torch.cat([table, table.mean(0, keepdim=True).repeat(extra, 1)])


def _judge_grow(got: Any, table: Tensor, extra: int) -> str:
    if not isinstance(got, Tensor):
        return f"expected a tensor, got {show(got)}"
    size = len(table)
    if got.shape != (size + extra, table.shape[1]):
        shape = (size + extra, table.shape[1])
        return f"expected shape {shape}, got shape {tuple(got.shape)}"
    if found := difference(table, got[:size]):
        return f"the old rows: {found}"
    hidden = _draw(4, table.shape[1], seed=4)
    logits = hidden @ got.detach().T
    average = logits[:, :size].mean(1, keepdim=True).expand(-1, extra)
    found = difference(average, logits[:, size:], atol=1e-5)
    return f"logits of the new tokens, for four hidden states: {found}" if found else ""


check_grow = Checker(
    "grow",
    _grow,
    [
        Case(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), 1),
        Case(torch.tensor([[2.0], [4.0], [9.0]]), 2),
        Case(_draw(12, 5, seed=5), 3),
        Case(_draw(4, 4, seed=6), 0),
    ],
    judge=_judge_grow,
)
