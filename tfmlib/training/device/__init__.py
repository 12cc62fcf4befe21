"""Where a training step is computed, in how much memory, and how near to what the chip can do.

`choice` picks the device and gives the reason; `memory` counts bytes; `chunked` is a loss that
never holds all logits; `recompute` trades layers kept for layers computed twice; `shrink` goes on
when memory runs out; `speed` counts operations and compares them with the chip's peak.
"""

from tfmlib.training.device.choice import DeviceChoice, keep_freed_memory, pick_device
from tfmlib.training.device.chunked import chunked_cross_entropy, next_token_loss
from tfmlib.training.device.memory import (
    Memory,
    Saved,
    count_memory,
    memory_limit,
    peak_memory,
    saved_for_backward,
)
from tfmlib.training.device.recompute import recompute_layers
from tfmlib.training.device.shrink import ShrinkToFit, is_out_of_memory
from tfmlib.training.device.speed import (
    PEAKS,
    Peak,
    language_model_flops,
    measure_peak,
    mfu,
    published_peak,
)

__all__ = [
    "PEAKS",
    "DeviceChoice",
    "Memory",
    "Peak",
    "Saved",
    "ShrinkToFit",
    "chunked_cross_entropy",
    "count_memory",
    "is_out_of_memory",
    "keep_freed_memory",
    "language_model_flops",
    "measure_peak",
    "memory_limit",
    "mfu",
    "next_token_loss",
    "peak_memory",
    "pick_device",
    "published_peak",
    "recompute_layers",
    "saved_for_backward",
]
