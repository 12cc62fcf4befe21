"""Giving a trained model linear maps that compute the same from weights stored otherwise."""

from collections.abc import Callable

from torch import nn


def replace_linears_(model: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace every `nn.Linear` in the model, in place, by what `make` makes of it.

    A map that stands in two places stays one. Embeddings, and an output map that shares their
    table, stay as they are.

    Raises:
        ValueError: there is no linear map in the model.
    """
    linears = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear)
    ]
    if not linears:
        raise ValueError(f"{type(model).__name__} has no nn.Linear to replace")
    made = {id(child): make(child) for _, _, child in linears}
    for module, name, child in linears:
        setattr(module, name, made[id(child)])
