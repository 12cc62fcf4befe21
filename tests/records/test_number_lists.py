"""The record of benchmarks/number_lists.py is the one that the script makes."""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch

from tfmlib import records
from tfmlib.data.number_words import NumberPair, number_pairs, number_vocabulary
from tfmlib.sequences.fit import fit

PATH = Path(__file__).parents[2] / "benchmarks" / "number_lists.py"
SPEC = importlib.util.spec_from_file_location("benchmark_number_lists", PATH)
sweep = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sweep)

RECORD = records.load("number_lists")
VOCABULARY = number_vocabulary()


STEPS = 50  # the first half of the warm-up


@pytest.fixture(scope="module")
def data():
    return number_pairs(**RECORD["settings"]["data"])


@pytest.fixture(scope="module")
def first_batches(data):
    batches = sweep.batches_of(data.train, VOCABULARY, 0, RECORD["settings"])
    return list(itertools.islice(batches, STEPS))


def test_settings_are_those_of_the_script():
    assert RECORD["settings"] == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)
    for runs in RECORD["numbers"].values():
        assert list(runs) == [str(seed) for seed in sweep.SEEDS]


@pytest.mark.parametrize("name", sweep.SETTINGS["models"])
def test_first_steps_come_out_again(name, first_batches):
    settings = RECORD["settings"]
    torch.manual_seed(0)
    model = sweep.build(name, VOCABULARY, settings)
    recorded = RECORD["numbers"][name]["0"]
    assert sum(p.numel() for p in model.parameters()) == recorded["parameters"]
    losses = fit(
        model,
        first_batches,
        sweep.mean_loss,
        steps=STEPS,
        lr=settings["lr"] * STEPS / settings["warmup"],  # the rates that these steps had
        warmup=STEPS,
        betas=tuple(settings["betas"]),
        weight_decay=settings["weight_decay"],
        clip=settings["clip"],
    )
    expected = dict(zip(settings["first_steps"], recorded["first_losses"], strict=True))
    for step in settings["first_steps"]:
        assert losses[step - 1] == pytest.approx(expected[step], abs=1e-3)


@pytest.mark.parametrize("name", sweep.SETTINGS["models"])
def test_numbers_fit_together(name):
    settings = RECORD["settings"]
    for run in RECORD["numbers"][name].values():
        assert [p["step"] for p in run["curve"]] == [*settings["looked_at"], settings["steps"]]
        shares = [*run["exact_match"].values(), *run["exact_match_beyond"].values()]
        assert all(0 <= share <= 1 for share in shares)
        assert list(run["exact_match"]) == ["1", "2", "3", "4", "all"]
        assert list(run["exact_match_beyond"]) == [str(n) for n in settings["beyond"]]
        # Test lists are drawn like validation lists, 200 of them: within four standard errors.
        assert run["curve"][-1]["exact_match"] == pytest.approx(run["exact_match"]["all"], abs=0.15)


def test_exact_match_counts_whole_translations(data):
    """A model that knows the answers is right everywhere; with one token changed, nowhere."""

    class Oracle(torch.nn.Module):
        def __init__(self, change):
            super().__init__()
            self.answers = {
                tuple(VOCABULARY.encode(p.source_tokens)): VOCABULARY.encode(
                    p.target_tokens, add_end=True
                )
                for p in pairs
            }
            self.change = change

        def encode(self, source, source_mask):
            kept = [row[mask].tolist() for row, mask in zip(source, source_mask, strict=True)]
            return [self.answers[tuple(row)] for row in kept]

        def decode(self, target, memory, memory_mask):
            at = target.shape[1] - 1
            logits = torch.zeros(*target.shape, len(VOCABULARY))
            for row, answer in enumerate(memory):
                token = answer[at] if at < len(answer) else VOCABULARY.pad_id
                if self.change == at:
                    token = VOCABULARY.id("hundert" if token != VOCABULARY.id("hundert") else "elf")
                logits[row, -1, token] = 1.0
            return logits

    pairs = data.test[:30]
    assert all(sweep.right(Oracle(change=None), pairs, VOCABULARY))
    assert not any(sweep.right(Oracle(change=0), pairs, VOCABULARY))
    found = sweep.right(Oracle(change=12), pairs, VOCABULARY)
    assert found == [len(p.target_tokens) < 12 for p in pairs]


def test_share_by_count():
    pairs = [NumberPair.of(1), NumberPair.of(2), NumberPair.of(3, 4)]
    shares = sweep.share_by_count([True, False, True], pairs)
    assert shares == {"1": 0.5, "2": 1.0, "all": 2 / 3}


def test_longer_lists_are_made_of_new_numbers(data):
    lists = sweep.longer_lists(data.test, [5, 6], n_lists=50)
    assert [len(p.numbers) for p in lists] == [5] * 50 + [6] * 50
    numbers = [n for p in lists for n in p.numbers]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & {n for p in data.train for n in p.numbers}
