"""Gradient checkpointing: keep the input of every layer only, and compute the rest of it twice.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from tfmlib.transformer.encoder import Stack


@contextmanager
def recompute_layers(model: nn.Module) -> Iterator[int]:
    """Let every layer of the model's stacks forget its inside, and compute it again for backward.

        with recompute_layers(model):
            train(model, ...)

    Inside, a layer keeps its input alone, and the backward pass runs it once more, with the same
    random numbers for dropout: losses and gradients are the same, for less than a third more work.
    The layers are wrapped from outside, and are themselves again at the end; names of parameters
    do not change. Yields the number of layers.

    Raises:
        ValueError: a model without a stack of layers.
    """
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    layers = [layer for stack in stacks for layer in stack.layers]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no stack of layers")
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield len(layers)
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                del layer.forward
            else:
                layer.forward = own
