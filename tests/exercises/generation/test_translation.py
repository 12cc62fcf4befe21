"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math
from collections import Counter

from answers import Answers

from tfmlib.exercises.generation import translation as exercises


def grams(words, n):
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def one_by_one(translation, reference, n):
    left, hits = grams(reference, n), 0
    for gram in grams(translation, n):
        if gram in left:
            left.remove(gram)
            hits += 1
    return hits / len(grams(translation, n))


def by_minimum(translation, reference, n):
    a, b = Counter(grams(translation, n)), Counter(grams(reference, n))
    return sum(min(count, b[gram]) for gram, count in a.items()) / sum(a.values())


def recursive(tree, max_new, words=()):
    if max_new == 0:
        return []
    probability, word = max((p, w) for w, p in tree[words].items())
    assert probability > 0
    return [] if word == "</s>" else [word, *recursive(tree, max_new - 1, (*words, word))]


def sorted_words(tree, max_new):
    words = ()
    for _ in range(max_new):
        words += (sorted(tree[words], key=lambda w: -tree[words][w])[0],)
        if words[-1] == "</s>":
            return list(words[:-1])
    return list(words)


def bleu_of(translations, references, clip=True, penalty=True, mean=math.prod, root=0.25):
    """BLEU with its parts made replaceable."""
    shares = []
    for n in (1, 2, 3, 4):
        hits = total = 0
        for t, r in zip(translations, references, strict=True):
            a, b = Counter(grams(t, n)), Counter(grams(r, n))
            hits += sum(min(c, b[g]) if clip else c * (b[g] > 0) for g, c in a.items())
            total += max(0, len(t) - n + 1)
        shares.append(hits / total if total else 0.0)
    c, r = sum(map(len, translations)), sum(map(len, references))
    short = math.exp(1 - r / c) if penalty and c < r else 1.0
    return short * mean(shares) ** root


def by_logarithms(translations, references):
    value = bleu_of(translations, references, penalty=False, root=1.0)
    if value == 0:
        return 0.0
    c, r = sum(map(len, translations)), sum(map(len, references))
    return math.exp(math.log(value) / 4 - max(0, r / c - 1))


def by_sacrebleu(translations, references):
    import sacrebleu

    texts = [" ".join(t) for t in translations]
    expected = [[" ".join(r) for r in references]]
    found = sacrebleu.corpus_bleu(texts, expected, smooth_method="none")
    # sacrebleu leaves out what has no n-grams at all; the exercise calls it 0.
    return found.score / 100 if all(found.totals) else 0.0


RIGHT = {
    "best": [
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0] / h[i][1] ** e),
        lambda h, e: min(range(len(h)), key=lambda i: -h[i][0] * h[i][1] ** -e),
    ],
    "exact": [
        lambda a, b: sum(list(x) == list(y) for x, y in zip(a, b, strict=True)) / len(a),
        lambda a, b: 1 - sum(tuple(x) != tuple(y) for x, y in zip(a, b, strict=True)) / len(b),
    ],
    "precision": [one_by_one, by_minimum],
    "greedy": [recursive, sorted_words],
    "bleu": [bleu_of, by_logarithms, by_sacrebleu],
}
WRONG = {
    "best": [
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0]),  # no length at all
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0] * h[i][1] ** e),  # wrong way round
        lambda h, e: max(range(len(h)), key=lambda i: h[i][0] / h[i][1]),  # no exponent
        lambda h, e: min(range(len(h)), key=lambda i: h[i][0] / h[i][1] ** e),  # the worst
    ],
    "exact": [
        lambda a, b: sum(x == y for x, y in zip(a, b, strict=True)),  # a number, no share
        lambda a, b: sum(x[: len(y)] == y for x, y in zip(a, b, strict=True)) / len(a),  # prefix
        lambda a, b: sum(set(x) == set(y) for x, y in zip(a, b, strict=True)) / len(a),  # no order
        lambda a, b: float(a == b),  # all or nothing
    ],
    "precision": [
        lambda t, r, n: sum(g in grams(r, n) for g in grams(t, n)) / len(grams(t, n)),  # no clip
        lambda t, r, n: one_by_one(t, r, 1),  # always words
        lambda t, r, n: one_by_one(r, t, n),  # recall
    ],
    "greedy": [
        lambda tree, max_new: [*sorted_words(tree, max_new), "</s>"],  # the end token kept
        lambda tree, max_new: sorted_words(tree, 99),  # no limit
        lambda tree, max_new: recursive(tree, max_new - 1),  # one too few
        lambda tree, max_new: [max(tree[()], key=tree[()].get)],  # the first word alone
        lambda tree, max_new: sorted_words(  # the likeliest word that is not the end
            {k: {w: p for w, p in d.items() if w != "</s>"} or d for k, d in tree.items()}, max_new
        ),
    ],
    "bleu": [
        lambda t, r: sum(bleu_of([a], [b]) for a, b in zip(t, r, strict=True)) / len(t),  # a mean
        lambda t, r: bleu_of(t, r, penalty=False),
        lambda t, r: bleu_of(t, r, clip=False),
        lambda t, r: bleu_of(t, r, mean=lambda shares: sum(shares) / 4, root=1.0),  # arithmetic
        lambda t, r: bleu_of(r, t),  # the wrong way round
        lambda t, r: 100 * bleu_of(t, r),
        lambda t, r: bleu_of(t, r, root=1.0),  # no root
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
