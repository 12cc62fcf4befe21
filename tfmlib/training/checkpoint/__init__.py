"""Checkpoints that a kill cannot break: safetensors and one JSON file, exchanged by renaming.

A checkpoint is a folder: `model.safetensors` (parameters and buffers by name),
`optimizer.safetensors` (the optimizer's tensors, by parameter name) and `state.json` (format
version, the optimizer's settings, random states, what the caller adds). Nothing is pickled: loading
runs no code.

`weights` knows the model, `states` the optimizer and the random generators, `folder` puts them
together, `files` reads and writes.
"""

from tfmlib.training.checkpoint.folder import (
    FORMAT_VERSION,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from tfmlib.training.checkpoint.states import preserved_rng, rng_state, set_rng_state
from tfmlib.training.checkpoint.weights import (
    average_weights,
    load_model,
    named_weights,
    save_model,
    save_weights,
    set_weights,
)

__all__ = [
    "FORMAT_VERSION",
    "average_weights",
    "has_checkpoint",
    "load_checkpoint",
    "load_model",
    "named_weights",
    "preserved_rng",
    "rng_state",
    "save_checkpoint",
    "save_model",
    "save_weights",
    "set_rng_state",
    "set_weights",
]
