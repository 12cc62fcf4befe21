"""Residual connections and normalization: what lets many layers be stacked and trained.

Residual: He et al. 2016. LayerNorm: Ba et al. 2016, equations 3 and 4. RMSNorm: Zhang and Sennrich
2019, equation 4. Post-norm, the original order: Vaswani et al. 2017, section 3.1. Pre-norm, and
why it trains more easily: Xiong et al. 2020. Initialisation: Glorot and Bengio 2010 (Xavier);
Radford et al. 2019, section 2.3 (residual projections scaled with depth).
"""

import math
from collections.abc import Callable, Collection

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * gain + bias, over the features of each position.

    The variance is the mean square deviation (divided by d_model, not d_model - 1).

    Args:
        d_model: number of features.
        eps: added to the variance.
        bias: whether there is a bias beside the gain.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Normalise; the fused kernel computes just what the equation says (tests hold it so)."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain: no mean is subtracted and there is no bias.

    Args:
        d_model: number of features.
        eps: added to the mean square.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Normalise in float32 at least, as half precision overflows in the square."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return (wide * scale).to(x.dtype) * self.weight


NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RMSNorm}


class Residual(nn.Module):
    """The connection around a sub-layer f.

    Post-norm, the original: norm(x + dropout(f(x))). Pre-norm: x + dropout(f(norm(x))), which
    leaves a path without any norm from the input to the output of a stack. What leaves it grows
    with depth, which is why published models put one norm at its end.

    Args:
        d_model: number of features.
        norm: makes the normalization layer from d_model.
        place: "pre" or "post".
        dropout: probability of dropping a feature of the sub-layer's output in training.
    """

    def __init__(
        self,
        d_model: int,
        *,
        norm: Callable[[int], nn.Module] = LayerNorm,
        place: str = "post",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if place not in ("pre", "post"):
            raise ValueError(f'the norm\'s place must be "pre" or "post"; got {place!r}')
        self.place = place
        self.norm = norm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        sublayer: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "batch time d_model"]:
        """Apply the sub-layer inside the connection."""
        out = sublayer(self.norm(x) if self.place == "pre" else x)
        if self.training:  # else not even a call: many small ones are what decoding waits for
            out = self.dropout(out)
        return x + out if self.place == "pre" else self.norm(x + out)


def xavier_init_(model: nn.Module) -> None:
    """Glorot's uniform initialisation for every linear map, zeros for its bias.

    A matrix from m to n features is drawn from U(-a, a) with a = sqrt(6 / (m + n)), which keeps the
    variance of activations and of gradients near 1. Embeddings and norms are left as they are.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def depth_scaled_init_(
    model: nn.Module,
    n_layers: int,
    *,
    std: float = 0.02,
    residual_projections: Collection[str] = ("project_o", "contract"),
    sublayers: int = 2,
) -> None:
    """N(0, std^2) for linear maps and embeddings, less for what is added to the residual stream.

    Each layer adds `sublayers` outputs to the stream. Drawing their last projections with
    std / sqrt(sublayers * n_layers) keeps the stream's variance from growing with depth.
    """
    if n_layers < 1 or sublayers < 1:
        raise ValueError(f"n_layers and sublayers must be positive; got {n_layers}, {sublayers}")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            last = name.rsplit(".", 1)[-1] in residual_projections
            nn.init.normal_(
                module.weight, std=std / math.sqrt(sublayers * n_layers) if last else std
            )
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
