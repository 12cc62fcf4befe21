"""A byte-pair tokenizer: text to numbers and back, nothing lost.

Sennrich, Haddow and Birch (2016), "Neural Machine Translation of Rare Words with Subword Units"
(arXiv:1508.07909), section 3.2, over the 256 bytes of UTF-8 instead of characters, as in Radford
et al. (2019), section 2.2, so that there is no text without tokens.
"""

import heapq
import math
import operator
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from tfmlib.data.merge_file import Pair, read_merges, write_merges
from tfmlib.data.text import special_names, utf8_text

_SPECIAL = ("<pad>", "<s>", "</s>")
_MAX_CACHED_WORDS = 100_000

# Letters, digits or other signs, with the one space before them, or white space. Every character
# is in one of the classes, so the words joined are the text. No run is longer than 64 characters,
# so that the time for a word is bounded whatever the text is.
_WORD = re.compile(r" ?[^\W\d_]{1,64}| ?\d{1,64}| ?(?:[^\w\s]|_){1,64}|\s{1,64}(?!\S)|\s{1,64}")


def split_words(text: str) -> list[str]:
    """Return the words of `text`, within which pairs are merged; joined they are `text`.

    >>> split_words("A dog, 2 cats.")
    ['A', ' dog', ',', ' 2', ' cats', '.']
    """
    return _WORD.findall(text)


def merge_pair(symbols: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Return `symbols` with every occurrence of `pair`, from the left, replaced by `new`.

    `new` is a symbol of its own, which does not occur yet.

    >>> merge_pair([5, 5, 5, 6], (5, 5), 9)
    [9, 5, 6]
    """
    merged: list[int] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] = new
        else:
            merged.append(symbol)
    return merged


def learn_merges(
    word_counts: Mapping[str, int],
    *,
    n_merges: int,
    first_id: int = 0,
    min_count: int = 2,
    progress: bool = False,
) -> list[Pair]:
    """Return pairs of ids in the order of merging: each time the most frequent of neighbours.

    Of several equally frequent pairs, the one with the smallest left id is merged, and of these
    the one with the smallest right id. Ids are given to the bytes in order of value, then to the
    merges in order of birth, so ties go to old tokens and small bytes. This is the rule of Hugging
    Face's `tokenizers` (the heap's order in its BpeTrainer), and the merges are the same.

    Counts are kept, and changed only for the words that hold the merged pair. They fall without the
    heap knowing, and rise only for pairs with the new token, which are pushed at once.

    Args:
        word_counts: How often each word occurs.
        n_merges: How many merges to learn; fewer if no pair is frequent enough.
        first_id: The id of byte 0.
        min_count: Pairs rarer than this are not merged.
        progress: Show a progress bar.
    """
    counts = list(word_counts.values())
    words = [[first_id + byte for byte in word.encode("utf-8")] for word in word_counts]
    pair_counts: Counter[Pair] = Counter()
    words_with: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pair_counts[pair] += counts[index]
            words_with[pair].add(index)
    heap = [(-count, pair) for pair, count in pair_counts.items() if count >= min_count]
    heapq.heapify(heap)

    merges: list[Pair] = []
    bar = tqdm(total=n_merges, desc="merges", disable=not progress)
    while heap and len(merges) < n_merges:
        negative_count, pair = heapq.heappop(heap)
        count = pair_counts[pair]
        if count != -negative_count:  # outdated: back to where it belongs
            if count >= min_count:
                heapq.heappush(heap, (-count, pair))
            continue
        new = first_id + 256 + len(merges)
        merges.append(pair)
        bar.update()
        changed = set()
        for index in words_with.pop(pair):
            for old_pair in pairwise(words[index]):
                pair_counts[old_pair] -= counts[index]
            words[index] = merge_pair(words[index], pair, new)
            for new_pair in pairwise(words[index]):
                pair_counts[new_pair] += counts[index]
                if new in new_pair:
                    words_with[new_pair].add(index)
                    changed.add(new_pair)
        for new_pair in changed:
            if pair_counts[new_pair] >= min_count:
                heapq.heappush(heap, (-pair_counts[new_pair], new_pair))
    bar.close()
    return merges


class BytePairTokenizer:
    """Text to ids and back, by merging frequent pairs of bytes; made by `train` or `load`.

    Ids are given in this order: the special tokens, the 256 bytes, the merges. The first three
    special tokens are padding, start and end, whatever their names: ids 0, 1 and 2. Special tokens
    never come from text: the text `"<s>"` is three ordinary characters.

    Args:
        merges: Pairs of ids, in the order in which they are merged.
        special_tokens: At least three names.

    Raises:
        ValueError: A merge names a token that does not exist yet, or comes twice; special tokens
            are fewer than three, empty or repeated.
    """

    def __init__(self, merges: Iterable[Pair], *, special_tokens: Iterable[str] = _SPECIAL) -> None:
        self.special_tokens = special_names(special_tokens)
        self.pad_id, self.start_id, self.end_id = 0, 1, 2
        self.merges = tuple(merges)
        self._first_byte = len(self.special_tokens)
        self._bytes = [b""] * self._first_byte + [bytes([byte]) for byte in range(256)]
        self._merged: dict[Pair, int] = {}  # the new id, which is also the order of merging
        for rank, (left, right) in enumerate(self.merges):
            if not self._first_byte <= min(left, right) <= max(left, right) < len(self._bytes):
                raise ValueError(
                    f"merge {rank} is of {left} and {right}; expected ids from "
                    f"{self._first_byte} to {len(self._bytes) - 1}"
                )
            if (left, right) in self._merged:
                raise ValueError(f"merge {rank} is of {left} and {right}, which are merged before")
            self._merged[left, right] = len(self._bytes)
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int,
        special_tokens: Iterable[str] = _SPECIAL,
        min_count: int = 2,
        progress: bool = False,
    ) -> "BytePairTokenizer":
        """Return a tokenizer whose merges are learnt from `texts` (see `learn_merges`).

        Args:
            texts: Any pieces of text, such as the lines of a corpus. Nothing is merged across them.
            vocab_size: The number of tokens wanted: special tokens, 256 bytes and merges. It can
                turn out smaller where the texts hold too few pairs that occur `min_count` times.
            special_tokens: Names for padding, start, end and whatever else, in this order.
            min_count: Pairs that occur less often are not merged.
            progress: Show a progress bar.

        Raises:
            TypeError: `texts` is one string; its letters would be taken for texts.
            ValueError: `vocab_size` or `min_count` is too small, or a text holds a lone surrogate.
        """
        if isinstance(texts, str):
            raise TypeError("expected several texts, got one string; pass [text]")
        special = special_names(special_tokens)
        n_merges = vocab_size - len(special) - 256
        if n_merges < 0:
            raise ValueError(
                f"expected vocab_size >= {len(special) + 256} ({len(special)} special tokens and "
                f"256 bytes), got {vocab_size}"
            )
        if min_count < 1:
            raise ValueError(f"expected min_count >= 1, got {min_count}")
        counts = Counter(word for text in texts for word in split_words(utf8_text(text)))
        first = len(special)
        merges = learn_merges(
            counts, n_merges=n_merges, first_id=first, min_count=min_count, progress=progress
        )
        return cls(merges, special_tokens=special)

    def __len__(self) -> int:
        """Return the number of tokens, special tokens included."""
        return len(self._bytes)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, special tokens included."""
        return len(self._bytes)

    def encode(self, text: str, *, add_start: bool = False, add_end: bool = False) -> list[int]:
        """Return the ids of `text`, between the start and the end token where asked for.

        Raises:
            ValueError: `text` holds a lone surrogate (half a character), which no UTF-8 has.
        """
        words = split_words(utf8_text(text))
        ids = [id for word in words for id in self._encode_word(word)]
        return [self.start_id] * add_start + ids + [self.end_id] * add_end

    def sample_word(self, word: str, *, dropout: float, rng: random.Random) -> list[int]:
        """Return ids of one word of `split_words`, merged with some merges left out by chance.

        BPE-dropout (Provilkov, Emelianenko and Voita 2020, arXiv:1910.13267, algorithm 1): before
        each merge, every place where one is possible is passed over with probability `dropout`.
        For training only, so that a model sees a word cut in several ways. 0 is `encode`, 1 gives
        bytes.

        Raises:
            ValueError: `dropout` is not in [0, 1], or the word holds a lone surrogate.
        """
        if not 0 <= dropout <= 1:
            raise ValueError(f"expected dropout in [0, 1], got {dropout}")
        symbols = [self._first_byte + byte for byte in utf8_text(word).encode("utf-8")]
        while True:
            places = [
                (self._merged[pair], i)
                for i, pair in enumerate(pairwise(symbols))
                if pair in self._merged and rng.random() >= dropout
            ]
            if not places:
                return symbols
            new, i = min(places)
            symbols[i : i + 2] = [new]

    def encode_batch(
        self, texts: Iterable[str], *, add_start: bool = False, add_end: bool = False
    ) -> list[list[int]]:
        """Return the ids of each text, as `encode` does."""
        if isinstance(texts, str):
            raise TypeError("expected several texts, got one string; use encode")
        return [self.encode(text, add_start=add_start, add_end=add_end) for text in texts]

    def _encode_word(self, word: str) -> list[int]:
        """Return the ids of one word: its bytes, merged in the order of learning."""
        if word in self._cache:
            return self._cache[word]
        symbols = [self._first_byte + byte for byte in word.encode("utf-8")]
        while len(symbols) > 1:
            pair = min(pairwise(symbols), key=lambda pair: self._merged.get(pair, math.inf))
            if pair not in self._merged:
                break
            symbols = merge_pair(symbols, pair, self._merged[pair])
        if len(self._cache) >= _MAX_CACHED_WORDS:
            self._cache.clear()
        self._cache[word] = symbols
        return symbols

    def decode(
        self, ids: Iterable[int] | Int[Tensor, " time"], *, skip_special: bool = True
    ) -> str:
        """Return the text of `ids`; `decode(encode(text)) == text` for every text.

        Args:
            ids: A list of ids, or a tensor of them.
            skip_special: Leave special tokens out; otherwise their names are written.

        What is no UTF-8, as a model may write it, becomes U+FFFD.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        pieces = []
        for id in map(self._checked_id, map(operator.index, ids)):
            if id >= self._first_byte:
                pieces.append(self._bytes[id])
            elif not skip_special:
                pieces.append(self.special_tokens[id].encode("utf-8"))
        return b"".join(pieces).decode("utf-8", errors="replace")

    def token(self, id: int) -> str:
        r"""Return one token for display: a space as `␣`, what cannot be shown as `\xc3`.

        Raises:
            ValueError: The id is not in the vocabulary.
        """
        id = self._checked_id(id)
        if id < self._first_byte:
            return self.special_tokens[id]
        text = self._bytes[id].decode("utf-8", errors="backslashreplace").replace(" ", "␣")
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def _checked_id(self, id: int) -> int:
        """Return `id` as an int if it is in the vocabulary."""
        if not 0 <= id < len(self._bytes):
            raise ValueError(f"expected an id from 0 to {len(self._bytes) - 1}, got {id}")
        return id

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to a JSON file, which `load` reads."""
        write_merges(path, merges=self.merges, special_tokens=self.special_tokens)

    @classmethod
    def load(cls, path: str | Path) -> "BytePairTokenizer":
        """Return the tokenizer that `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no whole, valid tokenizer file of this version; the message says why.
        """
        try:
            merges, special_tokens = read_merges(path)
            return cls(merges, special_tokens=special_tokens)
        except ValueError as error:
            raise ValueError(f"{path}: not a tokenizer file: {error}") from error
