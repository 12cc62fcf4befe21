"""What all parts lean on: the time that is left, the record so far, and what went wrong."""

import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tfmlib import records


class Report:
    """Numbers, failures and what was left out; written to a record after each part.

    A part has until a share of the whole time has passed, counted from the start: what one part
    leaves over is the next one's.

    Args:
        path: the record.
        settings: what is run.
        command: that gives it, from the repository's root.
        device: where it is computed.
        minutes: for all parts together.
        clock: seconds that only grow.
        say: told each line of progress.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        command: str,
        device: torch.device,
        *,
        minutes: float,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], object] = print,
    ) -> None:
        self.path, self.settings, self.command, self.device = path, settings, command, device
        self.clock, self._say = clock, say
        self.start, self.budget = clock(), 60 * minutes
        self.share = 1.0
        self.numbers: dict[str, Any] = {
            "device": describe(device),
            "rungs": {},
            "checks": [],
            "goals": {},
            "skipped": [],
            "failed": [],
            "seconds": {},
        }

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return self.clock() - self.start

    def left(self) -> float:
        """Return the seconds that are left to the present part."""
        return self.share * self.budget - self.seconds()

    def say(self, text: str) -> None:
        """Print a line of progress with the time."""
        self._say(f"[{self.seconds():6.1f} s] {text}")

    def fits(self, name: str, needs: float) -> bool:
        """Return whether there is time for something; if not, take note of it."""
        left = self.left()
        if left >= needs:
            return True
        reason = f"needs about {needs:.0f} s of the {max(left, 0.0):.0f} s left"
        self.numbers["skipped"].append({"name": name, "reason": reason})
        self.say(f"skipped {name}: {reason}")
        return False

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """Return what the work returns; None where it fails, which is noted and ends nothing."""
        try:
            return work()
        except Exception as error:  # one failure must not cost the other measurements
            self.fail(name, f"{type(error).__name__}: {error}")
            return None
        finally:
            if self.device.type == "cuda":
                gc.collect()  # compiled models stand in circles
                torch.cuda.empty_cache()

    def fail(self, name: str, why: str) -> None:
        """Take note of a failure, in one line and without paths of the machine."""
        why = re.sub(r"(?:/[\w.+@-]+){2,}", "...", " ".join(why.split()))[:300]
        self.numbers["failed"].append({"name": name, "reason": why})
        self.say(f"FAILED {name}: {why}")

    def goal(self, name: str, goal: float, reached: float, *, at_most: bool = False) -> None:
        """Take note of a goal and whether it holds."""
        holds = reached <= goal if at_most else reached >= goal
        self.numbers["goals"][name] = {"goal": goal, "reached": reached, "holds": holds}
        sign = "<=" if at_most else ">="
        self.say(f"goal: {name} {sign} {goal}: {reached} {'holds' if holds else 'DOES NOT HOLD'}")

    def part(self, name: str, share: float, work: Callable[["Report"], None]) -> None:
        """Do one part until `share` of the whole time has passed, and write the record."""
        self.share, before = share, self.seconds()
        if self.fits(name, 0.0):
            self.attempt(name, lambda: work(self))
        self.numbers["seconds"][name] = round(self.seconds() - before, 1)
        self.save()

    def save(self) -> None:
        """Write the record as far as it is."""
        records.save(
            self.path,
            settings=self.settings,
            numbers=self.numbers,
            command=self.command,
            seeds=[0],
            note="One run. Utilisation counts the operations that the model needs, against the "
            "dense bfloat16 peak whatever the precision. Peaks of memory are bytes of a step "
            "beyond model and optimizer. Bandwidth is that of a large copy on the device, bytes "
            "read and written. A goal of the character model is judged by the best evaluation.",
        )


def describe(device: torch.device) -> dict[str, Any]:
    """Return what the device is, and the libraries that stand below torch."""
    if device.type != "cuda":
        return {"name": device.type}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def graphs_skipped() -> int:
    """Return how often a compiled program asked for a CUDA graph and did not get one."""
    from torch._dynamo.utils import counters

    return counters["inductor"]["cudagraph_skips"]


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the mean seconds of the work, several times in a row without a wait between."""
    wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(device)
    return (time.perf_counter() - start) / repeats
