"""Checkers for the exercises of the chapter that carries a forward pass out by hand."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tfmlib.blocks.attention import naive
from tfmlib.exercises import Case, Checker, show


def _rows(values: Any) -> Tensor:
    """Return a table of numbers, given in any of the usual forms, in double precision."""
    return torch.as_tensor(values).double()


def _layer_norm(row: Sequence[float]) -> Tensor:
    values = _rows(row)
    return (values - values.mean()) / values.std(correction=0)


# -- a row with mean 0 and mean square 1 -------------------------------------------------------

check_normalise = Checker(
    "normalise",
    _layer_norm,
    [
        Case([3.0, 1.0]),
        Case([-2.0, 5.0]),
        Case([2.0, 0.0, 1.0]),
        Case([1.5, 1.5, 4.5, -0.5]),
    ],
)


# -- the words that a head can say where the norm leaves two vectors ---------------------------


def _sayable(head: Sequence[Sequence[float]]) -> list[int]:
    rows = _rows(head)
    difference = rows[:, 0] - rows[:, 1]  # the logits of [1, -1]; those of [-1, 1] are the negative
    return sorted({int(difference.argmax()), int(difference.argmin())})


def _judge_sayable(got: Any, head: Sequence[Sequence[float]]) -> str:
    expected = _sayable(head)
    try:
        found = sorted({int(word) for word in got})
    except (TypeError, ValueError):
        return f"expected word numbers such as {expected}, got {show(got)}"
    return "" if found == expected else f"expected {expected}, got {found}"


check_sayable = Checker(
    "sayable",
    _sayable,
    [
        Case([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]),
        Case([[2.0, 2.0], [0.5, 0.0], [0.0, 0.25]]),
        Case([[1.0, 1.0], [5.0, 4.0], [9.0, 7.0], [3.0, 4.0], [8.0, 8.5]]),
        Case([[-3.0, -1.0], [-6.0, -5.0]]),
        Case([[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]]),
    ],
    judge=_judge_sayable,
)


# -- how far W_V has to amplify ----------------------------------------------------------------


def _needed_amplification(q: float) -> float:
    return 2 * (4 + q) / (11 * q - 1)


check_amplification = Checker(
    "needed_amplification",
    _needed_amplification,
    [Case(q=0.5), Case(q=1.0), Case(q=0.75), Case(q=0.3), Case(q=0.6133826110378299)],
    rtol=1e-4,
)


# -- a third kind of thing ---------------------------------------------------------------------

VERBS = ("Buy", "Pack", "Take")
NOUNS = {"milk": "eggs", "laptop": "charger", "pen": "paper"}
ANSWERS = ("eggs", "charger", "paper", "now")
_SHAPES = {"w_v": "d x d", "w_1": "d x d_ff", "w_2": "d_ff x d", "w_out": "d x 4"}


def _third_kind(words: Sequence[str]) -> dict[str, Any]:
    table = {
        "Buy": [1, 0, 0, 2],
        "Pack": [0, 1, 0, 2],
        "Take": [0, 0, 1, 2],
        "milk": [3, 0, 0, 3],
        "laptop": [0, 3, 0, 3],
        "pen": [0, 0, 3, 3],
        "and": [0, 0, 0, 2],
    }
    return {
        "embeddings": [table[word] for word in words],
        "w_v": [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]],
        "w_1": [
            [1, -1, 0, 0, 1, -1],
            [-1, 1, 1, -1, 0, 0],
            [0, 0, -1, 1, -1, 1],
            [0, 0, 0, 0, 0, 0],
        ],
        "w_2": [[0, 0, 0, -0.5]] * 6,
        "w_out": torch.eye(4).tolist(),
    }


def _answer(x: Tensor, w: dict[str, Tensor], *, hide_noun: bool) -> str:
    """Return what the post-norm block says after the last row of x, [3, d]; W_Q = W_K = I."""
    allowed = torch.ones(3, 3, dtype=torch.bool).tril()
    if hide_noun:
        allowed[2, 1] = False

    def norm(rows: Tensor) -> Tensor:
        return (rows - rows.mean(-1, keepdim=True)) / rows.std(-1, correction=0, keepdim=True)

    heads = x[None, None]
    z = norm(x + naive(heads, heads, heads @ w["w_v"], mask=allowed)[0, 0])
    h = norm(z + (z @ w["w_1"]).relu() @ w["w_2"])
    logits = (h @ w["w_out"])[-1]
    best = logits.max()
    # Words within rounding of the largest logit are tied, and a tie is no answer.
    winners = [word for word, v in zip(ANSWERS, logits, strict=True) if best - v < 1e-9]
    return winners[0] if len(winners) == 1 else " or ".join(winners) or "nothing (not a number)"


def _judge_third_kind(got: Any, words: Sequence[str]) -> str:
    if not isinstance(got, dict) or set(got) != {"embeddings", *_SHAPES}:
        keys = ", ".join(["embeddings", *_SHAPES])
        return f"expected a dictionary with {keys}; got {show(got)}"
    w = {name: _rows(value) for name, value in got.items()}
    d = w["embeddings"].shape[-1]
    d_ff = w["w_1"].shape[-1]
    expected = {
        "embeddings": (len(words), d),
        "w_v": (d, d),
        "w_1": (d, d_ff),
        "w_2": (d_ff, d),
        "w_out": (d, len(ANSWERS)),
    }
    for name, shape in expected.items():
        if tuple(w[name].shape) != shape:
            return f"{name} must have shape {shape}, got {tuple(w[name].shape)}"
    row = dict(zip(words, w["embeddings"], strict=True))
    for hide_noun in (False, True):
        for verb in VERBS:
            for noun, follows in NOUNS.items():
                x = torch.stack([row[verb], row[noun], row["and"]])
                said = _answer(x, w, hide_noun=hide_noun)
                wanted = "now" if hide_noun else follows
                if said != wanted:
                    hidden = f" with {noun} hidden" if hide_noun else ""
                    return f'"{verb} {noun} and"{hidden} gives {said}, expected {wanted}'
    return ""


check_third_kind = Checker(
    "third_kind",
    _third_kind,
    [Case(words=[*VERBS, *NOUNS, "and"])],
    judge=_judge_third_kind,
)
