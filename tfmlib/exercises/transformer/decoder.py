"""Checkers for the exercises of the chapter on the decoder."""

from collections.abc import Callable

import torch
from torch import Tensor

from tfmlib.exercises import Case, Checker

# -- inputs and targets of teacher forcing -----------------------------------------------------


def _shift(texts: list[list[int]], start: int, pad: int, ignore: int) -> tuple[Tensor, Tensor]:
    longest = max(len(text) for text in texts)
    inputs = torch.full((len(texts), longest), pad)
    targets = torch.full((len(texts), longest), ignore)
    for row, text in enumerate(texts):
        inputs[row, : len(text)] = torch.tensor([start, *text[:-1]])
        targets[row, : len(text)] = torch.tensor(text)
    return inputs, targets


check_shift = Checker(
    "inputs_and_targets",
    _shift,
    [
        Case([[5, 6, 7]], start=1, pad=0, ignore=-100),
        Case([[5, 6, 7], [8]], start=1, pad=0, ignore=-100),
        Case([[4], [3, 3, 4, 4], [9, 2]], start=2, pad=7, ignore=-1),
    ],
)


# -- does a model look ahead? ------------------------------------------------------------------


class _Mixer:
    """Output i is the sum of an embedding over the places that row i of a matrix allows."""

    def __init__(self, name: str, allowed: Callable[[int, int], bool]) -> None:
        self.name, self.allowed = name, allowed

    def __call__(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        matrix = torch.tensor(
            [[float(self.allowed(i, j)) for j in range(time)] for i in range(time)]
        )
        values = torch.stack([tokens.double(), (tokens * tokens).double()], dim=-1)
        return (matrix.double() @ values).cos()

    def __repr__(self) -> str:
        return f"<{self.name}>"


_HONEST = _Mixer("a causal model", lambda i, j: j <= i)
_TOKENS = torch.tensor([[0, 1, 3, 1, 0, 2], [2, 2, 0, 0, 1, 3]])

check_looks_ahead = Checker(
    "looks_ahead",
    lambda model, tokens: any(
        model.allowed(i, j) for i in range(tokens.shape[1]) for j in range(i + 1, tokens.shape[1])
    ),
    [
        Case(_HONEST, _TOKENS),
        Case(_Mixer("a model that sees everything", lambda i, j: True), _TOKENS),
        Case(_Mixer("a model that looks one token ahead", lambda i, j: j <= i + 1), _TOKENS),
        Case(_Mixer("a model that looks at the token itself only", lambda i, j: j == i), _TOKENS),
        Case(
            _Mixer("a model whose first position sees the last", lambda i, j: j <= i or i + 5 == j),
            _TOKENS,
        ),
        Case(
            _Mixer(
                "a model that looks ahead at position 4", lambda i, j: j <= i or (i, j) == (4, 5)
            ),
            _TOKENS,
        ),
        Case(_Mixer("a model that sees the token before only", lambda i, j: j == i - 1), _TOKENS),
        Case(_HONEST, torch.tensor([[0]])),
    ],
    adapt=lambda candidate: lambda model, tokens: bool(candidate(model, tokens)),
)


# -- writing on, greedily ----------------------------------------------------------------------


class _Adder:
    """Thinks that the next token is the sum of all so far plus `step`, modulo `size`."""

    def __init__(self, size: int, step: int) -> None:
        self.size, self.step = size, step

    def __call__(self, tokens: Tensor) -> Tensor:
        if tokens.dim() != 2 or tokens.shape[0] != 1:
            raise ValueError(f"expected tokens [1, time], got {tuple(tokens.shape)}")
        best = (tokens[0].cumsum(0) + self.step) % self.size
        logits = torch.zeros(1, tokens.shape[1], self.size)
        return logits.scatter(2, best.reshape(1, -1, 1), 5.0)

    def __repr__(self) -> str:
        return f"<a model that adds up the tokens and {self.step}, modulo {self.size}>"


def _continue(model: Callable[[Tensor], Tensor], tokens: Tensor, end: int, most: int) -> Tensor:
    written = tokens.tolist()
    while most > 0:
        written.append(int(model(torch.tensor([written]))[0, -1].argmax()))
        if written[-1] == end:
            break
        most -= 1
    return torch.tensor(written)


check_continue = Checker(
    "continue_text",
    _continue,
    [
        Case(_Adder(9, 1), torch.tensor([1]), end=4, most=6),
        Case(_Adder(9, 1), torch.tensor([1]), end=0, most=3),
        Case(_Adder(9, 2), torch.tensor([3, 5, 7]), end=8, most=20),
        Case(_Adder(9, 1), torch.tensor([4, 5, 6]), end=5, most=2),
        Case(_Adder(5, 1), torch.tensor([2, 3]), end=2, most=9),
    ],
)


# -- the parameters of a decoder, with a source and without ------------------------------------


def _parameters(d_model: int, d_ff: int, layers: int, cross_attention: bool) -> int:
    attention = 4 * (d_model**2 + d_model)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norm = 2 * d_model
    layer = attention + feed_forward + 2 * norm
    if cross_attention:
        layer += attention + norm
    return layers * layer + norm


check_parameters = Checker(
    "decoder_parameters",
    _parameters,
    [
        Case(d_model=2, d_ff=3, layers=1, cross_attention=False),
        Case(d_model=2, d_ff=3, layers=1, cross_attention=True),
        Case(d_model=4, d_ff=16, layers=3, cross_attention=True),
        Case(d_model=768, d_ff=3072, layers=12, cross_attention=False),
    ],
)
