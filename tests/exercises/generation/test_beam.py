"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import heapq

import numpy as np
import torch
from answers import Answers

from tfmlib.exercises.generation import beam as exercises

# -- one step ------------------------------------------------------------------------------------


def step_of(scores, log_p, k, end, *, first=None, room=None, add=True, order=True, swap=False):
    """A step with its parts made replaceable."""
    grown = [
        ((score if add else 0.0) + p, i, token)
        for i, score in enumerate(scores)
        for token, p in enumerate(log_p[i])
    ]
    grown.sort(key=lambda item: -item[0] if order else item[0])
    finished = [item for item in grown[: first or k] if item[2] == end]
    still_open = [item for item in grown[: room or len(grown)] if item[2] != end][:k]
    return (still_open, finished) if swap else (finished, still_open)


def step_by_topk(scores, log_p, k, end):
    total = torch.tensor(scores, dtype=torch.float64)[:, None] + torch.tensor(
        log_p, dtype=torch.float64
    )
    best, place = total.flatten().sort(descending=True)
    vocab = total.shape[1]
    grown = [[s, i // vocab, i % vocab] for s, i in zip(best.tolist(), place.tolist(), strict=True)]
    return [
        [item for item in grown[:k] if item[2] == end],
        [item for item in grown if item[2] != end][:k],
    ]


def step_by_heap(scores, log_p, k, end):
    grown = [(s + p, i, t) for i, s in enumerate(scores) for t, p in enumerate(log_p[i])]
    finished = [x for x in heapq.nlargest(k, grown) if x[2] == end]
    return finished, heapq.nlargest(k, [x for x in grown if x[2] != end])


# -- the parents ---------------------------------------------------------------------------------


def follow_backwards(parents, tokens):
    texts = []
    for place in range(len(tokens[-1])):
        text, at = [], place
        for t in reversed(range(len(tokens))):
            text.append(tokens[t][at])
            at = parents[t][at]
        texts.append(tuple(text[::-1]))
    return texts


def follow_by_arrays(parents, tokens):
    texts = np.array(tokens[0])[:, None]
    for row, new in zip(parents[1:], tokens[1:], strict=True):
        texts = np.concatenate([texts[row], np.array(new)[:, None]], axis=1)
    return texts.tolist()


def follow_in_place(parents, tokens):
    texts = [[token] for token in tokens[0]]
    for row, new in zip(parents[1:], tokens[1:], strict=True):
        for i, (parent, token) in enumerate(zip(row, new, strict=True)):
            texts[i] = [*texts[parent], token]
    return texts


def follow_nobody(parents, tokens):
    return [list(text) for text in zip(*tokens, strict=True)]


def follow_one_late(parents, tokens):
    texts = [[token] for token in tokens[0]]
    for row, new in zip(parents[:-1], tokens[1:], strict=True):
        texts = [[*texts[p], token] for p, token in zip(row, new, strict=True)]
    return texts


# -- stopping ------------------------------------------------------------------------------------


def stop_of(finished, still_open, n, longest, k, a, rule, *, at=None, count=True, pick=-1):
    """The three rules with their parts made replaceable."""
    best = sorted(finished)[::-1][:k]
    if count and len(best) < k:
        return False
    if rule is True:
        return True
    lengths = range(n, longest + 1) if rule == "never" else [n]
    lengths = lengths if at is None else [at(n, longest, rule)]
    return bool(best[pick] >= max(s / m**a for s in still_open for m in lengths))


def stop_by_tensors(finished, still_open, n, longest, k, a, rule):
    if len(finished) < k:
        return False
    worst = torch.tensor(finished).topk(k).values[-1]
    length = longest if rule == "never" and a > 0 else n
    return rule is True or bool(worst >= torch.tensor(still_open).max() / length**a)


# -- diversity -----------------------------------------------------------------------------------


def diverse_by_subtraction(log_p, strength):
    left, tokens = torch.tensor(log_p, dtype=torch.float64), []
    for g in range(len(left)):
        tokens.append(left[g].argmax().item())
        left[g + 1 :, tokens[-1]] -= strength
    return tokens


def diverse_by_count(log_p, strength):
    tokens = []
    for row in log_p:
        tokens.append(max(range(len(row)), key=lambda v: row[v] - strength * tokens.count(v)))
    return tokens


def diverse_of(log_p, strength, once=False, sign=-1, previous=False):
    tokens = []
    for row in log_p:
        seen = tokens[-1:] if previous else tokens
        times = [min(1, seen.count(v)) if once else seen.count(v) for v in range(len(row))]
        scores = [p + sign * strength * c for p, c in zip(row, times, strict=True)]
        tokens.append(scores.index(max(scores)))
    return tokens


RIGHT = {
    "step": [step_of, step_by_topk, step_by_heap],
    "follow": [follow_backwards, follow_by_arrays],
    "stop": [stop_of, stop_by_tensors],
    "diverse": [diverse_by_subtraction, diverse_by_count, diverse_of],
}

WRONG = {
    "step": [
        lambda *args: step_of(*args, first=99),  # all that end, however improbable
        lambda *args: step_of(*args, room=args[2]),  # what ends takes a place in the beam
        lambda *args: step_of(*args, add=False),
        lambda *args: step_of(*args, order=False),
        lambda *args: step_of(*args, swap=True),
        lambda *args: step_of(*args)[1],
    ],
    "follow": [
        follow_in_place,
        follow_nobody,
        follow_one_late,
        lambda parents, tokens: [text[::-1] for text in follow_by_arrays(parents, tokens)],
    ],
    "stop": [
        lambda *args: stop_of(*args, count=False),
        lambda *args: stop_of(*args, pick=0),  # the best finished one instead of the worst
        lambda *args: stop_of(*args, at=lambda n, longest, rule: n),
        lambda *args: stop_of(*args, at=lambda n, longest, rule: longest),
        # The bound of a positive exponent for a negative one as well.
        lambda *args: stop_of(*args, at=lambda n, longest, rule: longest if rule else n),
        lambda *args: len(args[0]) >= args[4],
        lambda f, *args: stop_of([min(f)] * len(f), *args),  # worse than the best k
    ],
    "diverse": [
        lambda log_p, strength: diverse_of(log_p, strength, once=True),
        lambda log_p, strength: diverse_of(log_p, strength, sign=1),
        lambda log_p, strength: diverse_of(log_p, strength, previous=True),
        lambda log_p, strength: diverse_of(log_p, 0.0),
        lambda log_p, strength: diverse_of(log_p, 99.0),  # never the same again
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
