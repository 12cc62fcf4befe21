"""Text for small language models: the Python sources of an installed package, as characters.

Every reader of the book has such text already, some megabytes of it, with a clear structure:
brackets that close, names that come back, English in the docstrings. The default is scikit-learn,
whose exact version the book's constraints pin; with another version the text differs a little, and
so do the numbers of a model that is trained on it.
"""

import importlib.util
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

#: What a model knows: the line break, the printable characters of ASCII, one sign for all others.
CHARACTERS = (
    "\n" + "".join(c for c in string.printable if c.isprintable()) + "\N{REPLACEMENT CHARACTER}"
)
_IDS = np.full(128, len(CHARACTERS) - 1)
_IDS[[ord(character) for character in CHARACTERS[:-1]]] = range(len(CHARACTERS) - 1)


@dataclass(frozen=True)
class SourceCode:
    """Text for training and text of other files for validation, as character ids.

    Attributes:
        train: [characters] ids of the training files, one file after the other.
        valid: [characters] ids of the files held out.
        train_files, valid_files: their names inside the package, in the order of the text.
    """

    train: Int[Tensor, "train"]
    valid: Int[Tensor, "valid"]
    train_files: tuple[str, ...]
    valid_files: tuple[str, ...]


def encode(text: str) -> Int[Tensor, "characters"]:
    """Return the ids of the characters of `text`, those of `CHARACTERS` in its order."""
    code = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    ids = np.where(code < 128, _IDS[np.minimum(code, 127)], len(CHARACTERS) - 1)
    return torch.from_numpy(ids)


def decode(ids: Int[Tensor, "characters"]) -> str:
    """Return the text of some character ids."""
    return "".join(CHARACTERS[i] for i in ids.tolist())


@cache
def source_code(package: str = "sklearn") -> SourceCode:
    """Read the sources of an installed package, without its tests; nothing is imported.

    A file is held out as a whole, so that no line of it is seen in training: one in ten, chosen by
    a checksum of its name. A file keeps its side when others come or go. Tabs become four spaces.

    Raises:
        ValueError: There is no such package, or it has too few files to hold some out.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"expected an installed package, got {package!r}")
    root = Path(spec.submodule_search_locations[0])
    files: dict[bool, list[tuple[str, str]]] = {False: [], True: []}
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8").expandtabs(4)
        if "tests" not in name.split("/") and len(text) >= 1000:  # shorter ones hold imports only
            files[zlib.crc32(name.encode()) % 10 == 0].append((name, text))
    if not files[False] or not files[True]:
        raise ValueError(f"{package!r} has too few source files to hold some out")
    train, valid = (encode("".join(text for _, text in files[held_out])) for held_out in files)
    names = (tuple(name for name, _ in files[held_out]) for held_out in files)
    return SourceCode(train, valid, *names)


def windows(
    ids: Int[Tensor, "characters"],
    length: int,
    *,
    batch: int,
    seed: int = 0,
) -> Iterator[tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]]:
    """Yield batches of pieces at random places of a text, without end: what is read, what follows.

    The second tensor is the first, moved on by one character.

    Raises:
        ValueError: The text is shorter than a piece and its next character.
    """
    if len(ids) <= length:
        raise ValueError(f"expected more than {length} characters, got {len(ids)}")
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.arange(length + 1)
    while True:
        start = torch.randint(len(ids) - length, (batch, 1), generator=generator)
        piece = ids[start + offsets]
        yield piece[:, :-1], piece[:, 1:]


def in_order(
    ids: Int[Tensor, "characters"], length: int, *, pieces: int
) -> tuple[Int[Tensor, "pieces length"], Int[Tensor, "pieces length"]]:
    """Return pieces evenly spread over a text, for validation: what is read, what follows.

    Raises:
        ValueError: The text is too short for so many pieces without overlap.
    """
    step = (len(ids) - 1) // pieces
    if step < length:
        raise ValueError(
            f"expected at least {pieces * length + 1} characters for {pieces} pieces of {length}, "
            f"got {len(ids)}"
        )
    piece = ids[torch.arange(pieces)[:, None] * step + torch.arange(length + 1)]
    return piece[:, :-1], piece[:, 1:]
