"""Weights for decoding: of fewer bits, or in an order in memory that is read faster.

`narrow` has weights of 8 and 16 bits, `packed` float32 weights laid out for a few rows.
"""

from tfmlib.generation.quantization.narrow import (
    HalfLinear,
    Int8Linear,
    quantize_,
    quantize_rows,
)
from tfmlib.generation.quantization.packed import PackedLinear, can_pack, pack_
from tfmlib.generation.quantization.replace import replace_linears_

__all__ = [
    "HalfLinear",
    "Int8Linear",
    "PackedLinear",
    "can_pack",
    "pack_",
    "quantize_",
    "quantize_rows",
    "replace_linears_",
]
