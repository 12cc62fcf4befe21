"""Checkers for the exercises of the chapter on batches."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker, difference
from tfmlib.training.batching import collate


def _padding_share(lengths: Sequence[int]) -> float:
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


check_waste = Checker(
    "padding_share",
    _padding_share,
    [Case([1, 2, 3]), Case([4, 4]), Case([7]), Case([1, 9]), Case([5, 3, 8, 1, 1, 12])],
)


def _length_mask(lengths: Sequence[int], time: int) -> Tensor:
    return torch.arange(time) < torch.tensor(lengths)[:, None]


check_mask = Checker(
    "length_mask",
    _length_mask,
    [
        Case([1, 2], time=2),
        Case([3, 1], time=3),
        Case([2], time=4),
        Case([2, 2], time=2),
        Case([5, 1, 3], time=6),
        Case([1, 2, 3], time=3),
    ],
)


# -- from what is to be predicted to what is read ----------------------------------------------


def _shift_right(target_out: Tensor, start_id: int, end_id: int, pad_id: int) -> Tensor:
    rows = [[i for i in row if i not in (end_id, pad_id)] for row in target_out.tolist()]
    pairs = [([end_id], row) for row in rows]  # the source does not matter
    return collate(pairs, pad_id=pad_id, start_id=start_id, end_id=end_id).target_in


def _judge_shift(got: Any, target_out: Tensor, start_id: int, end_id: int, pad_id: int) -> str:
    expected = _shift_right(target_out, start_id, end_id, pad_id)
    found = difference(expected, got)
    same_shape = isinstance(got, Tensor) and got.shape == expected.shape
    if found and same_shape and bool((got == end_id).any()):
        return f"{found} (an end token is left among the inputs)"
    return found


check_shift = Checker(
    "shift_right",
    _shift_right,
    [
        Case(torch.tensor([[7, 2]]), start_id=1, end_id=2, pad_id=0),
        Case(torch.tensor([[7, 8, 2], [9, 2, 0]]), start_id=1, end_id=2, pad_id=0),
        Case(torch.tensor([[7, 8, 9, 2], [9, 2, 0, 0], [2, 0, 0, 0]]), 1, 2, 0),
        Case(torch.tensor([[4, 4, 1], [1, 3, 3]]), start_id=0, end_id=1, pad_id=3),
    ],
    judge=_judge_shift,
)


# -- batches within a budget -------------------------------------------------------------------


def _cut_any(lengths: Sequence[int], budget: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for n in lengths:
        if batches and (len(batches[-1]) + 1) * max(*batches[-1], n) <= budget:
            batches[-1].append(n)
        else:
            batches.append([n])
    return batches


def _judge_cut(got: Any, lengths: Sequence[int], budget: int) -> str:
    expected = _cut_any(lengths, budget)
    try:
        found = [[int(n) for n in batch] for batch in got]
    except TypeError:
        return f"expected a list of lists, got {got!r}"
    if [n for batch in found for n in batch] != list(lengths):
        return f"the lengths are not all there, in their order: {found}"
    for batch in found:
        if not batch:
            return f"an empty batch: {found}"
        if len(batch) * max(batch) > budget:
            return f"{batch} takes {len(batch) * max(batch)} places, more than {budget}"
    return "" if found == expected else f"expected {expected}, got {found}"


check_cut = Checker(
    "cut_any",
    _cut_any,
    [
        Case([2, 3, 3, 5, 6], budget=9),
        Case([3, 1], budget=6),
        Case([3, 1, 1], budget=6),
        Case([4], budget=4),
        Case([1, 8, 1, 8, 1], budget=8),
        Case([6, 5, 4, 3, 2, 1, 1, 1, 1], budget=12),
        Case([], budget=3),
    ],
    judge=_judge_cut,
)
