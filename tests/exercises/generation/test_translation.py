"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

from collections import Counter

import pytest

from tfmlib.exercises.generation import translation as exercises


def grams(words, n):
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def one_by_one(translation, reference, n):
    left, hits = grams(reference, n), 0
    for gram in grams(translation, n):
        if gram in left:
            left.remove(gram)
            hits += 1
    return hits / len(grams(translation, n))


def by_minimum(translation, reference, n):
    a, b = Counter(grams(translation, n)), Counter(grams(reference, n))
    return sum(min(count, b[gram]) for gram, count in a.items()) / sum(a.values())


RIGHT = {
    "best": [
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0] / h[i][1] ** e),
        lambda h, e: min(range(len(h)), key=lambda i: -h[i][0] * h[i][1] ** -e),
    ],
    "exact": [
        lambda a, b: sum(list(x) == list(y) for x, y in zip(a, b, strict=True)) / len(a),
        lambda a, b: 1 - sum(tuple(x) != tuple(y) for x, y in zip(a, b, strict=True)) / len(b),
    ],
    "precision": [one_by_one, by_minimum],
}
WRONG = {
    "best": [
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0]),  # no length at all
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0] * h[i][1] ** e),  # wrong way round
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0] / h[i][1]),  # no exponent
        lambda h, e: min(range(len(h)), key=lambda i: h[i][0] / h[i][1] ** e),  # the worst
    ],
    "exact": [
        lambda a, b: sum(x == y for x, y in zip(a, b, strict=True)),  # a number, no share
        lambda a, b: sum(x[: len(y)] == y for x, y in zip(a, b, strict=True)) / len(a),  # prefix
        lambda a, b: sum(set(x) == set(y) for x, y in zip(a, b, strict=True)) / len(a),  # no order
        lambda a, b: float(a == b),  # all or nothing
    ],
    "precision": [
        lambda t, r, n: sum(g in grams(r, n) for g in grams(t, n)) / len(grams(t, n)),  # no clip
        lambda t, r, n: one_by_one(t, r, 1),  # always words
        lambda t, r, n: one_by_one(r, t, n),  # recall
    ],
}


@pytest.mark.parametrize(
    ("name", "i"), [(n, i) for n, all_ in RIGHT.items() for i in range(len(all_))]
)
def test_accepts(name, i):
    passed, line = getattr(exercises, f"check_{name}").run(RIGHT[name][i])
    assert passed, line


@pytest.mark.parametrize(
    ("name", "i"), [(n, i) for n, all_ in WRONG.items() for i in range(len(all_))]
)
def test_rejects(name, i):
    passed, line = getattr(exercises, f"check_{name}").run(WRONG[name][i])
    assert not passed
    assert "expected" in line


@pytest.mark.parametrize("name", list(RIGHT))
def test_not_started(name):
    passed, line = getattr(exercises, f"check_{name}").run(lambda *a, **k: ...)
    assert not passed
    assert "not started" in line
