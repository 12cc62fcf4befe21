"""The weights of a model by name: read out, set, in a file of their own, averaged."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tfmlib.training.checkpoint.files import (
    check_finite,
    check_tensors,
    flush_to_disk,
    read_tensors,
    sibling,
    write_tensors,
)


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and persistent buffers of `model` by name, tied ones once.

    A tied tensor stands under its first name, as in `model.named_parameters()`. The tensors are
    the model's own, not copies.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    seen: dict[int, str] = {}
    weights = model.state_dict(keep_vars=True)
    return {name: t for name, t in weights.items() if seen.setdefault(id(t), name) == name}


def set_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, source: object) -> None:
    """Copy `tensors` into the weights of `model`, in place, so that ties stay tied.

    Raises ValueError that names `source` and the first tensor that is missing, unexpected, of
    another shape or type, or not finite; the model is then as it was.
    """
    weights = named_weights(model)
    check_tensors(tensors, weights, source)
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(tensors[name])


def save_model(path: Path | str, model: nn.Module) -> None:
    """Write the weights of `model` to one safetensors file, atomically."""
    save_weights(path, named_weights(model))


def save_weights(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to one safetensors file, atomically: under another name, then renamed."""
    path = Path(path)
    check_finite(tensors, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = sibling(path, ".new")
    write_tensors(new, tensors)
    flush_to_disk(new)
    os.replace(new, path)
    flush_to_disk(path.parent)


def load_model(path: Path | str, model: nn.Module) -> None:
    """Read the weights of `model` from a safetensors file; strict, as `set_weights`."""
    set_weights(model, read_tensors(Path(path)), source=path)


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of the weights in several files (Vaswani et al. 2017, section 6.1).

    Sums are formed in float64, one file in memory at a time. Integer buffers come from the last.
    """
    if not paths:
        raise ValueError("there are no files to average")
    total: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for path in paths:
        tensors = read_tensors(path)
        expected = expected or {name: t.to("meta") for name, t in tensors.items()}
        check_tensors(tensors, expected, path)
        for name, tensor in tensors.items():
            total[name] = total[name] + tensor if name in total else tensor.double()
    return {
        name: (total[name] / len(paths)).to(last.dtype) if last.is_floating_point() else last
        for name, last in tensors.items()
    }
