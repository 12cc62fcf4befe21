"""The record of benchmarks/label_smoothing.py is the one that the script makes."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tfmlib import records
from tfmlib.sequences.fit import fit
from tfmlib.training.objectives import Calibration, cross_entropy

PATH = Path(__file__).parents[2] / "benchmarks" / "label_smoothing.py"
SPEC = importlib.util.spec_from_file_location("benchmark_label_smoothing", PATH)
sweep = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sweep)

RECORD = records.load("label_smoothing")
SETTINGS, NUMBERS = RECORD["settings"], RECORD["numbers"]
RUNS = [
    pytest.param(runs[seed], id=f"{amount}-{smoothing}-{seed}")
    for amount, by_smoothing in NUMBERS.items()
    for smoothing, runs in by_smoothing.items()
    for seed in runs
]
STEPS = 30  # inside the warm-up


def test_settings_are_those_of_the_script():
    assert SETTINGS == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)
    assert list(NUMBERS) == list(SETTINGS["characters"])
    for by_smoothing in NUMBERS.values():
        assert list(by_smoothing) == [str(s) for s in SETTINGS["label_smoothing"]]
        for runs in by_smoothing.values():
            assert list(runs) == [str(seed) for seed in sweep.SEEDS]


@pytest.mark.parametrize("smoothing", SETTINGS["label_smoothing"])
@pytest.mark.parametrize("amount", SETTINGS["characters"])
def test_first_steps_come_out_again(amount, smoothing):
    train, _, n_kinds = sweep.texts(SETTINGS)
    model = sweep.build(n_kinds, 0, SETTINGS)
    losses = fit(
        model,
        sweep.batches(train[: SETTINGS["characters"][amount]], 0, SETTINGS),
        lambda m, batch: cross_entropy(m(batch[0]), batch[1], label_smoothing=smoothing),
        steps=STEPS,
        lr=SETTINGS["lr"] * STEPS / SETTINGS["warmup"],  # the rates that these steps had
        warmup=STEPS,
        clip=SETTINGS["clip"],
    )
    recorded = NUMBERS[amount][str(smoothing)]["0"]["first_losses"]
    for step, expected in zip(SETTINGS["first_steps"], recorded, strict=True):
        assert losses[step - 1] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("run", RUNS)
def test_numbers_fit_together(run):
    last = run["curve"][-1]
    steps = [point["step"] for point in run["curve"]]
    assert steps == [*SETTINGS["looked_at"], SETTINGS["steps"]]
    bins = Calibration(*(torch.tensor(row, dtype=torch.float64) for row in run["bins"]))
    n = (SETTINGS["test_characters"] - 1) // SETTINGS["time"] * SETTINGS["time"]
    assert bins.counts.sum() == n
    assert bins.error == pytest.approx(last["calibration_error"], abs=2e-4)
    mean = (bins.counts * bins.accuracy).sum().item() / n
    assert mean == pytest.approx(last["accuracy"], abs=2e-4)


def test_measure_of_a_model_that_knows_the_frequencies():
    """Such a model's perplexity is the exponential of the entropy, and it is calibrated."""
    text = torch.arange(4).repeat(5000)[torch.randperm(20_000)]

    class Uniform(torch.nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, 4)

    found = sweep.measure(Uniform(), text, SETTINGS)
    assert found["perplexity"] == pytest.approx(4)
    assert found["confidence"] == pytest.approx(0.25)
    assert found["calibration_error"] == pytest.approx(0, abs=0.01)
