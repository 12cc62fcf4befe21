"""Number words in English and German: a small parallel corpus that needs no download.

The words come from the package `num2words` (an optional dependency, imported on first use).
The task is small, yet it has what makes translation hard: German says the units before the tens
(forty-five, *fünfundvierzig*), so the order crosses, and writes the whole number as one word.

>>> NumberPair.of(45, 7)
NumberPair(numbers=(45, 7), source='forty-five; seven', target='fünfundvierzig; sieben')
"""

import importlib
import itertools
import operator
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tfmlib.data.vocabulary import Vocabulary

LIMIT = 1_000_000
"""Numbers are smaller than this."""

_ENGLISH_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
    "ninety hundred thousand and - ,"
)
ENGLISH_TOKENS = tuple(_ENGLISH_WORDS.split())
"""What `split_english` returns, beside the `;` between the numbers of a list."""

_GERMAN_WORDS = (
    "null ein eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig "
    "achtzig neunzig hundert tausend und"
)
GERMAN_TOKENS = tuple(_GERMAN_WORDS.split())
"""What `split_german` returns, beside the `;` between the numbers of a list."""

_ENGLISH = re.compile(r"[a-z]+|[-,;]")
# Longest first, so that "vierzig" is never read as "vier" and a rest.
_GERMAN = re.compile("|".join(sorted(GERMAN_TOKENS, key=len, reverse=True)) + "|;")


@lru_cache(maxsize=4096)
def _below_thousand(number: int, language: str) -> str:
    """Return the words of `0 <= number < 1000`; cached, since `num2words` takes 0.1 ms."""
    try:
        package = importlib.import_module("num2words")
    except ImportError as error:
        raise ImportError(
            "number words need the package num2words; install it with: pip install num2words"
        ) from error
    words: str = package.num2words(number, lang=language)
    return words


def english(number: int) -> str:
    """Return `number` in English words, as `num2words` writes it.

    >>> english(345_678)
    'three hundred and forty-five thousand, six hundred and seventy-eight'

    Raises:
        TypeError: Not an integer.
        ValueError: Not `0 <= number < 1_000_000`.
        ImportError: `num2words` is not installed.
    """
    thousands, rest = divmod(_checked(number), 1000)
    if not thousands:
        return _below_thousand(rest, "en")
    words = _below_thousand(thousands, "en") + " thousand"
    if not rest:
        return words
    return words + (", " if rest >= 100 else " and ") + _below_thousand(rest, "en")


def german(number: int) -> str:
    """Return `number` in German words, as `num2words` writes it, with one correction.

    Before *tausend*, *eins* loses its s: 101 000 is *einhunderteintausend*, where `num2words`
    (0.5.14) writes "einhunderteinstausend".

    >>> german(345_678)
    'dreihundertfünfundvierzigtausendsechshundertachtundsiebzig'

    Raises:
        TypeError: Not an integer.
        ValueError: Not `0 <= number < 1_000_000`.
        ImportError: `num2words` is not installed.
    """
    thousands, rest = divmod(_checked(number), 1000)
    if not thousands:
        return _below_thousand(rest, "de")
    words = re.sub("eins$", "ein", _below_thousand(thousands, "de")) + "tausend"
    return words + _below_thousand(rest, "de") if rest else words


def _checked(number: int) -> int:
    """Return `number` if it is one that has words here."""
    number = operator.index(number)
    if not 0 <= number < LIMIT:
        raise ValueError(f"expected a number from 0 to {LIMIT - 1}, got {number}")
    return number


def split_english(text: str) -> list[str]:
    """Return the tokens of English number words: words, hyphens, commas, semicolons.

    >>> split_english("forty-five; one thousand, two hundred")
    ['forty', '-', 'five', ';', 'one', 'thousand', ',', 'two', 'hundred']

    Lossless for what `english` writes: `join_english(split_english(text)) == text`.

    Raises:
        ValueError: `text` is not number words as `english` writes them.
    """
    tokens = _ENGLISH.findall(text)
    unknown = [token for token in tokens if token not in (*ENGLISH_TOKENS, ";")]
    if unknown or not tokens or join_english(tokens) != text:
        raise ValueError(f"not English number words: {unknown[0] if unknown else text!r}")
    return tokens


def join_english(tokens: Sequence[str]) -> str:
    """Return the text of English tokens, the inverse of `split_english`.

    Any tokens are joined, also those of a model that is still learning.
    """
    return re.sub(" ([,;])", r"\1", " ".join(tokens).replace(" - ", "-"))


def split_german(text: str) -> list[str]:
    """Return the morphemes of German number words, and the semicolons of a list.

    Each is one English number word's counterpart (`GERMAN_TOKENS`), so that an alignment can be
    read: *fünf* belongs to *five*, *vierzig* to *forty*.

    >>> split_german("dreihundertfünfundvierzigtausendsechs")
    ['drei', 'hundert', 'fünf', 'und', 'vierzig', 'tausend', 'sechs']

    Lossless for what `german` writes: `join_german(split_german(text)) == text`.

    Raises:
        ValueError: `text` is not number words as `german` writes them.
    """
    tokens = _GERMAN.findall(text)
    if not tokens or join_german(tokens) != text:
        raise ValueError(f"not German number words: {text!r}")
    return tokens


def join_german(tokens: Sequence[str]) -> str:
    """Return the text of German tokens, the inverse of `split_german`; any tokens are joined."""
    return "".join("; " if token == ";" else token for token in tokens)


@dataclass(frozen=True)
class NumberPair:
    """One example: the numbers, and their words in English (source) and German (target)."""

    numbers: tuple[int, ...]
    source: str
    target: str

    @classmethod
    def of(cls, *numbers: int) -> "NumberPair":
        """Return the pair for one number, or for a list of numbers separated by `;`."""
        if not numbers:
            raise ValueError("expected at least one number, got none")
        return cls(numbers, "; ".join(map(english, numbers)), "; ".join(map(german, numbers)))

    @property
    def source_tokens(self) -> list[str]:
        """The tokens of the English side."""
        return split_english(self.source)

    @property
    def target_tokens(self) -> list[str]:
        """The tokens of the German side."""
        return split_german(self.target)


class NumberPairs(NamedTuple):
    """The three parts of a data set. No number of one part occurs in another."""

    train: list[NumberPair]
    valid: list[NumberPair]
    test: list[NumberPair]


def number_vocabulary() -> Vocabulary:
    """Return the closed vocabulary of both languages, the same for source and target."""
    return Vocabulary((";", *ENGLISH_TOKENS, *GERMAN_TOKENS))


def number_pairs(
    *,
    n_train: int = 20_000,
    n_valid: int = 1_000,
    n_test: int = 1_000,
    max_numbers: int = 1,
    limit: int = LIMIT,
    seed: int = 0,
) -> NumberPairs:
    """Return pairs of English and German number words, split into train, valid and test.

    With `max_numbers=1` an example is one number; with `max_numbers=4` it is a list of one to
    four, each length equally often. All numbers of all lists are different, so what is held out
    holds no number that was trained on. Every number of digits comes equally often as far as there
    are such numbers (of 3 digits, only 900). The numbers below 100 are always in `train`: some
    of their words (*zero*, *elf*) stand nowhere else. What is held out is therefore a new
    combination of known words.

    The same arguments give the same pairs, on every machine and version of Python.

    Args:
        n_train: Training examples, at least 100.
        n_valid: Validation examples.
        n_test: Test examples.
        max_numbers: The largest number of numbers in one example.
        limit: The numbers are smaller than this; above 100 and at most 1 000 000.
        seed: The seed of the draw.

    Raises:
        ValueError: An argument is out of range, or there are too few numbers below `limit`.
        ImportError: `num2words` is not installed.
    """
    if n_train < 100 or n_valid < 0 or n_test < 0 or max_numbers < 1:
        raise ValueError(
            "expected n_train >= 100, n_valid >= 0, n_test >= 0 and max_numbers >= 1, got "
            f"{n_train}, {n_valid}, {n_test} and {max_numbers}"
        )
    if not 100 < limit <= LIMIT:
        raise ValueError(f"expected 100 < limit <= {LIMIT}, got {limit}")
    rng = random.Random(seed)
    n_examples = n_train + n_valid + n_test
    lengths = [1 + int(rng.random() * max_numbers) for _ in range(n_examples)]
    if sum(lengths) > limit:
        raise ValueError(f"{sum(lengths)} different numbers below {limit} do not exist")
    drawn = _draw_numbers(rng, sum(lengths) - 100, limit)
    n_train_numbers = sum(lengths[:n_train])
    small = list(range(100))
    numbers = iter(
        _draw(rng, small + drawn[: n_train_numbers - 100], n_train_numbers)
        + drawn[n_train_numbers - 100 :]
    )
    pairs = [NumberPair.of(*(next(numbers) for _ in range(length))) for length in lengths]
    end = n_train + n_valid
    return NumberPairs(pairs[:n_train], pairs[n_train:end], pairs[end:])


def _draw_numbers(rng: random.Random, n: int, limit: int) -> list[int]:
    """Return `n` different numbers from 100 to `limit - 1`, in random order."""
    bounds = [100]
    while bounds[-1] < limit:
        bounds.append(min(bounds[-1] * 10, limit))
    drawn: list[int] = []
    for i, (low, high) in enumerate(itertools.pairwise(bounds)):
        # An equal share of what is still wanted, but never fewer than the longer ones leave over.
        wanted = n - len(drawn)
        share = max(-(-wanted // (len(bounds) - 1 - i)), wanted - (limit - high))
        drawn += _draw(rng, list(range(low, high)), min(share, high - low))
    return _draw(rng, drawn, n)


def _draw(rng: random.Random, items: list[int], n: int) -> list[int]:
    """Return `n` of `items` in random order (Fisher and Yates), leaving `items` shuffled.

    Only `rng.random()` is promised to repeat in later versions of Python, `sample` is not.
    """
    for i in range(n):
        j = i + int(rng.random() * (len(items) - i))
        items[i], items[j] = items[j], items[i]
    return items[:n]
