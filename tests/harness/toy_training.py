"""A training run of twenty steps that takes milliseconds: for tests of the loop and of the run."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfmlib.training.checkpoint import named_weights
from tfmlib.training.loop import History, TrainingConfig, train
from tfmlib.training.optimizer import adamw, warmup_inverse_square_root

VOCAB = 9


class Toy(nn.Module):
    """Predicts each token from the one before; dropout, and weights tied as in a Transformer."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 8)
        self.hidden = nn.Linear(8, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, VOCAB, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(torch.tanh(self.hidden(self.embedding(ids)))))


def toy_loss(model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    targets = ids[:, 1:]
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, reduction="sum")
    return loss, (targets != 0).sum()


class ToyBatches:
    """Seven batches an epoch, of unequal sizes, with padding (id 0)."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def epoch(self, epoch: int) -> Iterator[Tensor]:
        self.asked.append(epoch)
        generator = torch.Generator().manual_seed(1000 + epoch)
        for _ in range(7):
            rows, length = torch.randint(2, 6, (2,), generator=generator).tolist()
            start = torch.randint(1, VOCAB, (rows, 1), generator=generator)
            ids = (start + torch.arange(length)) % (VOCAB - 1) + 1
            ids[0, max(2, length - 1) :] = 0
            yield ids


def toy_evaluation(model: nn.Module) -> dict[str, Any]:
    ids = torch.arange(1, VOCAB).repeat(3, 1)
    loss, n = toy_loss(model, ids)
    torch.rand(7)  # an evaluation may draw random numbers, as sampling does
    random.random()
    return {"valid_loss": loss / n, "n": 24}


def run(
    folder: Path | None = None,
    make: Callable[[], nn.Module] = Toy,
    batches: Any = None,
    loss: Any = toy_loss,
    schedule: Callable[[int], float] | None = None,
    **options: Any,
) -> tuple[Any, History]:
    """Train a toy for 20 steps, or as the options say; returns the model and the history."""
    keywords = {
        name: options.pop(name)
        for name in ("evaluate", "on_log", "should_stop", "device")
        if name in options
    }
    torch.manual_seed(11)
    random.seed(11)
    model = make()
    history = train(
        model,
        adamw(model, lr=0.1),
        schedule or warmup_inverse_square_root(0.02, 5),
        batches or ToyBatches(),
        loss,
        TrainingConfig(**({"steps": 20, "log_every": 3} | options)),
        folder=folder,
        progress=False,
        **keywords,
    )
    return model, history


def timeless(history: History) -> list[dict[str, Any]]:
    """Return the records without the times, which differ from run to run."""
    return [{k: v for k, v in r.items() if k != "cpu_seconds"} for r in history.records]


def values(model: nn.Module) -> dict[str, list[float]]:
    """Return the weights as lists, which compare bit by bit."""
    return {name: tensor.flatten().tolist() for name, tensor in named_weights(model).items()}
