"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import contextlib
import functools
import math

import torch
from answers import Answers

from tfmlib.exercises.training import device as exercises
from tfmlib.training.device import recompute_layers, saved_for_backward
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


def running(chunks):
    """The largest so far, and the sum relative to it."""
    largest, total = None, None
    for chunk in chunks:
        new = chunk.amax(-1)
        if largest is None:
            largest, total = new, torch.zeros_like(new)
        new = torch.maximum(largest, new)
        factor = torch.where(largest == -math.inf, 0.0, (largest - new).exp())
        total = total * factor + (chunk - new.unsqueeze(-1)).nan_to_num(-math.inf).exp().sum(-1)
        largest = new
    return largest + total.log()


def without_rescaling(chunks):
    largest, total = chunks[0].amax(-1), 0.0
    for chunk in chunks:
        largest = torch.maximum(largest, chunk.amax(-1))
        total = total + (chunk - largest.unsqueeze(-1)).exp().sum(-1)
    return largest + total.log()


def scales(down=0.5, up=2.0, reset=True, after=False):
    def found(finite, start, interval):
        result, scale, good = [], start, 0
        for fine in finite:
            if not after:
                result.append(scale)
            if fine:
                good += 1
                if good % interval == 0:
                    scale *= up
            else:
                scale *= down
                good = 0 if reset else good
            if after:
                result.append(scale)
        return result

    return found


def by_scaler(finite, start, interval):
    """Torch's own."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=start, growth_interval=interval)
    result = []
    for fine in finite:
        result.append(scaler.get_scale())
        weight.grad = torch.tensor([1.0 if fine else math.inf])
        scaler.scale(weight.detach())
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return result


def layer(per_d=8, per_ff=2, size=4, inside=True):
    def count(tokens, d_model, d_ff, n_layers, recompute=False):
        one = per_d * d_model + per_ff * d_ff
        if not recompute:
            return size * tokens * n_layers * one
        return size * tokens * (n_layers * d_model + (one - d_model if inside else 0))

    return count


def use(attention=12, factor=6, share=True):
    def count(parameters, n_layers, d_model, time, tokens_per_second, chips, peak):
        work = factor * parameters + attention * n_layers * d_model * time
        return tokens_per_second * work / peak / (chips if share else 1)

    return count


RIGHT = {
    "state_bytes": [
        lambda parameters, trained: 16 * trained + 4 * (parameters - trained),
        lambda parameters, trained: float(sum([4 * parameters, 4 * trained, 2 * 4 * trained])),
    ],
    "activation_bytes": [
        layer(),
        lambda tokens, d_model, d_ff, n_layers, recompute=False: (
            (1 if recompute else n_layers) * tokens * 4 * (8 * d_model + 2 * d_ff)
            + (tokens * 4 * d_model * (n_layers - 1) if recompute else 0)
        ),
    ],
    "streaming": [
        running,
        lambda chunks: torch.stack([c.logsumexp(-1) for c in chunks], -1).logsumexp(-1),
        lambda chunks: functools.reduce(torch.logaddexp, [c.logsumexp(-1) for c in chunks]),
    ],
    "scales": [by_scaler, scales()],
    "utilisation": [
        use(),
        lambda parameters, n_layers, d_model, time, tokens_per_second, chips, peak: (
            3
            * (2 * parameters + 4 * n_layers * time * d_model)
            / (peak / tokens_per_second * chips)
        ),
    ],
}
WRONG = {
    "state_bytes": [
        lambda parameters, trained: 16 * parameters,
        lambda parameters, trained: 12 * trained,
        lambda parameters, trained: 4 * parameters + 8 * trained,
        lambda parameters, trained: 8 * parameters + 8 * trained,
    ],
    "activation_bytes": [
        layer(inside=False),
        layer(size=2),
        layer(per_d=5),
        layer(per_ff=1),
        lambda tokens, d_model, d_ff, n_layers, recompute=False: (
            4 * tokens * n_layers * (8 * d_model + 2 * d_ff)
        ),
        lambda tokens, d_model, d_ff, n_layers, recompute=False: (
            4 * tokens * ((n_layers if recompute else 0) * d_model + 8 * d_model + 2 * d_ff)
        ),
    ],
    "streaming": [
        lambda chunks: sum(c.exp().sum(-1) for c in chunks).log(),
        lambda chunks: sum(c.logsumexp(-1) for c in chunks),
        lambda chunks: torch.stack([c.logsumexp(-1) for c in chunks]).amax(0),
        lambda chunks: chunks[-1].logsumexp(-1),
        without_rescaling,
    ],
    "scales": [
        scales(after=True),
        scales(reset=False),
        scales(down=0.25),
        scales(up=1.0),
        lambda finite, start, interval: [start / 2 ** finite[:i].count(False) for i in range(1)],
    ],
    "utilisation": [
        use(factor=2),
        use(attention=0),
        use(attention=4),
        use(share=False),
        use(attention=16, factor=8),  # with the work that is done twice
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def kept(layers, recompute, tokens, d_model, d_ff, heads):
    """Bytes that a stack of so many layers keeps."""
    config = LanguageModelConfig(
        vocab_size=9,
        d_model=d_model,
        d_ff=d_ff,
        n_layers=layers,
        n_heads=heads,
        positions="none",
    )
    model = LanguageModel(config)
    ids = torch.zeros(1, tokens, dtype=torch.long)
    with recompute_layers(model) if recompute else contextlib.nullcontext():
        with saved_for_backward(without=model.parameters()) as saved:
            hidden = model.hidden(ids)
        assert hidden.requires_grad
    return saved.bytes


def test_the_formula_for_activations_is_what_a_stack_keeps():
    size = {"tokens": 24, "d_model": 16, "d_ff": 40}
    heads = 2
    formula = exercises.check_activation_bytes.reference
    three, one = (kept(n, False, **size, heads=heads) for n in (3, 1))
    statistics = 4 * size["tokens"] * (2 * 2 + heads)  # of two norms and of the softmax
    assert three - one == formula(**size, n_layers=2) + 2 * statistics
    three, one = (kept(n, True, **size, heads=heads) for n in (3, 1))
    assert three - one == formula(**size, n_layers=3, recompute=True) - formula(
        **size, n_layers=1, recompute=True
    )
