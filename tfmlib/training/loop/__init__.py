"""The training loop: accumulation, clipping, mixed precision, evaluation, exact resume.

`steps` has the loop itself, `settings` what it is asked for and what it returns, `run` the
book-keeping that lets a run be killed at any moment and go on.
"""

from tfmlib.training.loop.settings import Evaluate, History, TrainingConfig
from tfmlib.training.loop.steps import Batches, Gradients, Loss, add_gradients, train

__all__ = [
    "Batches",
    "Evaluate",
    "Gradients",
    "History",
    "Loss",
    "TrainingConfig",
    "add_gradients",
    "train",
]
