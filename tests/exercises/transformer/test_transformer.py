"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.blocks.residual import Residual
from tfmlib.exercises.transformer import transformer as exercises
from tfmlib.transformer.decoder import DecoderLayer
from tfmlib.transformer.transformer import Transformer, TransformerConfig


def assembled(parts, source, target, real, **wrong):
    """The forward pass; each keyword plants one mistake."""
    positions = (lambda x: x) if "positions" in wrong else parts.positions
    keys = real.unsqueeze(1).unsqueeze(1)
    first = None if "encoder_mask" in wrong else keys
    if "inverted" in wrong:
        keys = first = ~keys
    memory = parts.encoder(parts.positions(parts.embedding(source)), mask=first)
    if "memory" in wrong:
        memory = parts.embedding(source)
    y = parts.embedding.table(target) if "scale" in wrong else parts.embedding(target)
    second = None if "memory_mask" in wrong else keys
    hidden = parts.decoder(positions(y), memory, memory_mask=second)
    if "logits" in wrong:
        return hidden
    if "softmax" in wrong:
        return parts.embedding.logits(hidden).softmax(-1)
    return parts.embedding.logits(hidden)


def layer_by_layer(parts, source, target, real):
    mask = real[:, None, None]
    x = parts.positions(parts.embedding(source))
    for layer in parts.encoder.layers:
        x = layer(x, mask=mask)
    y = parts.positions(parts.embedding(target))
    for layer in parts.decoder.layers:
        y = layer(y, x, memory_mask=mask)
    return y @ parts.embedding.table.weight.T


def one_by_one(parts, source, target, real):
    """Without any mask, each sequence alone and cut to its real tokens."""
    rows = []
    for s, t, r in zip(source, target, real, strict=True):
        everything = torch.ones(1, int(r.sum()), dtype=torch.bool)
        rows.append(assembled(parts, s[r][None], t[None], everything))
    return torch.cat(rows)


def planted(**wrong):
    return lambda parts, source, target, real: assembled(parts, source, target, real, **wrong)


def on_the_meta_device(vocab_size, d_model, d_ff, n_encoder, n_decoder):
    config = TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_heads=1,
        d_ff=d_ff,
        n_encoder_layers=n_encoder,
        n_decoder_layers=n_decoder,
    )
    with torch.device("meta"):
        return sum(p.numel() for p in Transformer(config).parameters())


def factored(vocab_size, d_model, d_ff, n_encoder, n_decoder):
    d, f = d_model, d_ff
    shared = 4 * d * (d + 1) + d * f + f + f * d + d + 4 * d
    return (n_encoder + n_decoder) * shared + n_decoder * (4 * d * d + 6 * d) + vocab_size * d


def counted_flops(n, m, d_model, d_ff):
    with torch.device("meta"):
        layer = DecoderLayer(
            MultiHeadAttention(d_model, 1, core="naive"),
            FeedForward(d_model, d_ff),
            lambda: Residual(d_model),
            cross_attention=MultiHeadAttention(d_model, 1, core="naive"),
        )
        x, memory = torch.zeros(1, n, d_model), torch.zeros(1, m, d_model)
        with FlopCounterMode(display=False) as counter:
            layer(x, memory)
    return counter.get_total_flops()


RIGHT = {
    "assemble": [assembled, layer_by_layer, one_by_one],
    "count": [
        on_the_meta_device,
        factored,
        lambda vocab_size, d_model, d_ff, n_encoder, n_decoder: torch.tensor(
            factored(vocab_size, d_model, d_ff, n_encoder, n_decoder)
        ),
    ],
    "decoder_flops": [
        counted_flops,
        lambda n, m, d_model, d_ff: (
            2 * (6 * n * d_model**2 + 2 * m * d_model**2 + 2 * n * d_model * d_ff)
            + 4 * n * (n + m) * d_model
        ),
        lambda n, m, d_model, d_ff: float(
            4 * d_model * (n * (3 * d_model + d_ff + n + m) + m * d_model)
        ),
    ],
    "length": [
        lambda share, d_model, d_ff: (2 * d_model + d_ff) * share / (1 - share),
        lambda share, d_model, d_ff: (8 * d_model**2 + 4 * d_model * d_ff)
        / (4 * d_model * (1 / share - 1)),
        lambda share, d_model, d_ff: math.exp(math.log(share) - math.log1p(-share))
        * (d_ff + d_model + d_model),
    ],
}  # fmt: skip

WRONG = {
    "assemble": [
        planted(positions=True),
        planted(encoder_mask=True),
        planted(memory_mask=True),
        planted(inverted=True),
        planted(memory=True),
        planted(scale=True),
        planted(logits=True),
        planted(softmax=True),
        lambda parts, source, target, real: assembled(parts, target, source, real),
    ],
    "count": [
        # no biases; two norms in the decoder; an output of its own; three biases of attention
        lambda vocab_size, d_model, d_ff, n_encoder, n_decoder: (
            vocab_size * d_model
            + n_encoder * (4 * d_model**2 + 2 * d_model * d_ff + 4 * d_model)
            + n_decoder * (8 * d_model**2 + 2 * d_model * d_ff + 6 * d_model)
        ),
        lambda vocab_size, d_model, d_ff, n_encoder, n_decoder: (
            factored(vocab_size, d_model, d_ff, n_encoder, n_decoder) - 2 * n_decoder * d_model
        ),
        lambda vocab_size, d_model, d_ff, n_encoder, n_decoder: (
            factored(2 * vocab_size, d_model, d_ff, n_encoder, n_decoder)
        ),
        lambda vocab_size, d_model, d_ff, n_encoder, n_decoder: (
            factored(vocab_size, d_model, d_ff, n_encoder, n_decoder)
            - (n_encoder + 2 * n_decoder) * d_model
        ),
        lambda vocab_size, d_model, d_ff, n_encoder, n_decoder: (
            factored(vocab_size, d_model, d_ff, n_decoder, n_encoder)
        ),
    ],
    "decoder_flops": [
        # all of cross-attention on the target; multiply-adds; square scores; no self-attention
        lambda n, m, d_model, d_ff: (
            16 * n * d_model**2 + 4 * n * (n + m) * d_model + 4 * n * d_model * d_ff
        ),
        lambda n, m, d_model, d_ff: counted_flops(n, m, d_model, d_ff) // 2,
        lambda n, m, d_model, d_ff: counted_flops(n, m, d_model, d_ff) + 4 * n * (n - m) * d_model,
        lambda n, m, d_model, d_ff: counted_flops(n, m, d_model, d_ff) - 4 * n * n * d_model,
    ],
    "length": [
        lambda share, d_model, d_ff: share * (2 * d_model + d_ff),
        lambda share, d_model, d_ff: 6 * d_model * share / (1 - share),
        lambda share, d_model, d_ff: (1 - share) / share * (2 * d_model + d_ff),
        lambda share, d_model, d_ff: 2 * share / (1 - share) * (2 * d_model + d_ff),
    ],
}  # fmt: skip


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def test_the_parts_do_not_move_the_global_random_state():
    before = torch.get_rng_state()
    parts = exercises._parts(5)
    assert torch.equal(before, torch.get_rng_state())
    assert all(isinstance(part, nn.Module) for part in vars(parts).values())
