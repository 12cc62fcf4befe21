"""Checkers for the exercises of the chapter on translation."""

from collections import Counter
from collections.abc import Sequence

from tfmlib.exercises import Case, Checker

# -- the best hypothesis, by log probability and length ----------------------------------------


def _best(hypotheses: Sequence[tuple[float, int]], exponent: float) -> int:
    scores = [log / length**exponent for log, length in hypotheses]
    return scores.index(max(scores))


_SHORT_AND_LONG = [(-1.0, 2), (-1.6, 4), (-2.0, 8)]

check_best = Checker(
    "best_hypothesis",
    _best,
    [
        Case(_SHORT_AND_LONG, 0.0),
        Case(_SHORT_AND_LONG, 1.0),
        Case([(-3.0, 3), (-1.2, 1)], 1.0),
        Case([(-1.0, 2), (-1.6, 4)], 0.5),
        Case([(-2.0, 5)], 1.4),
    ],
)

# -- the share of translations that are right in every token -----------------------------------


def _exact(written: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> float:
    same = [list(a) == list(b) for a, b in zip(written, wanted, strict=True)]
    return sum(same) / len(same)


check_exact = Checker(
    "exact_share",
    _exact,
    [
        Case([[5, 6], [7, 8]], [[5, 6], [7, 9]]),
        Case([[5, 6, 7]], [[5, 6]]),
        Case([[5]], [[5, 6]]),
        Case([[4, 5], [6]], [[5, 4], [6]]),
        Case([[4], [5], [6]], [[4], [5], [6]]),
    ],
)

# -- precision of n-grams, clipped, as in BLEU -------------------------------------------------


def _precision(translation: Sequence[str], reference: Sequence[str], n: int) -> float:
    def grams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    found = grams(translation)
    return (found & grams(reference)).total() / found.total()


check_precision = Checker(
    "clipped_precision",
    _precision,
    [
        Case(["the"] * 7, ["the", "cat", "is", "on", "the", "mat"], 1),
        Case(["a", "dog", "runs"], ["a", "dog", "runs", "fast"], 1),
        Case(["a", "dog", "runs"], ["a", "dog", "runs", "fast"], 2),
        Case(["runs", "a", "dog"], ["a", "dog", "runs"], 2),
        Case(["a", "b", "a", "b"], ["a", "b", "c"], 2),
    ],
)
