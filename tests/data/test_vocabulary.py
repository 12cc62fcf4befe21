"""A closed vocabulary: ids in order, special tokens first, clear errors."""

import pytest
import torch

from tfmlib.data.vocabulary import Vocabulary


@pytest.fixture
def vocabulary():
    return Vocabulary(["one", "two", "three"])


def test_special_tokens_come_first(vocabulary):
    assert vocabulary.tokens == ("<pad>", "<s>", "</s>", "one", "two", "three")
    assert (vocabulary.pad_id, vocabulary.start_id, vocabulary.end_id) == (0, 1, 2)
    assert len(vocabulary) == vocabulary.vocab_size == 6
    assert "two" in vocabulary
    assert "four" not in vocabulary


def test_round_trip(vocabulary):
    ids = vocabulary.encode(["three", "one"], add_start=True, add_end=True)
    assert ids == [1, 5, 3, 2]
    assert vocabulary.decode([*ids, 0]) == ["three", "one"]
    assert vocabulary.decode(torch.tensor(ids)) == ["three", "one"]
    assert vocabulary.decode(ids, skip_special=False) == ["<s>", "three", "one", "</s>"]
    assert [vocabulary.token(vocabulary.id(t)) for t in vocabulary.tokens] == [*vocabulary.tokens]


def test_more_special_tokens():
    vocabulary = Vocabulary(["a"], special_tokens=("<pad>", "<s>", "</s>", "<mask>"))
    assert vocabulary.id("a") == 4
    assert vocabulary.decode([3, 4]) == ["a"]


def test_unknown_token_and_id_are_named(vocabulary):
    with pytest.raises(ValueError, match="no token 'four'"):
        vocabulary.encode(["one", "four"])
    for bad in (6, -1):
        with pytest.raises(ValueError, match=f"from 0 to 5, got {bad}"):
            vocabulary.decode([bad])


def test_a_string_is_not_a_list_of_tokens(vocabulary):
    with pytest.raises(TypeError, match="split it first"):
        vocabulary.encode("one")
    with pytest.raises(TypeError, match="one string"):
        Vocabulary("one")


@pytest.mark.parametrize(
    ("tokens", "special", "message"),
    [
        (["a", "a"], ("<pad>", "<s>", "</s>"), "'a' stands twice"),
        (["<s>"], ("<pad>", "<s>", "</s>"), "'<s>' stands twice"),
        ([""], ("<pad>", "<s>", "</s>"), "empty"),
        (["a"], ("<pad>", "<s>"), "padding, start and end"),
    ],
)
def test_bad_vocabularies(tokens, special, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(tokens, special_tokens=special)
