"""Checkers for the exercises of the chapter on the key-value cache."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker

# -- one step of attention with a cache --------------------------------------------------------


def _step(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    keys, values = torch.cat([keys, k[None]]), torch.cat([values, v[None]])
    weights = (keys @ q / q.shape[0] ** 0.5).softmax(0)
    return weights @ values, keys, values


def _numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


check_step = Checker(
    "attend_next",
    _step,
    [
        Case(
            torch.tensor([1.0]),
            torch.tensor([0.0]),
            torch.tensor([6.0]),
            torch.empty(0, 1),
            torch.empty(0, 1),
        ),
        Case(
            torch.tensor([1.0]),
            torch.tensor([0.0]),
            torch.tensor([0.0]),
            torch.tensor([[0.0], [2.0]]).log1p(),
            torch.tensor([[4.0], [8.0]]),
        ),
        *(
            Case(
                _numbers(d, seed=seed),
                _numbers(d, seed=seed + 1),
                _numbers(d_v, seed=seed + 2),
                _numbers(time, d, seed=seed + 3),
                _numbers(time, d_v, seed=seed + 4),
            )
            for time, d, d_v, seed in ((2, 2, 3, 0), (7, 4, 4, 10))
        ),
    ],
)


# -- what a cache takes ------------------------------------------------------------------------


def _bytes(
    layers: int, kv_heads: int, d_head: int, length: int, batch: int, bytes_each: int
) -> int:
    return 2 * layers * kv_heads * d_head * length * batch * bytes_each


check_bytes = Checker(
    "cache_size",
    _bytes,
    [
        Case(layers=1, kv_heads=1, d_head=1, length=1, batch=1, bytes_each=1),
        Case(layers=3, kv_heads=2, d_head=5, length=7, batch=4, bytes_each=2),
        Case(layers=12, kv_heads=12, d_head=64, length=1024, batch=1, bytes_each=2),
        Case(layers=32, kv_heads=8, d_head=128, length=4096, batch=16, bytes_each=1),
    ],
)


# -- what a cache saves ------------------------------------------------------------------------


def _saved(prompt: int, new: int) -> tuple[int, int]:
    lengths = range(prompt, prompt + new)  # of the text in front of each new token
    rows, scores = sum(lengths), sum(n * n for n in lengths)
    return rows - lengths[-1], scores - prompt**2 - sum(lengths[1:])


check_saved = Checker(
    "saved",
    _saved,
    [
        Case(prompt=1, new=1),
        Case(prompt=1, new=2),
        Case(prompt=1, new=3),
        Case(prompt=5, new=1),
        Case(prompt=3, new=4),
        Case(prompt=1000, new=100),
    ],
)


# -- positions and mask of rows that are padded on the left ------------------------------------


def _places(padding: Tensor, past: int, new: int) -> tuple[Tensor, Tensor]:
    place = torch.arange(past + new) - padding[:, None]
    return place[:, past:].clamp(min=0), place >= 0


def _of_tokens_only(candidate: Callable[..., Any]) -> Callable[..., Any]:
    """Positions of padding are free, as nobody looks at it."""

    def adapted(padding: Tensor, past: int, new: int) -> Any:
        found = candidate(padding, past, new)
        if not isinstance(found, tuple | list) or len(found) != 2:
            return found
        positions = torch.as_tensor(found[0])
        real = torch.arange(past, past + new) >= padding[:, None]
        if positions.shape != real.shape:
            return found
        return torch.where(real, positions, 0), found[1]

    return adapted


check_places = Checker(
    "places",
    _places,
    [
        Case(torch.tensor([0]), past=0, new=3),
        Case(torch.tensor([0, 2]), past=0, new=3),
        Case(torch.tensor([0, 2]), past=3, new=1),
        Case(torch.tensor([4, 0, 1]), past=5, new=2),
        Case(torch.tensor([2, 3]), past=2, new=3),
    ],
    adapt=_of_tokens_only,
)


# -- who stands in which slot of a rolling cache -----------------------------------------------


def _slots(seen: int, window: int) -> list[int]:
    slots = [0] * min(seen, window)
    for token in range(seen):
        slots[token % window] = token
    return slots


check_slots = Checker(
    "tokens_in_slots",
    _slots,
    [
        Case(seen=1, window=4),
        Case(seen=3, window=4),
        Case(seen=4, window=4),
        Case(seen=5, window=4),
        Case(seen=10, window=4),
        Case(seen=12, window=4),
        Case(seen=7, window=1),
        Case(seen=1000, window=7),
    ],
    adapt=lambda candidate: lambda seen, window: [int(t) for t in candidate(seen, window)],
)
