"""Files of tensors: every entry checked as it is read; on the disk before anything is renamed."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def check_tensors(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: object
) -> None:
    """Raise ValueError unless `tensors` are exactly those expected, and finite."""
    for name in expected:
        if name not in tensors:
            raise ValueError(f"{source}: tensor {name!r} is missing")
    for name, tensor in tensors.items():
        if name not in expected:
            raise ValueError(f"{source}: tensor {name!r} is unexpected")
        wanted = expected[name]
        if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"{source}: tensor {name!r} is {tuple(tensor.shape)} {tensor.dtype}, expected "
                f"{tuple(wanted.shape)} {wanted.dtype}"
            )
    check_finite(tensors, source)


def check_finite(tensors: Mapping[str, Tensor], source: object) -> None:
    """Raise ValueError that names the first tensor with a value that is not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{source}: tensor {name!r} has values that are not finite")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: truncated, or not a safetensors file ({error})") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file, in place: who needs it atomic renames it afterwards."""
    # Copies, because safetensors refuses views of shared storage and other memory layouts.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    save_file(copies, path)


def sibling(path: Path, ending: str) -> Path:
    """Return the path beside `path` with `ending` added to its name."""
    return path.with_name(path.name + ending)


def flush_to_disk(path: Path) -> None:
    """Wait until a file or a folder is on the disk, so that a power cut cannot undo the order."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle on a folder to flush
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
