"""Whether the device computes what it should: what a check is, and those of attention.

Every check returns the error it found, relative to the largest number expected. The expected
numbers are computed on the CPU in float64 by the plainest path there is.
"""

import copy
import itertools
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.report import Report
from tfmlib.blocks.attention import get_core, naive
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

VOCAB = 61
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Room for the order of sums in float32; bfloat16 has 8 bits, so one rounding is 0.4 %.
TOLERANCES = {"fp32": 5e-5, "bf16": 3e-2}


@dataclass(frozen=True)
class Check:
    """One check: `run(device)` returns an error, which must not exceed the tolerance.

    On a GPU it needs about so many seconds.
    """

    name: str
    tolerance: float
    run: Callable[[torch.device], float]
    needs: float = 0.0


def difference(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Return the largest difference, each tensor relative to the largest number expected in it."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        a, b = a.detach().double().cpu(), b.detach().double().cpu()
        gap = float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, in float64 on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def draw_tokens(*shape: int, vocab: int = VOCAB, seed: int = 0) -> Tensor:
    """Return tokens on the CPU, none of which is 0."""
    return torch.randint(1, vocab, shape, generator=torch.Generator().manual_seed(seed))


def language_model(**options: Any) -> LanguageModel:
    """Return a small model in float64 on the CPU, far enough from its start to mean something."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB, "max_length": 64, "d_model": 64, "n_layers": 2, "n_heads": 4}
    model = LanguageModel(LanguageModelConfig(**(sizes | options))).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def on(device: torch.device, model: nn.Module, dtype: torch.dtype = torch.float32) -> Any:
    """Return a copy of a model on the device."""
    return copy.deepcopy(model).to(device, dtype)


TIME = 48
MASKS: dict[str, dict[str, Any]] = {
    "all keys": {},
    "causal": {"causal": True},
    "causal, fewer queries": {"causal": True, "queries": 16},
    "padding": {"padded": True},
    "causal and padding": {"causal": True, "padded": True},
    "causal, grouped queries": {"causal": True, "kv_heads": 2},
    "window": {"window": 8},
}


def attention(
    device: torch.device,
    core: str,
    dtype: torch.dtype,
    *,
    causal: bool = False,
    queries: int = TIME,
    kv_heads: int = 4,
    padded: bool = False,
    window: int | None = None,
    flash: bool = False,
) -> float:
    """Return the error of a core's output and gradients."""
    shapes = [(2, 4, queries, 64), (2, kv_heads, TIME, 64), (2, kv_heads, TIME, 64)]
    plain = [draw(*s, seed=i).to(dtype).double() for i, s in enumerate(shapes)]
    mask = None
    if padded:  # one row of the batch has nothing to attend to
        mask = (torch.arange(TIME) < torch.tensor([[TIME - 9], [0]]))[:, None, None, :]
    if window is not None:
        apart = torch.arange(queries)[:, None] - torch.arange(TIME)
        mask = (apart >= 0) & (apart < window)
    weight = draw(2, 4, queries, 64, seed=9)
    results = []
    for function, place, kind in (
        (naive, torch.device("cpu"), torch.float64),
        (get_core(core), device, dtype),
    ):
        parts = [x.detach().to(place, kind).requires_grad_() for x in plain]
        forced = flash and function is not naive
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION) if forced else nullcontext():
            out = function(*parts, causal=causal, mask=None if mask is None else mask.to(place))
            (out * weight.to(place, kind)).sum().backward()
        results.append([out, *(x.grad for x in parts)])
    return difference(results[1], results[0])


def attention_checks() -> list[Check]:
    """Return the checks of attention."""
    found = []
    for (name, how), core, kind in itertools.product(MASKS.items(), ("naive", "sdpa"), DTYPES):
        run = partial(attention, core=core, dtype=DTYPES[kind], **how)
        found.append(Check(f"attention, {core}, {kind}: {name}", TOLERANCES[kind], run))
    run = partial(attention, core="sdpa", dtype=torch.bfloat16, causal=True, flash=True)
    found.append(Check("attention, flash kernel, bf16: causal", TOLERANCES["bf16"], run))
    return found


def run_checks(report: Report, checks: Iterable[Check]) -> None:
    """Run all checks; a failed one is noted, and the others go on."""
    torch.set_float32_matmul_precision("highest")
    for check in checks:
        needs = check.needs if report.device.type == "cuda" else 0.0
        if not report.fits(f"check: {check.name}", needs):
            continue
        error = report.attempt(f"check: {check.name}", lambda c=check: c.run(report.device))
        if error is None:
            continue
        passed = error <= check.tolerance
        report.numbers["checks"].append(
            {
                "name": check.name,
                "error": float(f"{min(error, 1e30):.2e}"),
                "tolerance": check.tolerance,
                "passed": passed,
            }
        )
        if passed:
            report.say(f"{check.name}: error {error:.1e}, allowed {check.tolerance:.0e}")
        else:
            why = f"error {error:.1e}, allowed {check.tolerance:.0e}"
            report.fail(f"check: {check.name}", why)
