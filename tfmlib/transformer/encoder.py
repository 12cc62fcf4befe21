"""The encoder: every position reads the whole input, layer upon layer.

Vaswani et al. 2017, section 3.1 and figure 1, left.
"""

from collections.abc import Callable, Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward network, each inside a residual connection.

    The parts are passed in, so the layer knows neither sizes nor variants.

    Args:
        attention: a module with the call signature of `MultiHeadAttention`.
        feed_forward: a module that maps [batch, time, d_model] to the same shape.
        residual: makes a residual connection, called once per sub-layer.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        residual: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.attention = attention
        self.residual_attention = residual()
        self.feed_forward = feed_forward
        self.residual_feed_forward = residual()

    def forward(
        self, x: Float[Tensor, "batch time d_model"], **how: Any
    ) -> Float[Tensor, "batch time d_model"]:
        """Transform x; keywords (mask, positions, causal, ...) go to the attention."""
        x = self.residual_attention(x, lambda h: self.attention(h, **how))
        return self.residual_feed_forward(x, self.feed_forward)


class Stack(nn.Module):
    """Layers on top of each other, with a norm at the end where the layers are pre-norm.

    Args:
        layers: the layers, first to last.
        norm: applied to the last layer's output; None for post-norm layers, which end in one.
    """

    def __init__(self, layers: Iterable[nn.Module], *, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.Identity() if norm is None else norm


class Encoder(Stack):
    """A stack of encoder layers."""

    def forward(
        self, x: Float[Tensor, "batch time d_model"], **how: Any
    ) -> Float[Tensor, "batch time d_model"]:
        """Apply all layers; keywords (mask, positions, ...) go to every attention."""
        for layer in self.layers:
            x = layer(x, **how)
        return self.norm(x)
