"""Checkers for the exercises of the chapter on tokens."""

import codecs
import math
from typing import Any

from tfmlib.exercises import Case, Checker, show

# -- the tokens that are left of a run of one letter -------------------------------------------


def _run(n: int, merges: int) -> int:
    left = 0
    for _ in range(merges):
        left += n % 2
        n //= 2
    return n + left


check_run = Checker(
    "tokens_in_run",
    _run,
    [
        Case(2, 1),
        Case(3, 1),
        Case(3, 2),
        Case(13, 0),
        Case(13, 2),
        Case(13, 3),
        Case(64, 6),
        Case(1, 5),
        Case(1000, 4),
    ],
)


# -- from loss per token to bits per byte ------------------------------------------------------


def _bits(nats_per_token: float, text: str, ids: list[int]) -> float:
    return nats_per_token * len(ids) / (math.log(2) * len(text.encode("utf-8")))


check_bits = Checker(
    "bits_per_byte",
    _bits,
    [
        Case(math.log(2), "ab", [4, 5]),
        Case(1.0, "abcd", [4]),
        Case(3.0, "abcdef", [300, 301, 9]),
        Case(2.0, "Straße", [500, 501]),
        Case(2.5, "日本語", [7, 8, 9, 10]),
    ],
)


# -- the longest known prefix, again and again -------------------------------------------------


def _longest(word: str, vocabulary: set[str]) -> list[str]:
    pieces = []
    while word:
        sizes = range(len(word), 0, -1)
        size = next((n for n in sizes if word[:n] in vocabulary), 1)
        pieces.append(word[:size])
        word = word[size:]
    return pieces


def _judge_longest(got: Any, word: str, vocabulary: set[str]) -> str:
    expected = _longest(word, vocabulary)
    if isinstance(got, list | tuple) and list(got) == expected:
        return ""
    return f"expected {show(expected)}, got {show(got)}"


_LIBRARY = {"l", "i", "b", "r", "a", "y", "lib", "ibr", "ary", "ra", "li"}

check_longest = Checker(
    "longest_first_pieces",
    _longest,
    [
        Case("ab", {"a", "b", "ab"}),
        Case("library", _LIBRARY),
        Case("", {"a"}),
        Case("axb", {"a", "b"}),
        Case("aaaa", {"a", "aa", "aaa"}),
        Case("weather", {"we", "wea", "ather", "ther", "the", "r"}),
        Case("über", {"er", "ber"}),
    ],
    judge=_judge_longest,
)


# -- the fewest pieces -------------------------------------------------------------------------


def _fewest(word: str, vocabulary: set[str]) -> list[str]:
    best: list[list[str]] = [[]]
    for j in range(1, len(word) + 1):
        starts = [i for i in range(j) if j - i == 1 or word[i:j] in vocabulary]
        best.append(min(([*best[i], word[i:j]] for i in starts), key=len))
    return best[-1]


def _judge_fewest(got: Any, word: str, vocabulary: set[str]) -> str:
    if not isinstance(got, list | tuple) or not all(isinstance(p, str) for p in got):
        return f"expected a list of strings, got {show(got)}"
    if "".join(got) != word:
        return f"the pieces {show(list(got))} join to {show(''.join(got))}"
    for piece in got:
        if len(piece) != 1 and piece not in vocabulary:
            return f"{piece!r} is not in the vocabulary"
    fewest = _fewest(word, vocabulary)
    if len(got) > len(fewest):
        return f"{len(got)} pieces, but {len(fewest)} are enough: {show(fewest)}"
    return ""


check_fewest = Checker(
    "fewest_pieces",
    _fewest,
    [
        Case("ab", {"ab"}),
        Case("abcd", {"ab", "abc", "cd"}),
        Case("library", _LIBRARY),
        Case("abcdef", {"def", "abcd", "ef"}),
        Case("abcdef", {"ab", "bcdef", "cde", "cdef"}),
        Case("", {"a"}),
        Case("xyz", {"ab"}),
        Case("aaaaaaa", {"aa", "aaaa", "aaaaa"}),
        # Every way to cut is allowed: 2^39 of them.
        Case("a" * 40, {"a" * n for n in range(1, 8)}),
    ],
    judge=_judge_fewest,
)


# -- text that can be shown while it is being written ------------------------------------------


def _stream(chunks: list[bytes]) -> list[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(chunk) for chunk in chunks]


def _judge_stream(got: Any, chunks: list[bytes]) -> str:
    expected = _stream(chunks)
    if isinstance(got, list | tuple) and list(got) == expected:
        return ""
    return f"expected {expected!r}, got {show(got)}"


check_stream = Checker(
    "stream_text",
    _stream,
    [
        Case([b"ab", b"c"]),
        Case([b"\xc3", b"\x9f"]),
        Case([b"Stra\xc3", b"\x9fe"]),
        Case([b"\xe8\xaa", b"", b"\x9ea\xe8", b"\xaa\x9e"]),
        Case([b"\xf0", b"\x9f", b"\x99", b"\x82!"]),
        Case([b"\xf0\x9f\x99\x82\xf0\x9f", b"\x99\x82"]),
        Case([b"\xef\xbf\xbd", b"\xef\xbf", b"\xbd"]),  # a real U+FFFD
    ],
    judge=_judge_stream,
)
