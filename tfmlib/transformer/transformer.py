"""The full Transformer: an encoder reads the source, a decoder writes the target.

Vaswani et al. 2017, section 3; the sizes "base" and "big": table 3.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tfmlib.blocks.embedding import TokenEmbedding
from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.blocks.positions import SinusoidalPositions
from tfmlib.blocks.residual import LayerNorm, Residual, xavier_init_
from tfmlib.transformer.decoder import Decoder, DecoderCache, DecoderLayer
from tfmlib.transformer.encoder import Encoder, EncoderLayer


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Hyper-parameters of the encoder-decoder Transformer; the defaults are the paper's base.

    Attributes:
        vocab_size: number of tokens, source and target together.
        d_model, n_heads, d_ff: sizes.
        n_encoder_layers, n_decoder_layers: depths.
        dropout: of sub-layer outputs and of embeddings with positions (the paper's P_drop).
        attention_dropout, activation_dropout: of attention weights and of hidden units in the
            feed-forward networks; the paper has none.
        norm_place: "post" (the paper) or "pre" (then each stack ends in a norm).
        norm_eps: epsilon of the LayerNorms.
        activation: of the feed-forward networks.
        tied: one table for source, target and output (the paper); otherwise three.
        position_layout: "interleaved" (the paper) or "halves".
        max_length: longest source or target.
        pad_id: the padding token.
        core: attention core.
    """

    vocab_size: int
    d_model: int = 512
    n_heads: int = 8
    d_ff: int = 2048
    n_encoder_layers: int = 6
    n_decoder_layers: int = 6
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    norm_place: str = "post"
    norm_eps: float = 1e-5
    activation: str = "relu"
    tied: bool = True
    position_layout: str = "interleaved"
    max_length: int = 1024
    pad_id: int = 0
    core: str = "auto"

    @classmethod
    def base(cls, vocab_size: int = 37_000) -> "TransformerConfig":
        """The paper's base model; its vocabulary of about 37 000 is shared."""
        return cls(vocab_size=vocab_size)

    @classmethod
    def big(cls, vocab_size: int = 37_000) -> "TransformerConfig":
        """The paper's big model."""
        return cls(vocab_size=vocab_size, d_model=1024, n_heads=16, d_ff=4096, dropout=0.3)


class Transformer(nn.Module):
    """Encoder and decoder on shared, scaled embeddings with sinusoidal positions."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        embed = partial(TokenEmbedding, c.vocab_size, c.d_model, pad_id=c.pad_id)
        self.embedding = embed()
        self.source_embedding = self.embedding if c.tied else embed()
        self.output = None if c.tied else nn.Linear(c.d_model, c.vocab_size, bias=False)
        self.positions = SinusoidalPositions(c.max_length, c.d_model, layout=c.position_layout)
        self.dropout = nn.Dropout(c.dropout)
        attention = partial(
            MultiHeadAttention, c.d_model, c.n_heads, core=c.core, dropout=c.attention_dropout
        )
        feed_forward = partial(
            FeedForward, c.d_model, c.d_ff, activation=c.activation, dropout=c.activation_dropout
        )
        norm = partial(LayerNorm, eps=c.norm_eps)
        residual = partial(Residual, c.d_model, norm=norm, place=c.norm_place, dropout=c.dropout)
        self.encoder = Encoder(
            (
                EncoderLayer(attention(), feed_forward(), residual)
                for _ in range(c.n_encoder_layers)
            ),
            norm=norm(c.d_model) if c.norm_place == "pre" else None,
        )
        self.decoder = Decoder(
            (
                DecoderLayer(attention(), feed_forward(), residual, cross_attention=attention())
                for _ in range(c.n_decoder_layers)
            ),
            norm=norm(c.d_model) if c.norm_place == "pre" else None,
        )
        xavier_init_(self)

    def encode(
        self,
        source: Int[Tensor, "batch source"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch source d_model"]:
        """Read the source; source_mask is True at real tokens, False at padding."""
        x = self.dropout(self.positions(self.source_embedding(source)))
        return self.encoder(x, mask=_key_mask(source_mask))

    def decode(
        self,
        target: Int[Tensor, "batch target"],
        memory: Float[Tensor, "batch source d_model"],
        memory_mask: Bool[Tensor, "batch source"] | None = None,
        *,
        cache: DecoderCache | None = None,
        positions: Int[Tensor, " target"] | None = None,
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits of the token after each position of the target.

        Padding at the end of a target needs no mask: no real position can see what is later.

        Args:
            target: the target so far, beginning with the start token; with a cache, what is new.
            memory: what `encode` returned.
            memory_mask: the source's mask again.
            cache: keys and values of earlier steps.
            positions: of the target; counted on from the cache if None.
        """
        if positions is None:
            past = 0 if cache is None else cache.length
            end, longest = past + target.shape[1], self.config.max_length
            if end > longest:
                raise ValueError(f"{end} positions asked for; the table has {longest}")
            positions = torch.arange(past, end, device=target.device)
        x = self.dropout(self.positions(self.embedding(target), positions))
        x = self.decoder(x, memory, memory_mask=_key_mask(memory_mask), cache=cache)
        return self.embedding.logits(x) if self.output is None else self.output(x)

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        target: Int[Tensor, "batch target"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits of the token after each target position, all positions at once."""
        return self.decode(target, self.encode(source, source_mask), source_mask)


def _key_mask(mask: Tensor | None) -> Tensor | None:
    """A mask over positions, [batch, keys], as one over [batch, heads, queries, keys]."""
    return None if mask is None else mask[:, None, None, :]
