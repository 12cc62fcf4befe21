"""Checkers for the exercises of the chapter on translation."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

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

# -- greedy decoding of one sentence from a table of probabilities ------------------------------


def _greedy(tree: Mapping[tuple[str, ...], Mapping[str, float]], max_new: int) -> list[str]:
    words: list[str] = []
    while len(words) < max_new:
        after = tree[tuple(words)]
        word = max(after, key=after.__getitem__)
        if word == "</s>":
            break
        words.append(word)
    return words


_TREE = {
    (): {"ein": 0.5, "die": 0.4, "</s>": 0.1},
    ("ein",): {"</s>": 0.2, "Tier": 0.3, "Hund": 0.5},
    ("die",): {"Katze": 0.9, "</s>": 0.1},
    ("ein", "Hund"): {"bellt": 0.3, "</s>": 0.7},
    ("ein", "Hund", "bellt"): {"</s>": 1.0},
    ("ein", "Tier"): {"</s>": 1.0},
    ("die", "Katze"): {"</s>": 1.0},
}

check_greedy = Checker(
    "greedy_words",
    _greedy,
    [
        Case({(): {"ja": 0.6, "</s>": 0.4}, ("ja",): {"ja": 0.1, "</s>": 0.9}}, 5),
        Case({(): {"ja": 0.4, "</s>": 0.6}, ("ja",): {"</s>": 1.0}}, 5),
        Case({("ja",) * i: {"</s>": 0.2, "ja": 0.8} for i in range(5)}, 3),
        Case(_TREE, 9),
        Case(_TREE, 2),
        Case(_TREE, 1),
    ],
)

# -- precision of n-grams, clipped, as in BLEU -------------------------------------------------


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _precision(translation: Sequence[str], reference: Sequence[str], n: int) -> float:
    found = _grams(translation, n)
    return (found & _grams(reference, n)).total() / found.total()


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

# -- BLEU of a test set ------------------------------------------------------------------------


def _bleu(translations: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    pairs = list(zip(translations, references, strict=True))
    product = 1.0
    for n in range(1, 5):
        matches = sum((_grams(t, n) & _grams(r, n)).total() for t, r in pairs)
        product *= matches / max(1, sum(_grams(t, n).total() for t, _ in pairs))
    written, wanted = sum(map(len, translations)), sum(map(len, references))
    return math.exp(min(0.0, 1 - wanted / max(1, written))) * product**0.25


_SNOW = ["a", "brown", "dog", "runs", "in", "the", "snow"]
_MAN = ["the", "man", "in", "the", "hat", "sits", "on", "the", "bench"]

check_bleu = Checker(
    "bleu",
    _bleu,
    [
        Case([["a", "dog", "runs", "in", "the", "snow"]], [_SNOW]),
        Case([[*_SNOW, "and", "barks"]], [_SNOW]),
        Case([["the", "the", "the", "man", "in", "the", "hat", "sits"]], [_MAN]),
        Case([_SNOW, ["a", "dog", "barks"]], [_SNOW, ["the", "dog", "barks"]]),
        Case([["a", "dog", "runs", "in", "the", "snow"], [*_MAN, "now"]], [_SNOW, _MAN]),
        Case([["snow"]], [_SNOW]),
        Case([_SNOW, _MAN], [_SNOW, _MAN]),
    ],
)
