"""What the sweeps over whole language models share: their text, their loss, the parts to swap in.

An ablation takes a part of the model away or puts another in its place. Both are done from outside,
on a model of the library: `tfmlib` has no option for leaving out what a Transformer needs.
"""

import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfmlib.blocks.residual import LayerNorm
from tfmlib.data.source_code import SourceCode, in_order, source_code, windows
from tfmlib.sequences.fit import fit
from tfmlib.transformer.decoder import LanguageModel

Batch = tuple[Tensor, Tensor]


class NoResidual(nn.Module):
    """Stands where a residual connection stood: norm(f(x)), post-norm without the sum."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = LayerNorm(d_model)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply the sub-layer, and forget what went in."""
        return self.norm(sublayer(x))


def remove_residuals(model: LanguageModel) -> None:
    """Put `NoResidual` in the place of every residual connection."""
    for layer in model.decoder.layers:
        layer.residual_self_attention = NoResidual(model.config.d_model)
        layer.residual_feed_forward = NoResidual(model.config.d_model)
    model.decoder.norm = nn.Identity()


def remove_final_norm(model: LanguageModel) -> None:
    """Let the residual stream go into the output as it is."""
    model.decoder.norm = nn.Identity()


def remove_scale(model: LanguageModel) -> None:
    """Leave the scores of every attention undivided."""
    for layer in model.decoder.layers:
        layer.self_attention.scale = 1.0


@torch.no_grad()
def enlarge_queries_and_keys(model: LanguageModel, factor: float) -> None:
    """Multiply the weights that make queries and keys: the scores grow by its square."""
    for layer in model.decoder.layers:
        layer.self_attention.project_q.weight.mul_(factor)
        layer.self_attention.project_k.weight.mul_(factor)


@contextmanager
def core_of(model: LanguageModel, layer: int, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put `make(core)` in the place of the attention core of a layer for a while."""
    attention = model.decoder.layers[layer].self_attention
    core = attention.core
    attention.core = make(core)
    try:
        yield
    finally:
        attention.core = core


def text() -> SourceCode:
    """Return the text that every sweep trains on."""
    return source_code()


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the loss in nats per character."""
    tokens, following = batch
    return F.cross_entropy(model(tokens).flatten(0, 1), following.flatten())


@torch.no_grad()
def losses_by_position(model: nn.Module, batch: Batch, *, at_once: int = 32, **how: Any) -> Tensor:
    """Return the loss of every character, [pieces, length]; keywords go to the model."""
    model.eval()
    rows = [
        F.cross_entropy(model(x, **how).transpose(1, 2), y, reduction="none")
        for x, y in zip(*(t.split(at_once) for t in batch), strict=True)
    ]
    return torch.cat(rows)


def validation_loss(model: nn.Module, batch: Batch) -> float:
    """Return the mean loss over a batch held out, in nats per character."""
    return losses_by_position(model, batch).mean().item()


def train(
    model: nn.Module,
    settings: Mapping[str, Any],
    seed: int,
    *,
    steps: int | None = None,
    **how: Any,
) -> list[float]:
    """Train on random pieces of the text; every model with this seed sees the same ones.

    Keywords stand in for settings. With `steps`, only that much of the warm-up is run.
    """
    settings = {**settings, **how}
    warmup, lr, total = settings["warmup"], settings["lr"], settings["steps"]
    if steps is not None:
        if not 0 < steps <= warmup:
            raise ValueError(f"expected at most {warmup} steps, got {steps}")
        warmup, lr, total = steps, lr * steps / warmup, steps
    return fit(
        model,
        windows(text().train, settings["length"], batch=settings["batch"], seed=seed),
        mean_loss,
        steps=total,
        lr=lr,
        warmup=warmup,
        decay=True,
        betas=tuple(settings["betas"]),
        clip=settings["clip"],
    )


def validation(settings: Mapping[str, Any], length: int | None = None) -> Batch:
    """Return the pieces of the files held out that a sweep is scored on."""
    length = length or settings["length"]
    return in_order(text().valid, length, pieces=settings["pieces"])


def run_all(
    job: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    jobs: int,
    parts: Path | None = None,
) -> list[Any]:
    """Call `job` with each of the arguments, `jobs` at a time, one thread each.

    With a folder `parts`, every result is kept there, and what is there is not run again.
    """
    kept = partial(keep, job, parts)
    if jobs == 1:
        return list(itertools.starmap(kept, arguments))
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(kept, *zip(*arguments, strict=True)))


def keep(job: Callable[..., Any], parts: Path | None, *arguments: Any) -> Any:
    """Return `job(*arguments)`, from its file in the folder if it has one."""
    if parts is None:
        return job(*arguments)
    path = parts / ("_".join(map(str, arguments)).replace(" ", "-") + ".json")
    if not path.exists():
        parts.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(job(*arguments)), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))
