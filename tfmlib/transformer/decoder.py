"""The decoder: every position reads what came before it, and the encoder's output if there is one.

With cross-attention: Vaswani et al. 2017, section 3.1 and figure 1, right. Without, it is a
language model: Liu et al. 2018; Radford et al. 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tfmlib.blocks.embedding import TokenEmbedding
from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import AttentionCache, MultiHeadAttention
from tfmlib.blocks.positions import (
    AlibiBias,
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    T5RelativeBias,
)
from tfmlib.blocks.residual import NORMS, Residual, depth_scaled_init_
from tfmlib.transformer.encoder import Stack


@runtime_checkable
class LayerCache(Protocol):
    """What one decoder layer remembers between steps."""

    self_attention: AttentionCache
    cross_attention: AttentionCache


@runtime_checkable
class DecoderCache(Protocol):
    """What a decoder remembers between steps: how many tokens it has seen, and their keys."""

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        ...

    @property
    def layers(self) -> Sequence[LayerCache]:
        """One memory per layer."""
        ...


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention if there is any, then a feed-forward network.

    Args:
        self_attention: a module with the call signature of `MultiHeadAttention`.
        feed_forward: a module that maps [batch, time, d_model] to the same shape.
        residual: makes a residual connection, called once per sub-layer.
        cross_attention: like self_attention; reads the encoder's output.
    """

    def __init__(
        self,
        self_attention: nn.Module,
        feed_forward: nn.Module,
        residual: Callable[[], nn.Module],
        *,
        cross_attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.residual_self_attention = residual()
        self.cross_attention = cross_attention
        if cross_attention is not None:
            self.residual_cross_attention = residual()
        self.feed_forward = feed_forward
        self.residual_feed_forward = residual()

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        memory: Float[Tensor, "batch source d_memory"] | None = None,
        *,
        memory_mask: Bool[Tensor, "..."] | None = None,
        cache: LayerCache | None = None,
        **how: Any,
    ) -> Float[Tensor, "batch time d_model"]:
        """Transform x.

        Args:
            x: the decoder's own stream.
            memory: the encoder's output, read by the cross-attention.
            memory_mask: which positions of the memory may be attended to; broadcasts to
                [batch, heads, queries, keys].
            cache: keys and values of earlier steps.
            how: keywords of the self-attention (mask, positions, ...).

        Raises:
            ValueError: a memory without cross-attention, or the other way round.
        """
        if (memory is None) != (self.cross_attention is None):
            raise ValueError(
                "a layer with cross-attention needs a memory, and one without cannot take any"
            )
        own = None if cache is None else cache.self_attention
        x = self.residual_self_attention(
            x, lambda h: self.self_attention(h, causal=True, cache=own, **how)
        )
        if self.cross_attention is not None:
            read, cross = self.cross_attention, None if cache is None else cache.cross_attention
            x = self.residual_cross_attention(
                x, lambda h: read(h, memory, mask=memory_mask, cache=cross)
            )
        return self.residual_feed_forward(x, self.feed_forward)


class Decoder(Stack):
    """A stack of decoder layers."""

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        memory: Float[Tensor, "batch source d_memory"] | None = None,
        *,
        cache: DecoderCache | None = None,
        **how: Any,
    ) -> Float[Tensor, "batch time d_model"]:
        """Apply all layers; keywords go to every layer."""
        for i, layer in enumerate(self.layers):
            x = layer(x, memory, cache=None if cache is None else cache.layers[i], **how)
        return self.norm(x)


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Hyper-parameters of a decoder-only language model; the defaults are GPT-2's layout.

    Attributes:
        vocab_size: number of tokens.
        max_length: longest sequence; the size of the position table, where there is one.
        d_model, n_layers, n_heads, d_ff: sizes; d_ff defaults to 4 d_model.
        n_kv_heads: key-value heads (grouped-query attention); defaults to n_heads.
        positions: "learned", "sinusoidal", "rotary", "alibi", "t5" or "none".
        norm, norm_place, norm_eps: "layer" or "rms"; "pre" or "post"; its epsilon.
        activation, gated: of the feed-forward network.
        bias: whether linear maps have biases.
        tied: whether the output shares the embedding's table.
        dropout: of embeddings, sub-layer outputs and attention weights.
        core: attention core.
    """

    vocab_size: int
    max_length: int = 1024
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    n_kv_heads: int | None = None
    d_ff: int | None = None
    positions: str = "learned"
    norm: str = "layer"
    norm_place: str = "pre"
    norm_eps: float = 1e-5
    activation: str = "gelu_tanh"
    gated: bool = False
    bias: bool = True
    tied: bool = True
    dropout: float = 0.0
    core: str = "auto"

    def __post_init__(self) -> None:
        """Reject names that stand for nothing."""
        schemes = ("learned", "sinusoidal", "rotary", "alibi", "t5", "none")
        if self.positions not in schemes:
            raise ValueError(f"positions must be one of {schemes}; got {self.positions!r}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {sorted(NORMS)}; got {self.norm!r}")


class LanguageModel(nn.Module):
    """A decoder without cross-attention that scores every token as the next one."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = c = config
        self.embedding = TokenEmbedding(c.vocab_size, c.d_model, scale=c.positions == "sinusoidal")
        self.positions: nn.Module | None = None
        if c.positions == "learned":
            self.positions = LearnedPositions(c.max_length, c.d_model)
        elif c.positions == "sinusoidal":
            self.positions = SinusoidalPositions(c.max_length, c.d_model)
        rotary = Rotary(c.d_model // c.n_heads) if c.positions == "rotary" else None
        bias: nn.Module | None = None
        if c.positions == "alibi":
            bias = AlibiBias(c.n_heads)
        elif c.positions == "t5":
            bias = T5RelativeBias(c.n_heads, bidirectional=False)
        norm = partial(NORMS[c.norm], eps=c.norm_eps)
        self.dropout = nn.Dropout(c.dropout)
        self.decoder = Decoder(
            (
                DecoderLayer(
                    MultiHeadAttention(
                        c.d_model,
                        c.n_heads,
                        n_kv_heads=c.n_kv_heads,
                        bias=c.bias,
                        core=c.core,
                        dropout=c.dropout,
                        rotary=rotary,
                        position_bias=bias,
                    ),
                    FeedForward(
                        c.d_model,
                        4 * c.d_model if c.d_ff is None else c.d_ff,
                        activation=c.activation,
                        gated=c.gated,
                        bias=c.bias,
                    ),
                    partial(Residual, c.d_model, norm=norm, place=c.norm_place, dropout=c.dropout),
                )
                for _ in range(c.n_layers)
            ),
            norm=norm(c.d_model) if c.norm_place == "pre" else None,
        )
        self.output = None if c.tied else nn.Linear(c.d_model, c.vocab_size, bias=False)
        depth_scaled_init_(self, c.n_layers)
        if self.embedding.factor != 1.0:
            self.embedding.reset_parameters()  # the scale belongs to this size of the rows

    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        positions: Int[Tensor, "..."] | None = None,
        cache: DecoderCache | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Hidden states before the output map; arguments as in `forward`."""
        if positions is None:
            past = 0 if cache is None else cache.length
            positions = torch.arange(past, past + tokens.shape[1], device=tokens.device)
        x = self.embedding(tokens)
        if self.positions is not None:
            x = self.positions(x, positions)
        return self.decoder(self.dropout(x), cache=cache, mask=mask, positions=positions)

    @property
    def output_weight(self) -> Float[Tensor, "vocab d_model"]:
        """The matrix that turns hidden states into logits."""
        return (self.embedding.table if self.output is None else self.output).weight

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        positions: Int[Tensor, "..."] | None = None,
        cache: DecoderCache | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of the token after each position.

        Args:
            tokens: the sequence, or with a cache what is new of it.
            mask: which keys may be attended to beside the causal order (padding, documents).
            positions: [time] or [batch, time]; counted on from the cache if None.
            cache: keys and values of earlier steps.
        """
        x = self.hidden(tokens, mask=mask, positions=positions, cache=cache)
        return self.embedding.logits(x) if self.output is None else self.output(x)
