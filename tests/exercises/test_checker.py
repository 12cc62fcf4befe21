"""The shared checker: one line, never an exception unless asked for, a small counterexample."""

import numpy as np
import pytest
import torch

from tfmlib.exercises import Case, Checker, difference, show


def average(values, scale=1.0):
    return values.mean(0) * scale


@pytest.fixture
def check():
    cases = [Case(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), Case(torch.ones(4, 3), scale=2.0)]
    return Checker("average", average, cases)


def line(check, candidate, capsys):
    check(candidate)
    out = capsys.readouterr().out
    assert out.endswith("\n")
    assert out.count("\n") == 1
    return out.strip()


def test_not_started(check, capsys):
    def bare(values, scale=1.0): ...

    def documented(values, scale=1.0):
        """Return the mean row."""
        ...

    for candidate in (bare, documented, ..., None):
        assert line(check, candidate, capsys) == "average: not started"
        with pytest.raises(AssertionError, match="not started"):
            check(candidate, must_pass=True)


@pytest.mark.parametrize(
    "right",
    [
        average,
        lambda values, scale=1.0: scale * values.sum(0) / len(values),
        lambda values, scale=1.0: values.numpy().mean(0) * scale,
        lambda values, scale=1.0: (values.mean(0) * scale).tolist(),
        lambda values, scale=1.0: [v * scale for v in values.mean(0)],
        lambda values, scale=1.0: values.double().mean(0) * scale,
    ],
)
def test_accepts_other_types(check, right, capsys):
    assert line(check, right, capsys) == "average: passed, 2 cases"
    check(right, must_pass=True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda v, scale=1.0: v.mean(1) * scale,
         "for values=[[1, 2], [3, 4]]: expected [2, 3], got [1.5, 3.5]"),
        (lambda v, scale=1.0: v.mean(0),
         "for values=tensor of shape (4, 3), scale=2: expected [2, 2, 2], got [1, 1, 1]"),
        (lambda v, scale=1.0: v.mean(0, keepdim=True) * scale,
         "expected shape (2,), got shape (1, 2)"),
        (lambda v, scale=1.0: v.nonsense(), "raised AttributeError"),
        (lambda v: v.mean(0), "raised TypeError"),
        (lambda v, scale=1.0: "text", "expected [2, 3], got 'text'"),
        (lambda v, scale=1.0: v.mean(0) * float("nan"), "got [nan, nan]"),
        (3.0, "expected a function, got 3"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(check, wrong, says, capsys):
    assert says in line(check, wrong, capsys)
    with pytest.raises(AssertionError):
        check(wrong, must_pass=True)


def test_forgotten_return(check, capsys):
    def forgets(values, scale=1.0):
        values.mean(0) * scale

    assert "got None (is a return missing?)" in line(check, forgets, capsys)


def test_messages_with_line_breaks_stay_on_one_line(check, capsys):
    def fails(values, scale=1.0):
        raise RuntimeError("first\nsecond")

    assert line(check, fails, capsys).endswith("raised RuntimeError: first second")


def test_a_candidate_that_writes_into_its_input_cannot_spoil_the_cases(check):
    def writes(values, scale=1.0):
        result = values.mean(0) * scale
        values.zero_()
        return result

    assert check.run(writes)[0]
    assert check.run(average)[0]
    assert not check.run(lambda values, scale=1.0: values[0] * 0)[0]


def test_judge_replaces_the_comparison():
    def judge(got, limit):
        return "" if got > limit else f"{got} is not above {limit}"

    check = Checker("above", lambda limit: limit + 1, [Case(3)], judge=judge)
    assert check.run(lambda limit: limit + 7) == (True, "above: passed, 1 case")
    assert check.run(lambda limit: limit) == (False, "above: for limit=3: 3 is not above 3")


def test_adapt_hands_the_candidate_other_arguments():
    def stream(candidate):
        return lambda values: candidate(iter(values))

    check = Checker("total", lambda values: sum(values), [Case([1, 2, 3])], adapt=stream)
    assert check.run(lambda numbers: sum(numbers))[0]
    assert "for values=[1, 2, 3]: raised TypeError" in check.run(lambda n: n[0])[1]

    def unwritten(numbers): ...

    assert check.run(unwritten) == (False, "total: not started")


def test_no_cases():
    with pytest.raises(ValueError, match="at least one case"):
        Checker("none", average, [])


@pytest.mark.parametrize(
    ("expected", "got", "says"),
    [
        (1.0, 1.0000001, ""),
        (1.0, np.float32(1.0), ""),
        (1.0, 1.1, "expected 1, got 1.1"),
        (torch.tensor([True]), torch.tensor([1.0]), "expected torch.bool, got torch.float32"),
        (torch.tensor([0.0, float("-inf")]), [0.0, float("-inf")], ""),
        (torch.tensor([0.0, float("-inf")]), [0.0, 1.0], "expected [0, -inf], got [0, 1]"),
        ((1.0, "a"), (1.0, "b"), "result 2: expected 'a', got 'b'"),
        ((1.0, "a"), 1.0, "expected 2 results, got 1"),
        (["a", "b"], ["a", "b"], ""),
        ("a", 1.0, "expected 'a', got 1"),
        ({"a": 1}, {"a": 1}, ""),
        (torch.zeros(10), torch.arange(10) // 9, "1 of 10 values differ; at [9] expected 0, got 1"),
    ],
)
def test_difference(expected, got, says):
    assert difference(expected, got) == says


def test_show():
    assert show(torch.tensor([[1.0, -0.0]])) == "[[1, 0]]"
    assert show(torch.zeros(2, 5)) == "tensor of shape (2, 5)"
    assert show("x" * 100) == "'" + "x" * 56 + "..."
