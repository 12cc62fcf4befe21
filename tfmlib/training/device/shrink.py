"""When memory runs out: the same step from smaller pieces, or on the CPU, and never in silence."""

import dataclasses
import gc
import itertools
import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from tfmlib.training.loop import Loss, add_gradients

# What allocators say that raise a plain RuntimeError: the CPU's, and Apple's.
_SAID = ("can't allocate memory", "not enough memory", "MPS backend out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device, or the CPU, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


class ShrinkToFit:
    """`add_gradients` that cuts batches in two, and two again, when memory runs out.

        train(..., gradients=ShrinkToFit(optimizer))

    The gradients of the pieces are added up, so the step is the one of the whole batch (dropout
    draws other masks). The number of pieces stays for the steps that follow. When one row at a
    time does not fit, model, optimizer and batches go to the CPU; without an optimizer to move,
    or where the CPU is what ran out, the error is raised.

    Args:
        optimizer: its state moves with the model.
        say: told in one sentence what happened and what follows; by default a warning.

    Attributes:
        pieces: into how many pieces every batch is cut.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        say: Callable[[str], None] = _warn,
    ) -> None:
        self.optimizer, self.say, self.pieces = optimizer, say, 1
        self.device: torch.device | None = None  # where batches go, once the model had to move

    def __call__(
        self,
        model: nn.Module,
        batches: list[Any],
        loss: Loss,
        *,
        precision: str = "fp32",
        scaler: GradScaler | None = None,
    ) -> tuple[float, int]:
        """Set the gradients as `add_gradients` does, from as many pieces as it takes."""
        while True:
            try:
                pieces = [p for batch in batches for p in cut(batch, self.pieces)]
                if self.device is not None:
                    pieces = [_each(lambda t: t.to(self.device), p) for p in pieces]
                how: dict[str, Any] = {"precision": precision, "scaler": scaler}
                return add_gradients(model, pieces, loss, **how)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not inside `except`: the error holds frames, and these hold tensors.
            self.give_way(model, batches)

    def give_way(self, model: nn.Module, batches: list[Any]) -> None:
        """Free what can be freed, then halve the pieces or move to the CPU."""
        model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        where, rows = _place(model), max(map(_rows, batches))
        at_a_time = -(-rows // self.pieces)
        if at_a_time > 1:
            self.pieces *= 2
            self.say(
                f"Out of memory on {where} with {at_a_time} rows at a time: batches are now "
                f"computed in {self.pieces} pieces and the gradients added up, so the step stays "
                "the same."
            )
        elif where.type != "cpu" and self.optimizer is not None:
            self.pieces, self.device = 1, torch.device("cpu")
            _move(model, self.optimizer, self.device)
            self.say(
                f"Out of memory on {where} with one row at a time: going on with the CPU, which "
                "has more memory and is slower."
            )
        else:
            raise torch.OutOfMemoryError(
                f"out of memory on {where} with one row at a time; a smaller model, shorter rows, "
                "recompute_layers or a chunked loss need less"
            )


def cut(batch: Any, pieces: int) -> list[Any]:
    """Cut a batch into about equal pieces along its first dimension, as far as it has rows.

    A batch is a tensor, or a tuple, list, dictionary or dataclass of such things with the same
    number of rows.
    """
    rows = _rows(batch)
    ends = [rows * i // pieces for i in range(pieces + 1)]
    slices = [slice(a, b) for a, b in itertools.pairwise(ends) if a < b]
    return [_each(operator.itemgetter(s), batch) for s in slices]


def _each(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """Return the batch with every tensor replaced by the function of it."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {name: _each(function, part) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_each(function, part) for part in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        parts = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        return type(batch)(**_each(function, parts))
    raise TypeError(f"expected a batch of tensors, found a {type(batch).__name__} in it")


def _rows(batch: Any) -> int:
    """Return the number of rows of a batch, the same in all its tensors."""
    sizes: set[int] = set()
    _each(lambda t: sizes.add(t.shape[0]) or t, batch)  # type: ignore[func-returns-value]
    if len(sizes) != 1:
        raise ValueError(f"the tensors of a batch must have as many rows, got {sorted(sizes)}")
    return sizes.pop()


def _place(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _move(model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move a model in place, and what its optimizer remembers with it."""
    model.to(device)
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor):
                state[name] = value.to(device)
