"""Text and special tokens that can be tokenized are let through unchanged, others are named."""

import pytest

from tfmlib.data.text import special_names, utf8_text


@pytest.mark.parametrize("text", ["", "plain", "ß ∞ 🙂 日本", "\x00\n", "\U0010ffff"])
def test_any_whole_text_passes(text):
    assert utf8_text(text) is text


@pytest.mark.parametrize(("text", "place"), [("\ud800", 0), ("ab\udfffc", 2), ("🙂\ud83d", 1)])
def test_lone_surrogates_are_named(text, place):
    with pytest.raises(ValueError, match=rf"U\+D[0-9A-F]{{3}} at position {place} is a lone"):
        utf8_text(text)


def test_special_names_come_back_as_a_tuple():
    assert special_names(iter(["a", "b", "c", "d"])) == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("abc", TypeError, "one string"),
        (["a", "b"], ValueError, r"padding, start and end, got \('a', 'b'\)"),
        (["a", "b", "b"], ValueError, "different, non-empty"),
        (["a", "b", ""], ValueError, "different, non-empty"),
        (["a", "b", "\ud800"], ValueError, "lone surrogate"),
    ],
)
def test_special_names_that_cannot_serve(names, error, message):
    with pytest.raises(error, match=message):
        special_names(names)
