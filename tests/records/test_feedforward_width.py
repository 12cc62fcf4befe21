"""The record of benchmarks/feedforward_width.py is the one that the script makes."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tfmlib import records

PATH = Path(__file__).parents[2] / "benchmarks" / "feedforward_width.py"
SPEC = importlib.util.spec_from_file_location("benchmark_feedforward_width", PATH)
sweep = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sweep)

RECORD = records.load("feedforward_width")


def test_settings_are_those_of_the_script():
    assert RECORD["settings"] == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)
    assert list(RECORD["numbers"]) == list(sweep.SETTINGS["models"])


def test_every_run_is_there_and_the_budgets_are_equal():
    for name, result in RECORD["numbers"].items():
        assert result["parameters"] == pytest.approx(30_000, rel=0.03), name
        assert list(result["losses"]) == [str(n) for n in sweep.SETTINGS["steps"]]
        for by_rate in result["losses"].values():
            assert list(by_rate) == [str(lr) for lr in sweep.SETTINGS["lr"]]
            assert all(len(losses) == len(sweep.SEEDS) for losses in by_rate.values())


@pytest.mark.parametrize("name", ["1/2", "8/3, SwiGLU"])
def test_one_seed_comes_out_again(name):
    loss, parameters = sweep.run(name, steps=100, lr=5e-3, seed=0)
    recorded = RECORD["numbers"][name]
    assert parameters == recorded["parameters"]
    assert loss == pytest.approx(recorded["losses"]["100"]["0.005"][0], abs=0.05)


def test_what_counts_as_a_target():
    inputs, targets = sweep.number_lines(sweep.SETTINGS | {"n_train": 20, "n_test": 5})
    assert inputs.shape == targets.shape == (25, inputs.shape[1])
    for row, wanted in zip(inputs, targets, strict=True):
        words = [sweep.TOKENS[i] for i in row]
        at = words.index("=")
        assert (wanted[:at] == -1).all()  # the digits are given
        counted = wanted[wanted >= 0]
        assert sweep.TOKENS[counted[-1]] == "."
        number = int("".join(words[:at]))
        assert "".join(sweep.TOKENS[i] for i in counted[:-1]) == sweep.german(number)


def test_no_token_sees_a_later_one():
    torch.manual_seed(0)
    model = sweep.Reader(9, 16, 32, n_layers=2, n_heads=4)
    tokens = torch.randint(len(sweep.TOKENS), (2, 9))
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % len(sweep.TOKENS)
    assert torch.equal(model(tokens)[:, :-1], model(changed)[:, :-1])
