"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.blocks.positions import AlibiBias
from tfmlib.exercises.training import heads_and_length as exercises


def parameters_counted(d_model, n_heads, d_head):
    attention = MultiHeadAttention(d_model, n_heads, d_head=d_head)
    return sum(p.numel() for p in attention.parameters())


def without_by_a_copy(out, heads):
    out = out.clone()
    out[:, list(heads)] = 0.0
    return out


def without_one_by_one(out, heads):
    return torch.stack([out[:, h] * (h not in heads) for h in range(out.shape[1])], dim=1)


def without_in_place(out, heads):
    out[:, list(heads)] = 0.0
    return out


def without_the_queries(out, heads):
    out = out.clone()
    out[:, :, list(heads)] = 0.0
    return out


def without_the_examples(out, heads):
    out = out.clone()
    out[list(heads)] = 0.0
    return out


def without_and_shorter(out, heads):
    return out[:, [h for h in range(out.shape[1]) if h not in heads]]


def without_the_others(out, heads):
    return out - without_by_a_copy(out, heads)


def reach_by_search(n_heads, head, factor):
    slope = AlibiBias(n_heads).slopes[head - 1].item()
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(-slope * middle) > 1 / factor else (low, middle)
    return low


def interpolated_by_hand(positions, trained):
    longest = len(positions)
    return positions * (trained / longest) if longest > trained else positions


def interpolated_by_division(positions, trained):
    return positions / max(1.0, len(positions) / trained)


RIGHT = {
    "parameters": [
        parameters_counted,
        lambda d_model, n_heads, d_head: (
            4 * n_heads * d_head * d_model + 3 * n_heads * d_head + d_model
        ),
        lambda d_model, n_heads, d_head: (
            sum(3 * (d_model + 1) * d_head + d_head * d_model for _ in range(n_heads)) + d_model
        ),
    ],
    "without": [
        without_by_a_copy,
        without_one_by_one,
        lambda out, heads: torch.where(
            torch.tensor([h in heads for h in range(out.shape[1])])[:, None, None], 0.0, out
        ),
    ],
    "reach": [
        reach_by_search,
        lambda n_heads, head, factor: math.log(factor) / 2 ** (-8 * head / n_heads),
        lambda n_heads, head, factor: -math.log(1 / factor) / AlibiBias(n_heads).slopes[head - 1],
    ],
    "interpolated": [
        interpolated_by_hand,
        interpolated_by_division,
        lambda positions, trained: torch.where(
            positions.max() >= trained, positions * trained / len(positions), positions * 1.0
        ),
    ],
}

WRONG = {
    "parameters": [
        lambda d_model, n_heads, d_head: 4 * d_model * d_model + 4 * d_model,
        lambda d_model, n_heads, d_head: 4 * d_model * n_heads * d_head,
        lambda d_model, n_heads, d_head: 4 * (d_model * n_heads * d_head + n_heads * d_head),
        lambda d_model, n_heads, d_head: 4 * d_model * d_head + 3 * d_head + d_model,
    ],
    "without": [
        without_in_place,
        without_the_queries,
        without_the_examples,
        without_and_shorter,
        without_the_others,
    ],
    "reach": [
        lambda n_heads, head, factor: math.log(factor) * 2 ** (-8 * head / n_heads),
        lambda n_heads, head, factor: factor * 2 ** (8 * head / n_heads),
        lambda n_heads, head, factor: math.log(factor) * 2 ** (8 * (head - 1) / n_heads),
        lambda n_heads, head, factor: math.log(factor) * 2**head,
    ],
    "interpolated": [
        lambda positions, trained: positions * trained / len(positions),
        lambda positions, trained: positions.clamp(max=trained - 1),
        lambda positions, trained: positions % trained,
        lambda positions, trained: positions * max(1.0, len(positions) / trained),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def test_changing_the_input_is_named():
    _, line = exercises.check_without.run(without_in_place)
    assert line.endswith("the tensor that was handed in has been changed")
