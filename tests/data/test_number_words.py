"""Number words: held against num2words, lossless tokens, disjoint and repeatable splits."""

import builtins
import doctest
import importlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmlib.data import number_words
from tfmlib.data.number_words import (
    ENGLISH_TOKENS,
    GERMAN_TOKENS,
    NumberPair,
    english,
    german,
    join_english,
    join_german,
    number_pairs,
    number_vocabulary,
    split_english,
    split_german,
)

num2words = pytest.importorskip("num2words").num2words

# Every ending of the thousands with every kind of rest, and a stride through everything.
SAMPLE = sorted(
    {1000 * thousands + rest for thousands in range(1000) for rest in (0, 1, 21, 100, 999)}
    | set(range(2000))
    | set(range(0, 1_000_000, 487))
)


def test_english_is_what_num2words_writes():
    wrong = [n for n in SAMPLE if english(n) != num2words(n, lang="en")]
    assert wrong == []


def test_german_is_what_num2words_writes_but_for_one_s():
    wrong = [
        n
        for n in SAMPLE
        if german(n) != num2words(n, lang="de").replace("einstausend", "eintausend")
    ]
    assert wrong == []


def test_the_corrected_s():
    assert german(101_000) == "einhunderteintausend"
    assert german(1_001) == "eintausendeins"
    assert german(701_101) == "siebenhunderteintausendeinhunderteins"


def test_tokens_of_the_known_example():
    assert " ".join(split_german(german(345_678))) == (
        "drei hundert fünf und vierzig tausend sechs hundert acht und siebzig"
    )
    assert " ".join(split_english(english(345_678))) == (
        "three hundred and forty - five thousand , six hundred and seventy - eight"
    )


def test_every_number_splits_losslessly_into_the_closed_vocabulary():
    seen_english, seen_german = set(), set()
    for n in SAMPLE:
        source, target = english(n), german(n)
        assert join_english(split_english(source)) == source
        assert join_german(split_german(target)) == target
        seen_english.update(split_english(source))
        seen_german.update(split_german(target))
    assert seen_english == set(ENGLISH_TOKENS)
    assert seen_german == set(GERMAN_TOKENS)


def german_by_rule(n):
    """The morphemes of German numerals from the rules of the language, written without a table."""
    small = GERMAN_TOKENS[:1] + GERMAN_TOKENS[2:22]  # null, eins, zwei, ... zwanzig
    tens = GERMAN_TOKENS[GERMAN_TOKENS.index("zwanzig") :]
    if n >= 1000:
        thousands = german_by_rule(n // 1000)
        thousands[-1] = "ein" if thousands[-1] == "eins" else thousands[-1]
        return [*thousands, "tausend", *(german_by_rule(n % 1000) if n % 1000 else [])]
    if n >= 100:
        head = "ein" if n < 200 else small[n // 100]
        return [head, "hundert", *(german_by_rule(n % 100) if n % 100 else [])]
    if n <= 20:
        return [small[n]]
    unit = {0: [], 1: ["ein", "und"]}.get(n % 10, [small[n % 10], "und"])
    return [*unit, tens[n // 10 - 2]]


def test_german_morphemes_are_those_of_the_language():
    wrong = [n for n in SAMPLE if split_german(german(n)) != german_by_rule(n)]
    assert wrong == []


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=6))
@settings(deadline=None)
def test_lists_round_trip(numbers):
    pair = NumberPair.of(*numbers)
    assert join_english(pair.source_tokens) == pair.source
    assert join_german(pair.target_tokens) == pair.target
    assert pair.source_tokens.count(";") == pair.target_tokens.count(";") == len(numbers) - 1
    vocabulary = number_vocabulary()
    assert vocabulary.decode(vocabulary.encode(pair.source_tokens)) == pair.source_tokens
    assert vocabulary.decode(vocabulary.encode(pair.target_tokens)) == pair.target_tokens


@pytest.mark.parametrize("text", ["", "forty five-", "Forty", "eleventy", "forty  five", " forty"])
def test_what_is_not_english_number_words(text):
    with pytest.raises(ValueError, match="not English number words"):
        split_english(text)


@pytest.mark.parametrize("text", ["", "fünf vierzig", "Fünf", "zwo", "fünf;sechs", "fuenf"])
def test_what_is_not_german_number_words(text):
    with pytest.raises(ValueError, match="not German number words"):
        split_german(text)


@pytest.mark.parametrize("number", [-1, 1_000_000])
@pytest.mark.parametrize("words", [english, german])
def test_numbers_out_of_range(words, number):
    with pytest.raises(ValueError, match=f"from 0 to 999999, got {number}"):
        words(number)


@pytest.mark.parametrize("max_numbers", [1, 4])
def test_splits_are_disjoint_in_their_numbers(max_numbers):
    parts = number_pairs(n_train=3000, n_valid=300, n_test=400, max_numbers=max_numbers, seed=3)
    assert [len(part) for part in parts] == [3000, 300, 400]
    numbers = Counter(n for part in parts for pair in part for n in pair.numbers)
    assert max(numbers.values()) == 1
    lengths = Counter(len(pair.numbers) for part in parts for pair in part)
    assert sorted(lengths) == list(range(1, max_numbers + 1))
    assert min(lengths.values()) > 0.85 * 3700 / max_numbers
    train = {n for pair in parts.train for n in pair.numbers}
    assert train >= set(range(100))


def test_held_out_examples_have_only_words_seen_in_training():
    parts = number_pairs(n_train=1000, n_valid=200, n_test=200, seed=1)
    seen = {t for pair in parts.train for t in (*pair.source_tokens, *pair.target_tokens)}
    held_out = {t for part in parts[1:] for p in part for t in (*p.source_tokens, *p.target_tokens)}
    assert held_out <= seen


def test_every_number_of_digits_is_represented():
    train, _, test = number_pairs(n_train=8000, n_test=800, n_valid=0)
    for part in (train, test):
        digits = Counter(len(str(pair.numbers[0])) for pair in part)
        assert digits[3] > 0.07 * len(part)
        for n in (4, 5, 6):
            assert 0.25 * len(part) < digits[n] < 0.38 * len(part)
    small = [i for i, pair in enumerate(train) if pair.numbers[0] < 100]
    assert small[50] > 2000, "the small numbers must not all stand at the front"


def test_the_seed_decides():
    arguments = {"n_train": 200, "n_valid": 10, "n_test": 10, "max_numbers": 3}
    assert number_pairs(**arguments, seed=5) == number_pairs(**arguments, seed=5)
    assert number_pairs(**arguments, seed=5) != number_pairs(**arguments, seed=6)


def test_the_draw_is_the_same_everywhere():
    """The first draws, noted once: other versions of Python must find them again."""
    parts = number_pairs(n_train=100, n_valid=2, n_test=2, limit=10_000, seed=0)
    assert [pair.numbers for pair in parts.valid + parts.test] == [(3993,), (299,), (8151,), (205,)]


@pytest.mark.parametrize("limit", [101, 150, 1000, 1500, 20_000])
def test_all_numbers_below_the_limit_can_be_used(limit):
    n_test = (limit - 100) // 2
    train, _, test = number_pairs(n_train=limit - n_test, n_valid=0, n_test=n_test, limit=limit)
    assert sorted(pair.numbers[0] for pair in train + test) == list(range(limit))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 99}, "n_train >= 100"),
        ({"n_test": -1}, "n_test >= 0"),
        ({"max_numbers": 0}, "max_numbers >= 1"),
        ({"limit": 100}, "100 < limit <= 1000000, got 100"),
        ({"limit": 1_000_001}, "got 1000001"),
        ({"limit": 21_999}, "22000 different numbers below 21999 do not exist"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        number_pairs(**arguments)


def test_an_empty_list_is_no_pair():
    with pytest.raises(ValueError, match="at least one number"):
        NumberPair.of()


def test_without_num2words_the_error_says_what_to_install(monkeypatch):
    def refuse(name, *arguments):
        if name == "num2words":
            raise ModuleNotFoundError("No module named 'num2words'")
        return builtins.__import__(name, *arguments)

    number_words._below_thousand.cache_clear()
    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError, match="pip install num2words"):
        english(3)


def test_docstring_examples():
    assert doctest.testmod(number_words).failed == 0
    assert doctest.testmod(number_words).attempted >= 5
