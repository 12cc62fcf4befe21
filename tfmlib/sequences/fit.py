"""The training loop of the book: thirty lines that every small experiment shares.

For a run of minutes. A run of hours wants evaluation, checkpoints and mixed precision besides,
which `tfmlib.training.loop` adds.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm


def fit(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    steps: int,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    clip: float | None = None,
    warmup: int = 0,
    decay: bool = False,
    progress: bool = False,
) -> list[float]:
    """Train `model` for some steps with AdamW; return the loss of every step.

    The model is put into training mode and left there: call `model.eval()` before measuring.

    Args:
        model: What to train, in place.
        batches: Gone through again and again, one batch a step. A `DataLoader` is shuffled anew
            each time; a generator can be gone through only once and must last for all steps.
        loss: `loss(model, batch)`, the mean loss of a batch as a tensor of no dimensions.
        steps: The number of updates.
        lr: The learning rate, at its peak.
        weight_decay: AdamW's decay (Loshchilov and Hutter, 2019); 0 makes it Adam.
        betas: Adam's decay rates of the first and second moment.
        clip: The largest norm of the gradient (Pascanu et al., 2013); None for no bound.
        warmup: Steps over which the learning rate rises linearly to `lr`.
        decay: Let the learning rate fall to 0 over the remaining steps, along half a cosine.
        progress: Show a progress bar.

    Returns:
        `steps` losses, each measured before its update.

    Raises:
        ValueError: `steps`, `warmup` or `clip` is out of range, or `batches` runs out.
        FloatingPointError: The loss is no longer finite; the message says at which step.
    """
    if steps < 0 or not 0 <= warmup <= steps or (clip is not None and clip <= 0):
        raise ValueError(
            "expected steps >= 0, 0 <= warmup <= steps and clip > 0, got "
            f"steps={steps}, warmup={warmup}, clip={clip}"
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=weight_decay)
    model.train()
    losses: list[float] = []
    source = _repeat(batches)
    for step in tqdm(range(steps), disable=not progress):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, steps, warmup=warmup, decay=decay)
        value = loss(model, next(source))
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step}; lower lr or clip")
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return losses


def schedule(step: int, steps: int, *, warmup: int = 0, decay: bool = False) -> float:
    """Return the factor on the learning rate at `step`, counted from 0.

    It rises linearly and reaches 1 at the last of `warmup` steps. After them it stays, or with
    `decay` falls along half a cosine that would reach 0 one step after the last.
    """
    if step < warmup:
        return (step + 1) / warmup
    if not decay:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _repeat(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches, over and over; a `ValueError` when there are no more."""
    count = before = 0
    while True:
        for batch in batches:
            count += 1
            yield batch
        if count == before:
            raise ValueError(
                f"the batches ran out after {count}; pass a list, or a generator that lasts"
            )
        before = count
