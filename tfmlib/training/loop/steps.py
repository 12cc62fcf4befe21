"""The steps of training: gradients of several batches, clipped, at the rate of the schedule.

One step adds up the gradients of a few batches, clips their global norm (Pascanu et al. 2013),
sets the learning rate of the schedule and lets the optimizer move.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from tqdm.auto import tqdm

from tfmlib.training.loop.run import Run
from tfmlib.training.loop.settings import PRECISIONS, Evaluate, History, TrainingConfig
from tfmlib.training.optimizer import Schedule, linear_cooldown

Loss = Callable[[nn.Module, Any], tuple[Tensor, int | Tensor]]
"""loss(model, batch) -> (loss summed over the target tokens of the batch, number of these)."""

Gradients = Callable[..., tuple[float, int]]
"""Called as `add_gradients` is, and does the same in a way of its own."""


@runtime_checkable
class Batches(Protocol):
    """What the loop reads: for every epoch (from 0) the same batches whenever it asks."""

    def epoch(self, epoch: int) -> Iterator[Any]:
        """Yield the batches of `epoch`, a function of `epoch` alone."""


def add_gradients(
    model: nn.Module,
    batches: list[Any],
    loss: Loss,
    *,
    precision: str = "fp32",
    scaler: GradScaler | None = None,
) -> tuple[float, int]:
    """Set the gradients to those of the mean loss over all target tokens of `batches` together.

    Batches have unequal numbers of tokens, so the mean of their means would weigh tokens
    unequally. Returns the summed loss and the number of tokens. With a scaler, the gradients are
    the scaler's multiple of that.
    """
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device.type
    total, tokens, unit = 0.0, 0, 0
    for batch in batches:
        with torch.autocast(device, PRECISIONS[precision], enabled=precision != "fp32"):
            value, n = loss(model, batch)
        # Divided by the first batch's tokens on the way, to keep fp16 gradients in their range.
        unit = unit or max(int(n), 1)
        mean = value / unit
        (mean if scaler is None else scaler.scale(mean)).backward()
        total, tokens = total + float(value.detach()), tokens + int(n)
    if tokens == 0:
        raise ValueError("there are no target tokens in these batches")
    if tokens != unit:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, unit / tokens)
    return total, tokens


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    batches: Batches,
    loss: Loss,
    config: TrainingConfig,
    *,
    evaluate: Evaluate | None = None,
    folder: Path | str | None = None,
    device: torch.device | str = "cpu",
    gradients: Gradients = add_gradients,
    progress: bool = True,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    should_stop: Callable[[int], bool] | None = None,
) -> History:
    """Train `model` in place and return what was logged; go on where `folder` has a checkpoint.

    `loss(model, batch)` returns the loss summed over the batch's target tokens and their number;
    `evaluate(model)` a dictionary of numbers (called in evaluation mode, without gradients; random
    numbers it draws do not change the training). `on_log` gets every record. `should_stop(step)`
    is asked after every step: True saves a checkpoint and returns. `gradients` stands in for
    `add_gradients`, to go on when memory runs out, for one.

    With a `folder` there are `history.jsonl`, `checkpoint/` (replaced every
    `config.checkpoint_every` steps and at the end) and, where asked for, `best.safetensors` and
    `averaged.safetensors`. A run that was stopped or killed goes on from its checkpoint with the
    same call, and ends with bitwise the same weights and history (but for `cpu_seconds`) as one
    that was not, on the same machine and as long as `batches.epoch(e)` depends on `e` alone. A
    kill leaves no file half written.

    On return the model is in evaluation mode, with the averaged weights if there are any.

    Raises FloatingPointError that names the step for a loss or gradient that is not finite (with
    "fp16" such a step is skipped and the scale of the loss lowered), ValueError for a
    configuration that does not fit, or not the checkpoint.
    """
    device = torch.device(device)
    for name, parameter in model.named_parameters():
        if parameter.device.type != device.type:
            raise ValueError(f"{name} is on {parameter.device}, but device is {device}")
    run = Run(config, None if folder is None else Path(folder), on_log)
    scaler = GradScaler(device.type, enabled=config.precision == "fp16")
    run.restore(model, optimizer, scaler)
    stream = _stream(batches, run.epoch, run.index)
    model.train()
    with tqdm(total=config.steps, initial=run.step, unit="step", disable=not progress) as bar:
        while run.step < run.end:
            step = run.step + 1
            lr = linear_cooldown(schedule, last_step=run.end, n_steps=config.cooldown)(step)
            for group in optimizer.param_groups:
                group["lr"] = lr

            micro_batches = []
            for run.epoch, run.index, batch in islice(stream, config.accumulate):
                micro_batches.append(_move(batch, device))
            total, tokens = gradients(
                model, micro_batches, loss, precision=config.precision, scaler=scaler
            )
            scaler.unscale_(optimizer)
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf))
            finite = math.isfinite(total) and math.isfinite(norm)
            hopeless = not scaler.is_enabled() or scaler.get_scale() < 1e-4
            if hopeless and not finite:
                raise FloatingPointError(
                    f"step {step} (epoch {run.epoch}, learning rate {lr:.3g}): the loss summed "
                    f"over {tokens} tokens is {total}, the norm of the gradient {norm}"
                )
            scaler.step(optimizer)  # fp16: leaves out a step whose gradients are not finite
            scaler.update()

            run.count(total, tokens, finite)
            bar.total = run.end
            bar.update()
            if run.is_due(config.log_every):
                bar.set_postfix_str(run.log_training(lr, norm), refresh=False)
            saving = run.is_due(config.checkpoint_every)
            if saving:
                run.keep_weights(model)
            if evaluate is not None and run.is_due(config.evaluate_every):
                run.evaluate(model, evaluate)
            if saving:
                run.save(model, optimizer, scaler)
            if should_stop is not None and should_stop(step):
                break
    return run.finish(model, optimizer, scaler)


def _stream(batches: Batches, epoch: int, index: int) -> Iterator[tuple[int, int, Any]]:
    """Yield (epoch, number of batches read in it, batch) without end, from a position on."""
    while True:
        start = index
        for batch in islice(batches.epoch(epoch), start, None):
            index += 1
            yield epoch, index, batch
        if index == 0:
            raise ValueError(f"epoch {epoch} has no batches")
        epoch, index = epoch + 1, 0


def _move(batch: Any, device: torch.device) -> Any:
    """Move a batch: anything with `.to`, or a tuple, list or dictionary of such things."""
    if isinstance(batch, (tuple, list)):
        return type(batch)(_move(part, device) for part in batch)
    if isinstance(batch, dict):
        return {name: _move(part, device) for name, part in batch.items()}
    return batch.to(device)
