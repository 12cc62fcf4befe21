"""How much of what the chip can do is done: operations counted, peaks looked up or measured.

Model FLOPs utilisation (MFU): Chowdhery et al. 2023, section 4.1 and appendix B. Operations of a
language model: Kaplan et al. 2020, section 2.1.
"""

import re
import time
from typing import NamedTuple

import torch

from tfmlib.transformer.decoder import LanguageModelConfig


class Peak(NamedTuple):
    """Operations a second that a chip can do at most, and who says so."""

    flops: float
    source: str


# Dense bfloat16 products with sums in 32 bits. Data sheets often print twice as much, "with
# sparsity": half of every matrix would have to be zeros. The names are those that torch reports.
PEAKS: dict[str, Peak] = {
    r"NVIDIA A100.*": Peak(312e12, "NVIDIA A100 data sheet"),
    r"NVIDIA H100 80GB HBM3": Peak(989.4e12, "NVIDIA H100 data sheet, SXM, half of 1 979"),
    r"NVIDIA H100 PCIe": Peak(756e12, "NVIDIA H100 data sheet, PCIe, half of 1 513"),
    r"NVIDIA H100 NVL": Peak(835e12, "NVIDIA H100 data sheet, NVL, half of 1 671"),
    r"NVIDIA H200": Peak(989.4e12, "NVIDIA H200 data sheet, SXM, half of 1 979"),
    r"NVIDIA B200": Peak(2250e12, "NVIDIA Blackwell data sheet, half of 4 500"),
    r"NVIDIA A10": Peak(125e12, "NVIDIA A10 data sheet"),
    r"NVIDIA L4": Peak(121e12, "NVIDIA L4 data sheet, half of 242"),
    r"NVIDIA L40S": Peak(362e12, "NVIDIA L40S data sheet"),
    r"NVIDIA GeForce RTX 3090": Peak(71e12, "NVIDIA GA102 architecture white paper, appendix A"),
    r"NVIDIA GeForce RTX 4090": Peak(165.2e12, "NVIDIA Ada architecture white paper, appendix A"),
    r"AMD Instinct MI300X.*": Peak(1307.4e12, "AMD Instinct MI300X data sheet"),
}


def published_peak(device_name: str) -> Peak:
    """Return the published dense bfloat16 peak of a device, by the name that torch gives it.

    Raises ValueError for a device that is not in the table: nothing is guessed.
    """
    for pattern, peak in PEAKS.items():
        if re.fullmatch(pattern, device_name):
            return peak
    raise ValueError(
        f"no published peak is known for {device_name!r}: look it up and pass peak=..., in "
        "operations a second"
    )


def measure_peak(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    size: int = 1024,
    repeats: int = 5,
) -> Peak:
    """Return the best rate of a few products of square matrices: a ceiling that is measured.

    For a CPU, whose data sheet knows neither the threads that are used nor the clock under load.
    """
    device = torch.device(device)
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(repeats + 1):  # the first one warms up
        _wait(device)
        start = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - start)
    name = str(dtype).removeprefix("torch.")
    return Peak(2 * size**3 / best, f"measured: products of {size} x {size} in {name}")


def language_model_flops(config: LanguageModelConfig, time: int) -> dict[str, int]:
    """Return the operations of matrix products per token, forward, by what they are for.

    An a x b times a b x c matrix takes 2abc. Scores and values count in full, although a causal
    core may skip half of them, as is the convention; norms, activations and the softmax are
    left out. Training takes three times the sum: the backward pass has two
    products for every one of the forward pass.

    Args:
        config: the model.
        time: tokens in a sequence, on which the cost of scores and values depends.
    """
    c = config
    d, heads = c.d_model, c.n_kv_heads or c.n_heads
    d_kv = heads * (d // c.n_heads)
    d_ff = 4 * d if c.d_ff is None else c.d_ff
    return {
        "projections": c.n_layers * 2 * (2 * d * d + 2 * d * d_kv),
        "scores and values": c.n_layers * 4 * time * d,
        "feed-forward": c.n_layers * 2 * (3 if c.gated else 2) * d * d_ff,
        "logits": 2 * d * c.vocab_size,
    }


def mfu(
    tokens_per_second: float | int,
    flops_per_token: float | int,
    *,
    peak: float | int | None = None,
    device_name: str | None = None,
) -> float:
    """Return the share of the peak that a model's operations make use of, between 0 and 1.

    `flops_per_token` are those that the model needs, in training three times the sum of
    `language_model_flops`. What is computed twice to save memory does not count. The peak is
    given, or that of the CUDA device (`device_name`, or the one there is) is looked up.

    Raises ValueError where the peak is neither given nor known, or a number is not positive.
    """
    if peak is None:
        if device_name is None:
            if not torch.cuda.is_available():
                raise ValueError("there is no CUDA device whose peak is published: pass peak=...")
            device_name = torch.cuda.get_device_name()
        peak = published_peak(device_name).flops
    for name, value in (
        ("tokens_per_second", tokens_per_second),
        ("flops_per_token", flops_per_token),
        ("peak", peak),
    ):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    return tokens_per_second * flops_per_token / peak


def _wait(device: torch.device) -> None:
    """Wait for a device that computes while Python goes on: a clock read before means nothing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
