"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import torch
from answers import Answers
from torch.nn.utils.rnn import pad_sequence

from tfmlib.exercises.transformer import decoder as exercises


def by_padding(texts, start, pad, ignore):
    inputs = [torch.tensor([start, *text])[:-1] for text in texts]
    targets = [torch.tensor(text) for text in texts]
    return (
        pad_sequence(inputs, batch_first=True, padding_value=pad),
        pad_sequence(targets, batch_first=True, padding_value=ignore),
    )


def by_lists(texts, start, pad, ignore):
    longest = max(map(len, texts))
    rest = [longest - len(text) for text in texts]
    inputs = [[start, *t[:-1]] + [pad] * r for t, r in zip(texts, rest, strict=True)]
    return inputs, [t + [ignore] * r for t, r in zip(texts, rest, strict=True)]


def every_place(model, tokens):
    before = model(tokens)
    for t in range(tokens.shape[1]):
        changed = tokens.clone()
        changed[:, t] = (tokens[:, t] == 0).long()
        if (model(changed)[:, :t] != before[:, :t]).any():
            return True
    return False


def every_prefix(model, tokens):
    whole = model(tokens)
    return any(
        not torch.allclose(model(tokens[:, :n])[:, -1], whole[:, n - 1])
        for n in range(1, tokens.shape[1])
    )


def at_once(model, tokens):
    """Change everything after t together."""
    before, other = model(tokens), (tokens == 0).long()
    return torch.tensor(
        [
            not torch.equal(
                model(torch.cat([tokens[:, :t], other[:, t:]], 1))[:, :t], before[:, :t]
            )
            for t in range(tokens.shape[1])
        ]
    ).any()


def only_the_last(model, tokens):
    changed = tokens.clone()
    changed[:, -1] = (tokens[:, -1] == 0).long()
    return not torch.equal(model(changed)[:, :1], model(tokens)[:, :1])


def any_change(model, tokens):
    changed = tokens.clone()
    changed[:, 1:] = (tokens[:, 1:] == 0).long()
    return not torch.equal(model(changed), model(tokens))


def includes_itself(model, tokens):
    before = model(tokens)
    for t in range(tokens.shape[1]):
        changed = tokens.clone()
        changed[:, t] = (tokens[:, t] == 0).long()
        if not torch.equal(model(changed)[:, : t + 1], before[:, : t + 1]):
            return True
    return False


def by_loop(model, tokens, end, most):
    for _ in range(most):
        best = model(tokens[None])[0, -1].argmax()
        tokens = torch.cat([tokens, best[None]])
        if best == end:
            return tokens
    return tokens


def by_recursion(model, tokens, end, most):
    best = model(tokens.unsqueeze(0))[:, -1].argmax(-1)
    longer = torch.cat([tokens, best])
    return longer if most == 1 or best == end else by_recursion(model, longer, end, most - 1)


def never_stops(model, tokens, end, most):
    return by_loop(model, tokens, -1, most)


def drops_the_end(model, tokens, end, most):
    written = by_loop(model, tokens, end, most)
    return written[:-1] if written[-1] == end else written


def only_new(model, tokens, end, most):
    return by_loop(model, tokens, end, most)[len(tokens) :]


def last_token_only(model, tokens, end, most):
    for _ in range(most):
        best = model(tokens[None, -1:])[0, -1].argmax()
        tokens = torch.cat([tokens, best[None]])
        if best == end:
            break
    return tokens


def stops_at_an_old_end(model, tokens, end, most):
    while end not in tokens and most:
        tokens, most = by_loop(model, tokens, end, 1), most - 1
    return tokens


def by_module(d_model, d_ff, layers, cross_attention):
    if cross_attention:
        layer = torch.nn.TransformerDecoderLayer(d_model, 1, d_ff)
    else:
        layer = torch.nn.TransformerEncoderLayer(d_model, 1, d_ff)
    return layers * sum(p.numel() for p in layer.parameters()) + 2 * d_model


RIGHT = {
    "shift": [by_padding, by_lists],
    "looks_ahead": [every_place, every_prefix, at_once],
    "continue": [by_loop, by_recursion],
    "parameters": [
        by_module,
        lambda d_model, d_ff, layers, cross_attention: (
            2 * d_model
            + layers * (d_model * (2 * d_ff + 1) + d_ff + 2 * d_model)
            + layers * (1 + cross_attention) * (4 * d_model * (d_model + 1) + 2 * d_model)
        ),
    ],
}

WRONG = {
    "shift": [
        lambda texts, start, pad, ignore: by_padding(texts, start, pad, pad),
        lambda texts, start, pad, ignore: by_padding(texts, start, pad, ignore)[::-1],
        lambda texts, start, pad, ignore: (by_padding(texts, start, pad, ignore)[1],) * 2,
        lambda texts, start, pad, ignore: by_padding(
            [t[:-1] for t in texts if len(t) > 1], start, pad, ignore
        ),
        lambda texts, start, pad, ignore: (
            by_padding([[*t, pad] for t in texts], start, pad, ignore)[0],
            by_padding(texts, start, pad, ignore)[1],
        ),
    ],
    "looks_ahead": [
        only_the_last,
        any_change,
        includes_itself,
        lambda model, tokens: not every_place(model, tokens),
        lambda model, tokens: False,
    ],
    "continue": [never_stops, drops_the_end, only_new, last_token_only, stops_at_an_old_end],
    "parameters": [
        lambda d_model, d_ff, layers, cross_attention: by_module(d_model, d_ff, layers, False),
        lambda d_model, d_ff, layers, cross_attention: (
            by_module(d_model, d_ff, layers, False)
            + layers * cross_attention * 4 * (d_model**2 + d_model)
        ),
        lambda d_model, d_ff, layers, cross_attention: (
            by_module(d_model, d_ff, layers, cross_attention) - 2 * d_model
        ),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
