"""What a training run is asked for, and what it has to tell: its settings and its history."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

Evaluate = Callable[[nn.Module], Mapping[str, float | int]]
"""evaluate(model) -> numbers by name."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train; intervals are counted in optimizer steps, None means only at the end.

    Attributes:
        steps: the last step.
        accumulate: batches whose gradients make one step.
        clip: largest global norm of the gradient; None leaves it as it is.
        precision: "fp32", or automatic mixed precision in "bf16" or "fp16" (with loss scaling).
        log_every, evaluate_every, checkpoint_every: intervals.
        average_last: evaluate, and end with, the mean of the weights at the last so many
            checkpoints (0 or 1: the weights themselves).
        cooldown: steps at the end over which the learning rate goes to 0.
        max_cpu_seconds: end (after the cool-down) when the process has used about this much
            processor time, all parts of a resumed run together.
        keep_best: metric of `evaluate` whose best weights are kept in `best.safetensors`.
        best_is_highest: whether more of it is better.
    """

    steps: int
    accumulate: int = 1
    clip: float | None = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    log_every: int = 50
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    average_last: int = 0
    cooldown: int = 0
    max_cpu_seconds: float | None = None
    keep_best: str | None = None
    best_is_highest: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("steps", "accumulate", "log_every", "evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("clip", "max_cpu_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or None, got {value}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {[*PRECISIONS]}, got {self.precision!r}")
        if not 0 <= self.cooldown < self.steps:
            raise ValueError(f"cooldown must lie between 0 and steps - 1, got {self.cooldown}")
        if self.average_last < 0:
            raise ValueError(f"average_last must not be negative, got {self.average_last}")


@dataclass
class History:
    """What a run has logged, in order: training records (with "loss") and evaluations.

    Attributes:
        records: one dictionary each, all with "step". A training record has epoch, loss (nats per
            target token since the record before), lr, grad_norm (of the last step, before
            clipping), tokens and cpu_seconds (both since the start of the run), skipped (steps,
            fp16 only); an evaluation has what `evaluate` returned. None stands for a number that
            is not finite.
        stopped: why the run ended: "steps", "budget" or "asked".
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""

    def series(self, name: str) -> tuple[list[int], list[Any]]:
        """Return the steps and the values of all records that have `name`."""
        found = [record for record in self.records if name in record]
        return [r["step"] for r in found], [r[name] for r in found]

    @classmethod
    def read(cls, folder: Path | str) -> "History":
        """Read the history of the run in `folder`; a last line cut short by a kill is left out."""
        text = (Path(folder) / "history.jsonl").read_text(encoding="utf-8")
        return cls([json.loads(line) for line in text.split("\n")[:-1]])
