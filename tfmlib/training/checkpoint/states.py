"""What a run needs beside its weights: the state of the optimizer and of the random generators."""

import base64
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfmlib.training.checkpoint.files import OPTIMIZER, STATE, check_tensors
from tfmlib.training.checkpoint.weights import named_weights

# How a step is computed, not what it computes: the optimizer at hand decides, not the file.
_IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}


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


def _optimizer_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters in each of the optimizer's groups."""
    names = {id(tensor): name for name, tensor in named_weights(model).items()}
    try:
        return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    except KeyError:
        raise ValueError("the optimizer holds a parameter that the model does not") from None


def optimizer_to_flat(
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


def optimizer_from_flat(
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
    check_tensors(tensors, expected, folder / OPTIMIZER)

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


def _to_text(state: Tensor) -> str:
    return base64.b64encode(bytes(state.tolist())).decode("ascii")


def _from_text(text: str) -> Tensor:
    return torch.tensor(list(base64.b64decode(text, validate=True)), dtype=torch.uint8)
