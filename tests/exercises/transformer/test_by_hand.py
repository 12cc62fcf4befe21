"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math
import statistics

import numpy as np
import pytest
import torch

from tfmlib.exercises.transformer import by_hand as exercises


def deviations(row):
    mean = sum(row) / len(row)
    return [x - mean for x in row]


def amplified(q, factor, verb, noun):
    """Return food, tech and list of the stream at "and"; the verb and "and" share what q leaves."""
    p = (1 - q) / 2
    content = [factor * (p * v + q * n) for v, n in zip(verb[:2], noun[:2], strict=True)]
    return [*content, 2 + p * verb[2] + q * noun[2] + p * 2]


def search(q):
    """Raise the factor until all eight sentences are right, by bisection."""
    verbs, nouns = [(1, 0, 2), (0, 1, 2)], [(3, 0, 3), (3, 1, 3), (0, 3, 3), (1, 3, 3)]

    def right(factor):
        for verb in verbs:
            for noun in nouns:
                food, tech, rest = amplified(q, factor, verb, noun)
                if noun[1] > noun[0]:
                    food, tech = tech, food
                if not 2 * food - tech > rest:
                    return False
        return True

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if right(middle) else (middle, high)
    return high


def weights(**changes):
    """Return a maker of weights: three hidden units, where the chapter's solution has six."""

    def build(words):
        table = {
            "Buy": [1, 0, 0, 2],
            "Pack": [0, 1, 0, 2],
            "Take": [0, 0, 1, 2],
            "milk": [3, 0, 0, 3],
            "laptop": [0, 3, 0, 3],
            "pen": [0, 0, 3, 3],
            "and": [0, 0, 0, 2],
        }
        table |= changes.get("table", {})
        made = {
            "embeddings": torch.tensor([table[word] for word in words]),
            "w_v": np.diag([2.0, 2.0, 2.0, 1.0]),
            # What stands out from the mean of the three kinds takes from "now".
            "w_1": torch.tensor([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2], [0, 0, 0]]),
            "w_2": [[0, 0, 0, -1.0]] * 3,
            "w_out": np.eye(4),
        }
        return made | {k: v for k, v in changes.items() if k != "table"}

    return build


def wider(words):
    """Put the same model into five features, the fifth being the mean of the three kinds."""
    made = exercises._third_kind(words)
    shift = [[*row[:3], row[3], 0.0] for row in made["embeddings"]]
    return {
        "embeddings": [[*row[:4], sum(row[:3]) / 3] for row in shift],
        "w_v": np.diag([2.0, 2.0, 2.0, 1.0, 2.0]),
        "w_1": [*made["w_1"], [0] * 6],
        "w_2": [[*row, 0.0] for row in made["w_2"]],
        "w_out": np.vstack([np.eye(4), np.zeros((1, 4))]),
    }


RIGHT = {
    "normalise": [
        lambda row: [d / math.sqrt(sum(x * x for x in deviations(row)) / len(row))
                     for d in deviations(row)],
        lambda row: (np.array(row) - np.mean(row)) / np.std(row),
        lambda row: [(x - statistics.fmean(row)) / statistics.pstdev(row) for x in row],
        lambda row: torch.nn.functional.layer_norm(torch.tensor(row), (len(row),), eps=0.0),
    ],
    "sayable": [
        lambda head: sorted({int((np.array(head) @ h).argmax()) for h in ([1, -1], [-1, 1])}),
        lambda head: {max(range(len(head)), key=lambda i: s * (head[i][0] - head[i][1]))
                      for s in (1, -1)},
        lambda head: torch.unique(
            (torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) @ torch.tensor(head).T).argmax(-1)
        ),
    ],
    "amplification": [
        lambda q: 2 * (4 + q) / (11 * q - 1),
        lambda q: (4 + q) / (5.5 * q - 0.5),
        search,
    ],
    "third_kind": [
        weights(),
        wider,
        weights(table={"Buy": [0, 0, 0, 2], "Pack": [0, 0, 0, 2], "Take": [0, 0, 0, 2]}),
    ],
}  # fmt: skip

WRONG = {
    "normalise": [
        (lambda row: [d / statistics.stdev(row) for d in deviations(row)], "got [0.7071, -0.7071]"),
        (lambda row: [d / statistics.pvariance(row) for d in deviations(row)], "row=[-2, 5]"),
        (lambda row: [x / statistics.pstdev(row) for x in row], "expected [1, -1], got [3, 1]"),
        (lambda row: deviations(row), "row=[-2, 5]"),
        (lambda row: [math.copysign(1.0, d) for d in deviations(row)], "row=[2, 0, 1]"),
        (lambda row: [x / sum(row) for x in row], "expected [1, -1]"),
    ],
    "sayable": [
        (lambda head: list(range(len(head))), "expected [0, 2], got [0, 1, 2]"),
        (lambda head: [0], "expected [0, 2], got [0]"),
        (lambda head: [int(np.argmax(column)) for column in np.array(head).T], "got"),
        (lambda head: [int((np.array(head) @ h).argmax()) for h in ([1, 1], [-1, -1])], "got"),
        (lambda head: 3, "expected word numbers such as [0, 2], got 3"),
    ],
    "amplification": [
        (lambda q: (4 + q) / (1 + 5 * q), "for q=0.5"),  # only where the verb agrees
        (lambda q: 2 * (4 + q) / (13 * q - 1), "for q=0.5"),  # only the nouns without a trace
        (lambda q: (4 + q) / (3 * q), "for q=0.5"),  # without the feed-forward network
        (lambda q: 2.0, "for q=1"),
        (lambda q: (11 * q - 1) / (2 * (4 + q)), "for q=0.5"),
    ],
    "third_kind": [
        (weights(w_v=np.diag([0.0, 0, 0, 1])), "gives now, expected eggs"),
        (weights(w_2=np.zeros((3, 4))), "gives now, expected eggs"),
        (weights(table={"laptop": [3, 0, 0, 3]}), '"Buy laptop and" gives eggs, expected charger'),
        (weights(table={"Take": [0, 0, 4, 2]}), "expected"),  # the verb decides
        (weights(w_out=np.eye(4)[:, [0, 2, 1, 3]]), "gives paper, expected charger"),
        (weights(w_out=np.zeros((4, 4))), "eggs or charger or paper or now"),
        (weights(w_out=np.diag([1, 1, 1, 0.01])), "with milk hidden gives"),
        # The norm before the network leaves a row's sum at 0, so this network sees nothing.
        (weights(w_1=np.ones((4, 3))), "gives now, expected eggs"),
        (weights(w_1=np.ones((3, 3))), "w_1 must have shape"),
        (lambda words: [1, 2], "expected a dictionary"),
    ],
}


@pytest.mark.parametrize(
    ("name", "candidate"), [(n, c) for n, several in RIGHT.items() for c in several]
)
def test_accepts(name, candidate):
    check = getattr(exercises, f"check_{name}")
    passed, line = check.run(candidate)
    assert passed, line


@pytest.mark.parametrize(
    ("name", "candidate", "says"), [(n, c, s) for n, several in WRONG.items() for c, s in several]
)
def test_rejects(name, candidate, says):
    passed, line = getattr(exercises, f"check_{name}").run(candidate)
    assert not passed
    assert says in line
    assert "\n" not in line


def test_the_third_kind_must_come_from_the_noun():
    """Verbs that carry the answer by themselves pass no sentence that crosses verb and noun."""
    verbs = {"Buy": [9, 0, 0, 4], "Pack": [0, 9, 0, 4], "Take": [0, 0, 9, 4]}
    passed, line = exercises.check_third_kind.run(weights(table=verbs))
    assert not passed
    assert '"Buy laptop and"' in line
