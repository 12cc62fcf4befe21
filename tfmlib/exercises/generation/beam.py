"""Checkers for the exercises of the chapter on beam search."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from tfmlib.exercises import Case, Checker

# -- one step: what ends, and what goes on -------------------------------------------------------

Extension = tuple[float, int, int]  # score, parent, token


def _step(
    scores: Sequence[float], log_p: Sequence[Sequence[float]], k: int, end: int
) -> tuple[list[Extension], list[Extension]]:
    grown = [
        (score + p, i, token) for i, score in enumerate(scores) for token, p in enumerate(log_p[i])
    ]
    grown.sort(reverse=True)
    finished = [item for item in grown[:k] if item[2] == end]
    return finished, [item for item in grown if item[2] != end][:k]


def _same_step(
    got: object, scores: Sequence[float], log_p: Sequence[Sequence[float]], k: int, end: int
) -> str:
    """Compare scores up to rounding, parents and tokens exactly."""
    expected = _step(scores, log_p, k, end)
    if not isinstance(got, tuple | list) or len(got) != 2:
        return f"expected two lists, got {got!r}"
    for name, want, have in zip(("finished", "still open"), expected, got, strict=True):
        if [tuple(item[1:]) for item in have] != [item[1:] for item in want] or not all(
            math.isclose(a[0], b[0], abs_tol=1e-6) for a, b in zip(want, have, strict=True)
        ):
            shown = [(round(score, 3), *rest) for score, *rest in want]
            return f"{name}: expected {shown}, got {list(have)}"
    return ""


_TWO = [[-1.0, -2.0, -0.9], [-0.4, -3.0, -1.2]]

check_step = Checker(
    "step",
    _step,
    [
        Case([0.0], [[-0.5, -1.5, -2.5]], 1, 2),
        Case([0.0], [[-0.5, -1.5, -2.5]], 1, 0),
        Case([-1.0, -1.1], _TWO, 2, 0),
        Case([-1.0, -1.1], _TWO, 2, 2),
        Case([-1.0, -1.1], _TWO, 2, 1),
        Case([-0.1, -4.0], _TWO, 2, 0),
        Case([-1.0, -2.0, -0.5], [[-1.0, -2.0, -3.0, -0.7]] * 3, 3, 3),
    ],
    judge=_same_step,
)

# -- texts from the parents of each step ---------------------------------------------------------


def _follow(parents: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    texts = [[token] for token in tokens[0]]
    for row, new in zip(parents[1:], tokens[1:], strict=True):
        texts = [[*texts[parent], token] for parent, token in zip(row, new, strict=True)]
    return texts


def _same_texts(got: object, parents: list[list[int]], tokens: list[list[int]]) -> str:
    """Accept tuples as well as lists."""
    expected = _follow(parents, tokens)
    have = [list(text) for text in got] if isinstance(got, list | tuple) else got
    return "" if have == expected else f"expected {expected}, got {have}"


check_follow = Checker(
    "follow",
    _follow,
    [
        Case([[0, 0], [1, 0]], [[5, 6], [7, 8]]),
        Case([[0, 0]], [[5, 6]]),
        Case([[0, 0], [0, 0], [1, 1]], [[5, 6], [7, 8], [9, 4]]),
        Case(
            [[0, 0, 0], [2, 0, 1], [1, 1, 0], [2, 0, 1]],
            [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 3]],
        ),
    ],
    judge=_same_texts,
)

# -- three rules for stopping --------------------------------------------------------------------


def _stop(
    finished: Sequence[float],
    still_open: Sequence[float],
    n: int,
    longest: int,
    k: int,
    a: float,
    rule: bool | Literal["never"],
) -> bool:
    if len(finished) < k:
        return False
    if rule is True:
        return True
    length = longest if rule == "never" and a > 0 else n
    return sorted(finished, reverse=True)[k - 1] >= max(still_open) / length**a


_ABOVE = ([-0.5, -0.6], [-4.0, -3.5], 5, 10, 2)  # -0.7 per token now, -0.35 at best

check_stop = Checker(
    "may_stop",
    _stop,
    [
        Case([-0.5], [-9.0], 3, 10, 2, 1.0, True),
        Case(*_ABOVE, 1.0, True),
        Case(*_ABOVE, 1.0, False),
        Case(*_ABOVE, 1.0, "never"),
        Case([-1.0, -2.0], [-3.0, -1.5], 4, 10, 2, 0.0, False),
        Case([-1.0, -2.0], [-3.0, -2.5], 4, 10, 2, 0.0, "never"),
        Case([-2.0, -1.0, -9.0], [-3.0, -2.5], 4, 10, 2, 0.0, False),
        Case([-9.0], [-3.0], 2, 10, 1, -1.0, "never"),
        Case([-5.0], [-3.0], 2, 10, 1, -1.0, "never"),
        Case([-0.5, -0.8], [-4.0, -3.5], 5, 10, 2, 1.0, False),
        Case([-0.2, -0.3], [-4.0, -3.5], 5, 10, 2, 1.0, "never"),
    ],
)

# -- a step of diverse beam search ---------------------------------------------------------------


def _diverse(log_p: Sequence[Sequence[float]], strength: float) -> list[int]:
    taken: Counter[int] = Counter()
    tokens = []
    for row in log_p:
        scores = [p - strength * taken[token] for token, p in enumerate(row)]
        tokens.append(scores.index(max(scores)))
        taken[tokens[-1]] += 1
    return tokens


_ALIKE = [[-0.5, -1.2, -2.0]] * 3

check_diverse = Checker(
    "diverse",
    _diverse,
    [
        Case(_ALIKE, 0.0),
        Case(_ALIKE, 0.5),
        Case(_ALIKE, 1.0),
        Case(_ALIKE, 9.0),
        Case([[-0.5, -1.2, -2.0]] * 4, 0.5),
        Case([[-3.0, -0.1], [-0.2, -2.0], [-1.0, -0.8]], 0.5),
        Case([[-2.0, -0.3, -1.0]], 5.0),
    ],
)
