"""Decoding one sequence with a billion parameters: how much of the memory's speed is used."""

import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.report import Report, graphs_skipped, seconds_of, wait
from tfmlib.generation.cache import CachedDecoder, StaticCache, compile_step
from tfmlib.generation.sampling import generate
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


def copy_speed(device: torch.device, size: int) -> float:
    """Return the bytes a second of a copy on the device, read and written: the best of some."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return max(2 * size / seconds_of(lambda: target.copy_(source), 10, device) for _ in range(4))


def bytes_read(model: LanguageModel, cache: StaticCache) -> int:
    """Return the bytes that every token must read: all weights once, and the whole cache."""
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    if model.config.positions == "learned":
        weights.pop(model.positions.table.weight.data_ptr())  # type: ignore[union-attr]
    if not model.config.tied:
        weights.pop(model.embedding.table.weight.data_ptr())  # one row of it is read
    return sum(weights.values()) + cache.bytes()


def decode(core: str, settings: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Decode greedily with a static cache; a step is compiled, and recorded as a CUDA graph."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    with torch.device(device):
        model = LanguageModel(LanguageModelConfig(core=core, **settings["model"]))
    model = model.to(torch.bfloat16).eval()
    config, new = model.config, settings["new"]
    cache = StaticCache(config.n_layers, config.max_length)
    step = compile_step(model) if settings["compile"] else model
    decoder = CachedDecoder(step, cache, prefill=model)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(config.vocab_size, (1, settings["prompt"]), generator=generator)
    prompt = prompt.to(device)
    times: list[float] = []

    def on_token(token: Tensor) -> None:
        if not times or len(times) == new - 1:  # the first is the prompt's, the last the end
            wait(device)
        times.append(time.perf_counter())

    seconds = []
    for turn in range(settings["warmup"] + settings["turns"]):
        times.clear()
        decoder.crop(0)
        generate(decoder, prompt, max_new=new, on_token=on_token)
        if turn >= settings["warmup"]:
            seconds.append((times[-1] - times[0]) / (new - 1))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds_per_token": float(f"{min(seconds):.4g}"),
        "slowest": float(f"{max(seconds):.4g}"),
        "tokens_per_second": round(1 / min(seconds), 1),
        "bytes_per_token": bytes_read(model, cache),
    }


def run_decoding(report: Report) -> None:
    """Measure the copy, then decoding with each attention core for which there is time."""
    settings, device = report.settings["decoding"], report.device
    speed = report.attempt("copy", lambda: copy_speed(device, settings["copy"]))
    if speed is None:
        return
    numbers: dict[str, Any] = {"copy_bytes_per_second": round(speed), "cores": {}}
    report.numbers["decoding"] = numbers
    report.say(f"copy: {speed / 1e9:,.0f} 10^9 bytes/s, read and written")
    for core in settings["cores"]:
        if not report.fits(f"decoding: {core}", settings["needs"]):
            continue
        before = graphs_skipped()
        found = report.attempt(f"decoding: {core}", lambda c=core: decode(c, settings, device))
        if found is None:
            continue
        found["graphs_skipped"] = graphs_skipped() - before
        share = found["bytes_per_token"] / found["seconds_per_token"] / speed
        found["share_of_copy"] = round(share, 4)
        numbers["cores"][core] = found
        report.say(
            f"{core}: {found['parameters']:,} parameters, {found['tokens_per_second']:,} tokens/s, "
            f"{share:.1%} of the copy's speed"
        )
        report.save()
    if numbers["cores"]:
        best = max(found["share_of_copy"] for found in numbers["cores"].values())
        report.goal("share of the copy's speed in decoding", settings["goal"], best)
