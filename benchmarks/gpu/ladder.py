"""What each measure buys on a GPU: a training step of GPT-2's 124M shape, rung by rung."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.report import Report, seconds_of
from tfmlib.training.device import (
    language_model_flops,
    measure_peak,
    mfu,
    next_token_loss,
    peak_memory,
    published_peak,
)
from tfmlib.training.loop import add_gradients
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

# Each rung adds its own to what stands below it. cuDNN's kernel stands first in a list of choices.
RUNGS: dict[str, dict[str, Any]] = {
    "plain": {
        "matmul": "highest",
        "precision": "fp32",
        "core": "naive",
        "compile": False,
        "fused": False,
        "padded": False,
        "rows": "few",
        "chunked": False,
        "cudnn": False,
    },
    "TF32": {"matmul": "high"},
    "bfloat16": {"precision": "bf16"},
    "fused attention": {"core": "sdpa"},
    "compiled": {"compile": True},
    "fused AdamW": {"fused": True},
    "padded vocabulary": {"padded": True},
    "larger batch": {"rows": "many"},
    "cuDNN's attention": {"cudnn": True},
    "loss in chunks, larger batch still": {"chunked": True, "rows": "most"},
}
# Seconds to leave for a rung: with and without compiling it.
NEEDS = {True: 40.0, False: 8.0}


def cumulative(rung: str) -> dict[str, Any]:
    """Return the options of a rung: its own on top of those below it."""
    options: dict[str, Any] = {}
    for name, own in RUNGS.items():
        options |= own
        if name == rung:
            return options
    raise ValueError(f"unknown rung {rung!r}")


def whole_loss(model: nn.Module, tokens: Tensor) -> tuple[Tensor, int]:
    """Return loss and number of targets from all logits: to be compiled with the model, as one."""
    return next_token_loss(model, tokens, chunk=None)


def climb(rung: str, settings: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Run one rung: seconds of a step, the most memory, the loss of the first step."""
    how = cumulative(rung)
    rows, time = settings["rows"][how["rows"]], settings["model"]["max_length"]
    compiling = how["compile"] and settings["compile"]
    vocab = settings["padded_vocab" if how["padded"] else "vocab"]
    torch.set_float32_matmul_precision(how["matmul"])
    torch._dynamo.reset()
    torch.manual_seed(0)
    with torch.device(device):
        config = LanguageModelConfig(vocab_size=vocab, core=how["core"], **settings["model"])
        model = LanguageModel(config)
    optimizer = adamw(model, lr=1e-4, fused=how["fused"])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(settings["vocab"], (rows, time + 1), generator=generator).to(device)
    loss: Any = whole_loss
    if how["chunked"]:

        def loss(model: nn.Module, tokens: Tensor) -> tuple[Tensor, int]:
            return next_token_loss(model, tokens, chunk=settings["chunk"])

        if compiling:
            model.decoder.compile(dynamic=False)
    elif compiling:
        loss = torch.compile(whole_loss, dynamic=False)
    losses: list[float] = []

    def step() -> None:
        total, n = add_gradients(model, [tokens], loss, precision=how["precision"])
        optimizer.step()
        losses.append(total / n)

    with ExitStack() as stack:
        if how["cudnn"] and device.type == "cuda":
            order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
            stack.enter_context(sdpa_kernel(order, set_priority=True))
        for _ in range(settings["warmup"]):
            step()
        seconds = seconds_of(step, settings["steps"], device)
        optimizer.zero_grad()
        peak = peak_memory(step, device)
    torch.set_float32_matmul_precision("highest")
    return {
        "seconds": round(seconds, 5),
        "rows": rows,
        "tokens_per_second": round(rows * time / seconds),
        "loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
        "peak": peak,
    }


def peak_of(device: torch.device, size: int) -> dict[str, Any]:
    """Return the peak that utilisation is counted against, and the measured one beside it."""
    measured = measure_peak(device, torch.bfloat16, size=size)
    found: dict[str, Any] = {"measured_peak": round(measured.flops), "measured": measured.source}
    try:
        if device.type != "cuda":
            raise ValueError("no CUDA device")
        peak = published_peak(torch.cuda.get_device_name())
    except ValueError:  # not in the table: the share of the measured peak, which is named
        peak = measured
    return found | {"peak": round(peak.flops), "source": peak.source}


def run_ladder(report: Report) -> None:
    """Measure all rungs for which there is time; the goal is judged by the best of them."""
    settings, device = report.settings["ladder"], report.device
    config = LanguageModelConfig(vocab_size=settings["vocab"], **settings["model"])
    flops = 3 * sum(language_model_flops(config, config.max_length).values())
    peak = report.attempt("peak", lambda: peak_of(device, settings["matrix"]))
    if peak is None:
        return
    report.numbers["ladder"] = {"flops_per_token": flops, **peak}
    report.say(f"peak {peak['peak'] / 1e12:.1f} 10^12/s: {peak['source']}")
    rungs = report.numbers["rungs"]
    for rung in RUNGS:
        if not report.fits(f"rung: {rung}", settings["scale"] * NEEDS[cumulative(rung)["compile"]]):
            continue
        before = report.seconds()
        found = report.attempt(f"rung: {rung}", lambda r=rung: climb(r, settings, device))
        if found is None:
            continue
        found["mfu"] = round(mfu(found["tokens_per_second"], flops, peak=peak["peak"]), 4)
        found["wall_seconds"] = round(report.seconds() - before, 1)
        rungs[rung] = {"0": found}
        report.say(
            f"{rung}: {found['tokens_per_second']:,} tokens/s, MFU {found['mfu']:.1%}, "
            f"{found['peak'] / 2**30:.1f} GiB, loss {found['loss']}"
        )
        plain = rungs.get("plain", {}).get("0")
        if plain and abs(found["loss"] - plain["loss"]) > 0.1:
            report.fail(f"rung: {rung}", f"loss {found['loss']}, plain {plain['loss']}")
        report.save()
    if rungs:
        best = max(rungs, key=lambda r: rungs[r]["0"]["mfu"])
        report.numbers["ladder"]["best"] = best
        report.goal("MFU of GPT-2 124M", settings["goal"], rungs[best]["0"]["mfu"])
