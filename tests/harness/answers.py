"""What every checker of an exercise must do with right and with wrong answers, once for all.

A test module lists the answers of its chapter and subclasses:

    class TestAnswers(Answers):
        exercises, right, wrong = exercises, RIGHT, WRONG

where RIGHT and WRONG map a checker's name, without `check_`, to other correct ways of writing the
answer and to plausible wrong ones.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import pytest

Table = Mapping[str, Sequence[Callable[..., Any]]]


class Answers:
    """Tests of the checkers in `exercises`.

    Attributes:
        exercises: the module of the checkers.
        right: answers that must be accepted.
        wrong: answers that must be rejected, three at least for each checker.
        apart: checkers whose reference is called otherwise than an answer (see `adapt`).
    """

    exercises: ClassVar[ModuleType]
    right: ClassVar[Table]
    wrong: ClassVar[Table]
    apart: ClassVar[Collection[str]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give each test its answers, or the names of the checkers."""
        if "way" in metafunc.fixturenames:
            table = self.right if "accepts" in metafunc.function.__name__ else self.wrong
            ways = [(name, i, way) for name, all_ in table.items() for i, way in enumerate(all_)]
            metafunc.parametrize(
                ("name", "way"),
                [pytest.param(name, way, id=f"{name}-{i}") for name, i, way in ways],
            )
        elif "name" in metafunc.fixturenames:
            metafunc.parametrize("name", sorted(self.right))

    def checker(self, name: str) -> Any:
        """Return a checker of the module."""
        return getattr(self.exercises, f"check_{name}")

    def test_accepts(self, name: str, way: Callable[..., Any]) -> None:
        """Another correct way of writing the answer passes."""
        passed, line = self.checker(name).run(way)
        assert passed, line
        self.checker(name)(way, must_pass=True)

    def test_rejects(
        self, name: str, way: Callable[..., Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A plausible wrong answer gets one line with a counterexample, and no exception."""
        self.checker(name)(way)
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert ": for " in out
        assert " at 0x" not in out  # a place in memory tells a reader nothing
        with pytest.raises(AssertionError):
            self.checker(name)(way, must_pass=True)

    def test_not_started(self, name: str) -> None:
        """A skeleton is told from a wrong answer."""
        passed, line = self.checker(name).run(lambda *arguments, **named: ...)
        assert not passed
        assert line.endswith(": not started")

    def test_the_reference_itself_passes(self, name: str) -> None:
        """The reference is a right answer, too."""
        if name not in self.apart:
            passed, line = self.checker(name).run(self.checker(name).reference)
            assert passed, line

    def test_every_checker_has_both_kinds(self) -> None:
        """No checker is forgotten, and each rejects three answers at least."""
        names = {n.removeprefix("check_") for n in vars(self.exercises) if n.startswith("check_")}
        assert names == set(self.right) == set(self.wrong)
        assert all(self.right.values())
        assert min(map(len, self.wrong.values())) >= 3
