"""The file of a byte-pair tokenizer: JSON with its special tokens and its merges, read strictly."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_FORMAT, _VERSION = "tfmlib byte-pair tokenizer", 1

Pair = tuple[int, int]


def write_merges(
    path: str | Path, *, merges: Iterable[Pair], special_tokens: Iterable[str]
) -> None:
    """Write merges, as pairs of ids, and the names of the special tokens."""
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "special_tokens": list(special_tokens),
        "merges": list(merges),
    }
    Path(path).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_merges(path: str | Path) -> tuple[list[Pair], list[str]]:
    """Return merges and special tokens as `write_merges` wrote them.

    Whether the merges make a tokenizer is for the tokenizer to say.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a whole file of this format and version.
    """
    data = Path(path).read_bytes()
    try:
        return _parse(json.loads(data.decode("utf-8")))
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _parse(content: Any) -> tuple[list[Pair], list[str]]:
    """Return merges and special tokens of a file's content, or say what is wrong with it."""
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"expected a JSON object with the format {_FORMAT!r}")
    version = content.get("version")
    if type(version) is not int or version != _VERSION:
        raise ValueError(f"expected version {_VERSION}, got {version!r}")
    if (keys := sorted(content)) != ["format", "merges", "special_tokens", "version"]:
        raise ValueError(f"expected format, version, special_tokens and merges, got {keys}")
    merges, special_tokens = content["merges"], content["special_tokens"]
    if not isinstance(special_tokens, list) or any(type(t) is not str for t in special_tokens):
        raise ValueError("special_tokens is not a list of strings")
    if not isinstance(merges, list):
        raise ValueError("merges is not a list")
    for i, merge in enumerate(merges):
        if not isinstance(merge, list) or [type(id) for id in merge] != [int, int]:
            raise ValueError(f"merge {i} is not two integers: {merge!r}")
    return [(left, right) for left, right in merges], special_tokens
