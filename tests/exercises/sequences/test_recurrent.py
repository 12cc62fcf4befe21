"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.sequences import recurrent as exercises


def lstm(order="ifgo", *, squash=torch.tanh, write=torch.sigmoid, show=torch.tanh, cut_batch=False):
    """A family of LSTM steps; the defaults are right."""

    def step(x, h, c, w_x, w_h, b):
        parts = (x @ w_x + h @ w_h + b).chunk(4, dim=0 if cut_batch else -1)
        part = dict(zip(order, parts, strict=True))
        c = part["f"].sigmoid() * c + write(part["i"]) * squash(part["g"])
        return part["o"].sigmoid() * show(c), c

    return step


def lstm_row_by_row(x, h, c, w_x, w_h, b):
    d, hs, cs = h.shape[1], [], []
    for x_b, h_b, c_b in zip(x, h, c, strict=True):
        gates = w_x.T @ x_b + w_h.T @ h_b + b
        i, f, o = (1 / (1 + (-gates[k * d : (k + 1) * d]).exp()) for k in (0, 1, 3))
        cs.append(f * c_b + i * torch.tanh(gates[2 * d : 3 * d]))
        hs.append(o * torch.tanh(cs[-1]))
    return torch.stack(hs), torch.stack(cs)


def lstm_forgets_the_state(x, h, c, w_x, w_h, b):
    return lstm()(x, torch.zeros_like(h), c, w_x, w_h, b)


def lstm_swapped(*arguments):
    return lstm()(*arguments)[::-1]


def gru(order="rzn", *, keep_new=False, reset_state=False, bias_outside=False):
    """A family of steps of the gated unit; the defaults are right."""

    def step(x, h, w_x, w_h, b_x, b_h):
        d = h.shape[1]
        from_x = dict(zip(order, (x @ w_x + b_x).chunk(3, -1), strict=True))
        from_h = dict(zip(order, (h @ w_h + b_h).chunk(3, -1), strict=True))
        r, z = ((from_x[k] + from_h[k]).sigmoid() for k in "rz")
        back = r * from_h["n"]
        if reset_state:  # the paper's own form: the gate before the matrix
            back = (r * h) @ w_h[:, 2 * d :] + b_h[2 * d :]
        if bias_outside:
            back = r * (from_h["n"] - b_h[2 * d :]) + b_h[2 * d :]
        n = torch.tanh(from_x["n"] + back)
        return z * n + (1 - z) * h if keep_new else (1 - z) * n + z * h

    return step


def gru_as_lerp(x, h, w_x, w_h, b_x, b_h):
    d = h.shape[1]
    gates = torch.sigmoid((x @ w_x + b_x + h @ w_h + b_h)[:, : 2 * d])
    n = torch.tanh(
        x @ w_x[:, 2 * d :] + b_x[2 * d :] + gates[:, :d] * (h @ w_h[:, 2 * d :] + b_h[2 * d :])
    )
    return torch.lerp(n, h, gates[:, d:])


RIGHT = {
    "bias": [
        lambda distance, share: math.log(share ** (1 / distance) / (1 - share ** (1 / distance))),
        lambda distance, share: -math.log(share ** (-1 / distance) - 1),
        lambda distance, share: torch.logit(torch.tensor(share).double() ** (1 / distance)),
    ],
    "lstm": [lstm(), lstm_row_by_row],
    "last": [
        lambda states, lengths: states[torch.arange(len(states)), lengths - 1],
        lambda states, lengths: states.gather(
            1, (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
        )[:, 0],
        lambda states, lengths: (
            states * (torch.arange(states.shape[1]) == (lengths - 1)[:, None])[..., None]
        ).sum(1),
    ],
    "gru": [gru(), gru_as_lerp],
}
WRONG = {
    "bias": [
        lambda distance, share: math.log(share / (1 - share)) / distance,
        lambda distance, share: share ** (1 / distance),
        lambda distance, share: math.log((1 - share ** (1 / distance)) / share ** (1 / distance)),
        lambda distance, share: math.log(
            share ** (1 / (distance + 1)) / (1 - share ** (1 / (distance + 1)))
        ),
        lambda distance, share: math.log(share ** (1 / distance)),
    ],
    "lstm": [
        lstm("ifog"),
        lstm("figo"),
        lstm(squash=torch.sigmoid),
        lstm(write=torch.tanh),
        lstm(show=lambda c: c),
        lstm(cut_batch=True),
        lstm_forgets_the_state,
        lstm_swapped,
        lambda *arguments: lstm()(*arguments)[0],
    ],
    "last": [
        lambda states, lengths: states[:, -1],
        lambda states, lengths: states[:, lengths - 1],
        lambda states, lengths: states[
            torch.arange(len(states)), lengths.clamp(max=states.shape[1] - 1)
        ],
        lambda states, lengths: states[torch.arange(len(states)), lengths - 1][:, None],
        lambda states, lengths: states[lengths - 1, torch.arange(len(states))],
    ],
    "gru": [
        gru("zrn"),
        gru(keep_new=True),
        gru(reset_state=True),
        gru(bias_outside=True),
        lambda x, h, w_x, w_h, b_x, b_h: gru()(x, h, w_x, w_h, b_x, 0 * b_h),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
