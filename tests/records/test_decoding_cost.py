"""The record of decoding_cost.py is what the script makes."""

import importlib
import sys
from pathlib import Path

from tfmlib import records

sys.path.insert(0, str(Path(__file__).parents[2]))
cost = importlib.import_module("benchmarks.decoding_cost")

RECORD = records.load("decoding_cost")
NUMBERS = RECORD["numbers"]


def test_settings_are_those_of_the_script():
    assert RECORD["settings"] == cost.SETTINGS
    assert RECORD["seeds"] == [cost.SEED]
    assert NUMBERS["parameters"] == cost.Writers().parameters()


def test_every_position_is_there_and_rounds_are_in_order():
    positions = [str(p) for p in cost.SETTINGS["positions"]]
    for kind in ("multiplications", "bytes", "relative time"):
        assert list(NUMBERS[kind]) == list(cost.SETTINGS["repeats"])
        assert all(list(by) == positions for by in NUMBERS[kind].values())
    for by in NUMBERS["relative time"].values():
        assert all(low <= middle <= high for low, middle, high in by.values())


def test_counts_come_out_again():
    found = cost.counts(cost.SETTINGS | {"positions": [64, 256]})
    for kind, by_writer in found.items():
        for name, by_position in by_writer.items():
            for position, number in by_position.items():
                assert number == NUMBERS[kind][name][position]


def test_the_script_still_measures_times():
    """Not how long anything takes, which no test may ask; only what differs fifty times."""
    found = cost.times(cost.SETTINGS | {"positions": [1024], "rounds": 1})
    assert list(found) == list(NUMBERS["relative time"])
    middle = {name: by["1024"][1] for name, by in found.items()}
    assert middle["without a cache"] > 5 * middle["with a cache"] > 0
