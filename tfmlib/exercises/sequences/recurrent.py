"""Checkers for the exercises of the chapter on recurrent networks."""

import math

import torch
from torch import Tensor, nn

from tfmlib.exercises import Case, Checker


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- the forget bias for a distance ------------------------------------------------------------


def _bias(distance: int, share: float) -> float:
    gate = share ** (1 / distance)
    return math.log(gate) - math.log1p(-gate)


check_bias = Checker(
    "bias_for",
    _bias,
    [Case(1, 0.5), Case(1, 0.75), Case(2, 0.25), Case(2, 0.5), Case(64, 0.5), Case(300, 0.9)],
)


# -- one step of an LSTM -----------------------------------------------------------------------


def _lstm(
    x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    cell = nn.LSTMCell(x.shape[1], h.shape[1])
    with torch.no_grad():
        cell.weight_ih.copy_(w_x.mT)
        cell.weight_hh.copy_(w_h.mT)
        cell.bias_ih.copy_(b)
        cell.bias_hh.zero_()
        new_h, new_c = cell(x, (h, c))
    return new_h, new_c


def _lstm_case(batch: int, d_in: int, d: int, seed: int) -> Case:
    return Case(
        x=_draw(batch, d_in, seed=seed),
        h=_draw(batch, d, seed=seed + 1),
        c=_draw(batch, d, seed=seed + 2),
        w_x=_draw(d_in, 4 * d, seed=seed + 3),
        w_h=_draw(d, 4 * d, seed=seed + 4),
        b=_draw(4 * d, seed=seed + 5),
    )


check_lstm = Checker(
    "lstm_step",
    _lstm,
    [
        Case(
            x=torch.tensor([[1.0]]),
            h=torch.tensor([[0.0]]),
            c=torch.tensor([[2.0]]),
            w_x=torch.tensor([[1.0, 2.0, 3.0, -1.0]]),
            w_h=torch.zeros(1, 4),
            b=torch.zeros(4),
        ),
        _lstm_case(1, 3, 2, seed=10),
        _lstm_case(3, 2, 4, seed=20),
        _lstm_case(4, 5, 3, seed=30),
    ],
)


# -- the last state before the padding ---------------------------------------------------------


def _last(states: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack(
        [row[length - 1] for row, length in zip(states, lengths.tolist(), strict=True)]
    )


check_last = Checker(
    "last_states",
    _last,
    [
        Case(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([2, 1])),
        Case(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])),
        Case(_draw(4, 5, 3, seed=40), torch.tensor([5, 1, 3, 2])),
        Case(_draw(3, 3, 2, seed=41), torch.tensor([3, 3, 3])),
    ],
)


# -- one step of a gated recurrent unit --------------------------------------------------------


def _gru(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    cell = nn.GRUCell(x.shape[1], h.shape[1])
    with torch.no_grad():
        cell.weight_ih.copy_(w_x.mT)
        cell.weight_hh.copy_(w_h.mT)
        cell.bias_ih.copy_(b_x)
        cell.bias_hh.copy_(b_h)
        return cell(x, h)


def _gru_case(batch: int, d_in: int, d: int, seed: int) -> Case:
    return Case(
        x=_draw(batch, d_in, seed=seed),
        h=_draw(batch, d, seed=seed + 1),
        w_x=_draw(d_in, 3 * d, seed=seed + 2),
        w_h=_draw(d, 3 * d, seed=seed + 3),
        b_x=_draw(3 * d, seed=seed + 4),
        b_h=_draw(3 * d, seed=seed + 5),
    )


check_gru = Checker(
    "gru_step",
    _gru,
    [_gru_case(1, 1, 1, seed=50), _gru_case(2, 3, 4, seed=60), _gru_case(5, 4, 2, seed=70)],
)
