"""Checkers for the exercises of the chapter on checkpoints."""

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker, difference, show

# -- a file that is whole at every moment ------------------------------------------------------


def _watched(candidate: Callable[..., Any]) -> Callable[..., Any]:
    """Run a candidate in a folder of its own; return what it did to the file and left behind."""

    def run(old: str | None, new: str) -> dict[str, Any]:
        renamed: list[tuple[str | None, str | None]] = []

        def content(path: Any) -> str | None:
            path = Path(path)
            return path.read_text(encoding="utf-8") if path.is_file() else None

        def watch(real: Callable[..., Any]) -> Callable[..., Any]:
            def rename(source: Any, target: Any, **keywords: Any) -> Any:
                renamed.append((content(source), content(target)))
                return real(source, target, **keywords)

            return rename

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.txt"
            if old is not None:
                path.write_text(old, encoding="utf-8")
            with mock.patch.multiple(os, rename=watch(os.rename), replace=watch(os.replace)):
                candidate(path, new)
            there = sorted(file.name for file in Path(folder).iterdir())
            return {"renamed": renamed, "content": content(path), "there": there}

    return run


def _judge_atomic(got: Any, old: str | None, new: str) -> str:
    if got["content"] != new:
        return f"afterwards the file should hold {new!r}, but holds {got['content']!r}"
    if not got["renamed"]:
        return "nothing was renamed: while the file is being written, a kill leaves half of it"
    source, target = got["renamed"][-1]
    if source != new:
        return f"at the rename the new file was not complete: it held {source!r}"
    if target != old:
        return f"before the rename the old content was gone: the file held {target!r}"
    left = [name for name in got["there"] if name != "state.txt"]
    return f"{left[0]!r} is left behind" if left else ""


check_atomic = Checker(
    "write_atomically",
    lambda old, new: None,  # names the arguments of a case; the judge says what is right
    [Case("old", "new"), Case(None, "first"), Case("a", "b" * 100_000), Case("gone", "")],
    judge=_judge_atomic,
    adapt=_watched,
)


# -- the place in the data ---------------------------------------------------------------------


def _place_of(step: int, sizes: Sequence[int]) -> tuple[int, int]:
    epoch = 0
    while step >= sizes[epoch]:
        step -= sizes[epoch]
        epoch += 1
    return epoch, step


check_place = Checker(
    "place_of",
    _place_of,
    [
        Case(step=0, sizes=[3, 4]),
        Case(2, [3, 4]),
        Case(3, [3, 4]),
        Case(5, [3, 4, 3]),
        Case(7, [3, 4, 3]),
        Case(9, [1, 1, 2, 4, 8]),
    ],
)


# -- the mean of the weights -------------------------------------------------------------------


def _mean_of(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([state[name] for state in states]).mean(0)
        if last.is_floating_point()
        else last
        for name, last in states[-1].items()
    }


def _state(*numbers: float, count: int) -> dict[str, Tensor]:
    return {"weight": torch.tensor(numbers), "count": torch.tensor(count)}


def _judge_mean(got: Any, states: Sequence[Mapping[str, Tensor]]) -> str:
    expected = _mean_of(states)
    if not isinstance(got, Mapping):
        return f"expected a dictionary, got {show(got)}"
    if set(got) != set(expected):
        return f"expected the names {sorted(expected)}, got {sorted(got)}"
    for name, tensor in expected.items():
        found = difference(tensor, got[name])
        if found:
            return f"{name}: {found}"
        if getattr(got[name], "dtype", None) != tensor.dtype:
            return f"{name}: expected {tensor.dtype}, got {getattr(got[name], 'dtype', None)}"
    return ""


check_mean = Checker(
    "mean_of",
    _mean_of,
    [
        Case([_state(1.0, 2.0, count=3), _state(3.0, 6.0, count=5)]),
        Case([_state(1.0, count=1)]),
        Case([_state(1.0, count=1), _state(2.0, count=2), _state(9.0, count=7)]),
    ],
    judge=_judge_mean,
)


# -- how often to save -------------------------------------------------------------------------


def _best_interval(cost: float, between_kills: float) -> float:
    return math.sqrt(2 * cost * between_kills)


check_interval = Checker(
    "best_interval",
    _best_interval,
    [Case(cost=2.0, between_kills=100.0), Case(1.0, 50.0), Case(10.0, 36_000.0), Case(0.5, 1e6)],
)
