"""The record of the ladder: the script's settings, and a loss and a peak that come out again."""

import importlib.util
from pathlib import Path

import pytest

from tfmlib import records

PATH = Path(__file__).parents[2] / "benchmarks" / "device_ladder.py"
SPEC = importlib.util.spec_from_file_location("benchmark_device_ladder", PATH)
ladder = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ladder)

RECORD = records.load("device_ladder")
S, NUMBERS = RECORD["settings"], RECORD["numbers"]


def test_settings_are_those_of_the_script():
    assert S == ladder.SETTINGS
    assert RECORD["seeds"] == list(ladder.RUNS)
    assert list(NUMBERS["rungs"]) == list(ladder.RUNGS)
    assert list(NUMBERS["widths"]) == [str(width) for width in S["widths"]]
    for runs in (*NUMBERS["rungs"].values(), *NUMBERS["widths"].values(), NUMBERS["ceilings"]):
        assert list(runs) == [str(seed) for seed in ladder.RUNS]
    assert NUMBERS["flops_per_token"] == 3 * sum(
        ladder.language_model_flops(ladder.LanguageModelConfig(**S["model"]), S["time"]).values()
    )


def test_rungs_add_up():
    assert ladder.cumulative("plain") == {"chunk": None, "precision": "fp32", "fused": False}
    top = ladder.cumulative("layers recomputed")
    assert top["fused"]
    assert top["recompute"]
    assert not top["compile"]
    assert top["precision"] == "bf16"
    with pytest.raises(ValueError, match="unknown rung 'none'"):
        ladder.cumulative("none")


@pytest.mark.parametrize("rung", ["plain", "loss in chunks", "layers recomputed"])
def test_loss_and_peak_come_out_again(rung):
    recorded = NUMBERS["rungs"][rung]["1"]
    # A keeping of freed memory would hold for the whole process of the tests.
    found = ladder.climb(rung, 1, S | {"steps": 1, "keep": False})
    assert found["loss"] == pytest.approx(recorded["loss"], abs=2e-3)
    assert found["peak"] == pytest.approx(recorded["peak"], rel=0.02)


def test_numbers_fit_together():
    for runs in NUMBERS["rungs"].values():
        for seed, run in runs.items():
            assert 0 < run["seconds"] <= run["first"]
            plain = NUMBERS["rungs"]["plain"][seed]["loss"]
            assert run["loss"] == pytest.approx(plain, abs=0.01)
    for runs in NUMBERS["widths"].values():
        assert all(set(run) == {"fp32", "bf16"} and min(run.values()) > 0 for run in runs.values())
