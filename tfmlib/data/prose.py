"""English prose that is already on the reader's machine: what a package says in its docstrings.

Text that comes with Python itself differs between Python's versions, and a download may be gone
tomorrow. The sources of a pinned dependency are the same for everybody who has that version.
"""

import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

_STRING = re.compile(r'"""(.*?)"""', re.DOTALL)
_SENTENCES = re.compile(r"[A-Z][^|]{38,}[.!?]")
_NO_PROSE = re.compile(r">>>|---|\.\. | : |==")  # examples, headings, directives, parameters


class Prose(NamedTuple):
    """Paragraphs to learn from, and paragraphs of other files, held out."""

    train: list[str]
    test: list[str]


def paragraphs(source: str) -> list[str]:
    """Return the paragraphs of running text between triple quotes, each as one line.

    >>> paragraphs('def f():\\n    \"\"\"Return the sum of all the numbers in a list.\"\"\"')
    ['Return the sum of all the numbers in a list.']
    """
    blocks = [block for text in _STRING.findall(source) for block in re.split(r"\n\s*\n", text)]
    lines = (" ".join(block.split()) for block in blocks)
    return [s for s in lines if _SENTENCES.fullmatch(s) and not _NO_PROSE.search(s)]


def docstring_prose(package: str = "sklearn", *, hold_out: int = 5) -> Prose:
    """Return the prose of an installed package; every paragraph occurs once.

    Every `hold_out`-th source file is held out whole, so that a text is not tested on the
    paragraphs that stand around those it learnt from. Files come in the order of their names.

    Args:
        package: Name of an installed package, for example one on which the book depends.
        hold_out: At least 2.

    Raises:
        ValueError: There is no such package, or `hold_out` is below 2.
    """
    if hold_out < 2:
        raise ValueError(f"expected hold_out >= 2, got {hold_out}")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"no installed package is called {package!r}")
    root = Path(found.submodule_search_locations[0])
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    prose = Prose([], [])
    seen: set[str] = set()
    files = [name for name in files if "tests/" not in name]
    for number, name in enumerate(files):
        part = prose.test if number % hold_out == 0 else prose.train
        for text in paragraphs((root / name).read_text(encoding="utf-8")):
            if text not in seen:
                seen.add(text)
                part.append(text)
    return prose
