"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import torch
from answers import Answers

from tfmlib.exercises.generation import speculative as exercises


def by_cumprod(proposed, wanted):
    return int((proposed == wanted[: len(proposed)]).long().cumprod(0).sum())


def all_that_agree(proposed, wanted):
    return int((proposed == wanted[: len(proposed)]).sum())


def moved_by_one(proposed, wanted):
    return by_cumprod(proposed, wanted[1:]) if len(wanted) > len(proposed) else 0


def by_strings(agrees, count):
    text, passes = "".join("y" if a else "n" for a in agrees), 0
    while text:
        run = min(count, len(text) - len(text.lstrip("y")))
        text, passes = text[run + 1 :], passes + 1
    return passes


def by_recursion(agrees, count):
    if not agrees:
        return 0
    run = 0
    while run < count and run < len(agrees) and agrees[run]:
        run += 1
    return 1 + by_recursion(agrees[run + 1 :], count)


def without_its_own_token(agrees, count):
    place = passes = 0
    while place < len(agrees):
        run = 0
        while run < count and place + run < len(agrees) and agrees[place + run]:
            run += 1
        place, passes = place + max(run, 1), passes + 1
    return passes


def without_a_limit(agrees, count):
    return by_strings(agrees, len(agrees))


def geometric(alpha, count):
    return count + 1.0 if alpha == 1 else (1 - alpha ** (count + 1)) / (1 - alpha)


def gains(alpha, cost, most):
    n = torch.arange(most + 1, dtype=torch.double)
    return (alpha**n).cumsum(0) / (cost * n + 1)


RIGHT = {
    "accepted": [
        by_cumprod,
        lambda proposed, wanted: next(
            (i for i in range(len(proposed)) if proposed[i] != wanted[i]), len(proposed)
        ),
    ],
    "passes": [by_strings, by_recursion],
    "expected": [geometric, lambda alpha, count: sum(alpha**i for i in range(count + 1))],
    "best": [
        lambda alpha, cost, most: int(gains(alpha, cost, most).argmax()),
        lambda alpha, cost, most: max(
            range(most + 1), key=lambda n: geometric(alpha, n) / (1 + n * cost)
        ),
    ],
    "leftover": [
        lambda p, q: (p - q).relu() / (p - q).relu().sum(),
        lambda p, q: (p - torch.minimum(p, q)) / (1 - torch.minimum(p, q).sum()),
    ],
}

WRONG = {
    "accepted": [
        all_that_agree,
        moved_by_one,
        lambda proposed, wanted: by_cumprod(proposed, wanted) + 1,
        lambda proposed, wanted: int(torch.equal(proposed, wanted[:-1])) * len(proposed),
    ],
    "passes": [
        without_its_own_token,
        without_a_limit,
        lambda agrees, count: sum(not a for a in agrees) + 1,
        lambda agrees, count: -(-len(agrees) // (count + 1)),
    ],
    "expected": [
        lambda alpha, count: (1 - alpha ** (count + 1)) / (1 - alpha),  # not at 1
        lambda alpha, count: geometric(alpha, count) - 1,
        lambda alpha, count: alpha * count + 1,
        lambda alpha, count: 1 / (1 - alpha) if alpha < 1 else float("inf"),
        lambda alpha, count: geometric(alpha, count - 1),
    ],
    "best": [
        lambda alpha, cost, most: most,
        lambda alpha, cost, most: int(gains(alpha, 0.0, most).argmax()),
        lambda alpha, cost, most: int(gains(alpha, cost, most)[1:].argmax()) + 1,  # never none
        lambda alpha, cost, most: int(gains(alpha, cost, most).argmax()) + 1,
    ],
    "leftover": [
        lambda p, q: p,
        lambda p, q: (p - q).relu(),
        lambda p, q: (q - p).relu() / (q - p).relu().sum(),
        lambda p, q: (p - q).abs() / (p - q).abs().sum(),
        lambda p, q: (p - q).softmax(0),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
