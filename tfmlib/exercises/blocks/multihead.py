"""Checkers for the exercises of the chapter on multi-head attention."""

from typing import Any

import torch
from torch import Tensor

from tfmlib.blocks.attention import naive
from tfmlib.exercises import Case, Checker, show


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- heads back into columns -------------------------------------------------------------------


def _gather(x: Tensor) -> Tensor:
    return torch.cat([x[:, head] for head in range(x.shape[1])], dim=-1)


check_deal = Checker(
    "gather",
    _gather,
    [
        Case(x=torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])),
        Case(x=_draw(1, 2, 3, 2, seed=1)),
        Case(x=_draw(2, 3, 4, 5, seed=2)),
        Case(x=_draw(3, 4, 4, 4, seed=3)),
    ],
)


# -- what each head adds to the output ---------------------------------------------------------


def _contributions(heads: Tensor, w_o: Tensor) -> Tensor:
    blocks = w_o.chunk(heads.shape[1], dim=0)
    return torch.stack([heads[:, i] @ block for i, block in enumerate(blocks)], dim=1)


check_contributions = Checker(
    "contributions",
    _contributions,
    [
        Case(heads=torch.tensor([[[[1.0]], [[2.0]]]]), w_o=torch.tensor([[1.0, 0.0], [3.0, 1.0]])),
        Case(heads=_draw(1, 2, 3, 2, seed=4), w_o=_draw(4, 4, seed=5)),
        Case(heads=_draw(2, 3, 4, 3, seed=6), w_o=_draw(9, 5, seed=7)),
        Case(heads=_draw(2, 2, 2, 2, seed=8), w_o=_draw(4, 2, seed=9)),
    ],
)


# -- the most key-value heads whose cache fits -------------------------------------------------


def _kv_heads(budget: int, tokens: int, layers: int, heads: int, d_head: int) -> int:
    each = 4 * tokens * layers * d_head  # keys and values, two bytes per number
    return max([n for n in range(1, heads + 1) if heads % n == 0 and n * each <= budget], default=0)


check_kv_heads = Checker(
    "kv_heads_that_fit",
    _kv_heads,
    [
        Case(budget=100, tokens=1, layers=1, heads=4, d_head=5),
        Case(budget=79, tokens=1, layers=1, heads=4, d_head=5),
        Case(budget=19, tokens=1, layers=1, heads=4, d_head=5),
        Case(budget=2**30, tokens=8192, layers=32, heads=32, d_head=128),
        Case(budget=2**30 - 1, tokens=8192, layers=32, heads=32, d_head=128),
        Case(budget=10**9, tokens=4096, layers=24, heads=12, d_head=64),
        Case(budget=70 * 10**6, tokens=1000, layers=12, heads=12, d_head=128),
    ],
)


# -- a layer that delivers two baskets, by hand ------------------------------------------------


def _delivery() -> tuple[Tensor, ...]:
    one, none = torch.eye(8), torch.zeros(8, 8)
    keys = torch.cat([torch.cat([one, one], 1), torch.cat([none, none], 1)])
    values = torch.cat([torch.cat([none, none], 1), torch.cat([one, one], 1)])
    return 40 * torch.eye(16), keys, values, torch.eye(16)


def _market(days: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.rand(days, 8, generator=generator).argsort(1)[:, :6]
    baskets = torch.randn(days, 6, 8, generator=generator)
    places = torch.rand(days, 6, generator=generator).argsort(1)[:, :2]
    name = torch.eye(8)
    order = name[kinds.gather(1, places)].flatten(1)[:, None]
    wanted = baskets.gather(1, places[..., None].expand(-1, -1, 8)).flatten(1)[:, None]
    return order, torch.cat([name[kinds], baskets], -1), wanted


def _judge_delivery(got: Any) -> str:
    if not isinstance(got, tuple | list) or len(got) != 4:
        return f"expected four matrices, got {show(got)}"
    for name, matrix in zip(("w_q", "w_k", "w_v", "w_o"), got, strict=True):
        if not isinstance(matrix, Tensor) or matrix.shape != (16, 16):
            return f"expected {name} of shape (16, 16), got {show(matrix)}"
    order, stall, wanted = _market()
    w_q, w_k, w_v, w_o = (matrix.detach().float() for matrix in got)

    def deal(x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, 8)).transpose(1, 2)

    heads = naive(deal(order @ w_q), deal(stall @ w_k), deal(stall @ w_v))
    gap = heads.transpose(1, 2).flatten(2) @ w_o - wanted
    first, second = gap.square().chunk(2, dim=-1)
    if not gap.square().mean() < 0.01:
        return (
            f"the error is {first.mean():.3f} for the first basket and {second.mean():.3f} "
            "for the second, and should be below 0.01"
        )
    return ""


check_order = Checker("delivery", _delivery, [Case()], judge=_judge_delivery)
