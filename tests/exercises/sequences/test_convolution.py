"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math
from collections import deque

import numpy as np
import torch
from answers import Answers

from tfmlib.exercises.sequences import convolution as exercises
from tfmlib.sequences.convolution import receptive_field


def layers_by_bits(distance, kernel):
    return (-(-distance // (kernel - 1))).bit_length()


def layers_by_field(distance, kernel):
    layers = 0
    while receptive_field(kernel, [2**layer for layer in range(layers)]) <= distance:
        layers += 1
    return layers


def convolve_by_numpy(x, weights, dilation):
    spread = np.zeros((len(weights) - 1) * dilation + 1, dtype=np.float32)
    spread[::dilation] = weights.numpy()
    return torch.from_numpy(np.convolve(x.numpy(), spread)[: len(x)])


def convolve_by_loop(x, weights, dilation):
    out = [0.0] * len(x)
    for t in range(len(x)):
        for j, weight in enumerate(weights.tolist()):
            if t >= j * dilation:
                out[t] += weight * x[t - j * dilation].item()
    return out


def shifts_around(x, weights, dilation):
    return sum(w * x.roll(j * dilation) for j, w in enumerate(weights))


def matrix_by_diagonals(weights, n, dilation):
    return sum(
        torch.diag(torch.full((n - j * dilation,), w.item()), -j * dilation)
        for j, w in enumerate(weights)
        if j * dilation < n
    )


def matrix_by_distance(weights, n, dilation):
    distance = torch.arange(n)[:, None] - torch.arange(n)
    return sum(w * (distance == j * dilation) for j, w in enumerate(weights))


def stream_by_deque(numbers, weights):
    latest = deque([0.0] * len(weights), maxlen=len(weights))
    for number in numbers:
        latest.appendleft(number)
        yield sum(w * x for w, x in zip(weights, latest, strict=True))


def stream_forwards(numbers, weights):
    """Keeps sums to come instead of numbers that were."""
    coming = [0.0] * len(weights)
    for number in numbers:
        coming = [c + w * number for c, w in zip(coming, weights, strict=True)]
        yield coming[0]
        coming = [*coming[1:], 0.0]


def stream_collects(numbers, weights):
    yield from convolve_by_loop(torch.tensor(list(numbers)), torch.tensor(weights), 1)


def stream_reversed(numbers, weights):
    yield from stream_by_deque(numbers, weights[::-1])


def stream_late(numbers, weights):
    latest = [0.0] * len(weights)
    for number in numbers:
        yield sum(w * x for w, x in zip(weights, latest, strict=True))
        latest = [number, *latest[:-1]]


def stream_short(numbers, weights):
    """Begins only when the kernel is full."""
    latest = []
    for number in numbers:
        latest = [number, *latest][: len(weights)]
        if len(latest) == len(weights):
            yield sum(w * x for w, x in zip(weights, latest, strict=True))


def stream_as_a_list(numbers, weights):
    return stream_collects(numbers, weights).__next__()


RIGHT = {
    "layers": [layers_by_bits, layers_by_field],
    "convolve": [convolve_by_numpy, convolve_by_loop],
    "matrix": [matrix_by_diagonals, matrix_by_distance],
    "stream": [stream_by_deque, stream_forwards],
}
WRONG = {
    "layers": [
        lambda distance, kernel: math.ceil(math.log2(distance + 1)),
        lambda distance, kernel: math.ceil(distance / (kernel - 1)),
        lambda distance, kernel: layers_by_bits(distance + 1, kernel),
        lambda distance, kernel: math.ceil(math.log(distance + 1, kernel)),
        lambda distance, kernel: layers_by_bits(distance, kernel) + 1,
    ],
    "convolve": [
        shifts_around,
        lambda x, weights, dilation: convolve_by_numpy(x, weights.flip(0), dilation),
        lambda x, weights, dilation: convolve_by_numpy(x, weights, 1),
        lambda x, weights, dilation: convolve_by_numpy(x.flip(0), weights, dilation).flip(0),
        lambda x, weights, dilation: torch.nn.functional.conv1d(
            x[None, None], weights[None, None], dilation=dilation
        )[0, 0],
    ],
    "matrix": [
        lambda weights, n, dilation: matrix_by_diagonals(weights, n, dilation).T,
        lambda weights, n, dilation: matrix_by_diagonals(weights.flip(0), n, dilation),
        lambda weights, n, dilation: matrix_by_diagonals(weights, n, 1),
        lambda weights, n, dilation: sum(
            w * torch.eye(n).roll(j * dilation, 0) for j, w in enumerate(weights)
        ),
        lambda weights, n, dilation: matrix_by_diagonals(weights / weights.sum(), n, dilation),
    ],
    "stream": [stream_collects, stream_reversed, stream_late, stream_short, stream_as_a_list],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
    apart = ("stream",)


def test_collecting_first_is_named_in_the_line():
    assert "4 numbers were taken before output 1" in exercises.check_stream.run(stream_collects)[1]
