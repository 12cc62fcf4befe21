"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.generation import sampling as exercises


def by_sorting(p, s):
    ordered, order = p.sort(descending=True)
    before = torch.cat([torch.zeros(1), ordered.cumsum(0)[:-1]])
    kept = torch.zeros(len(p), dtype=torch.bool)
    kept[order[before < s]] = True
    return kept


def by_comparing(p, s):
    """What is likelier than a token sums to less than s."""
    likelier = (p[None, :] > p[:, None]).to(p.dtype) @ p
    return likelier < s


def without_the_crossing_one(p, s):
    ordered, order = p.sort(descending=True)
    kept = torch.zeros(len(p), dtype=torch.bool)
    kept[order[ordered.cumsum(0) <= s]] = True
    return kept


def in_the_sorted_order(p, s):
    ordered = p.sort(descending=True).values
    return ordered.cumsum(0) - ordered < s


def in_the_given_order(p, s):
    return p.cumsum(0) - p < s


def by_windows(logits, tokens, n):
    out = logits.clone()
    if len(tokens) >= n:
        grams = tokens.unfold(0, n, 1)
        match = (grams[:, :-1] == tokens[len(tokens) - n + 1 :]).all(1)
        out[grams[match, -1]] = -math.inf
    return out


def by_a_set(logits, tokens, n):
    t = tokens.tolist()
    seen = {tuple(t[i : i + n]) for i in range(len(t) - n + 1)}
    last = tuple(t[len(t) - n + 1 :])
    return torch.tensor(
        [-math.inf if (*last, i) in seen else z for i, z in enumerate(logits.tolist())]
    )


def the_first_match_only(logits, tokens, n):
    out, t = logits.clone(), tokens.tolist()
    for i in range(len(t) - n + 1):
        if t[i : i + n - 1] == t[len(t) - n + 1 :]:
            out[t[i + n - 1]] = -math.inf
            break
    return out


def in_any_order(logits, tokens, n):
    out, t = logits.clone(), tokens.tolist()
    for i in range(len(t) - n + 1):
        if sorted(t[i : i + n - 1]) == sorted(t[len(t) - n + 1 :]):
            out[t[i + n - 1]] = -math.inf
    return out


def every_token_seen(logits, tokens, n):
    out = logits.clone()
    out[tokens] = -math.inf
    return out


def one_shorter(logits, tokens, n):
    return by_windows(logits, tokens, n - 1) if n > 2 else every_token_seen(logits, tokens, n)


def to_zero(logits, tokens, n):
    return by_windows(logits, tokens, n).clamp(min=0.0)


def by_counting(logits, tokens, alpha):
    counts = torch.stack([row.bincount(minlength=logits.shape[1]) for row in tokens])
    return logits - alpha * counts


def by_scatter(logits, tokens, alpha):
    return logits.scatter_add(1, tokens, torch.full(tokens.shape, -alpha))


RIGHT = {
    "temperature": [
        lambda p, T: (p.log() / T).softmax(0),
        lambda p, T: (p / p.max()).pow(1 / T) / (p / p.max()).pow(1 / T).sum(),
    ],
    "pick": [
        lambda p, u: int((p.cumsum(0) <= u).sum()),
        lambda p, u: torch.searchsorted(p.cumsum(0), torch.tensor(u), right=True).item(),
        lambda p, u: (p.cumsum(0) > u).int().argmax(),
    ],
    "nucleus": [by_sorting, by_comparing],
    "no_repeat": [by_windows, by_a_set],
    "count_penalty": [by_counting, by_scatter],
}

WRONG = {
    "temperature": [
        lambda p, T: (p / T).softmax(0),
        lambda p, T: p ** (1 / T),
        lambda p, T: p / T,
        lambda p, T: p**T / (p**T).sum(),
        lambda p, T: (p / T) / (p / T).sum(),
    ],
    "pick": [
        lambda p, u: torch.searchsorted(p.cumsum(0), torch.tensor(u)).item(),
        lambda p, u: int((p.cumsum(0) <= u).sum()) - 1,
        lambda p, u: int((p.cumsum(0) > u).sum()),
        lambda p, u: int((p > u).int().argmax()),
        lambda p, u: int(p.argmax()),
        lambda p, u: int(u * len(p)),
    ],
    "nucleus": [
        without_the_crossing_one,
        in_the_sorted_order,
        in_the_given_order,
        lambda p, s: p >= s,
        lambda p, s: by_sorting(p, s).float(),
        lambda p, s: by_sorting(p, 1 - s),
    ],
    "no_repeat": [
        the_first_match_only,
        in_any_order,
        every_token_seen,
        one_shorter,
        to_zero,
        lambda logits, tokens, n: logits,
    ],
    "count_penalty": [
        lambda logits, tokens, alpha: logits.scatter(
            1, tokens, logits.gather(1, tokens) - alpha
        ),  # once only
        lambda logits, tokens, alpha: by_counting(logits, tokens, -alpha),
        lambda logits, tokens, alpha: (
            logits - alpha * tokens.flatten().bincount(minlength=logits.shape[1])
        ),
        lambda logits, tokens, alpha: by_counting(logits, tokens, 1.0) * alpha,
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
