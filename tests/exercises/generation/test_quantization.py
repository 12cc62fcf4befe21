"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.generation import quantization as exercises


def most(bits):
    return 2 ** (bits - 1) - 1


def by_numbers(row, bits):
    scale = max(abs(x) for x in row.tolist()) / most(bits) or 1.0
    return [float(round(x / scale)) for x in row.tolist()], scale


def inverted_scale(row, bits):
    largest = row.abs().max()
    factor = most(bits) / largest if largest > 0 else torch.ones(())
    return torch.round(row * factor).clamp(-most(bits), most(bits)), 1 / factor


def with_levels(row, levels, largest):
    scale = largest / levels if largest > 0 else torch.ones(())
    return (row / scale).round(), scale


def padded(weight, bits, group):
    out, into = weight.shape
    wide = torch.nn.functional.pad(weight, (0, -into % group)).reshape(-1, group)
    scale = wide.abs().amax(1, keepdim=True) / most(bits)
    numbers = torch.nan_to_num((wide / scale).round())
    return (numbers * scale).reshape(out, -1)[:, :into]


def by_loop(weight, bits, group):
    out = weight.clone()
    for row in out:
        for start in range(0, len(row), group):
            numbers, scale = exercises.check_row.reference(row[start : start + group], bits)
            row[start : start + group] = numbers * scale
    return out


def flat(weight, bits, group):
    """Cuts the whole matrix, not each row, into groups."""
    rest = -weight.numel() % group
    pieces = torch.nn.functional.pad(weight.flatten(), (0, rest)).reshape(-1, group)
    return padded(pieces, bits, group).flatten()[: weight.numel()].reshape(weight.shape)


def down_the_rows(weight, bits, group):
    return padded(weight.T.contiguous(), bits, group).T


def shared_by_rows(weight, bits, group):
    pieces = []
    for piece in weight.split(group, dim=1):
        scale = piece.abs().max() / most(bits)
        pieces.append((piece / (scale if scale > 0 else 1)).round() * scale)
    return torch.cat(pieces, dim=1)


def without_mercy(weight, bits, group):
    pieces = []
    for piece in weight.split(group, dim=1):
        scale = piece.abs().amax(dim=1, keepdim=True) / most(bits)
        pieces.append((piece / scale).round() * scale)  # 0 / 0
    return torch.cat(pieces, dim=1)


def affine(x, bits, *, widen=True, whole=True, top=None):
    low, high = float(x.min()), float(x.max())
    if widen:
        low, high = min(low, 0.0), max(high, 0.0)
    steps = 2**bits - 1 if top is None else top(bits)
    scale = (high - low) / steps
    zero = round(-low / scale) if whole else -low / scale
    numbers = torch.clamp(torch.round(x / scale) + zero, 0, steps)
    return scale * (numbers - zero)


def symmetric(x, bits):
    numbers, scale = exercises.check_row.reference(x, bits)
    return numbers * scale


def by_seconds(bits, batch, balance):
    def seconds(b, weights=1e6, fetched=1e9):
        return max(weights * b / 8 / fetched, 2 * batch * weights / (balance * fetched))

    return seconds(32) / seconds(bits)


def by_cases(bits, batch, balance):
    if 16 * batch / 32 >= balance:  # compute-bound already with 32 bits
        return 1.0
    if 16 * batch / bits >= balance:
        return 4 / (2 * batch / balance)
    return 32 / bits


RIGHT = {
    "row": [by_numbers, inverted_scale],
    "storage": [
        lambda rows, columns, bits, group: bits + 16 * math.ceil(columns / group) / columns,
        lambda rows, columns, bits, group: (
            bits + 16 * len(range(0, columns, group)) * rows / (rows * columns)
        ),
    ],
    "groups": [padded, by_loop],
    "step": [by_seconds, by_cases],
    "affine": [
        affine,
        lambda x, bits: torch.fake_quantize_per_tensor_affine(
            x,
            scale=float((x.max().clamp(min=0) - x.min().clamp(max=0)) / (2**bits - 1)),
            zero_point=round(
                float(
                    -x.min().clamp(max=0)
                    / ((x.max().clamp(min=0) - x.min().clamp(max=0)) / (2**bits - 1))
                )
            ),
            quant_min=0,
            quant_max=2**bits - 1,
        ),
    ],
}

WRONG = {
    "row": [
        lambda row, bits: with_levels(row, 2 ** (bits - 1), row.abs().max()),
        lambda row, bits: with_levels(row, most(bits), row.max()),
        lambda row, bits: with_levels(row, 127, row.abs().max()),
        lambda row, bits: ((row / row.abs().max() * most(bits)).round(), row.abs().max()),
        lambda row, bits: ((row * most(bits) / row.abs().max()).trunc(), row.abs().max() / most(8)),
        lambda row, bits: ((row / (s := row.abs().max() / most(bits))).round(), s),  # 0 / 0
    ],
    "storage": [
        lambda rows, columns, bits, group: bits + 16 / group,
        lambda rows, columns, bits, group: bits + 16 * (columns // group) / columns,
        lambda rows, columns, bits, group: bits + 16 / columns,
        lambda rows, columns, bits, group: bits + 2 * math.ceil(columns / group) / columns,
        lambda rows, columns, bits, group: bits,
    ],
    "groups": [
        flat,
        down_the_rows,
        shared_by_rows,
        without_mercy,
        lambda weight, bits, group: padded(weight, bits, weight.shape[1]),
        lambda weight, bits, group: padded(weight, 8, group),
    ],
    "step": [
        lambda bits, batch, balance: 32 / bits,
        lambda bits, batch, balance: max(1.0, balance / (2 * batch)),
        lambda bits, batch, balance: by_cases(bits, 1, balance),
        lambda bits, batch, balance: by_seconds(bits, batch, balance / 2),
        lambda bits, batch, balance: 1 / by_seconds(bits, batch, balance),
    ],
    "affine": [
        symmetric,
        lambda x, bits: affine(x, bits, widen=False),
        lambda x, bits: affine(x, bits, whole=False),
        lambda x, bits: affine(x, bits, top=lambda bits: 2**bits),
        lambda x, bits: x.min() + affine(x - x.min(), bits),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
