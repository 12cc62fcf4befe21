"""Two ways of doing the same work, timed in turns: what `python -m benchmarks` is made of.

Wall time on a busy machine says little; the process time of one thread is steadier, and the ratio
of two pieces of work that were timed right after each other is steadier still. So every round runs
all contestants once, in alternating order, and what is reported is the median of their ratios.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    Attributes:
        name: what is measured.
        work: contestant -> one piece of work; the first is ours, the second the reference.
        amount: what one piece of work is, such as tokens, to give a speed as well.
        unit: the name of `amount`.
        bound: the least ratio aimed for, reference time / our time; None for none.
        checked: whether the contestants were seen to compute the same, and how.
    """

    name: str
    work: Mapping[str, Callable[[], object]]
    amount: float
    unit: str
    bound: float | None
    checked: str


@dataclass
class Result:
    """Times of a measure, in process seconds, contestant -> one per round."""

    measure: Measure
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratios(self, contestant: str) -> list[float]:
        """Return the reference's time over the contestant's, round by round."""
        reference = list(self.measure.work)[1]
        pairs = zip(self.seconds[reference], self.seconds[contestant], strict=True)
        return [theirs / own for theirs, own in pairs]

    def ratio(self) -> float:
        """Return the median of our ratios."""
        return statistics.median(self.ratios(next(iter(self.measure.work))))

    def holds(self) -> bool | None:
        """Return whether the bound holds; None if there is none."""
        bound = self.measure.bound
        return None if bound is None else self.ratio() >= bound

    def as_json(self) -> dict[str, Any]:
        """Return the numbers for a record."""
        fastest = {name: min(times) for name, times in self.seconds.items()}
        return {
            "name": self.measure.name,
            "bound": self.measure.bound,
            "holds": self.holds(),
            "checked": self.measure.checked,
            "unit": self.measure.unit,
            "rounds": len(next(iter(self.seconds.values()))),
            "contestants": {
                name: {
                    "ratio": round(statistics.median(self.ratios(name)), 3),
                    "ratio_range": [round(f(self.ratios(name)), 3) for f in (min, max)],
                    "per_second": round(self.measure.amount / fastest[name], 1),
                }
                for name in self.measure.work
            },
        }


def run(measure: Measure, rounds: int, tick: Callable[[], object] = lambda: None) -> Result:
    """Time every contestant in every round, after one round that is thrown away.

    Raises:
        ValueError: fewer than two contestants, or no round.
    """
    if len(measure.work) < 2 or rounds < 1:
        raise ValueError(
            f"expected two contestants and a round at least; got {list(measure.work)}, {rounds}"
        )
    result = Result(measure, {name: [] for name in measure.work})
    for turn in range(-1, rounds):
        order = list(measure.work)
        for name in order if turn % 2 else reversed(order):
            start = time.process_time()
            measure.work[name]()
            spent = time.process_time() - start
            if turn >= 0:
                result.seconds[name].append(spent)
            tick()
    return result


def table(results: list[Result]) -> str:
    """Return the results as lines of text."""
    lines = [f"{'measure':44} {'contestant':22} {'per second':>14}  {'ratio':>6}  bound"]
    for result in results:
        shown = result.as_json()
        for i, (name, numbers) in enumerate(shown["contestants"].items()):
            speed = f"{numbers['per_second']:,.1f} {shown['unit']}"
            end = ""
            if i == 0 and shown["bound"] is not None:
                end = f">= {shown['bound']:.2f} {'holds' if shown['holds'] else 'DOES NOT HOLD'}"
            title = shown["name"] if i == 0 else ""
            lines.append(
                f"{title:44} {name:22} {speed:>14}  {numbers['ratio']:6.2f}  {end}".rstrip()
            )
    return "\n".join(lines)
