"""What the benchmarks are made of: turns, ratios, bounds and the table."""

import time

import pytest

from benchmarks.side_by_side import Measure, Result, run, table

TIMES = {"ours": [1.0, 2.0, 4.0], "peer": [2.0, 6.0, 4.0], "other": [1.0, 3.0, 8.0]}


def measure(bound=None, log=None):
    log = [] if log is None else log
    work = {name: lambda name=name: log.append(name) for name in TIMES}
    return Measure("a task", work, 100, "tokens", bound, "equal")


def test_contestants_take_turns_and_one_round_is_thrown_away():
    log = []
    result = run(measure(log=log), 3)
    assert log == ["ours", "peer", "other", "other", "peer", "ours"] * 2
    assert {name: len(times) for name, times in result.seconds.items()} == dict.fromkeys(TIMES, 3)


def test_ratios_are_those_of_the_rounds():
    result = Result(measure(), TIMES)
    assert result.ratios("ours") == [2.0, 3.0, 1.0]
    assert result.ratio() == 2.0
    assert result.ratios("peer") == [1.0, 1.0, 1.0]
    numbers = result.as_json()["contestants"]
    assert numbers["ours"] == {"ratio": 2.0, "ratio_range": [1.0, 3.0], "per_second": 100.0}
    assert numbers["other"]["ratio"] == 2.0


@pytest.mark.parametrize(("bound", "holds"), [(None, None), (2.0, True), (2.01, False)])
def test_bounds_hold_or_not_and_the_table_says_so(bound, holds):
    result = Result(measure(bound), TIMES)
    assert result.holds() is holds
    line = table([result]).splitlines()[1]
    assert ("DOES NOT HOLD" in line) == (holds is False)
    assert line.endswith("holds") == (holds is True)


def test_more_work_takes_a_smaller_ratio():
    def busy(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    work = {"ours": lambda: busy(0.02), "peer": lambda: busy(0.06)}
    found = run(Measure("busy", work, 1, "times", 2.0, "no"), 3)
    assert 2.0 < found.ratio() < 4.5
    assert found.holds()


@pytest.mark.parametrize(("work", "rounds"), [({"ours": lambda: None}, 3), ({}, 3)])
def test_a_contest_needs_two(work, rounds):
    with pytest.raises(ValueError, match="two contestants"):
        run(Measure("alone", work, 1, "x", None, "no"), rounds)
