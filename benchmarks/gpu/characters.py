"""A character model of 10.8M parameters, trained on one text until it would overfit."""

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.gpu.report import Report
from tfmlib.training.device import next_token_loss
from tfmlib.training.loop import TrainingConfig, train
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


def encode(text: str) -> tuple[Tensor, int]:
    """Return the text as numbers, and how many different characters it has."""
    characters = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([characters[c] for c in text]), len(characters)


class Windows:
    """Batches of windows that begin anywhere in the text, which lies on the device."""

    def __init__(self, ids: Tensor, rows: int, length: int) -> None:
        self.ids, self.rows, self.offsets = ids, rows, torch.arange(length, device=ids.device)

    def epoch(self, epoch: int) -> Iterator[Tensor]:
        """Yield as many batches as it takes to read about as much as the text has."""
        draw = torch.Generator(self.ids.device).manual_seed(epoch)
        last = len(self.ids) - len(self.offsets) + 1
        for _ in range(max(1, len(self.ids) // (self.rows * len(self.offsets)))):
            starts = torch.randint(last, (self.rows, 1), generator=draw, device=self.ids.device)
            yield self.ids[starts + self.offsets]


def side_by_side(ids: Tensor, context: int) -> Tensor:
    """Cut a text into windows of context + 1 that share one character: each is predicted once."""
    pieces = (len(ids) - 1) // context
    starts = torch.arange(pieces, device=ids.device)[:, None] * context
    return ids[starts + torch.arange(context + 1, device=ids.device)]


@torch.no_grad()
def mean_loss(model: nn.Module, weights: dict[str, Tensor], windows: Tensor, rows: int) -> float:
    """Return the nats a character, in float32."""

    class Weighted(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return functional_call(model, weights, (tokens,))

    total, count = 0.0, 0
    for part in windows.split(rows):
        loss, n = next_token_loss(Weighted(), part, chunk=None)
        total, count = total + float(loss), count + n
    return total / count


def cosine(step: int, *, peak: float, low: float, warmup: int, steps: int) -> float:
    """Return a learning rate: up in a straight line, then down along half a cosine."""
    if step <= warmup:
        return peak * step / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return low + (peak - low) * (1 + math.cos(math.pi * share)) / 2


def learn(
    recipe: dict[str, Any], settings: dict[str, Any], text: str, report: Report
) -> dict[str, Any]:
    """Train with one recipe; return the curve, with the seconds since the start of training."""
    device = report.device
    ids, vocab = encode(text)
    cut = int(0.9 * len(ids))
    context = settings["model"]["max_length"]
    batches = Windows(ids[:cut].to(device), settings["rows"], context + 1)
    windows = side_by_side(ids[cut:].to(device), context)
    torch._dynamo.reset()
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    model = LanguageModel(
        LanguageModelConfig(vocab_size=vocab, positions=recipe["positions"], **settings["model"])
    ).to(device)
    optimizer = adamw(
        model, lr=recipe["lr"], betas=(0.9, 0.99), eps=1e-8, weight_decay=recipe["weight_decay"]
    )
    steps = settings["steps"]
    schedule = partial(
        cosine, peak=recipe["lr"], low=recipe["lr"] / 10, warmup=settings["warmup"], steps=steps
    )
    own = dict(model.named_parameters())
    average = {name: p.detach().clone() for name, p in own.items()}
    curve: list[dict[str, Any]] = []
    start = time.perf_counter()
    end = min(settings["seconds"], report.left())

    def after(step: int) -> bool:
        keep = min(settings["average"], step / (step + 10))  # a mean of all steps, at first
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in own.values()], 1 - keep)
        return time.perf_counter() - start > end

    def evaluate(model: nn.Module) -> dict[str, float]:
        parts = (dict(own), average)
        found = [mean_loss(model, part, windows, settings["rows"]) for part in parts]
        return {"valid": round(found[0], 4), "valid_of_average": round(found[1], 4)}

    def log(record: dict[str, Any]) -> None:
        kept = {k: record[k] for k in ("step", "valid", "valid_of_average") if k in record}
        if "loss" in record:
            kept["loss"] = round(record["loss"], 4)
        curve.append({"seconds": round(time.perf_counter() - start, 1), **kept})
        if "valid" in record:
            report.say(f"step {record['step']}: {curve[-1]}")

    whole = partial(next_token_loss, chunk=None)
    loss: Any = whole
    if settings["compile"]:

        def plain(model: nn.Module, tokens: Tensor) -> tuple[Tensor, int]:
            return next_token_loss(model, tokens, chunk=None)

        loss = torch.compile(plain, dynamic=False)
    history = train(
        model,
        optimizer,
        schedule,
        batches,
        loss,
        TrainingConfig(
            steps=steps,
            clip=1.0,
            precision="bf16",
            log_every=settings["evaluate_every"],
            evaluate_every=settings["evaluate_every"],
        ),
        evaluate=evaluate,
        device=device,
        progress=False,
        on_log=log,
        should_stop=after,
    )
    torch.set_float32_matmul_precision("highest")
    seen = [r for r in curve if "valid" in r]
    if not seen:
        raise RuntimeError(f"stopped after {end:.0f} s, before the first evaluation")
    best = min(seen, key=lambda r: min(r["valid"], r["valid_of_average"]))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "best": min(best["valid"], best["valid_of_average"]),
        "best_of_own_weights": min(r["valid"] for r in seen),
        "seconds_to_best": best["seconds"],
        "seconds": curve[-1]["seconds"],
        "stopped": history.stopped,
        "curve": curve,
    }


def run_characters(report: Report, text: str) -> None:
    """Train with each recipe for which there is time; the goal is judged by the best."""
    settings = report.settings["characters"]
    found: dict[str, Any] = {}
    report.numbers["characters"] = found
    for name, recipe in settings["recipes"].items():
        if not report.fits(f"characters: {name}", settings["needs"]):
            continue
        result = report.attempt(
            f"characters: {name}", lambda r=recipe: learn(r, settings, text, report)
        )
        if result is not None:
            found[name] = result
            report.save()
    if found:
        best = min(found.values(), key=lambda r: r["best"])
        report.goal("validation loss of the characters", 1.45, best["best"], at_most=True)
        report.goal("seconds of that training", 180.0, best["seconds_to_best"], at_most=True)
