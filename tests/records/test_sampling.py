"""The record of the sampling sweep: the script's settings, and a model that comes out again."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tfmlib import records

PATH = Path(__file__).parents[2] / "benchmarks" / "sampling.py"
SPEC = importlib.util.spec_from_file_location("benchmark_sampling", PATH)
sweep = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sweep)

RECORD = records.load("sampling")
NUMBERS = RECORD["numbers"]


@pytest.fixture(scope="module")
def experiment():
    return sweep.Experiment()


def test_settings_are_those_of_the_script():
    assert RECORD["settings"] == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)
    for kind, values in sweep.SETTINGS["shapes"].items():
        assert list(NUMBERS[kind]) == [str(value) for value in values]
        for runs in NUMBERS[kind].values():
            assert list(runs) == [str(seed) for seed in sweep.SEEDS]


def test_held_out_text_measures_the_same(experiment):
    rows = experiment.human()
    assert all(len(row) == sweep.SETTINGS["new"] for row in rows)
    assert experiment.measure(rows) == NUMBERS["held-out text"]


class Enough(Exception):
    """Ends a training run."""


def test_first_steps_come_out_again(experiment, monkeypatch):
    fit, losses = sweep.fit, []

    def thirty_steps(model, batches, loss, **how):
        def counted(model, batch):
            if len(losses) == 30:
                raise Enough
            value = loss(model, batch)
            losses.append(value.item())
            return value

        with pytest.raises(Enough):
            fit(model, batches, counted, **how)
        return losses

    monkeypatch.setattr(sweep, "fit", thirty_steps)
    experiment.model(1)
    found = [sum(losses[i : i + 10]) / 10 for i in (0, 20)]
    assert found == pytest.approx(NUMBERS["loss"]["1"][:2], abs=5e-3)


def test_measures_by_hand(experiment):
    encode = experiment.tokenizer.encode
    assert experiment.measure([encode(" the array") * 8])["words"] == 1.0
    assert experiment.measure([encode(" qqzz") * 8])["words"] == 0.0
    # Five sequences of four tokens in each of these.
    loop, other = encode(" the")[:1] * 8, list(range(600, 608))
    found = experiment.measure([loop, other, other])
    assert found["distinct"] == round(6 / 15, 4)
    assert found["repeated"] == round(4 / 15, 4)


def test_the_judge_is_a_distribution_and_likes_what_it_has_read(experiment):
    judge = sweep.Judge(["abab", "abba"], order=3)
    for before in ("", "\na", "ab", "bb", "zz"):
        total = sum(judge.probability(before, letter) for letter in judge.counts[""])
        assert 0.9 < total < 1  # the rest is for letters never seen
    assert judge.probability("ab", "b") > judge.probability("ab", "z")
    assert experiment.judge.bits(["Return the given array."]) < 0.5 * experiment.judge.bits(
        ["Xq zvv"]
    )


def test_milder_settings_make_text_more_diverse():
    for kind in sweep.SHAPES:
        rows = [[run["distinct"] for run in runs.values()] for runs in NUMBERS[kind].values()]
        assert (torch.tensor(rows).mean(1).diff() > 0).all()
