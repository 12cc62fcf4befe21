"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from answers import Answers

from tfmlib.exercises.training import objectives as exercises


def by_autograd(logits, target):
    logits = logits.clone().requires_grad_()
    F.cross_entropy(logits, torch.tensor(target)).backward()
    return logits.grad


def in_place(logits, target):
    p = logits.softmax(0)
    p[target] -= 1
    return p


def by_loop(logits, target):
    top = logits.max().item()
    powers = [math.exp(x - top) for x in logits.tolist()]
    return [w / sum(powers) - (i == target) for i, w in enumerate(powers)]


def masked_by_loop(tokens, chosen, mask_id, pad_id):
    inputs, targets = tokens.tolist(), tokens.tolist()
    for i, row in enumerate(chosen.tolist()):
        for j, is_chosen in enumerate(row):
            if is_chosen:
                inputs[i][j] = mask_id
            else:
                targets[i][j] = pad_id
    return inputs, targets


def joined(batches):
    everything = torch.cat([losses[real] for losses, real in batches])
    return everything.mean()


def running(batches):
    total, tokens = torch.zeros(()), 0
    for losses, real in batches:
        total = total + (losses * real).sum()
        tokens += real.sum()
    return total / tokens


def weighted(batches):
    counts = [real.sum().item() for _, real in batches]
    means = [(losses * real).sum().item() / real.sum().item() for losses, real in batches]
    return sum(c * m for c, m in zip(counts, means, strict=True)) / sum(counts)


def with_numpy(confidence, right, bins):
    confidence, right = confidence.numpy().astype(float), right.numpy().astype(float)
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    counts = np.bincount(place, minlength=bins)
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return np.abs(gaps).sum() / counts.sum()


def with_upper_edges(confidence, right, bins):
    # Bins that hold their upper edge, not their lower one.
    place = (confidence.double() * bins).ceil().long() - 1
    gap = torch.zeros(bins, dtype=torch.float64)
    gap = gap.index_add(0, place, confidence.double() - right.double())
    return gap.abs().sum() / len(confidence)


def one_bin_at_a_time(confidence, right, bins):
    total = 0.0
    for low in range(bins):
        inside = (confidence >= low / bins) & ((confidence < (low + 1) / bins) | (low == bins - 1))
        total += abs(float((confidence[inside] - right[inside].float()).sum()))
    return total / len(confidence)


def unweighted(confidence, right, bins):
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [
        abs(float(confidence[place == b].mean() - right[place == b].float().mean()))
        for b in place.unique()
    ]
    return sum(gaps) / len(gaps)


RIGHT = {
    "masked": [
        lambda tokens, chosen, mask_id, pad_id: (
            tokens.masked_fill(chosen, mask_id), tokens.masked_fill(~chosen, pad_id)),
        lambda tokens, chosen, mask_id, pad_id: (
            torch.where(chosen, mask_id, tokens), torch.where(chosen, tokens, pad_id)),
        masked_by_loop,
    ],
    "gradient": [by_autograd, in_place, by_loop,
                 lambda logits, target: logits.softmax(0) - F.one_hot(
                     torch.tensor(target), len(logits))],
    "mean": [joined, running, weighted],
    "gap": [
        lambda epsilon, vocab: math.log((1 - epsilon + epsilon / vocab) / (epsilon / vocab)),
        lambda epsilon, vocab: math.log(1 - epsilon + epsilon / vocab) - math.log(epsilon / vocab),
        lambda epsilon, vocab: torch.tensor(1 + vocab / epsilon - vocab).log(),
    ],
    "calibration": [with_numpy, with_upper_edges, one_bin_at_a_time],
}  # fmt: skip

WRONG = {
    "masked": [
        lambda tokens, chosen, mask_id, pad_id: (tokens.masked_fill(chosen, mask_id), tokens),
        lambda tokens, chosen, mask_id, pad_id: (
            tokens.masked_fill(~chosen, mask_id), tokens.masked_fill(~chosen, pad_id)),
        lambda tokens, chosen, mask_id, pad_id: (
            tokens.masked_fill(chosen, mask_id), tokens.masked_fill(~chosen, mask_id)),
        lambda tokens, chosen, mask_id, pad_id: (
            tokens.masked_fill(chosen, pad_id), tokens.masked_fill(~chosen, pad_id)),
        lambda tokens, chosen, mask_id, pad_id: tokens.masked_fill(chosen, mask_id),
    ],
    "gradient": [
        lambda logits, target: -by_autograd(logits, target),
        lambda logits, target: logits.softmax(-1),
        lambda logits, target: logits.softmax(-1) - 1,
        lambda logits, target: logits.log_softmax(-1) - F.one_hot(
            torch.tensor(target), len(logits)),
        lambda logits, target: logits.exp() / logits.exp().sum() - F.one_hot(
            torch.tensor(target), len(logits)),  # overflows
    ],
    "mean": [
        # of batches; of sentences; with padding; over everything but summing only what is real
        lambda batches: sum(losses[real].mean() for losses, real in batches) / len(batches),
        lambda batches: torch.stack(
            [row[r].mean() for losses, real in batches for row, r in zip(
                losses, real, strict=True)]).mean(),
        lambda batches: torch.cat([losses.flatten() for losses, _ in batches]).mean(),
        lambda batches: torch.cat([(losses * real).flatten() for losses, real in batches]).mean(),
    ],
    "gap": [
        lambda epsilon, vocab: math.log((1 - epsilon + 1e-9) / epsilon),
        lambda epsilon, vocab: math.log((1 - epsilon + 1e-9) / (epsilon / vocab)),
        lambda epsilon, vocab: math.log((1 - epsilon + 1e-9) * (vocab - 1) / epsilon),
        lambda epsilon, vocab: math.log(epsilon / vocab / (1 - epsilon + epsilon / vocab)),
    ],
    "calibration": [
        unweighted,
        lambda confidence, right, bins: abs(float(confidence.mean() - right.float().mean())),
        lambda confidence, right, bins: float((confidence - right.float()).abs().mean()),
        lambda confidence, right, bins: one_bin_at_a_time(confidence, ~right, bins),
        lambda confidence, right, bins: one_bin_at_a_time(
            confidence.clamp(max=0.999), right, bins + 1),
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
