"""Causal convolutional sequence models: every position in parallel, each with a limited view.

Van den Oord et al. (2016), "WaveNet" (arXiv:1609.03499), section 2.1: convolutions that see only
the past, with gaps (dilations) that double from layer to layer, so that the receptive field grows
exponentially with depth. The blocks are in the residual form of Bai, Kolter and Koltun (2018,
arXiv:1803.01271), reduced to one convolution each. A baseline for the later chapters.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class CausalConv1d(nn.Module):
    """A one-dimensional convolution whose output at a place depends on no later place.

    Output `t` is a linear map of the inputs at `t, t - dilation, ..., t - (kernel - 1) * dilation`;
    where these lie before the start, they count as 0. It equals `torch.nn.Conv1d` on an input with
    `reach` zeros put before it, and keeps the length. Unlike there, features come last.

    Args:
        d_in: Features of the input.
        d_out: Features of the output.
        kernel: How many places an output depends on.
        dilation: The distance between these places.

    Raises:
        ValueError: A size is below 1.
    """

    def __init__(self, d_in: int, d_out: int, *, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        if min(d_in, d_out, kernel, dilation) < 1:
            raise ValueError(
                "expected d_in, d_out, kernel and dilation >= 1, got "
                f"d_in={d_in}, d_out={d_out}, kernel={kernel}, dilation={dilation}"
            )
        self.reach = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(d_in, d_out, kernel, dilation=dilation)

    def forward(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_out"]:
        """Return one output per place."""
        features_first = F.pad(x.mT, (self.reach, 0))  # [batch d_in reach+time]
        return self.convolution(features_first).mT


def receptive_field(kernel: int, dilations: Sequence[int]) -> int:
    """Return how many inputs, the last included, an output of these stacked convolutions sees.

    Each layer adds its reach, `(kernel - 1) * dilation`, to the one place where it stands.

    Raises:
        ValueError: `kernel` or a dilation is below 1.
    """
    if min(kernel, *dilations, 1) < 1:
        raise ValueError(f"expected kernel and dilations >= 1, got {kernel} and {list(dilations)}")
    return 1 + (kernel - 1) * sum(dilations)


class ConvolutionalLM(nn.Module):
    """A causal convolutional language model: tokens in, logits of every next token out.

    Layer `l` (from 0) adds `relu(convolution(x))` with dilation `2**l` to its input.

    Args:
        vocab_size: The number of tokens.
        d_model: The size of embeddings and states.
        n_layers: The number of convolutions.
        kernel: Places that each convolution looks at.
        dropout: On the embeddings and on what each layer adds.

    Attributes:
        receptive_field: Tokens, the current one included, on which a prediction depends.

    Raises:
        ValueError: A size or the dropout is out of range.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        d_model: int,
        n_layers: int,
        kernel: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(vocab_size, d_model, n_layers, kernel) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                "expected vocab_size, d_model, n_layers, kernel >= 1 and 0 <= dropout < 1, got "
                f"vocab_size={vocab_size}, d_model={d_model}, n_layers={n_layers}, "
                f"kernel={kernel}, dropout={dropout}"
            )
        dilations = [2**layer for layer in range(n_layers)]
        self.receptive_field = receptive_field(kernel, dilations)
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(
            CausalConv1d(d_model, d_model, kernel=kernel, dilation=dilation)
            for dilation in dilations
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(d_model, vocab_size)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        """Return the logits of the token after each token."""
        x = self.dropout(self.embedding(tokens))
        for layer in self.layers:
            x = x + self.dropout(torch.relu(layer(x)))
        return self.output(x)
