"""The folder of a checkpoint: written whole or not at all, read only if all of it fits."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tfmlib.training.checkpoint.files import (
    MODEL,
    OPTIMIZER,
    STATE,
    check_finite,
    check_tensors,
    flush_to_disk,
    read_tensors,
    sibling,
    write_tensors,
)
from tfmlib.training.checkpoint.states import (
    optimizer_from_flat,
    optimizer_to_flat,
    rng_state,
    set_rng_state,
)
from tfmlib.training.checkpoint.weights import named_weights, set_weights

FORMAT_VERSION = 1


def save_checkpoint(
    folder: Path | str, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Write a checkpoint to `folder`, in place of the one that may be there.

    `state` is what the caller must know to go on (step, epoch, ...): anything that JSON holds.
    The random states of torch (CPU and CUDA) and of Python's `random` are added.

    Everything is written to a sibling `<folder>.new`, which is then renamed. A folder cannot be
    renamed onto another, so the old one first becomes `<folder>.old`; a kill between the two
    renames leaves that one, and `load_checkpoint` finds it.

    Raises ValueError, before anything is written, for a weight that is not finite.
    """
    folder = Path(folder)
    weights = named_weights(model)
    tensors, described = optimizer_to_flat(optimizer, model)
    check_finite(weights, folder / MODEL)
    check_finite(tensors, folder / OPTIMIZER)
    record = {
        "format": "tfmlib checkpoint",
        "version": FORMAT_VERSION,
        "state": dict(state),
        "optimizer": described,
        "random": rng_state(),
    }
    text = json.dumps(record, indent=1, allow_nan=False)

    new, old = sibling(folder, ".new"), sibling(folder, ".old")
    if new.exists():  # left behind by a kill
        shutil.rmtree(new)
    new.mkdir(parents=True)
    write_tensors(new / MODEL, weights)
    write_tensors(new / OPTIMIZER, tensors)
    (new / STATE).write_text(text, encoding="utf-8")
    for path in (new / MODEL, new / OPTIMIZER, new / STATE, new):
        flush_to_disk(path)
    if folder.exists():
        if old.exists():
            shutil.rmtree(old)
        os.replace(folder, old)
    os.replace(new, folder)
    flush_to_disk(folder.parent)
    if old.exists():
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path | str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Bring `model`, `optimizer` and the random states back to a checkpoint; return its `state`.

    Raises FileNotFoundError where there is no checkpoint, and ValueError that names the file and
    the entry for a truncated file, an unknown version, or tensors that do not fit model and
    optimizer exactly. In that case nothing has been changed.
    """
    folder = _complete_folder(Path(folder))
    record = _read_state(folder / STATE)
    weights = read_tensors(folder / MODEL)
    check_tensors(weights, named_weights(model), folder / MODEL)
    tensors = read_tensors(folder / OPTIMIZER)
    flat = optimizer_from_flat(optimizer, model, tensors, record["optimizer"], folder)
    set_rng_state(record["random"], source=folder / STATE)
    set_weights(model, weights, source=folder / MODEL)
    optimizer.load_state_dict(flat)
    return dict(record["state"])


def has_checkpoint(folder: Path | str) -> bool:
    """Return whether there is a checkpoint to load at `folder`."""
    return Path(folder).exists() or sibling(Path(folder), ".old").exists()


def _read_state(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: truncated, or not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != "tfmlib checkpoint":
        raise ValueError(f"{path}: not the state of a checkpoint of tfmlib")
    if record.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format version {record.get('version')!r}; this tfmlib reads {FORMAT_VERSION}"
        )
    for key in ("state", "optimizer", "random"):
        if not isinstance(record.get(key), dict):
            raise ValueError(f"{path}: entry {key!r} is missing")
    for key in ("type", "groups", "tensors"):
        if key not in record["optimizer"]:
            raise ValueError(f"{path}: entry {key!r} of the optimizer is missing")
    return record


def _complete_folder(folder: Path) -> Path:
    """Return the folder, or the old one where a kill came between the two renames."""
    if folder.exists():
        return folder
    old = sibling(folder, ".old")
    if old.exists():
        return old
    raise FileNotFoundError(f"{folder}: there is no checkpoint")
