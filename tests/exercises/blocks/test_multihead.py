"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import torch
from answers import Answers

from tfmlib.exercises.blocks import multihead as exercises

ONE, NONE = torch.eye(8), torch.zeros(8, 8)


def stacked(a, b, c, d):
    return torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)])


def delivery(sharp=40.0, swap=False, keys=None, values=None, mixed=None):
    keys = stacked(ONE, ONE, NONE, NONE) if keys is None else keys
    values = stacked(NONE, NONE, ONE, ONE) if values is None else values
    w_o = torch.eye(16) if mixed is None else torch.linalg.inv(mixed)
    w_q = sharp * torch.eye(16)
    if swap:  # head 1 serves the second fruit, and W_O puts it right
        w_q, w_o = w_q.roll(8, 1), w_o.roll(8, 0)
    return w_q, keys, values if mixed is None else values @ mixed, w_o


def mixed_values():
    """Another basis inside the heads; W_O undoes it."""
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    return delivery(mixed=torch.block_diag(turn, turn.T))


RIGHT = {
    "deal": [
        lambda x: x.transpose(1, 2).flatten(2),
        lambda x: x.permute(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1),
        lambda x: torch.cat(list(x.unbind(1)), dim=-1),
        lambda x: torch.cat([*x.swapaxes(0, 1)], dim=2),
    ],
    "contributions": [
        lambda heads, w_o: heads @ w_o.unflatten(0, (heads.shape[1], -1)),
        lambda heads, w_o: torch.einsum(
            "bhtd,hdm->bhtm", heads, w_o.view(heads.shape[1], heads.shape[3], -1)
        ),
        lambda heads, w_o: torch.stack(
            [
                heads[:, i] @ w_o[i * heads.shape[3] : (i + 1) * heads.shape[3]]
                for i in range(heads.shape[1])
            ],
            dim=1,
        ),
    ],
    "kv_heads": [
        lambda budget, tokens, layers, heads, d_head: next(
            (
                n
                for n in range(heads, 0, -1)
                if heads % n == 0 and 4 * tokens * layers * n * d_head <= budget
            ),
            0,
        ),
        lambda budget, tokens, layers, heads, d_head: max(
            [0]
            + [
                n
                for n in range(1, heads + 1)
                if not heads % n and n <= budget // (tokens * layers * d_head * 4)
            ]
        ),
    ],
    "order": [
        delivery,
        lambda: delivery(swap=True),
        lambda: list(delivery(sharp=100.0)),
        mixed_values,
    ],
}

WRONG = {
    "deal": [
        lambda x: x.reshape(x.shape[0], x.shape[2], -1),
        lambda x: x.flatten(2),
        lambda x: x.transpose(2, 3).flatten(1, 2).transpose(1, 2).flip(-1),
        lambda x: x.permute(0, 2, 3, 1).flatten(2),  # features outside, heads inside
        lambda x: x.mean(1),
        lambda x: x.transpose(1, 2),
    ],
    "contributions": [
        lambda heads, w_o: (heads @ w_o.unflatten(0, (heads.shape[1], -1))).sum(1),
        lambda heads, w_o: (
            heads @ w_o.unflatten(0, (heads.shape[3], heads.shape[1])).transpose(0, 1)
        ),
        lambda heads, w_o: heads @ w_o.unflatten(0, (heads.shape[1], -1)) / heads.shape[1],
        lambda heads, w_o: heads @ w_o.unflatten(0, (heads.shape[1], -1)).flip(0),
    ],
    "kv_heads": [
        # Forgets that there are keys *and* values.
        lambda budget, tokens, layers, heads, d_head: max(
            [n for n in range(1, heads + 1) if heads % n == 0 and 2 * tokens * layers * n * d_head
             <= budget], default=0),
        # Takes a number that does not divide.
        lambda budget, tokens, layers, heads, d_head: min(
            heads, budget // (4 * tokens * layers * d_head)),
        # Strictly less.
        lambda budget, tokens, layers, heads, d_head: max(
            [n for n in range(1, heads + 1) if heads % n == 0 and 4 * tokens * layers * n * d_head
             < budget], default=0),
        # At least one, although it does not fit.
        lambda budget, tokens, layers, heads, d_head: max(
            [n for n in range(1, heads + 1) if heads % n == 0 and 4 * tokens * layers * n * d_head
             <= budget], default=1),
        # Forgets the layers.
        lambda budget, tokens, layers, heads, d_head: max(
            [n for n in range(1, heads + 1) if heads % n == 0 and 4 * tokens * n * d_head
             <= budget], default=0),
    ],
    "order": [
        lambda: delivery(sharp=1.0),
        lambda: delivery(keys=torch.eye(16)),
        lambda: delivery(values=torch.eye(16)),
        lambda: delivery()[:3],
        lambda: (*delivery()[:3], torch.ones(16)),
        lambda: (*delivery()[:3], torch.eye(16).roll(8, 0)),
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def test_the_line_says_which_basket_is_wrong():
    line = exercises.check_order.run(lambda: delivery(keys=torch.eye(16)))[1]
    assert "first basket" in line
    assert "should be below 0.01" in line
