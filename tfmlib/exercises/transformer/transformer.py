"""Checkers for the exercises of the chapter on the full Transformer."""

from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor

from tfmlib.blocks.embedding import TokenEmbedding
from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.blocks.positions import SinusoidalPositions
from tfmlib.blocks.residual import Residual
from tfmlib.exercises import Case, Checker
from tfmlib.transformer.decoder import Decoder, DecoderLayer
from tfmlib.transformer.encoder import Encoder, EncoderLayer

# -- the whole forward pass, from the parts ----------------------------------------------------


class Parts(SimpleNamespace):
    """Embedding, positions, encoder and decoder of a tiny model, shown in three words."""

    def __repr__(self) -> str:
        """Return what the line about a counterexample calls it."""
        return "<a tiny model>"


def _parts(seed: int, *, d_model: int = 8, n_layers: int = 1, vocab_size: int = 11) -> Parts:
    """Return the parts of a tiny model in float64; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        attention = partial(MultiHeadAttention, d_model, 2, core="naive")
        feed_forward = partial(FeedForward, d_model, 2 * d_model)
        residual = partial(Residual, d_model)
        layers = range(n_layers)
        parts = Parts(
            embedding=TokenEmbedding(vocab_size, d_model),
            positions=SinusoidalPositions(16, d_model),
            encoder=Encoder(EncoderLayer(attention(), feed_forward(), residual) for _ in layers),
            decoder=Decoder(
                DecoderLayer(attention(), feed_forward(), residual, cross_attention=attention())
                for _ in layers
            ),
        )
        for part in vars(parts).values():
            for parameter in part.double().parameters():
                parameter.data += 0.2 * torch.randn_like(parameter)
                parameter.requires_grad_(False)
    return parts


def _assemble(parts: Parts, source: Tensor, target: Tensor, real: Tensor) -> Tensor:
    keys = real[:, None, None, :]
    memory = parts.encoder(parts.positions(parts.embedding(source)), mask=keys)
    hidden = parts.decoder(parts.positions(parts.embedding(target)), memory, memory_mask=keys)
    logits: Tensor = parts.embedding.logits(hidden)
    return logits


_ALL = torch.ones(1, 3, dtype=torch.bool)
_SOME = torch.tensor([[True, True, True, True], [True, True, False, False]])

check_assemble = Checker(
    "assemble",
    _assemble,
    [
        Case(_parts(0), torch.tensor([[3, 4, 5]]), torch.tensor([[1, 6]]), _ALL),
        Case(_parts(1), torch.tensor([[4, 4, 7]]), torch.tensor([[1, 6, 6, 9]]), _ALL),
        Case(
            _parts(2, n_layers=2),
            torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]),
            torch.tensor([[1, 6, 2], [1, 9, 3]]),
            _SOME,
        ),
    ],
)


# -- parameters and operations -----------------------------------------------------------------


def _count(vocab_size: int, d_model: int, d_ff: int, n_encoder: int, n_decoder: int) -> int:
    attention = 4 * (d_model * d_model + d_model)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norm = 2 * d_model
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    return vocab_size * d_model + n_encoder * encoder_layer + n_decoder * decoder_layer


check_count = Checker(
    "count_parameters",
    _count,
    [
        Case(vocab_size=3, d_model=2, d_ff=4, n_encoder=1, n_decoder=0),
        Case(vocab_size=3, d_model=2, d_ff=4, n_encoder=0, n_decoder=1),
        Case(vocab_size=5, d_model=4, d_ff=6, n_encoder=3, n_decoder=2),
        Case(vocab_size=37_000, d_model=512, d_ff=2048, n_encoder=6, n_decoder=6),
        Case(vocab_size=37_000, d_model=1024, d_ff=4096, n_encoder=6, n_decoder=6),
    ],
    rtol=0.0,
    atol=0.0,
)


def _decoder_flops(n: int, m: int, d_model: int, d_ff: int) -> int:
    self_attention = 8 * n * d_model**2 + 4 * n * n * d_model
    cross_attention = 4 * n * d_model**2 + 4 * m * d_model**2 + 4 * n * m * d_model
    return self_attention + cross_attention + 4 * n * d_model * d_ff


check_decoder_flops = Checker(
    "decoder_layer_flops",
    _decoder_flops,
    [
        Case(n=1, m=1, d_model=2, d_ff=4),
        Case(n=2, m=5, d_model=4, d_ff=6),
        Case(n=7, m=3, d_model=4, d_ff=16),
        Case(n=25, m=30, d_model=512, d_ff=2048),
    ],
    rtol=0.0,
    atol=0.0,
)


def _length_for_share(share: float, d_model: int, d_ff: int) -> float:
    return share / (1 - share) * (2 * d_model + d_ff)


check_length = Checker(
    "length_for_share",
    _length_for_share,
    [
        Case(0.5, d_model=512, d_ff=2048),
        Case(0.5, d_model=1024, d_ff=1024),
        Case(0.1, d_model=512, d_ff=2048),
        Case(0.9, d_model=64, d_ff=100),
    ],
)
