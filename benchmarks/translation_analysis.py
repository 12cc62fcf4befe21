"""Where a translator fails: its translations of a test set, counted in several ways.

A word is a token of BLEU's tokenizer (13a) with a letter or a digit in it, in lower case;
punctuation is no word. BLEU and chrF themselves are computed on the text as it is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

LONGEST = (9, 13)  # words of the source: up to 9, 10 to 13, 14 and more
FREQUENCIES = ((0, 0), (1, 9), (10, 99), (100, 999), (1000, None))
RESAMPLINGS = 1000

_tokenize = Tokenizer13a()


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    tokens = _tokenize(text).lower().split()
    return [token for token in tokens if any(c.isalnum() for c in token)]


def analyse(
    sources: Sequence[str],
    references: Sequence[str],
    translations: Sequence[str],
    training_targets: Iterable[str],
) -> dict[str, Any]:
    """Return every count of this module, as a record holds them.

    Raises:
        ValueError: there are not as many translations as sources and references, or none.
    """
    if not sources or not len(sources) == len(references) == len(translations):
        raise ValueError(
            "expected equally many sources, references and translations, at least one; got "
            f"{len(sources)}, {len(references)} and {len(translations)}"
        )
    score = BLEU().corpus_score(translations, [references])
    wanted, written = [*map(words, references)], [*map(words, translations)]
    return {
        "precisions": [round(p, 2) for p in score.precisions],
        "by_length": by_length(sources, references, translations),
        "by_frequency": by_frequency(wanted, written, map(words, training_targets)),
        "order": order(wanted, written),
        "repeating": {"references": repeating(wanted), "translations": repeating(written)},
    }


def by_length(
    sources: Sequence[str],
    references: Sequence[str],
    translations: Sequence[str],
    longest: Sequence[int] = LONGEST,
) -> list[dict[str, Any]]:
    """Return BLEU, its 95 % interval and chrF by the number of words in the source.

    Args:
        sources: what was translated.
        references: how somebody translated it.
        translations: how the model did.
        longest: the largest number of words in each bin but the last. A bin without sentences is
            left out.
    """
    lengths = [len(words(source)) for source in sources]
    bins = []
    low = 0
    for high in (*longest, None):
        chosen = [i for i, n in enumerate(lengths) if n >= low and (high is None or n <= high)]
        if chosen:
            wanted = [[references[i] for i in chosen]]
            written = [translations[i] for i in chosen]
            score = BLEU(references=wanted).corpus_score(written, None, n_bootstrap=RESAMPLINGS)
            bins.append(
                {
                    "from": low,
                    "to": high,
                    "sentences": len(chosen),
                    "bleu": round(score.score, 2),
                    "bleu_low": round(score._mean - score._ci, 2),
                    "bleu_high": round(score._mean + score._ci, 2),
                    "chrf": round(CHRF().corpus_score(written, wanted).score, 2),
                }
            )
        low = 0 if high is None else high + 1
    return bins


def by_frequency(
    wanted: Iterable[Sequence[str]],
    written: Iterable[Sequence[str]],
    training: Iterable[Sequence[str]],
    frequencies: Sequence[tuple[int, int | None]] = FREQUENCIES,
) -> list[dict[str, Any]]:
    """Return how many words of the references stand in their translations, rare ones and others.

    A word is counted at most as often as it stands in the translation, as BLEU counts.

    Args:
        wanted: the words of each reference.
        written: the words of its translation.
        training: the words of each training target.
        frequencies: smallest and largest number of times that a word stands in the training
            targets, for each bin; None for no limit.
    """
    seen = Counter(word for sentence in training for word in sentence)
    total, found = Counter[str](), Counter[str]()
    for reference, translation in zip(wanted, written, strict=True):
        total += Counter(reference)
        found += Counter(reference) & Counter(translation)
    bins = []
    for low, high in frequencies:
        chosen = [w for w in total if seen[w] >= low and (high is None or seen[w] <= high)]
        n_words = sum(total[w] for w in chosen)
        n_found = sum(found[w] for w in chosen)
        bins.append({"from": low, "to": high, "words": n_words, "found": n_found})
    return bins


def order(wanted: Iterable[Sequence[str]], written: Iterable[Sequence[str]]) -> dict[str, int]:
    """Count the neighbours of the references that are neighbours, or in order, in translations.

    Counted are pairs of neighbours in a reference of which each word stands exactly once in the
    reference and exactly once in the translation, so that there is no doubt which is which.

    Returns:
        `pairs`, how many such pairs there are; `in_order`, of how many the first stands anywhere
        before the second in the translation too; `adjacent`, of how many it stands right before.
    """
    pairs = in_order = adjacent = 0
    for reference, translation in zip(wanted, written, strict=True):
        place = dict(_once(translation))
        known = place.keys() & dict(_once(reference)).keys()
        for first, second in pairwise(reference):
            if first in known and second in known:
                distance = place[second] - place[first]
                pairs += 1
                in_order += distance > 0
                adjacent += distance == 1
    return {"pairs": pairs, "in_order": in_order, "adjacent": adjacent}


def _once(sentence: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the words that stand once in a sentence, and their places."""
    counts = Counter(sentence)
    return ((word, place) for place, word in enumerate(sentence) if counts[word] == 1)


def repeating(sentences: Iterable[Sequence[str]], n: int = 3) -> int:
    """Count the sentences in which some run of `n` words occurs twice."""
    count = 0
    for sentence in sentences:
        runs = [tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1)]
        count += len(set(runs)) < len(runs)
    return count
