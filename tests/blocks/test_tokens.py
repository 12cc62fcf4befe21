"""Byte-pair tokenizer: the merges of ``tokenizers``, no text lost, strict files."""

import doctest
import json
import random
from collections import Counter
from itertools import pairwise

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmlib.blocks import tokens
from tfmlib.blocks.tokens import BytePairTokenizer, learn_merges, merge_pair, split_words

TEXT = """Byte pairs are merged in the order of their counts, the most frequent pair first.
Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche; zwei Männer, ein Hund.
The merged pair is a token like any other, so tokens grow: the, there, then, other, another.
12 000 words, 345,678 pairs and 3.14 -- "quoted", (in brackets), e-mail_adress@example.org ...
Die Straße, über die der Hund läuft, führt über die Brücke. Über die Straße läuft kein Mann.
日本語のテキスト, ελληνικά, русский текст, 🙂🙂🙂.
"""


@pytest.fixture(scope="module")
def tokenizer():
    return BytePairTokenizer.train([TEXT], vocab_size=330)


# --- the same merges as the package `tokenizers` ---------------------------------------------


def peer(word_counts, *, vocab_size, min_count):
    """Train ``tokenizers`` on the same words, byte b written as the letter U+0100 + b."""
    special = ["<pad>", "<s>", "</s>"]
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=[chr(0x100 + byte) for byte in range(256)],
        min_frequency=min_count,
        show_progress=False,
    )
    words = [to_letters(word) for word in word_counts.elements()]
    model.train_from_iterator([" ".join(words)], trainer)
    return model


def to_letters(word):
    return "".join(chr(0x100 + byte) for byte in word.encode("utf-8"))


def peer_merges(model):
    """The peer's merges as pairs of its ids."""
    merges = json.loads(model.to_str())["model"]["merges"]
    return [(model.token_to_id(left), model.token_to_id(right)) for left, right in merges]


@pytest.mark.parametrize("min_count", [1, 2, 5])
def test_merges_are_those_of_tokenizers(min_count):
    word_counts = Counter(split_words(TEXT))
    model = peer(word_counts, vocab_size=600, min_count=min_count)
    ours = BytePairTokenizer.train([TEXT], vocab_size=600, min_count=min_count)
    assert len(ours.merges) > 10
    assert list(ours.merges) == peer_merges(model)
    assert ours.vocab_size == model.get_vocab_size()


def test_ids_of_new_text_are_those_of_tokenizers(tokenizer):
    model = peer(Counter(split_words(TEXT)), vocab_size=330, min_count=2)
    text = "Another token, über dem Männerhund: the 🙂 thenthere 345 000 \n\n e-mail"
    theirs = [model.encode(to_letters(word)).ids for word in split_words(text)]
    assert tokenizer.encode(text) == [id for ids in theirs for id in ids]
    assert tokenizer.vocab_size == 330


# Few letters in short words: almost every step is a tie, and runs of one letter overlap.
WORDS = st.dictionaries(st.text("ab c", min_size=1, max_size=9), st.integers(1, 3), min_size=1)


@given(WORDS, st.integers(1, 2))
@settings(deadline=None, max_examples=300)
def test_ties_are_broken_as_in_tokenizers(words, min_count):
    model = peer(Counter(words), vocab_size=3 + 256 + 25, min_count=min_count)
    ours = learn_merges(words, n_merges=25, first_id=3, min_count=min_count)
    assert ours == peer_merges(model)


@given(WORDS)
@settings(deadline=None)
def test_incremental_counts_equal_counting_anew(words):
    """The same algorithm as the paper's listing: all pairs counted again for every merge."""
    split = [(list(word.encode()), count) for word, count in words.items()]
    expected = []
    while len(expected) < 12:
        counts = Counter()
        for symbols, count in split:
            for pair in pairwise(symbols):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        expected.append(best)
        new = 255 + len(expected)
        split = [(merge_pair(symbols, best, new), count) for symbols, count in split]
    assert learn_merges(words, n_merges=12, min_count=1) == expected


def test_ties_by_hand():
    """All pairs occur once: the smallest left id wins, then the smallest right id."""
    merges = learn_merges({"zb": 1, "za": 1, "ay": 1, "ax": 1}, n_merges=4, min_count=1)
    assert [tuple(map(chr, pair)) for pair in merges] == [
        ("a", "x"),
        ("a", "y"),
        ("z", "a"),
        ("z", "b"),
    ]


def test_merges_by_hand():
    words = {"low": 5, "lower": 2, "newest": 6, "widest": 3}  # the paper's dictionary
    merges = learn_merges(words, n_merges=4)
    spelled = {byte: chr(byte) for byte in range(256)}
    for new, (left, right) in enumerate(merges, start=256):
        spelled[new] = spelled[left] + spelled[right]
    # es and st occur nine times each: (e, s) comes first, then (es, t); lo ties with none.
    assert [spelled[256 + i] for i in range(4)] == ["es", "est", "lo", "low"]


# --- nothing is lost ---------------------------------------------------------------------------


@given(st.text())
@settings(deadline=None, max_examples=200)
def test_round_trip_of_any_text(tokenizer, text):
    assert "".join(split_words(text)) == text
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert min(ids, default=3) >= 3, "special tokens must not come from text"


@given(st.text(st.characters(codec="utf-8", categories=["Z", "C", "L"]), max_size=30))
@settings(deadline=None)
def test_round_trip_of_spaces_and_control_characters(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_round_trip_of_every_character(tokenizer):
    every = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    sample = every[:0x3000] + every[0x3000::97]
    assert tokenizer.decode(tokenizer.encode(sample)) == sample


@pytest.mark.parametrize("text", ["<s>", "</s> <pad>", "a<s>b"])
def test_special_tokens_never_come_from_text(text):
    tokenizer = BytePairTokenizer.train([text * 50], vocab_size=300)
    ids = tokenizer.encode(text)
    assert min(ids) >= 3
    assert tokenizer.decode(ids) == text


def test_words():
    words = ["A", " dog", ",", " ", " 2", "\n", " cats", "_", "x", " \n"]
    assert split_words("".join(words)) == words


def test_time_for_a_word_is_bounded():
    for text in ("x" * 100_000, " " * 100_000, "." * 100_000, "7" * 100_000):
        words = split_words(text)
        assert "".join(words) == text
        assert max(map(len, words)) <= 65


def test_lone_surrogates_are_rejected(tokenizer):
    with pytest.raises(ValueError, match=r"U\+D83D at position 3 is a lone surrogate"):
        tokenizer.encode("abc\ud83d")
    with pytest.raises(ValueError, match="lone surrogate"):
        BytePairTokenizer.train(["abc", "\udc00"], vocab_size=300)


def test_ids_that_no_text_has_decode_to_the_replacement_character(tokenizer):
    first_byte_of_two = tokenizer.encode("ß")[0]
    assert tokenizer.decode([3 + 0xC3]) == "\ufffd"
    assert first_byte_of_two >= 3
    assert tokenizer.decode([3 + ord("a"), 3 + 0xFF, 3 + ord("b")]) == "a\ufffdb"


# --- special tokens, display -------------------------------------------------------------------


def test_start_and_end(tokenizer):
    plain = tokenizer.encode("ein Hund")
    both = tokenizer.encode("ein Hund", add_start=True, add_end=True)
    assert both == [tokenizer.start_id, *plain, tokenizer.end_id]
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id) == (0, 1, 2)
    assert tokenizer.decode([*both, 0, 0]) == "ein Hund"
    assert tokenizer.decode([*both, 0], skip_special=False) == "<s>ein Hund</s><pad>"
    batch = tokenizer.encode_batch(["ein Hund", ""], add_start=True, add_end=True)
    assert batch == [both, [1, 2]]


def test_encoding_twice_gives_lists_of_ones_own(tokenizer):
    first = tokenizer.encode("Hund")
    first.append(99)
    assert tokenizer.encode("Hund") == first[:-1]


def test_the_cache_tells_words_apart(tokenizer):
    for word in ("there", "the", "th", "t", " there", "there"):
        assert tokenizer.decode(tokenizer.encode(word)) == word


def test_decode_takes_a_tensor(tokenizer):
    assert tokenizer.decode(torch.tensor(tokenizer.encode("ein Hund"))) == "ein Hund"


def test_more_special_tokens():
    special = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = BytePairTokenizer.train([TEXT], vocab_size=280, special_tokens=special)
    assert [tokenizer.token(id) for id in range(4)] == list(special)
    assert tokenizer.token(4 + ord("A")) == "A"
    assert tokenizer.decode([3, 4 + ord("A")], skip_special=False) == "[MASK]A"
    assert len(tokenizer) == tokenizer.vocab_size == 280


def test_display(tokenizer):
    def shown(text):
        return [tokenizer.token(id) for id in tokenizer.encode(text)]

    assert shown(" the") == ["␣the"]
    assert shown("\n") == ["\\n"]
    assert shown("\x00") == ["\\x00"]
    assert tokenizer.token(3 + 0xC3) == "\\xc3"
    everything = [tokenizer.token(id) for id in range(len(tokenizer))]
    assert all(token.isprintable() and token for token in everything)


def test_a_small_text_gives_fewer_tokens():
    tokenizer = BytePairTokenizer.train(["abcabc"], vocab_size=1000)
    assert tokenizer.vocab_size == len(tokenizer) == 3 + 256 + 2  # ab, abc; abcabc occurs once
    assert tokenizer.decode(tokenizer.encode("abcabc")) == "abcabc"
    assert BytePairTokenizer.train([], vocab_size=259).vocab_size == 259


def test_the_same_texts_in_any_order_give_the_same_tokenizer():
    lines = TEXT.split("\n")
    forwards = BytePairTokenizer.train(lines, vocab_size=350)
    backwards = BytePairTokenizer.train(iter(lines[::-1]), vocab_size=350)
    assert forwards.merges == backwards.merges


def test_the_cache_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr(tokens, "_MAX_CACHED_WORDS", 10)
    text = " ".join(map(str, range(1000, 1100)))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer._cache) <= 10


# --- bad input, files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 258}, r"vocab_size >= 259 \(3 special tokens and 256 bytes\), got 258"),
        ({"vocab_size": 300, "min_count": 0}, "min_count >= 1, got 0"),
        ({"vocab_size": 300, "special_tokens": ("<pad>",)}, "padding, start and end"),
        ({"vocab_size": 300, "special_tokens": ("a", "b", "b")}, "different, non-empty"),
        ({"vocab_size": 300, "special_tokens": ("a", "b", "")}, "different, non-empty"),
    ],
)
def test_bad_training_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BytePairTokenizer.train(["text"], **arguments)


def test_a_string_is_not_a_list_of_texts(tokenizer):
    with pytest.raises(TypeError, match="one string"):
        BytePairTokenizer.train("text", vocab_size=300)
    with pytest.raises(TypeError, match="one string"):
        BytePairTokenizer.train(["text"], vocab_size=300, special_tokens="abc")
    with pytest.raises(TypeError, match="one string"):
        tokenizer.encode_batch("text")


@pytest.mark.parametrize("id", [-1, 330, 10**20])
def test_ids_outside_the_vocabulary(tokenizer, id):
    with pytest.raises(ValueError, match=f"from 0 to 329, got {id}"):
        tokenizer.decode([5, id])
    with pytest.raises(ValueError, match=f"from 0 to 329, got {id}"):
        tokenizer.token(id)


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokens.json")
    loaded = BytePairTokenizer.load(tmp_path / "tokens.json")
    assert loaded.merges == tokenizer.merges
    assert loaded.special_tokens == tokenizer.special_tokens
    text = TEXT[::-1] + " der Hund"
    assert loaded.encode(text) == tokenizer.encode(text)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokens.json").read_bytes()


def test_special_tokens_of_any_script_are_saved(tmp_path):
    tokenizer = BytePairTokenizer([], special_tokens=("空", "«", "»", "🙂"))
    tokenizer.save(tmp_path / "tokens.json")
    assert "空" in (tmp_path / "tokens.json").read_text(encoding="utf-8")
    assert BytePairTokenizer.load(tmp_path / "tokens.json").special_tokens[3] == "🙂"


def test_every_truncation_is_noticed(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokens.json")
    data = (tmp_path / "tokens.json").read_bytes()
    for size in [*range(0, len(data) - 2, 37), len(data) - 2]:
        (tmp_path / "cut.json").write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"cut\.json: not a tokenizer file"):
            BytePairTokenizer.load(tmp_path / "cut.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "the format 'tfmlib byte-pair tokenizer'"),
        ({"version": 2}, "expected version 1, got 2"),
        ({"version": True}, "expected version 1, got True"),
        ({"version": None}, "expected version 1, got None"),
        ({"extra": 0}, r"got \['extra', 'format'"),
        ({"merges": {}}, "merges is not a list"),
        ({"merges": [[100, 101], [100]]}, r"merge 1 is not two integers: \[100\]"),
        ({"merges": [[100, 101.0]]}, "merge 0 is not two integers"),
        ({"merges": [[True, 101]]}, "merge 0 is not two integers"),
        ({"merges": ["ab"]}, "merge 0 is not two integers: 'ab'"),
        ({"merges": [[100, 101], [260, 100]]}, "merge 1 .*expected ids from 3 to 259"),
        ({"merges": [[2, 100]]}, "merge 0 .*expected ids from 3 to 258"),
        ({"merges": [[100, 101], [100, 101]]}, "merge 1 .*merged before"),
        ({"special_tokens": ["a", "b", 3]}, "not a list of strings"),
        ({"special_tokens": "abc"}, "not a list of strings"),
        ({"special_tokens": ["a", "b"]}, "padding, start and end"),
        ({"special_tokens": ["a", "b", "\ud800"]}, "lone surrogate"),
    ],
)
def test_malformed_files_are_named(tmp_path, change, message):
    path = tmp_path / "bad.json"
    BytePairTokenizer([(100, 101)]).save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **change}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.json: not a tokenizer file: .*" + message):
        BytePairTokenizer.load(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b"no json"])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "bad.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.json: not a tokenizer file"):
        BytePairTokenizer.load(tmp_path / "bad.json")


def test_a_missing_key(tmp_path):
    path = tmp_path / "bad.json"
    BytePairTokenizer([]).save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["merges"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected format, version, .* got \['format'"):
        BytePairTokenizer.load(path)


def test_merges_left_out_by_chance():
    a, b, c = (3 + byte for byte in b"abc")
    tokenizer = BytePairTokenizer([(a, b), (259, c)])
    rng, n, p = random.Random(0), 4000, 0.3
    draws = [tuple(tokenizer.sample_word("abc", dropout=p, rng=rng)) for _ in range(n)]
    expected = {(a, b, c): p, (259, c): (1 - p) * p, (260,): (1 - p) ** 2}
    assert set(draws) == set(expected)
    for ids, chance in expected.items():
        assert draws.count(ids) / n == pytest.approx(chance, abs=4 * (chance / n) ** 0.5)


@pytest.mark.parametrize("word", ["", "a", " hello", "hellohello", "Größe", "\U0001f600"])
def test_leaving_out_none_or_all_merges(word):
    tokenizer = BytePairTokenizer.train([" hello hello Größe hallo"] * 3, vocab_size=270)
    rng = random.Random(0)
    assert tokenizer.sample_word(word, dropout=0.0, rng=rng) == tokenizer.encode(word)
    every_byte = [3 + byte for byte in word.encode()]
    assert tokenizer.sample_word(word, dropout=1.0, rng=rng) == every_byte
    for _ in range(20):
        assert tokenizer.decode(tokenizer.sample_word(word, dropout=0.5, rng=rng)) == word
    with pytest.raises(ValueError, match=r"expected dropout in \[0, 1\], got 2.0"):
        tokenizer.sample_word(word, dropout=2.0, rng=rng)


def test_docstring_examples():
    result = doctest.testmod(tokens)
    assert result.failed == 0
    assert result.attempted >= 2
