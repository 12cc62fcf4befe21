"""How wide the feed-forward network should be when the number of parameters is fixed.

    python -m benchmarks.feedforward_width --out tfmlib/records/feedforward_width.json

Decoder-only models of two layers read a number in digits and write it in German morphemes. All
have about 30 000 parameters in their layers. What goes into the feed-forward networks (d_ff as a
multiple of d_model) is taken from the width of the model. Beside the ReLU network stand GELU and
SwiGLU at the original ratio. Every model is trained with three learning rates, for two numbers
of steps and from three seeds. About 5 CPU-minutes on one thread.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfmlib import records
from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.data.number_words import GERMAN_TOKENS, german, split_german
from tfmlib.sequences.fit import fit

SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "n_train": 4000,
    "n_test": 500,
    "data_seed": 0,
    "models": {
        "1/2": {"d_model": 56, "d_ff": 22},
        "1": {"d_model": 48, "d_ff": 60},
        "2": {"d_model": 44, "d_ff": 82},
        "4": {"d_model": 36, "d_ff": 136},
        "8": {"d_model": 28, "d_ff": 212},
        "4, GELU": {"d_model": 36, "d_ff": 136, "activation": "gelu"},
        "8/3, SwiGLU": {"d_model": 36, "d_ff": 91, "activation": "silu", "gated": True},
    },
    "n_layers": 2,
    "n_heads": 4,
    "steps": [100, 400],
    "lr": [5e-3, 1e-2, 2e-2],
    "batch": 32,
}
TOKENS = (*"0123456789", "=", ".", *GERMAN_TOKENS)


def number_lines(settings: dict[str, Any] = SETTINGS) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, [numbers time]; -1 marks targets that do not count."""
    rng = random.Random(settings["data_seed"])
    rows = []
    for _ in range(settings["n_train"] + settings["n_test"]):
        number = rng.randrange(1_000_000)
        line = (*str(number), "=", *split_german(german(number)), ".")
        rows.append([TOKENS.index(token) for token in line])
    lines = torch.full((len(rows), max(map(len, rows))), -1)
    for line, row in zip(lines, rows, strict=True):
        line[: len(row)] = torch.tensor(row)
    inputs, targets = lines[:, :-1], lines[:, 1:].clone()
    reading = (inputs == TOKENS.index("=")).cumsum(1) == 0
    return inputs.clamp(min=0), targets.masked_fill(reading, -1)


class Reader(nn.Module):
    """A pre-norm decoder with learned positions, so small that it stands here whole."""

    def __init__(
        self, time: int, d_model: int, d_ff: int, *, n_layers: int, n_heads: int, **kind: Any
    ) -> None:
        """Draw the weights from torch's global generator."""
        super().__init__()
        self.embed = nn.Embedding(len(TOKENS), d_model)
        self.place = nn.Parameter(torch.randn(time, d_model))
        self.attend = nn.ModuleList(MultiHeadAttention(d_model, n_heads) for _ in range(n_layers))
        self.think = nn.ModuleList(FeedForward(d_model, d_ff, **kind) for _ in range(n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2 * n_layers + 1))
        self.head = nn.Linear(d_model, len(TOKENS))

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch time] -> [batch time vocab]."""
        x = self.embed(tokens) + self.place
        for i, (attend, think) in enumerate(zip(self.attend, self.think, strict=True)):
            x = x + attend(self.norms[2 * i](x), causal=True)
            x = x + think(self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x))


def mean_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cross-entropy of the German tokens."""
    inputs, targets = batch
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=-1)


def in_layers(model: Reader) -> int:
    """Return the number of parameters of attention and feed-forward networks."""
    return sum(p.numel() for part in (model.attend, model.think) for p in part.parameters())


def run(
    name: str, steps: int, lr: float, seed: int, settings: dict[str, Any] = SETTINGS
) -> tuple[float, int]:
    """Train one model; return its loss on the test numbers, and the parameters in its layers."""
    inputs, targets = number_lines(settings)
    n_train = settings["n_train"]
    torch.manual_seed(seed)
    model = Reader(
        inputs.shape[1],
        n_layers=settings["n_layers"],
        n_heads=settings["n_heads"],
        **settings["models"][name],
    )
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            chosen = torch.randint(n_train, (settings["batch"],), generator=generator)
            yield inputs[chosen], targets[chosen]

    fit(model, batches(), mean_loss, steps=steps, lr=lr, warmup=steps // 10, decay=True)
    with torch.no_grad():
        loss = mean_loss(model.eval(), (inputs[n_train:], targets[n_train:]))
    return loss.item(), in_layers(model)


def sweep(settings: dict[str, Any] = SETTINGS) -> dict[str, Any]:
    """Return model -> parameters and, by steps and learning rate, one loss for each seed."""
    numbers: dict[str, Any] = {}
    for name in settings["models"]:
        losses: dict[str, Any] = {}
        for steps in settings["steps"]:
            for lr in settings["lr"]:
                results = [run(name, steps, lr, seed, settings) for seed in SEEDS]
                losses.setdefault(str(steps), {})[str(lr)] = [round(r[0], 4) for r in results]
        numbers[name] = {"parameters": results[0][1], "losses": losses}
        print(name, numbers[name], flush=True)
    return numbers


def main() -> None:
    """Run the sweep and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records.save(
        arguments.out,
        settings=SETTINGS,
        numbers=sweep(),
        command="python -m benchmarks.feedforward_width --out " + arguments.out.as_posix(),
        seeds=SEEDS,
        note="Loss: mean cross-entropy, in nats, of the German tokens of 500 unseen numbers.",
    )


if __name__ == "__main__":
    main()
