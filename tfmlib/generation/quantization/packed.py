"""The same weights in another order in memory: as a product with a few rows reads them fastest.

Beam search, a small batch and a draft that is checked multiply every matrix by two to a dozen rows.
What PyTorch calls for that on a CPU reads the weights of `nn.Linear` at half the speed or less of
the memory. oneDNN, which comes with PyTorch, reaches more of it where a matrix lies in blocks that
fit its kernel. The order is made once; the weights keep their bits.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tfmlib.generation.quantization.replace import replace_linears_


class PackedLinear(nn.Module):
    """A linear map whose float32 weights lie in oneDNN's order, on the CPU, for inference only.

    Sums are taken in another order than in `nn.Linear`, so results differ by rounding. The packed
    weights can be neither saved nor moved to another device; keep the model they were made from.

    Args:
        linear: the map to take the weights of.
        rows: the number of rows, batch times new tokens, that the order is chosen for. Any other
            number gives the same results, if not as fast.

    Raises:
        ValueError: weights that are not float32 on the CPU, `rows` below 1, or a PyTorch without
            oneDNN.
    """

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        weight = linear.weight.detach()
        if (weight.dtype, weight.device.type) != (torch.float32, "cpu"):
            raise ValueError(
                f"expected float32 weights on the CPU, got {weight.dtype} on {weight.device}"
            )
        if rows < 1:
            raise ValueError(f"rows must be positive, got {rows}")
        if not can_pack():
            raise ValueError("packing needs a PyTorch with oneDNN; this one has none")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = None if linear.bias is None else nn.Buffer(linear.bias.detach())
        # Opaque to everything but its own operation, so no buffer. Both are what torch.compile
        # calls for bfloat16, where it packs by itself.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)

    def forward(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """Multiply by the weights, add the bias."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self.bias, "none", [], "")
        return out

    def extra_repr(self) -> str:
        """Return the sizes, as `nn.Linear` shows them."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


def can_pack() -> bool:
    """Return whether this PyTorch has what `pack_` needs."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def pack_(model: nn.Module, rows: int) -> None:
    """Replace every `nn.Linear` in the model by a `PackedLinear`, in place.

        fast = copy.deepcopy(model).eval()
        pack_(fast, rows=4)
        beam_search(CachedDecoder(fast, cache), prompt, beam=4, max_new=100, end_id=2)

    Args:
        model: of float32 on the CPU; changed in place.
        rows: how many rows it will mostly be given, such as the width of a beam.

    Raises:
        ValueError: as `PackedLinear`, or there is no linear map in the model.
    """
    replace_linears_(model, lambda linear: PackedLinear(linear, rows))
