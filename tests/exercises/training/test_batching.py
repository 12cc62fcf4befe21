"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import torch
from answers import Answers

from tfmlib.exercises.training import batching as exercises


def shifted(end_id_stays=False, at_front=True):
    def shift(target_out, start_id, end_id, pad_id):
        rows = []
        for row in target_out.tolist():
            real = [i for i in row if i != pad_id and (end_id_stays or i != end_id)]
            new = [start_id, *real] if at_front else [*real, start_id]
            rows.append((new + [pad_id] * len(row))[: len(row)])
        return torch.tensor(rows)

    return shift


def rolled(target_out, start_id, end_id, pad_id):
    moved = target_out.roll(1, dims=1)
    moved[:, 0] = start_id
    return torch.where(moved == end_id, pad_id, moved)


def cut(fits):
    def batches(lengths, budget):
        found = []
        for n in lengths:
            if found and fits(found[-1], n, budget):
                found[-1].append(n)
            else:
                found.append([n])
        return found

    return batches


def with_a_running_maximum(lengths, budget):
    found, start, longest = [], 0, 0
    for i, n in enumerate(lengths):
        longest = max(longest, n)
        if (i - start + 1) * longest > budget:
            found.append(tuple(lengths[start:i]))
            start, longest = i, n
    return [*found, tuple(lengths[start:])] if lengths else []


RIGHT = {
    "waste": [
        lambda lengths: 1 - sum(lengths) / len(lengths) / max(lengths),
        lambda lengths: sum(max(lengths) - n for n in lengths) / (max(lengths) * len(lengths)),
        lambda lengths: 1 - torch.tensor(lengths).double().mean() / max(lengths),
    ],
    "mask": [
        lambda lengths, time: torch.arange(time)[None] < torch.tensor(lengths)[:, None],
        lambda lengths, time: [[t < n for t in range(time)] for n in lengths],
        lambda lengths, time: (
            torch.tensor(lengths)[:, None] - 1 >= torch.arange(time).expand(len(lengths), -1)
        ),
    ],
    "shift": [shifted(), rolled],
    "cut": [
        cut(lambda batch, n, budget: (len(batch) + 1) * max(*batch, n) <= budget),
        with_a_running_maximum,
    ],
}
WRONG = {
    "waste": [
        lambda lengths: sum(lengths) / (len(lengths) * max(lengths)),
        lambda lengths: 1 - sum(lengths) / max(lengths),
        lambda lengths: len(lengths) * max(lengths) - sum(lengths),
        lambda lengths: 1 - min(lengths) / max(lengths),
    ],
    "mask": [
        lambda lengths, time: torch.arange(time) <= torch.tensor(lengths)[:, None],
        lambda lengths, time: torch.arange(time) >= torch.tensor(lengths)[:, None],
        lambda lengths, time: torch.arange(time)[:, None] < torch.tensor(lengths),
        lambda lengths, time: (torch.arange(time) < torch.tensor(lengths)[:, None]).float(),
    ],
    "shift": [
        lambda target_out, start_id, end_id, pad_id: target_out,
        shifted(end_id_stays=True),
        shifted(at_front=False),
        lambda target_out, start_id, end_id, pad_id: torch.cat(
            [torch.full_like(target_out[:, :1], start_id), target_out], 1
        ),
        lambda target_out, start_id, end_id, pad_id: target_out.masked_fill(
            target_out == end_id, start_id
        ),
    ],
    "cut": [
        cut(lambda batch, n, budget: (len(batch) + 1) * n <= budget),  # the newest, not the longest
        cut(lambda batch, n, budget: sum(batch) + n <= budget),  # without the padding
        cut(lambda batch, n, budget: len(batch) * max(*batch, n) <= budget),
        cut(lambda batch, n, budget: (len(batch) + 1) * max(*batch, n) < budget),
        cut(lambda batch, n, budget: False),
        lambda lengths, budget: with_a_running_maximum(sorted(lengths), budget),
        lambda lengths, budget: with_a_running_maximum(lengths, budget)[:-1],
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def test_an_end_token_left_behind_is_named():
    _, line = exercises.check_shift.run(shifted(end_id_stays=True))
    assert "an end token is left among the inputs" in line
