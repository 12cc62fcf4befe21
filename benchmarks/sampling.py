"""Quality against diversity of sampled text, for every way of shaping the distribution.

    python -m benchmarks.sampling --out tfmlib/records/sampling.json

Five small language models, one for each seed, learn the plain sentences in the docstrings of three
packages. Each writes 64 beginnings of 48 tokens in every setting. About two CPU-minutes.
"""

import argparse
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfmlib import records
from tfmlib.blocks.tokens import BytePairTokenizer
from tfmlib.data.prose import docstring_prose
from tfmlib.generation.sampling import (
    Choose,
    Sampler,
    Shape,
    generate,
    likeliest,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
)
from tfmlib.sequences.fit import fit
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

SEEDS = (0, 1, 2, 3, 4)
SETTINGS: dict[str, Any] = {
    "packages": ["matplotlib", "numpy", "sklearn"],
    "vocab_size": 1000,
    "window": 32,
    "batch": 32,
    "model": {"d_model": 64, "n_layers": 1, "n_heads": 4, "positions": "rotary"},
    "steps": 500,
    "lr": 1e-2,
    "warmup": 50,
    "rows": 64,
    "new": 48,
    "ngram": 4,
    "judge_order": 6,
    "shapes": {
        "temperature": [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2],
        "top_k": [2, 5, 10, 20, 50, 200],
        "top_p": [0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95],
        "min_p": [0.5, 0.3, 0.2, 0.1, 0.05, 0.02],
        "greedy, repetition_penalty": [1.0, 1.1, 1.2, 1.5, 2.0],
    },
}
SHAPES: dict[str, Callable[[Any], Shape]] = {
    "temperature": temperature,
    "top_k": top_k,
    "top_p": top_p,
    "min_p": min_p,
}
PLAIN = re.compile(r"[A-Za-z ,.()'-]+")
WORD = re.compile("[A-Za-z]+")


def plain_prose() -> tuple[list[str], list[str]]:
    """Return the paragraphs that are made of letters and a few signs, to learn and held out."""
    every = [docstring_prose(package) for package in SETTINGS["packages"]]
    train, test = ([s for prose in every for s in prose[i]] for i in (0, 1))
    return [s for s in train if PLAIN.fullmatch(s)], [s for s in test if PLAIN.fullmatch(s)]


class Judge:
    """A character model of counts; each order interpolates with the one below (Witten and Bell)."""

    def __init__(self, texts: Sequence[str], order: int) -> None:
        self.order = order
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text in texts:
            text = f"\n{text}"
            for i in range(1, len(text)):
                for n in range(min(order, i + 1)):
                    self.counts[text[i - n : i]][text[i]] += 1
        self.letters = len(self.counts[""]) + 1

    def probability(self, before: str, letter: str) -> float:
        """Return the probability of a character after those before it."""
        p = 1 / self.letters
        for n in range(min(self.order, len(before) + 1)):
            seen = self.counts.get(before[len(before) - n :])
            if not seen:
                break
            p = (seen[letter] + len(seen) * p) / (seen.total() + len(seen))
        return p

    def bits(self, texts: Sequence[str]) -> float:
        """Return the mean bits per character."""
        total = count = 0.0
        for text in texts:
            text = f"\n{text}"
            for i in range(1, len(text)):
                before = text[max(0, i - self.order + 1) : i]
                total -= math.log2(self.probability(before, text[i]))
            count += len(text) - 1
        return total / count


class Experiment:
    """The text, and what is measured on a sample of it."""

    def __init__(self, settings: dict[str, Any] = SETTINGS) -> None:
        self.settings = settings
        train, test = plain_prose()
        self.tokenizer = BytePairTokenizer.train(train, vocab_size=settings["vocab_size"])
        encode = self.tokenizer.encode
        self.train = torch.tensor([i for text in train for i in encode(text, add_end=True)])
        self.test = torch.tensor([i for text in test for i in encode(text, add_end=True)])
        self.known = set(WORD.findall(" ".join(train)))
        self.judge = Judge(train, settings["judge_order"])

    def batches(self, seed: int) -> Iterator[Tensor]:
        """Yield windows at random places."""
        window, rows = self.settings["window"], self.settings["batch"]
        generator = torch.Generator().manual_seed(seed)
        while True:
            start = torch.randint(len(self.train) - window, (rows, 1), generator=generator)
            yield self.train[start + torch.arange(window + 1)]

    def model(self, seed: int) -> tuple[LanguageModel, list[float]]:
        """Return a trained model and the loss of each step."""
        s = self.settings
        torch.manual_seed(seed)
        size = s["model"] | {"vocab_size": len(self.tokenizer), "max_length": s["window"]}
        model = LanguageModel(LanguageModelConfig(**size))

        def loss(model: nn.Module, tokens: Tensor) -> Tensor:
            return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

        how: dict[str, Any] = {"betas": (0.9, 0.98), "clip": 1.0, "decay": True}
        how |= {name: s[name] for name in ("steps", "lr", "warmup")}
        losses = fit(model, self.batches(seed), loss, **how)
        return model.eval(), losses

    def human(self) -> list[list[int]]:
        """Return held-out text, as much as is sampled, cut where paragraphs begin."""
        s = self.settings
        starts = (self.test == self.tokenizer.end_id).nonzero().flatten() + 1
        starts = starts[starts + s["new"] <= len(self.test)]
        pick = torch.linspace(0, len(starts) - 1, s["rows"]).long()
        return [self.test[i : i + s["new"]].tolist() for i in starts[pick]]

    def measure(self, rows: Sequence[Sequence[int]]) -> dict[str, float]:
        """Return the numbers of one sample; see the record's note."""
        texts = [self.tokenizer.decode(row) for row in rows]
        words = [word for text in texts for word in WORD.findall(text)]
        n = self.settings["ngram"]
        grams = [[tuple(row[i : i + n]) for i in range(len(row) - n + 1)] for row in rows]
        count = sum(map(len, grams))
        return {
            "words": round(sum(word in self.known for word in words) / len(words), 4),
            "bits": round(self.judge.bits(texts), 4),
            "distinct": round(len({gram for row in grams for gram in row}) / count, 4),
            "repeated": round(1 - sum(len(set(row)) for row in grams) / count, 4),
        }

    def sample(self, model: LanguageModel, choose: Choose | None) -> list[list[int]]:
        """Write all beginnings side by side."""
        s = self.settings

        def next_logits(tokens: Tensor) -> Tensor:
            last = model.hidden(tokens[:, -s["window"] :])[:, -1]
            return last @ model.output_weight.T  # logits are needed at the last place only

        start = torch.full((s["rows"], 1), self.tokenizer.end_id)
        return generate(next_logits, start, max_new=s["new"], choose=choose)[:, 1:].tolist()


def chooser(kind: str, value: float, seed: int) -> Choose:
    """Return what chooses tokens in one setting."""
    if kind == "greedy, repetition_penalty":
        shape = repetition_penalty(value)
        return lambda logits, tokens: likeliest(shape(logits, tokens), tokens)
    return Sampler(SHAPES[kind](value), generator=torch.Generator().manual_seed(seed))


def main() -> None:
    """Train, sample, measure, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    experiment = Experiment()
    numbers: dict[str, Any] = {"held-out text": experiment.measure(experiment.human())}
    numbers |= {kind: {str(v): {} for v in vs} for kind, vs in SETTINGS["shapes"].items()}
    numbers["loss"] = {}
    for seed in SEEDS:
        model, losses = experiment.model(seed)
        numbers["loss"][str(seed)] = [round(sum(losses[i : i + 10]) / 10, 4) for i in (0, 20, 490)]
        for kind, values in SETTINGS["shapes"].items():
            for value in values:
                rows = experiment.sample(model, chooser(kind, value, seed))
                numbers[kind][str(value)][str(seed)] = experiment.measure(rows)
        print(seed, numbers["loss"][str(seed)], flush=True)
    records.save(
        options.out,
        settings=SETTINGS,
        numbers=numbers,
        command="python -m benchmarks.sampling --out tfmlib/records/sampling.json",
        seeds=SEEDS,
        note="words: share of written words that occur in the training text. bits: per character, "
        "of a character model of counts made from the training text. distinct: share of different "
        "4-token sequences among all of a sample. repeated: share of 4-token sequences that "
        "occurred earlier in the same row. loss: mean of steps 1-10, 21-30 and 491-500, in nats.",
    )


if __name__ == "__main__":
    main()
