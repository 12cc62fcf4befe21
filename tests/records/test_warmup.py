"""The record of the warm-up sweep: the script's settings, and first steps that come out again."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from tfmlib import records

PATH = Path(__file__).parents[2] / "benchmarks" / "warmup.py"
SPEC = importlib.util.spec_from_file_location("benchmark_warmup", PATH)
sweep = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sweep)

RECORD = records.load("warmup")
S = RECORD["settings"]


def test_settings_are_those_of_the_script():
    assert S == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)
    grid = itertools.product(S["norm_places"], S["warmups"], S["learning_rates"])
    assert list(RECORD["numbers"]) == [sweep.job_name(*how) for how in grid]
    for runs in RECORD["numbers"].values():
        assert list(runs) == [str(seed) for seed in sweep.SEEDS]


@pytest.mark.parametrize("place", S["norm_places"])
@pytest.mark.parametrize("warmup", S["warmups"])
def test_first_steps_come_out_again(place, warmup):
    """At the highest rate, where a difference would show soonest, and with another seed."""
    lr = S["learning_rates"][-1]
    recorded = RECORD["numbers"][sweep.job_name(place, warmup, lr)]["1"]["first_losses"]
    losses = sweep.losses_of(place, warmup, lr, seed=1, steps=S["n_first"])
    assert losses == pytest.approx(recorded, abs=5e-3)


def test_numbers_fit_together():
    for runs in RECORD["numbers"].values():
        for run in runs.values():
            assert len(run["curve"]) == S["steps"] // S["curve_every"]
            assert len(run["first_losses"]) == S["n_first"]
            assert run["last"] == pytest.approx(sum(run["curve"][-2:]) / 2, abs=1e-3)
            first = sum(run["first_losses"]) / S["n_first"]
            assert first > run["curve"][0] - 0.5 > 1  # it starts near the logarithm of the words


def test_more_steps_than_an_epoch_has_is_an_error():
    settings = S | {"data": {"n_train": 100, "n_valid": 0, "n_test": 0, "seed": 0}}
    with pytest.raises(ValueError, match="but an epoch has"):
        sweep.losses_of("pre", 0, 1e-3, 0, 50, settings)
