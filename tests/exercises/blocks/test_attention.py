"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.blocks import attention as exercises

RIGHT = {
    "temperature": [
        lambda gap, weight: gap / math.log(weight / (1 - weight)),
        lambda gap, weight: gap / (math.log(weight) - math.log1p(-weight)),
        lambda gap, weight: gap / torch.logit(torch.tensor(weight)),
    ],
    "window": [
        lambda queries, keys, width: (
            torch.ones(queries, keys).tril(keys - queries).triu(keys - queries - width + 1).bool()
        ),
        lambda queries, keys, width: [
            [0 <= i + keys - queries - j < width for j in range(keys)] for i in range(queries)
        ],
        lambda queries, keys, width: (
            torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
            & ~torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries - width)
        ),
    ],
    "masked_softmax": [
        lambda scores, mask: (
            scores.masked_fill(~mask, -math.inf)
            .masked_fill(~mask.any(-1, keepdim=True), 0.0)
            .softmax(-1)
            .masked_fill(~mask.any(-1, keepdim=True), 0.0)
        ),
        lambda scores, mask: scores.masked_fill(~mask, -1e30).softmax(-1).masked_fill(~mask, 0.0),
        lambda scores, mask: torch.where(mask, scores, -1e9).softmax(-1) * mask,
        # The NaN that softmax sends back ends at masked_fill, which passes 0 to what it filled.
        lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(-1).nan_to_num(),
    ],
    "bandwidth": [lambda d_k: d_k**0.25, lambda d_k: math.sqrt(math.sqrt(d_k)),
                  lambda d_k: torch.tensor(float(d_k)).pow(1 / 4)],
}  # fmt: skip


def running_maximum(q, pairs):
    top, total, mixed = -math.inf, 0.0, 0.0
    for key, value in pairs:
        score = (q @ key).item() / math.sqrt(len(q))
        new = max(top, score)
        shrink, power = math.exp(top - new), math.exp(score - new)
        total, mixed, top = total * shrink + power, mixed * shrink + power * value, new
    return mixed / total


def running_average(q, pairs):
    log_total = torch.tensor(-math.inf)
    out = None
    for key, value in pairs:
        score = q @ key / len(q) ** 0.5
        log_total = torch.logaddexp(log_total, score)
        share = (score - log_total).exp()
        out = share * value + (1 - share) * (0 if out is None else out)
    return out


def running_double(q, pairs):
    # A fixed reference point instead of a running one: the first score.
    first, total, mixed = None, 0.0, 0.0
    for key, value in pairs:
        score = q.double() @ key.double() / len(q) ** 0.5
        first = score if first is None else first
        total = total + (score - first).exp()
        mixed = mixed + (score - first).exp() * value.double()
    return (mixed / total).float()


RIGHT["stream"] = [running_maximum, running_average, running_double]


def collects(q, pairs):
    keys, values = zip(*pairs, strict=True)
    weights = (torch.stack(keys) @ q / len(q) ** 0.5).softmax(-1)
    return weights @ torch.stack(values)


def overflows(q, pairs):
    total, mixed = 0.0, 0.0
    for key, value in pairs:
        power = (q @ key / len(q) ** 0.5).exp()
        total, mixed = total + power, mixed + power * value
    return mixed / total


def forgets_to_shrink(q, pairs):
    top, total, mixed = -math.inf, 0.0, 0.0
    for key, value in pairs:
        score = (q @ key).item() / math.sqrt(len(q))
        top = max(top, score)
        total, mixed = total + math.exp(score - top), mixed + math.exp(score - top) * value
    return mixed / total


def no_scale(q, pairs):
    top, total, mixed = -math.inf, 0.0, 0.0
    for key, value in pairs:
        score = (q @ key).item()
        new = max(top, score)
        shrink, power = math.exp(top - new), math.exp(score - new)
        total, mixed, top = total * shrink + power, mixed * shrink + power * value, new
    return mixed / total


WRONG = {
    "temperature": [
        lambda gap, weight: gap * math.log(weight / (1 - weight)),
        lambda gap, weight: gap / math.log(weight),
        lambda gap, weight: gap / math.log((1 - weight) / weight),
        lambda gap, weight: gap * (1 - weight) / weight,
    ],
    "window": [
        lambda queries, keys, width: torch.ones(queries, keys).tril().triu(1 - width).bool(),
        lambda queries, keys, width: (
            torch.ones(queries, keys).tril(keys - queries).triu(keys - queries - width).bool()
        ),
        lambda queries, keys, width: torch.ones(queries, keys).tril(keys - queries).bool(),
        lambda queries, keys, width: ~(
            torch.ones(queries, keys).tril(keys - queries).triu(keys - queries - width + 1).bool()
        ),
        lambda queries, keys, width: (
            torch.ones(queries, keys).tril(keys - queries).triu(keys - queries - width + 1)
        ),
    ],
    "masked_softmax": [
        lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(-1),
        # Right weights, but softmax sends NaN back through the sum.
        lambda scores, mask: (scores + torch.where(mask, 0, -math.inf)).softmax(-1).nan_to_num(),
        lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(-1),
        lambda scores, mask: scores.softmax(-1) * mask,
        lambda scores, mask: scores.masked_fill(mask, -1e9).softmax(-1) * mask,
        lambda scores, mask: scores.detach().masked_fill(~mask, -1e9).softmax(-1) * mask,
        lambda scores, mask: "weights",
    ],
    "stream": [collects, overflows, forgets_to_shrink, no_scale],
    "bandwidth": [
        lambda d_k: math.sqrt(d_k),
        lambda d_k: 1.0,
        lambda d_k: d_k**-0.25,
        lambda d_k: (d_k / 4) ** 0.25,
        lambda d_k: -(d_k**0.25),
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
    apart = ("stream",)


def test_nan_in_an_empty_row_is_named_in_the_line():
    bad = WRONG["masked_softmax"]
    assert "got [[nan, nan]]" in exercises.check_masked_softmax.run(bad[0])[1]
    assert "gradient" in exercises.check_masked_softmax.run(bad[1])[1]
