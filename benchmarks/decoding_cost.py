"""What one more token costs: a Transformer with and without a cache, and an LSTM of its size.

    python -m benchmarks.decoding_cost --out tfmlib/records/decoding_cost.json

Untrained models of about equal parameters write one token at several positions. Multiplications
and the bytes that are carried from step to step are counted; times are process CPU time of one
thread, medians of rounds in which the models take turns. Less than two minutes.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tfmlib import records
from tfmlib.generation.cache import KeyValueCache
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

SEED = 0
SETTINGS: dict[str, Any] = {
    "vocab_size": 256,
    "transformer": {"d_model": 128, "n_layers": 4, "n_heads": 4, "positions": "rotary"},
    "lstm": {"d_model": 222, "n_layers": 2},
    "positions": [64, 128, 256, 512, 1024, 2048],
    "rounds": 15,
    "repeats": {"without a cache": 1, "with a cache": 10, "LSTM": 10},
}


class RecurrentLanguageModel(nn.Module):
    """Embedding, LSTM layers, and logits from the embedding's own table."""

    def __init__(self, vocab_size: int, d_model: int, n_layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.LSTM(d_model, d_model, n_layers, batch_first=True)

    def forward(
        self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return logits [batch, time, vocab] and the state after the last token."""
        x, state = self.layers(self.embedding(tokens), state)
        return x @ self.embedding.weight.T, state


class Writers:
    """The models, and a step of each at a position."""

    def __init__(self, settings: dict[str, Any] = SETTINGS, core: str = "auto") -> None:
        torch.manual_seed(SEED)
        self.longest = max(settings["positions"])
        self.tokens = torch.randint(settings["vocab_size"], (1, self.longest))
        config = settings["transformer"] | {"vocab_size": settings["vocab_size"], "core": core}
        self.transformer = LanguageModel(
            LanguageModelConfig(max_length=self.longest, **config)
        ).eval()
        self.lstm = RecurrentLanguageModel(settings["vocab_size"], **settings["lstm"]).eval()

    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of both."""
        both = {"Transformer": self.transformer, "LSTM": self.lstm}
        return {name: sum(p.numel() for p in model.parameters()) for name, model in both.items()}

    @torch.no_grad()
    def steps(self, position: int) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
        """Return what each does to read token number `position`, and the bytes it has kept."""
        tokens, layers = self.tokens[:, :position], self.transformer.config.n_layers
        past, new = tokens[:, :-1], tokens[:, -1:]
        cache = KeyValueCache(layers, position)
        self.transformer(past, cache=cache)
        _, state = self.lstm(past)

        def cached() -> None:
            cache.crop(position - 1)
            self.transformer(new, cache=cache)

        steps = {
            "without a cache": lambda: self.transformer(tokens),
            "with a cache": cached,
            "LSTM": lambda: self.lstm(new, state),
        }
        kept = {
            "without a cache": 0,
            "with a cache": cache.bytes(),
            "LSTM": sum(t.numel() * t.element_size() for t in state),
        }
        return steps, kept


@torch.no_grad()
def multiplications(step: Callable[[], Any]) -> int:
    """Count those in matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() // 2


@torch.no_grad()
def seconds(step: Callable[[], Any], repeats: int) -> float:
    """Return the CPU time of one call."""
    begun = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - begun) / repeats


def counts(settings: dict[str, Any] = SETTINGS) -> dict[str, Any]:
    """Return multiplications and kept bytes by writer and position."""
    writers, counted = Writers(settings), Writers(settings, core="naive")
    counted.transformer.double()
    counted.lstm.double()  # in single precision it is one fused operation: nothing to be seen
    names = list(settings["repeats"])
    found: dict[str, Any] = {kind: {n: {} for n in names} for kind in ("multiplications", "bytes")}
    for position in settings["positions"]:
        (_, kept), (steps, _) = writers.steps(position), counted.steps(position)
        for name in names:
            found["multiplications"][name][str(position)] = multiplications(steps[name])
            found["bytes"][name][str(position)] = kept[name]
    return found


def times(settings: dict[str, Any] = SETTINGS) -> dict[str, dict[str, list[float]]]:
    """Return least, median and largest seconds of the rounds, by writer and position."""
    writers = Writers(settings)
    steps = {p: writers.steps(p)[0] for p in settings["positions"]}
    rounds: dict[tuple[str, int], list[float]] = {}
    for number in range(settings["rounds"] + 1):
        for position in settings["positions"]:
            for name, repeats in settings["repeats"].items():
                took = seconds(steps[position][name], repeats)
                if number:  # the first round warms up
                    rounds.setdefault((name, position), []).append(took)
    return {
        name: {
            str(p): [f(rounds[name, p]) for f in (min, statistics.median, max)]
            for p in settings["positions"]
        }
        for name in settings["repeats"]
    }


def relative(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    """Divide times by the median time of the LSTM over all positions."""
    unit = statistics.median(middle for _, middle, _ in found["LSTM"].values())
    return {
        name: {p: [float(f"{t / unit:.3g}") for t in ts] for p, ts in by.items()}
        for name, by in found.items()
    }


def main() -> None:
    """Count, time, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = times()
    unit = statistics.median(middle for _, middle, _ in found["LSTM"].values())
    numbers = {
        "parameters": Writers().parameters(),
        **counts(),
        "relative time": relative(found),
        "milliseconds of the unit": round(1000 * unit, 1 - math.floor(math.log10(1000 * unit))),
    }
    records.save(
        options.out,
        settings=SETTINGS,
        numbers=numbers,
        command="python -m benchmarks.decoding_cost --out tfmlib/records/decoding_cost.json",
        seeds=[SEED],
        note="relative time: least, median and largest of the rounds, of one token at a position, "
        "batch 1, as a multiple of the median time of an LSTM step. Process CPU time of one "
        "thread on a machine that others used at the same time: trust the ratios, and not the "
        "last digit of them. multiplications: in matrix products only. bytes: what is kept from "
        "step to step, float32; the cache holds exactly the position's keys and values.",
    )


if __name__ == "__main__":
    main()
