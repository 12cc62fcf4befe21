"""Token embedding, scaled on the way in and tied to the output on the way out.

Vaswani et al. 2017, section 3.4; Press and Wolf 2017 for the tying.
"""

import math

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """One row of a table per token; the same table turns hidden states into logits.

    The table starts as N(0, 1 / d_model), so that a logit, the product of a row with a normalised
    hidden state, has variance near 1. A row then has norm near 1, and `scale` multiplies it by
    sqrt(d_model) on the way in, which makes its entries as large as those of the positions added
    to it.

    Args:
        vocab_size: number of tokens.
        d_model: length of a row.
        scale: multiply embedded tokens by sqrt(d_model), as the original Transformer does.
        pad_id: a token whose row starts at zero (it is trained like any other).
    """

    def __init__(
        self, vocab_size: int, d_model: int, *, scale: bool = True, pad_id: int | None = None
    ) -> None:
        super().__init__()
        if vocab_size < 1 or d_model < 1:
            raise ValueError(
                f"vocab_size and d_model must be positive; got {vocab_size} and {d_model}"
            )
        if pad_id is not None and not 0 <= pad_id < vocab_size:
            raise ValueError(f"pad_id must lie in 0..{vocab_size - 1}; got {pad_id}")
        self.factor = math.sqrt(d_model) if scale else 1.0
        self.pad_id = pad_id
        self.table = nn.Embedding(vocab_size, d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from N(0, 1 / d_model) and clear the row of the padding token."""
        nn.init.normal_(self.table.weight, std=self.table.embedding_dim**-0.5)
        if self.pad_id is not None:
            nn.init.zeros_(self.table.weight.data[self.pad_id])

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time d_model"]:
        """Look the tokens up and scale them."""
        embedded = self.table(tokens)
        return embedded if self.factor == 1.0 else embedded * self.factor

    def logits(
        self, hidden: Float[Tensor, "batch time d_model"]
    ) -> Float[Tensor, "batch time vocab"]:
        """Score every token against a hidden state with the same table (tied output, no bias)."""
        return F.linear(hidden, self.table.weight)
