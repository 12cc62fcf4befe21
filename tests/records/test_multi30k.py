"""What is counted in translations of a test set, by hand; and the record of the run."""

import math

import pytest

from benchmarks import translation_analysis as analysis
from benchmarks.multi30k import SAMPLED
from tfmlib import records
from tfmlib.cli.train_translator import Settings

RECORD = records.load("multi30k_de_en")
NUMBERS = RECORD["numbers"]


def split(*texts):
    return [text.split() for text in texts]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man, in an orange hat.", ["a", "man", "in", "an", "orange", "hat"]),
        ('The men\'s 2 T-shirts - "New" ones!', ["the", "men's", "2", "t-shirts", "new", "ones"]),
        ("Fünf Leute", ["fünf", "leute"]),
        (" . ", []),
        ("", []),
    ],
)
def test_words(text, words):
    assert analysis.words(text) == words


def test_words_are_found_by_how_often_they_were_seen():
    training = split("the dog runs", "the dog sleeps", *["the sun"] * 8)  # dog 2, sun 8, the 10
    wanted = split("the dog and the cat", "sun sun dog")
    written = split("the dog the the", "sun cat")
    found = analysis.by_frequency(wanted, written, training, [(0, 0), (1, 9), (10, None)])
    assert found == [
        {"from": 0, "to": 0, "words": 2, "found": 0},  # "and", "cat": not in their own translation
        {"from": 1, "to": 9, "words": 4, "found": 2},  # dog, sun once of twice
        {"from": 10, "to": None, "words": 2, "found": 2},  # three were written, two are wanted
    ]


@pytest.mark.parametrize(
    ("reference", "translation", "counts"),
    [
        ("a b c", "a b c", (2, 2, 2)),
        ("a b c", "c b a", (2, 0, 0)),
        ("a b c", "a x b c", (2, 2, 1)),
        ("a b c", "a c", (0, 0, 0)),  # not neighbours in the reference
        ("a b a c", "a b a c", (0, 0, 0)),  # which a is which is not known
        ("a b c", "b a b c", (0, 0, 0)),  # nor which b
        ("a b c", "", (0, 0, 0)),
        ("a", "a", (0, 0, 0)),
    ],
)
def test_order(reference, translation, counts):
    found = analysis.order(split(reference), split(translation))
    assert (found["pairs"], found["in_order"], found["adjacent"]) == counts


def test_order_adds_up():
    found = analysis.order(split("a b", "a b"), split("a b", "b a"))
    assert found == {"pairs": 2, "in_order": 1, "adjacent": 1}


def test_repeating():
    assert analysis.repeating(split("a b c a b", "a b c a b c", "a a a a", "a b", "")) == 2
    assert analysis.repeating(split("a b a b", "a b c"), n=2) == 1


def test_bins_of_length():
    sources = ["eins.", "eins zwei", "eins zwei drei vier", "eins zwei drei vier fünf"]
    references = ["one", "one two", "one two three four", "one two three four five"]
    translations = [*references[:3], "five four three two one"]
    short, long = analysis.by_length(sources, references, translations, longest=[3])
    assert (short["from"], short["to"], short["sentences"]) == (0, 3, 2)
    assert (long["from"], long["to"], long["sentences"]) == (4, None, 2)
    assert short["chrf"] == 100 > long["chrf"]
    # Without smoothing: 9 of 9 words, 3 of 7 pairs, 2 of 5 triples, 1 of 3 runs of four.
    product = 3 / 7 * 2 / 5 * 1 / 3
    assert long["bleu"] == pytest.approx(100 * product**0.25, abs=0.01)
    assert long["bleu_low"] <= long["bleu"] <= long["bleu_high"]


def test_empty_bins_are_left_out():
    (only,) = analysis.by_length(["a b"], ["x y"], ["x y"], longest=[1, 5])
    assert (only["from"], only["to"], only["sentences"]) == (2, 5, 1)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 2, 2 and 1"):
        analysis.analyse(["a", "b"], ["c", "d"], ["e"], [])
    with pytest.raises(ValueError, match="at least one"):
        analysis.analyse([], [], [], [])


def test_all_of_it_together():
    text = ["a brown dog runs in the snow"]
    found = analysis.analyse(["ein brauner Hund"], text, ["a dog runs in the snow"], text * 12)
    assert found["precisions"] == pytest.approx([100, 80, 75, 66.67])
    assert [b["sentences"] for b in found["by_length"]] == [1]
    assert [b["words"] for b in found["by_frequency"]] == [0, 0, 7, 0, 0]
    assert [b["found"] for b in found["by_frequency"]] == [0, 0, 6, 0, 0]
    assert found["order"] == {"pairs": 4, "in_order": 4, "adjacent": 4}
    assert found["repeating"] == {"references": 0, "translations": 0}


def test_the_record_is_of_the_default_settings():
    settings = {k: v for k, v in RECORD["settings"].items() if k not in ("data", "casing")}
    assert settings == {name: getattr(Settings(), name) for name in settings}
    assert len(NUMBERS["curve"]) == settings["epochs"]
    assert len(NUMBERS["samples"]) == len(SAMPLED)


def test_the_analysis_fits_the_score():
    found = NUMBERS["analysis"]
    precisions = [p / 100 for p in found["precisions"]]
    bleu = 100 * NUMBERS["brevity_penalty"] * math.prod(precisions) ** (1 / 4)
    assert bleu == pytest.approx(NUMBERS["bleu"], abs=0.02)
    assert sum(b["sentences"] for b in found["by_length"]) == NUMBERS["sentences"]
    assert [b["to"] for b in found["by_length"]] == [*analysis.LONGEST, None]
    assert [(b["from"], b["to"]) for b in found["by_frequency"]] == list(analysis.FREQUENCIES)
    assert all(0 <= b["found"] <= b["words"] for b in found["by_frequency"])
    assert 0 <= found["order"]["adjacent"] <= found["order"]["in_order"] <= found["order"]["pairs"]
