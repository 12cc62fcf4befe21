"""Results of runs too long for a chapter, stored with their settings, versions and hardware."""

import datetime
import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

_FOLDER = files(__name__)


def load(name: str) -> dict[str, Any]:
    """Return the record `tfmlib/records/<name>.json`.

    Raises:
        ValueError: if there is no such record; the message lists those there are.
    """
    there = sorted(
        p.name.removesuffix(".json") for p in _FOLDER.iterdir() if p.name[-5:] == ".json"
    )
    if name not in there:
        raise ValueError(f"no record {name!r}; there are: {', '.join(there) or 'none'}")
    return json.loads(_FOLDER.joinpath(f"{name}.json").read_text(encoding="utf-8"))


def hardware() -> dict[str, Any]:
    """Return what the numbers were computed on: processor, threads and accelerator, no names."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.M)
        model = found.group(1).strip() if found else model
    result: dict[str, Any] = {"cpu": model, "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        result["gpu"] = torch.cuda.get_device_name()
    return result


def save(
    path: str | Path,
    *,
    settings: Mapping[str, Any],
    numbers: Mapping[str, Any],
    command: str,
    seeds: Sequence[int],
    note: str = "",
) -> dict[str, Any]:
    """Write a record as JSON and return it, with versions, hardware and the day added.

    Args:
        path: file to write; records that chapters read lie in `tfmlib/records/`.
        settings: what was run: sizes, steps, learning rates.
        numbers: what came out.
        command: the command, from the repository's root, that gives these numbers.
        seeds: every seed that was run.
        note: what a reader of the numbers must know.

    Raises:
        ValueError: if something is empty or not finite, or the command names an absolute path.
    """
    for name, value in (("settings", settings), ("numbers", numbers), ("command", command)):
        if not value:
            raise ValueError(f"{name} must not be empty")
    if not seeds:
        raise ValueError("seeds must name at least one seed")
    if re.search(r"(?:^|[\s=\"'])(?:/|~|[A-Za-z]:\\)", command):
        raise ValueError(f"command must run from the repository's root, without paths: {command!r}")
    record: dict[str, Any] = {
        "settings": dict(settings),
        "numbers": dict(numbers),
        "command": command,
        "seeds": list(seeds),
        "versions": {
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in ("torch", "numpy", "tfmlib")},
        },
        "hardware": hardware(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    if note:
        record["note"] = note
    try:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"a record holds finite numbers only: {error}") from None
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return record
