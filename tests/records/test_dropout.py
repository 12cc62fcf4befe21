"""The record of the dropout sweep: the script's settings, and first steps that come out again."""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch

from tfmlib import records

PATH = Path(__file__).parents[2] / "benchmarks" / "dropout.py"
SPEC = importlib.util.spec_from_file_location("benchmark_dropout", PATH)
sweep = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sweep)

RECORD = records.load("dropout")
S = RECORD["settings"]


def test_settings_are_those_of_the_script():
    assert S == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)
    grid = itertools.product(S["examples"], S["dropouts"])
    assert list(RECORD["numbers"]) == [sweep.job_name(*how) for how in grid]
    for runs in RECORD["numbers"].values():
        assert list(runs) == [str(seed) for seed in sweep.SEEDS]


@pytest.mark.parametrize("dropout", S["dropouts"])
@pytest.mark.parametrize("examples", S["examples"])
def test_first_steps_come_out_again(examples, dropout):
    recorded = RECORD["numbers"][sweep.job_name(examples, dropout)]["1"][0]
    (found,) = sweep.losses_of(examples, dropout, seed=1, steps=recorded["step"])
    assert found["step"] == recorded["step"]
    assert [found["train"], found["valid"]] == pytest.approx(
        [recorded["train"], recorded["valid"]], abs=5e-3
    )


def test_numbers_fit_together():
    for runs in RECORD["numbers"].values():
        for run in runs.values():
            assert [row["step"] for row in run] == S["measured_at"]
            assert all(row["train"] >= 0 and row["valid"] >= 0 for row in run)
            assert run[-1]["train"] < 0.1 * run[0]["train"]


def test_both_losses_are_of_evaluation_mode_and_leave_the_model_in_training():
    model = sweep.Transformer(
        sweep.TransformerConfig(
            **(S["model"] | {"vocab_size": len(sweep.number_vocabulary()), "dropout": 0.9})
        )
    )
    pairs = sweep.encoded(sweep.number_pairs(n_train=100, n_valid=5, n_test=0).valid)
    torch.manual_seed(0)
    assert sweep.loss_on(model, pairs) == sweep.loss_on(model, pairs)
    assert model.training
