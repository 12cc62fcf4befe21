"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import itertools
import math
import os
import shutil
import tempfile

import pytest
import torch
from answers import Answers

from tfmlib.exercises.training import checkpoint as exercises


def with_a_sibling(path, text):
    new = path.with_suffix(".tmp")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def with_a_temporary_file(path, text):
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8", newline=""
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def in_a_folder(path, text):
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = os.path.join(folder, "new")
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
        shutil.move(new, path)


def directly(path, text):
    path.write_text(text, encoding="utf-8")


def removed_first(path, text):
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    path.unlink(missing_ok=True)
    new.rename(path)


def not_yet_flushed(path, text):
    new = path.with_suffix(".new")
    file = new.open("w", encoding="utf-8")
    file.write(text)  # still in the buffer
    os.replace(new, path)
    file.close()


def copied(path, text):
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    shutil.copy(new, path)
    new.unlink()


def left_behind(path, text):
    (path.parent / "backup").write_text(text, encoding="utf-8")
    with_a_sibling(path, text)


def by_cumulated(step, sizes):
    ends = list(itertools.accumulate(sizes))
    epoch = next(e for e, end in enumerate(ends) if step < end)
    return epoch, step - (ends[epoch - 1] if epoch else 0)


def by_counting(step, sizes):
    every = [(epoch, i) for epoch, size in enumerate(sizes) for i in range(size)]
    return every[step]


def mean(states, total=lambda tensors: sum(tensors) / len(tensors), integers="last"):
    result = {}
    for name in states[0]:
        tensors = [state[name] for state in states]
        if tensors[0].is_floating_point():
            result[name] = total(tensors)
        else:
            result[name] = {"last": tensors[-1], "first": tensors[0], "mean": total(tensors)}[
                integers
            ]
    return result


RIGHT = {
    "atomic": [with_a_sibling, with_a_temporary_file, in_a_folder],
    "place": [by_cumulated, by_counting, lambda step, sizes: list(by_counting(step, sizes))],
    "mean": [
        mean,
        lambda states: mean(states, lambda tensors: torch.stack(tensors).double().mean(0).float()),
    ],
    "interval": [
        lambda cost, between_kills: (2 * cost * between_kills) ** 0.5,
        lambda cost, between_kills: between_kills * math.sqrt(2 * cost / between_kills),
        lambda cost, between_kills: torch.tensor(2 * cost * between_kills).double().sqrt(),
    ],
}
WRONG = {
    "atomic": [directly, removed_first, not_yet_flushed, copied, left_behind],
    "place": [
        lambda step, sizes: divmod(step, sizes[0]),
        lambda step, sizes: by_cumulated(max(step - 1, 0), sizes),
        lambda step, sizes: (by_cumulated(step, sizes)[0], step),
        lambda step, sizes: by_cumulated(step, sizes)[::-1],
    ],
    "mean": [
        lambda states: states[-1],
        lambda states: mean(states, sum),
        lambda states: mean(states, integers="first"),
        lambda states: mean(states, integers="mean"),
        lambda states: {"weight": mean(states)["weight"]},
        lambda states: mean(states, lambda tensors: torch.stack(tensors).double().mean(0)),
    ],
    "interval": [
        lambda cost, between_kills: (cost * between_kills) ** 0.5,
        lambda cost, between_kills: 2 * cost * between_kills,
        lambda cost, between_kills: between_kills / 2,
        lambda cost, between_kills: (2 * between_kills / cost) ** 0.5,
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
    apart = ("atomic",)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (directly, "nothing was renamed"),
        (removed_first, "the old content was gone"),
        (not_yet_flushed, "the new file was not complete"),
        (left_behind, "'backup' is left behind"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(function, problem):
    assert problem in exercises.check_atomic.run(function)[1]
