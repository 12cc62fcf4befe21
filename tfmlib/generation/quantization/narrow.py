"""Weights of 8 or 16 bits for decoding: fewer bytes to read for every token.

Decoding one sequence multiplies every matrix by a single vector, so it waits for the weights to
come from memory. With 16 bits each weight is rounded to bfloat16 or float16 and widened again as it
is read. With 8 bits each row of a matrix is stored as whole numbers from -127 to 127 and one scale,
as in Jacob et al. 2018, section 2.1, without a zero point. The vector is rounded to bfloat16 only
and keeps its range, so that large values in a few features do no harm (those are what Dettmers et
al. 2022, section 3, have to treat apart when the vector is brought to 8 bits as well).
"""

import torch
from jaxtyping import BFloat16, Float, Int8
from torch import Tensor, nn

from tfmlib.generation.quantization.replace import replace_linears_

LEVELS = 127


def quantize_rows(
    weight: Float[Tensor, "out in"],
) -> tuple[Int8[Tensor, "out in"], BFloat16[Tensor, " out"]]:
    """Return whole numbers and one scale a row: weight = numbers * scale, within half a scale."""
    # Rounded as PyTorch's kernel wants it before it is used: that costs nothing.
    scale = (weight.abs().amax(dim=1) / LEVELS).bfloat16()
    # A row of zeros stays zeros.
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    numbers = (weight / scale.to(weight.dtype).unsqueeze(1)).round()
    return numbers.clamp(-LEVELS, LEVELS).to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear map whose weights have 8 bits, for inference only.

    On the CPU a float32 input is rounded to bfloat16, and the weights are widened as they are read.
    Elsewhere, in float64, and where a size is no multiple of 32, they are widened before the
    product, which saves memory but no time.

    Args:
        linear: the map to take the weights of.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        numbers, scale = quantize_rows(linear.weight.detach().float())
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.numbers, self.scale = nn.Buffer(numbers), nn.Buffer(scale)
        self.bias = None if bias is None else nn.Buffer(bias)
        # PyTorch's kernel reads whole vectors of numbers, and over the end of other matrices.
        self.whole = all(size % 32 == 0 for size in numbers.shape)

    def forward(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """Multiply by the weights, add the bias."""
        served = x.dtype in (torch.float32, torch.bfloat16)
        if self.whole and served and x.device.type == "cpu":
            rows = x.reshape(-1, x.shape[-1]).bfloat16()
            out = torch._weight_int8pack_mm(rows, self.numbers, self.scale)
            out = out.to(x.dtype).view(*x.shape[:-1], -1)
        else:
            scale = self.scale.to(x.dtype).unsqueeze(1)
            out = x @ (self.numbers.to(x.dtype) * scale).T
        return out if self.bias is None else out + self.bias.to(x.dtype)

    def extra_repr(self) -> str:
        """Return the sizes, as `nn.Linear` shows them."""
        out, into = self.numbers.shape
        return f"in_features={into}, out_features={out}, bias={self.bias is not None}"


class HalfLinear(nn.Module):
    """A linear map whose weights are stored in 16 bits, for inference only.

    It computes in the precision of its input. In a compiled step (`compile_step`) the weights are
    widened in the loop that multiplies; elsewhere a wide copy is made at each call, which costs
    more time than it saves.

    Args:
        linear: the map to take the weights of.
        dtype: `torch.bfloat16` or `torch.float16`.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Buffer(linear.weight.detach().to(dtype))
        self.bias = None if linear.bias is None else nn.Buffer(linear.bias.detach())

    def forward(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """Multiply by the weights, add the bias."""
        weight = self.weight.to(x.dtype)
        if x.numel() == x.shape[-1]:
            # One vector: written so that a compiler fuses it into one loop.
            out = (weight * x.reshape(-1)).sum(-1).view(*x.shape[:-1], -1)
        else:
            out = x @ weight.T
        return out if self.bias is None else out + self.bias.to(x.dtype)


def quantize_(model: nn.Module, dtype: torch.dtype = torch.int8) -> int:
    """Replace every `nn.Linear` in the model by a narrower one; return the bytes that it saves.

    Embeddings, and an output map that shares their table, stay as they are.

    Args:
        model: changed in place.
        dtype: `torch.int8` for an `Int8Linear`; `torch.bfloat16`, `torch.float16` for a
            `HalfLinear`.

    Raises:
        ValueError: another dtype, or there is no linear map in the model.
    """
    if dtype not in (torch.int8, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype must be torch.int8, torch.bfloat16 or torch.float16; got {dtype}")
    before = _bytes(model)
    replace_linears_(
        model, Int8Linear if dtype == torch.int8 else lambda linear: HalfLinear(linear, dtype)
    )
    return before - _bytes(model)


def _bytes(module: nn.Module) -> int:
    """Count what the module's distinct tensors take."""
    tensors = {id(t): t for t in module.state_dict(keep_vars=True).values()}
    return sum(t.numel() * t.element_size() for t in tensors.values())
