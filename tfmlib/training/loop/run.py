"""The book-keeping beside the loop: where a run stands, its history on disk, its files.

It is what lets a run be killed at any moment and go on as if nothing had happened.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler

from tfmlib.training.checkpoint import (
    average_weights,
    has_checkpoint,
    load_checkpoint,
    load_model,
    named_weights,
    preserved_rng,
    save_checkpoint,
    save_model,
    save_weights,
    set_weights,
)
from tfmlib.training.loop.settings import Evaluate, History, TrainingConfig


class Run:
    """The book-keeping of `train`: where the run stands, its files, its history."""

    SAVED = ("step", "epoch", "index", "tokens", "sum_loss", "sum_tokens", "skipped", "best", "end")
    FIXED = ("accumulate", "clip", "precision")  # the same in all parts of a run
    TRAINING_NAMES = frozenset(("step", "epoch", "loss", "lr", "grad_norm", "tokens"))

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path | None,
        on_log: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        for name in ("checkpoint_every", "keep_best", "average_last"):
            if folder is None and getattr(config, name) not in (None, 0, 1):
                raise ValueError(f"{name}={getattr(config, name)!r} needs a folder to write to")
        self.config, self.folder, self.on_log = config, folder, on_log
        self.step = self.epoch = self.index = 0  # index: batches of the epoch that were read
        self.tokens = self.sum_tokens = self.skipped = 0  # sum_: since the last record
        self.sum_loss = 0.0
        self.best: float | None = None
        self.end = config.steps
        self.saved_step = -1
        self.history = History()
        self.cpu_before, self.cpu_start = 0.0, time.process_time()
        self.clock, self.clock_tokens = time.perf_counter(), 0

    def cpu_seconds(self) -> float:
        """Return the processor time of all parts of the run."""
        return self.cpu_before + time.process_time() - self.cpu_start

    def is_due(self, every: int | None) -> bool:
        """Return whether something is due that comes every so many steps, and at the end."""
        return self.step == self.end or (every is not None and self.step % every == 0)

    def count(self, total: float, tokens: int, finite: bool) -> None:
        """Take note of a step; bring the end nearer if the rest of the budget asks for it."""
        self.step += 1
        if finite:
            self.sum_loss, self.sum_tokens = self.sum_loss + total, self.sum_tokens + tokens
        self.tokens += tokens
        self.skipped += not finite
        if self.config.max_cpu_seconds is not None:
            used = self.cpu_seconds()
            if used + self.config.cooldown * used / self.step >= self.config.max_cpu_seconds:
                self.end = min(self.end, self.step + self.config.cooldown)

    # ---- records ----

    def log(self, record: dict[str, Any]) -> None:
        """Add a record to the history, in memory and on the disk."""
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                record[name] = None  # JSON has no such numbers
        self.history.records.append(record)
        if self.folder is not None:
            with (self.folder / "history.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        if self.on_log is not None:
            self.on_log(record)

    def log_training(self, lr: float, norm: float) -> str:
        """Log a training record; return a short text about it."""
        mean = self.sum_loss / self.sum_tokens if self.sum_tokens else math.nan
        record = {
            "step": self.step,
            "epoch": self.epoch,
            "loss": mean,
            "lr": lr,
            "grad_norm": norm,
            "tokens": self.tokens,
            "cpu_seconds": round(self.cpu_seconds(), 3),
        }
        if self.config.precision == "fp16":
            record["skipped"] = self.skipped
        self.log(record)
        self.sum_loss, self.sum_tokens = 0.0, 0
        now = time.perf_counter()
        speed = (self.tokens - self.clock_tokens) / max(now - self.clock, 1e-9)
        self.clock, self.clock_tokens = now, self.tokens
        return f"loss {mean:.3f}, lr {lr:.2g}, {speed:.0f} tokens/s"

    def evaluate(self, model: nn.Module, evaluate: Evaluate) -> None:
        """Evaluate the model, with averaged weights if there are any, and log the result."""
        own = None
        if self.config.average_last > 1 and self.kept():
            own = {name: t.detach().clone() for name, t in named_weights(model).items()}
            set_weights(model, average_weights(self.kept()), source="the averaged weights")
        try:
            model.eval()
            with preserved_rng(), torch.no_grad():
                numbers = evaluate(model)
            metrics = {k: v if isinstance(v, int) else float(v) for k, v in numbers.items()}
            if taken := self.TRAINING_NAMES & set(metrics):
                raise ValueError(f"evaluate returned {taken}, which training records have too")
            self.log({"step": self.step, **metrics})
            self.keep_if_best(model, metrics)
        finally:
            if own is not None:
                set_weights(model, own, source="the weights before the evaluation")
            model.train()

    def keep_if_best(self, model: nn.Module, metrics: Mapping[str, float | int]) -> None:
        """Write the weights to `best.safetensors` if their metric is the best so far."""
        name = self.config.keep_best
        if name is None or self.folder is None:
            return
        if name not in metrics:
            raise ValueError(f"keep_best={name!r}, but evaluate returned {sorted(metrics)}")
        value = float(metrics[name])
        sign = 1 if self.config.best_is_highest else -1
        if math.isfinite(value) and (self.best is None or sign * value > sign * self.best):
            self.best = value
            save_model(self.folder / "best.safetensors", model)

    # ---- files ----

    def kept(self) -> list[Path]:
        """Return the files of the weights that are to be averaged."""
        if self.folder is None or self.config.average_last < 2:
            return []
        return sorted((self.folder / "weights").glob("*.safetensors"))[-self.config.average_last :]

    def keep_weights(self, model: nn.Module) -> None:
        """Put the weights of this step with those to be averaged."""
        if self.folder is not None and self.config.average_last > 1:
            save_model(self.folder / "weights" / f"{self.step:08d}.safetensors", model)

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: GradScaler) -> None:
        """Write the checkpoint, and what follows from it."""
        if self.folder is None:
            return
        state = {name: getattr(self, name) for name in self.SAVED} | {
            "cpu_seconds": self.cpu_seconds(),
            "records": len(self.history.records),
            "scaler": scaler.state_dict(),
            "config": asdict(self.config),
        }
        kept = self.kept()
        if kept:
            save_weights(self.folder / "averaged.safetensors", average_weights(kept))
        save_checkpoint(self.folder / "checkpoint", model, optimizer, state)
        self.saved_step = self.step
        # Only now: until here a kill would have brought back the checkpoint before.
        for path in set(self.folder.glob("weights/*.safetensors")) - set(kept):
            path.unlink()

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: GradScaler
    ) -> None:
        """Go back to the checkpoint where there is one; remove what a kill left after it."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        if has_checkpoint(self.folder / "checkpoint"):
            state = load_checkpoint(self.folder / "checkpoint", model, optimizer)
            saved = state["config"]
            for name in self.FIXED:
                if getattr(self.config, name) != saved[name]:
                    raise ValueError(
                        f"the run in {self.folder} was begun with {name}={saved[name]!r}; it "
                        f"cannot go on with {getattr(self.config, name)!r}"
                    )
            for name in self.SAVED:
                setattr(self, name, state[name])
            scaler.load_state_dict(state["scaler"])
            self.cpu_before, self.saved_step = state["cpu_seconds"], self.step
            self.clock_tokens = self.tokens
            # An end that the budget set stays, unless there is more budget now.
            budget, before = self.config.max_cpu_seconds, saved["max_cpu_seconds"]
            if self.end == saved["steps"] or budget is None or budget > before:
                self.end = self.config.steps
            path = self.folder / "history.jsonl"
            lines = path.read_text(encoding="utf-8").splitlines()[: state["records"]]
            if len(lines) < state["records"]:
                raise ValueError(
                    f"{path} has {len(lines)} records, but the checkpoint was written after "
                    f"{state['records']}"
                )
        self.history.records = [json.loads(line) for line in lines]
        new = self.folder / "history.jsonl.new"
        new.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        os.replace(new, self.folder / "history.jsonl")
        for path in self.folder.glob("weights/*.safetensors"):
            if int(path.stem) > self.step:
                path.unlink()

    def finish(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: GradScaler
    ) -> History:
        """Save what is not yet saved, take the averaged weights, say why the run ended."""
        if self.saved_step != self.step:
            self.save(model, optimizer, scaler)
        if self.kept() and self.folder is not None:
            load_model(self.folder / "averaged.safetensors", model)
        model.eval()
        over = "steps" if self.end == self.config.steps else "budget"
        self.history.stopped = over if self.step >= self.end else "asked"
        return self.history
