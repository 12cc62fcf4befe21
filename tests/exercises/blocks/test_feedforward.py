"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.blocks import feedforward as exercises


def merge_by_probing(W_1, b_1, W_2, b_2):
    def both(x):
        return (x @ W_1 + b_1) @ W_2 + b_2

    offset = both(torch.zeros(1, len(W_1)))[0]
    return both(torch.eye(len(W_1))) - offset, offset


def merge_stacked(W_1, b_1, W_2, b_2):
    # One more feature that is always 1 carries the biases.
    first = torch.cat([torch.cat([W_1, b_1[None]]), torch.zeros(len(W_1) + 1, 1)], 1)
    first[-1, -1] = 1.0
    both = first @ torch.cat([W_2, b_2[None]])
    return [both[:-1], both[-1]]


def hat_of_four(centre, width):
    # Two ramps, each cut off at 1, and their difference.
    kinks = torch.tensor([-width, 0.0, 0.0, width]) + centre
    return torch.ones(1, 4), -kinks, torch.tensor([[1.0], [-1.0], [-1.0], [1.0]]) / width


def hat_scaled(centre, width):
    kinks = torch.tensor([centre - width, centre, centre + width])
    return torch.ones(1, 3) / width, -kinks / width, torch.tensor([[1.0], [-2.0], [1.0]])


def hat_from_the_right(centre, width):
    kinks = torch.tensor([centre + width, centre, centre - width])
    return -torch.ones(1, 3), kinks, torch.tensor([[1 / width], [-2 / width], [1 / width]])


def multiplier_scaled(i, j, d_model):
    W_g, W_1 = torch.zeros(d_model, 2), torch.zeros(d_model, 2)
    W_g[j, 0], W_g[j, 1], W_1[i] = 1.0, -1.0, 3.0
    return W_g, W_1, torch.tensor([[1 / 3], [-1 / 3]])


def multiplier_columns(i, j, d_model):
    one = torch.eye(d_model, dtype=torch.float64)
    return (
        torch.stack([-one[i], one[i]], dim=1),
        torch.stack([-one[j], one[j]], dim=1),
        [[1.0], [1.0]],
    )


def edit_least_squares(W_2, hidden, wanted):
    missing = (wanted - hidden @ W_2)[None]
    return W_2 + torch.linalg.pinv(hidden[None]) @ missing


def edit_lstsq(W_2, hidden, wanted):
    missing = (wanted - hidden @ W_2)[None]
    return W_2 + torch.linalg.lstsq(hidden[None], missing, driver="gelsd").solution


def edit_unit(W_2, hidden, wanted):
    unit = hidden / hidden.norm()
    return W_2 - unit[:, None] * (unit @ W_2) + unit[:, None] * wanted / hidden.norm()


RIGHT = {
    "merge": [merge_by_probing, merge_stacked],
    "hat": [hat_of_four, hat_scaled, hat_from_the_right],
    "multiplier": [multiplier_scaled, multiplier_columns],
    "gated_width": [
        lambda d_model, multiple_of: -(-8 * d_model // (3 * multiple_of)) * multiple_of,
        lambda d_model, multiple_of: next(
            w for w in range(multiple_of, 10**6, multiple_of) if 3 * w >= 8 * d_model
        ),
    ],
    "edit": [edit_least_squares, edit_lstsq, edit_unit],
}


def multiplier_of_one_unit(i, j, d_model):
    one = torch.eye(d_model)
    return one[:, i : i + 1], one[:, j : j + 1], torch.ones(1, 1)


def multiplier_of_four_units(i, j, d_model):
    one = torch.eye(d_model)
    gate = torch.stack([one[i], -one[i], one[i], -one[i]], dim=1)
    up = torch.stack([one[j], -one[j], one[j], -one[j]], dim=1)
    return gate, up, torch.full((4, 1), 0.5)


def multiplier_signs(i, j, d_model):
    one = torch.eye(d_model)
    return torch.stack([one[i], -one[i]], 1), torch.stack([one[j], one[j]], 1), torch.ones(2, 1)


WRONG = {
    "merge": [
        lambda W_1, b_1, W_2, b_2: (W_1 @ W_2, b_1 + b_2),
        lambda W_1, b_1, W_2, b_2: (W_2 @ W_1, b_1 @ W_2 + b_2),
        lambda W_1, b_1, W_2, b_2: (W_1 @ W_2, b_2),
        lambda W_1, b_1, W_2, b_2: W_1 @ W_2,
    ],
    "hat": [
        lambda c, w: (torch.ones(1, 2), torch.tensor([w - c, -c]), torch.tensor([[1.0], [-1.0]])),
        lambda c, w: (
            torch.ones(1, 3),
            torch.tensor([w - c, -c, -c - w]),
            torch.tensor([[1.0], [-2.0], [1.0]]),
        ),
        lambda c, w: (
            torch.ones(1, 3),
            torch.tensor([w + c, c, c - w]),
            torch.tensor([[1.0], [-2.0], [1.0]]) / w,
        ),
        lambda c, w: (
            torch.ones(3, 1),
            torch.tensor([w - c, -c, -c - w]),
            torch.tensor([[1.0], [-2.0], [1.0]]) / w,
        ),
        lambda c, w: (
            torch.tensor([[1.0, -1.0]]),
            torch.tensor([w - c, w + c]),
            torch.tensor([[0.5], [0.5]]) / w,
        ),
    ],
    "multiplier": [multiplier_of_one_unit, multiplier_of_four_units, multiplier_signs,
                   lambda i, j, d_model: torch.eye(d_model)],
    "gated_width": [
        lambda d_model, multiple_of: 4 * d_model,
        lambda d_model, multiple_of: int(8 * d_model / 3) // multiple_of * multiple_of,
        lambda d_model, multiple_of: math.ceil(8 * d_model / 3),
        lambda d_model, multiple_of: (int(8 * d_model / 3) // multiple_of + 1) * multiple_of,
        lambda d_model, multiple_of: 8 / 3 * d_model,
    ],
    "edit": [
        lambda W_2, hidden, wanted: W_2 + torch.outer(hidden, wanted - hidden @ W_2),
        lambda W_2, hidden, wanted: W_2 + torch.outer(hidden, wanted) / (hidden @ hidden),
        lambda W_2, hidden, wanted: torch.outer(hidden, wanted) / (hidden @ hidden),
        # Right for this token, but a larger change than needed: all in one unit's row.
        lambda W_2, hidden, wanted: (
            W_2 + torch.outer(torch.eye(len(hidden))[hidden.argmax()], wanted - hidden @ W_2)
            / hidden.max()
        ),
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def test_the_lines_say_what_is_wrong():
    assert "would do" in exercises.check_edit.run(WRONG["edit"][3])[1]
    assert (
        "two hidden units are enough" in exercises.check_multiplier.run(multiplier_of_four_units)[1]
    )
    assert "expected 3 results" in exercises.check_multiplier.run(WRONG["multiplier"][3])[1]
    assert "at x = " in exercises.check_hat.run(WRONG["hat"][0])[1]
