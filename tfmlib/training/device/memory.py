"""Where the bytes of a training step go: counted in the tensors themselves, not estimated.

Weights, gradients and the optimizer's moments stay between steps (Rajbhandari et al. 2020, section
3); what the forward pass keeps for the backward pass, the activations, goes with the batch
(Korthikanti et al. 2023, section 4, for a formula).
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Saved:
    """What a forward pass keeps for the backward pass, each piece of memory counted once.

    Attributes:
        tensors: shape, type and bytes of every piece, in the order in which they were kept.
    """

    tensors: list[tuple[tuple[int, ...], torch.dtype, int]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """All of it, in bytes."""
        return sum(size for _, _, size in self.tensors)

    def bytes_of_width(self, width: int) -> int:
        """Bytes of the tensors whose last dimension is `width`, such as the vocabulary's."""
        return sum(size for shape, _, size in self.tensors if shape and shape[-1] == width)


@contextmanager
def saved_for_backward(*, without: Iterable[Tensor] = ()) -> Iterator[Saved]:
    """Count what a forward pass keeps for the backward pass.

        with saved_for_backward(without=model.parameters()) as saved:
            loss = model(x).sum()
        saved.bytes

    A piece of memory that several operations keep, or that a view of it shares, is counted once,
    and whole; what was kept and let go again before the end is not counted. Run the forward pass
    inside, and the backward pass after: the numbers are there when the context ends.

    Args:
        without: tensors that are not counted, such as the parameters, which are there anyway.
    """
    saved = Saved()
    known = {t.untyped_storage().data_ptr() for t in without}
    kept: weakref.WeakKeyDictionary[torch.UntypedStorage, Any] = weakref.WeakKeyDictionary()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in known:
            kept.setdefault(storage, (tuple(tensor.shape), tensor.dtype, storage.nbytes()))
        return tensor.detach()  # the tensor itself would keep its own graph alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved
    saved.tensors = list(kept.values())


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step, by what they hold.

    Attributes:
        weights: parameters and buffers.
        gradients: of the parameters.
        moments: what the optimizer remembers (nothing before its first step).
        activations: what the forward pass keeps for the backward pass, without the logits.
        logits: what is kept of the width of the vocabulary.
    """

    weights: int
    gradients: int
    moments: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, f.name) for f in fields(self))


def count_memory(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Any], Any],
    batch: Any,
    *,
    vocab_size: int,
) -> Memory:
    """Count the bytes of a step of `loss(model, batch)`, whose first result is the loss.

    Runs a forward and a backward pass, which sets the gradients, and no step. The sum is what is
    held at the end of the forward pass if gradients are there from the step before; the most that
    is ever held at once (`peak_memory`) is more, by what single operations need on the way.
    """
    model.zero_grad(set_to_none=True)
    parts = [*model.parameters(), *model.buffers()]
    with saved_for_backward(without=parts) as saved:
        result = loss(model, batch)
    (result[0] if isinstance(result, tuple) else result).backward()
    logits = saved.bytes_of_width(vocab_size)
    return Memory(
        weights=_bytes(parts),
        gradients=_bytes(p.grad for p in model.parameters() if p.grad is not None),
        moments=_bytes(
            value
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ),
        activations=saved.bytes - logits,
        logits=logits,
    )


def peak_memory(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Return the most bytes of tensors that were alive at once during `run()`, new ones only.

    On CUDA it is the allocator's own figure. On the CPU every result of an operation is followed
    from its making to its end; scratch memory inside a kernel is not seen.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        raise ValueError(f"the peak is measured on cpu and cuda, got {device}")
    with _Live() as live:
        run()
    return live.peak


@contextmanager
def memory_limit(limit: int) -> Iterator[None]:
    """Let the CPU run out of memory when new tensors take more than `limit` bytes at once.

    A small card, for those who have none: what is made inside the context counts, what was there
    before does not. Raises torch.OutOfMemoryError from the operation whose result is too much.
    """
    with _Live(limit):
        yield


class _Live(TorchDispatchMode):
    """Follows the memory of every tensor that an operation returns."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.now = self.peak = 0
        self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and take note of its results."""
        there = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if _is(t)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if _is(tensor) and tensor.untyped_storage().data_ptr() not in there:
                self.follow(tensor.untyped_storage())
        return result

    def follow(self, storage: torch.UntypedStorage) -> None:
        """Count a piece of memory until it goes."""
        if storage in self.known:
            return
        size = storage.nbytes()
        if self.limit is not None and self.now + size > self.limit:
            raise torch.OutOfMemoryError(
                f"out of memory: {size:,} bytes more than the {self.now:,} in use would be over "
                f"the limit of {self.limit:,}"
            )
        self.known.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.forget, size)

    def forget(self, size: int) -> None:
        """Take a piece of memory off the count."""
        self.now -= size


def _is(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of all tensors, memory that two of them share counted once."""
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(sizes.values())
