"""The position-wise feed-forward network: two linear maps with a non-linearity between them.

Vaswani et al. 2017, section 3.3, equation 2. GELU: Hendrycks and Gimpel 2016. Gated forms (GLU,
GEGLU, SwiGLU): Shazeer 2020, equations 5 and 6.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": F.sigmoid,
}


class FeedForward(nn.Module):
    """act(x W_1 + b_1) W_2 + b_2 at every position; gated: (act(x W_g) * x W_1) W_2.

    A gate with "silu" is SwiGLU, with "gelu" GEGLU, with "sigmoid" GLU. A gated network has three
    matrices, so it takes d_ff = 8/3 d_model to have as many parameters as an ungated one of
    d_ff = 4 d_model.

    Args:
        d_model: width of the input and of the output.
        d_ff: width between the two maps.
        activation: one of `ACTIVATIONS`.
        gated: multiply the hidden layer by a second, activated projection of the input.
        bias: whether the linear maps have biases.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: str = "relu",
        gated: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; there are {sorted(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        self.expand = nn.Linear(d_model, d_ff, bias=bias)
        self.gate = nn.Linear(d_model, d_ff, bias=bias) if gated else None
        self.contract = nn.Linear(d_ff, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Transform each position by itself."""
        if self.gate is None:
            hidden = self.activation(self.expand(x))  # [... d_ff]
        else:
            hidden = self.activation(self.gate(x)) * self.expand(x)
        return self.contract(self.dropout(hidden) if self.training else hidden)
