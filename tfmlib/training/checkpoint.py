"""Checkpoints that a kill cannot break: safetensors and one JSON file, exchanged by renaming.

A checkpoint is a folder: `model.safetensors` (parameters and buffers by name),
`optimizer.safetensors` (the optimizer's tensors, by parameter name) and `state.json` (format
version, the optimizer's settings, random states, what the caller adds). Nothing is pickled: loading
runs no code.
"""

import base64
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FORMAT_VERSION = 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
# How a step is computed, not what it computes: the optimizer at hand decides, not the file.
_IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}


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
    _check_tensors(tensors, weights, source)
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(tensors[name])


def save_model(path: Path | str, model: nn.Module) -> None:
    """Write the weights of `model` to one safetensors file, atomically."""
    save_weights(path, named_weights(model))


def save_weights(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to one safetensors file, atomically: under another name, then renamed."""
    path = Path(path)
    _check_finite(tensors, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _sibling(path, ".new")
    _write_tensors(new, tensors)
    _flush_to_disk(new)
    os.replace(new, path)
    _flush_to_disk(path.parent)


def load_model(path: Path | str, model: nn.Module) -> None:
    """Read the weights of `model` from a safetensors file; strict, as `set_weights`."""
    set_weights(model, _read_tensors(Path(path)), source=path)


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of the weights in several files (Vaswani et al. 2017, section 6.1).

    Sums are formed in float64, one file in memory at a time. Integer buffers come from the last.
    """
    if not paths:
        raise ValueError("there are no files to average")
    total: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for path in paths:
        tensors = _read_tensors(path)
        expected = expected or {name: t.to("meta") for name, t in tensors.items()}
        _check_tensors(tensors, expected, path)
        for name, tensor in tensors.items():
            total[name] = total[name] + tensor if name in total else tensor.double()
    return {
        name: (total[name] / len(paths)).to(last.dtype) if last.is_floating_point() else last
        for name, last in tensors.items()
    }


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
    tensors, described = _optimizer_to_flat(optimizer, model)
    _check_finite(weights, folder / MODEL)
    _check_finite(tensors, folder / OPTIMIZER)
    record = {
        "format": "tfmlib checkpoint",
        "version": FORMAT_VERSION,
        "state": dict(state),
        "optimizer": described,
        "random": rng_state(),
    }
    text = json.dumps(record, indent=1, allow_nan=False)

    new, old = _sibling(folder, ".new"), _sibling(folder, ".old")
    if new.exists():  # left behind by a kill
        shutil.rmtree(new)
    new.mkdir(parents=True)
    _write_tensors(new / MODEL, weights)
    _write_tensors(new / OPTIMIZER, tensors)
    (new / STATE).write_text(text, encoding="utf-8")
    for path in (new / MODEL, new / OPTIMIZER, new / STATE, new):
        _flush_to_disk(path)
    if folder.exists():
        if old.exists():
            shutil.rmtree(old)
        os.replace(folder, old)
    os.replace(new, folder)
    _flush_to_disk(folder.parent)
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
    weights = _read_tensors(folder / MODEL)
    _check_tensors(weights, named_weights(model), folder / MODEL)
    tensors = _read_tensors(folder / OPTIMIZER)
    flat = _optimizer_from_flat(optimizer, model, tensors, record["optimizer"], folder)
    set_rng_state(record["random"], source=folder / STATE)
    set_weights(model, weights, source=folder / MODEL)
    optimizer.load_state_dict(flat)
    return dict(record["state"])


def has_checkpoint(folder: Path | str) -> bool:
    """Return whether there is a checkpoint to load at `folder`."""
    return Path(folder).exists() or _sibling(Path(folder), ".old").exists()


def rng_state() -> dict[str, Any]:
    """Return the states of torch's and Python's global random generators, ready for JSON."""
    version, internal, gauss = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": _to_text(torch.get_rng_state()),
        "cuda": [_to_text(state) for state in cuda],
        "python": [version, list(internal), gauss],
    }


def set_rng_state(state: Mapping[str, Any], *, source: object = "the random state") -> None:
    """Set the generators to what `rng_state` returned; CUDA's where there are as many devices."""
    try:
        version, internal, gauss = state["python"]
        torch_state = _from_text(state["torch"])
        cuda = [_from_text(text) for text in state["cuda"]]
        random.setstate((version, tuple(internal), gauss))
        torch.set_rng_state(torch_state)
        if cuda and torch.cuda.is_available() and torch.cuda.device_count() == len(cuda):
            torch.cuda.set_rng_state_all(cuda)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{source}: the random states cannot be restored ({error})") from error


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave the random generators afterwards as they were before."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


# ---- the optimizer, by the names of parameters -------------------------------------------------


def _optimizer_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters in each of the optimizer's groups."""
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    try:
        return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    except KeyError:
        raise ValueError("the optimizer holds a parameter that the model does not") from None


def _optimizer_to_flat(
    optimizer: torch.optim.Optimizer, model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimizer's tensors as {"parameter name/key": tensor}, and the rest for JSON."""
    names = _optimizer_names(optimizer, model)
    tensors: dict[str, Tensor] = {}
    groups = []
    for group, members in zip(optimizer.param_groups, names, strict=True):
        values = {k: v for k, v in group.items() if k != "params" and k not in _IMPLEMENTATION}
        groups.append({"parameters": members, "values": values})
        for parameter, name in zip(group["params"], members, strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor) or value.shape not in ((), parameter.shape):
                    raise ValueError(
                        f"{type(optimizer).__name__} keeps {key!r} of {name} in a form that these "
                        "checkpoints do not know: neither a number nor of the parameter's shape"
                    )
                tensors[f"{name}/{key}"] = value
    shapes = {entry: list(tensor.shape) for entry, tensor in tensors.items()}
    return tensors, {"type": type(optimizer).__name__, "groups": groups, "tensors": shapes}


def _optimizer_from_flat(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    tensors: dict[str, Tensor],
    described: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Return what `optimizer.load_state_dict` takes, after checking that it all fits."""
    where = folder / STATE
    if described["type"] != type(optimizer).__name__:
        raise ValueError(
            f"{where}: the checkpoint is of {described['type']}, not {type(optimizer).__name__}"
        )
    names = _optimizer_names(optimizer, model)
    if [group["parameters"] for group in described["groups"]] != names:
        raise ValueError(f"{where}: the optimizer's groups hold other parameters than the file's")

    expected = {}
    for entry, shape in described["tensors"].items():
        dtype = tensors[entry].dtype if entry in tensors else None
        expected[entry] = torch.empty(shape, dtype=dtype, device="meta")
    _check_tensors(tensors, expected, folder / OPTIMIZER)

    flat = optimizer.state_dict()
    numbers = {name: i for i, name in enumerate(name for members in names for name in members)}
    flat["state"] = {}
    for entry, tensor in tensors.items():
        name, key = entry.rsplit("/", 1)
        flat["state"].setdefault(numbers[name], {})[key] = tensor
    for group, saved in zip(flat["param_groups"], described["groups"], strict=True):
        for key, value in saved["values"].items():
            # JSON has lists where Adam's betas are a tuple.
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    return flat


# ---- files -----------------------------------------------------------------------------------


def _check_tensors(
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
    _check_finite(tensors, source)


def _check_finite(tensors: Mapping[str, Tensor], source: object) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{source}: tensor {name!r} has values that are not finite")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: truncated, or not a safetensors file ({error})") from error


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


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Copies, because safetensors refuses views of shared storage and other memory layouts.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    save_file(copies, path)


def _complete_folder(folder: Path) -> Path:
    """Return the folder, or the old one where a kill came between the two renames."""
    if folder.exists():
        return folder
    old = _sibling(folder, ".old")
    if old.exists():
        return old
    raise FileNotFoundError(f"{folder}: there is no checkpoint")


def _sibling(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _flush_to_disk(path: Path) -> None:
    """Wait until a file or a folder is on the disk, so that a power cut cannot undo the order."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle on a folder to flush
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _to_text(state: Tensor) -> str:
    return base64.b64encode(bytes(state.tolist())).decode("ascii")


def _from_text(text: str) -> Tensor:
    return torch.tensor(list(base64.b64decode(text, validate=True)), dtype=torch.uint8)
