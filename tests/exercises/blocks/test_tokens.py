"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import codecs
import math
from functools import lru_cache

from answers import Answers

from tfmlib.exercises.blocks import tokens as exercises


def run_by_merging(n, merges):
    symbols = [1] * n
    for step in range(merges):
        size, out = 2**step, []
        for symbol in symbols:
            if out and out[-1] == symbol == size:
                out[-1] = 2 * size
            else:
                out.append(symbol)
        symbols = out
    return len(symbols)


def longest_recursive(word, vocabulary):
    if not word:
        return []
    for size in range(len(word), 1, -1):
        if word[:size] in vocabulary:
            return [word[:size], *longest_recursive(word[size:], vocabulary)]
    return [word[0], *longest_recursive(word[1:], vocabulary)]


def longest_by_candidates(word, vocabulary):
    pieces, place = [], 0
    while place < len(word):
        known = [v for v in vocabulary if word.startswith(v, place)]
        pieces.append(max(known, key=len, default=word[place]))
        place += len(pieces[-1])
    return tuple(pieces)


def fewest_memo(word, vocabulary):
    @lru_cache(None)
    def best(rest):
        if not rest:
            return ()
        sizes = [n for n in range(1, len(rest) + 1) if n == 1 or rest[:n] in vocabulary]
        return min(((rest[:n], *best(rest[n:])) for n in sizes), key=len)

    return list(best(word))


def fewest_breadth_first(word, vocabulary):
    best = {0: []}
    frontier = [0]
    while len(word) not in best:
        nxt = []
        for start in frontier:
            for end in range(start + 1, len(word) + 1):
                if end not in best and (end - start == 1 or word[start:end] in vocabulary):
                    best[end] = [*best[start], word[start:end]]
                    nxt.append(end)
        frontier = nxt
    return best[len(word)]


def stream_codec(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    return [decoder.decode(chunk) for chunk in chunks]


def stream_by_length(chunks):
    waiting, shown = b"", []
    for chunk in chunks:
        waiting += chunk
        place = 0
        while place < len(waiting):
            first = waiting[place]
            size = 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
            if place + size > len(waiting):
                break
            place += size
        shown.append(waiting[:place].decode())
        waiting = waiting[place:]
    return shown


RIGHT = {
    "run": [
        run_by_merging,
        lambda n, merges: n // 2**merges + bin(n % 2**merges).count("1"),
        lambda n, merges: sum(n >> i & 1 for i in range(merges)) + (n >> merges),
    ],
    "bits": [
        lambda nats, text, ids: nats * math.log2(math.e) * len(ids) / len(text.encode()),
        lambda nats, text, ids: sum(nats / math.log(2) for _ in ids) / len(bytes(text, "utf-8")),
    ],
    "longest": [longest_recursive, longest_by_candidates],
    "fewest": [fewest_memo, fewest_breadth_first],
    "stream": [stream_codec, stream_by_length],
}


def exponential(word, vocabulary):
    if len(word) > 25:
        raise RecursionError("would take for ever")
    if not word:
        return []
    sizes = [n for n in range(1, len(word) + 1) if n == 1 or word[:n] in vocabulary]
    return min(([word[:n], *exponential(word[n:], vocabulary)] for n in sizes), key=len)


def shortest_first(word, vocabulary):
    pieces = []
    while word:
        size = next((n for n in range(1, len(word) + 1) if word[:n] in vocabulary), 1)
        pieces.append(word[:size])
        word = word[size:]
    return pieces


def from_the_right(word, vocabulary):
    return [p[::-1] for p in longest_recursive(word[::-1], {v[::-1] for v in vocabulary})][::-1]


def skips_unknown(word, vocabulary):
    return [p for p in longest_recursive(word, vocabulary) if p in vocabulary]


WRONG = {
    "run": [
        lambda n, merges: n // 2**merges,
        lambda n, merges: -(-n // 2**merges),
        lambda n, merges: n // 2**merges + n % 2**merges,
        lambda n, merges: n // 2**merges + (n % 2**merges > 0),
        lambda n, merges: n.bit_count(),
    ],
    "bits": [
        lambda nats, text, ids: nats / math.log(2),
        lambda nats, text, ids: nats * len(ids) / len(text.encode()),
        lambda nats, text, ids: nats / math.log(2) * len(ids) / len(text),
        lambda nats, text, ids: nats / math.log(2) * len(text.encode()) / len(ids),
        lambda nats, text, ids: nats * math.log(2) * len(ids) / len(text.encode()),
    ],
    "longest": [shortest_first, from_the_right, skips_unknown, fewest_memo, lambda w, v: list(w)],
    "fewest": [
        longest_recursive,
        from_the_right,
        shortest_first,
        exponential,
        lambda word, vocabulary: [word],
        lambda word, vocabulary: len(fewest_memo(word, vocabulary)),
    ],
    "stream": [
        lambda chunks: [chunk.decode("utf-8", errors="replace") for chunk in chunks],
        lambda chunks: [chunk.decode("utf-8", errors="ignore") for chunk in chunks],
        lambda chunks: [""] * (len(chunks) - 1) + [b"".join(chunks).decode()],
        lambda chunks: b"".join(chunks).decode(),
        lambda chunks: [
            b"".join(chunks[: i + 1]).decode(errors="ignore") for i in range(len(chunks))
        ],
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
