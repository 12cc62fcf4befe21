"""The reference of `tfmlib`, written by Sphinx from the docstrings: one page for each part.

The pages book/api_<part>.md hold a title and an introduction. What is added to them here, when they
are read, is a section for each module of the part, in reading order, with a link to its chapter.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tfmlib"
PREFIX = "book/api_"
SUPPORT = ("viz", "data", "claims", "records", "exercises")
# Markup that docstrings do use: the star of a list, *emphasis*, and names in backticks.
LEFT_ALONE = re.compile(r"(^ *\* |(?<!\w)\*\w[\w -]*\*(?!\w)|`+[^`]*`+)")
MARKUP = re.compile(r"[*|\\]|_(?=\W|$)")
HEADERS = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Examples?):$")


def chapters() -> list[str]:
    """Return the chapters of the table of contents, such as blocks/attention, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [name.removeprefix("book/") for name in files if name.count("/") == 2]


def modules(part: str) -> list[str]:
    """Return the modules that the page of a part describes, those with a chapter in its order.

    A package that lists its public names (`__all__`) stands for the modules inside it.
    """
    if part == "support":
        return [name for folder in SUPPORT for name in _inside(PACKAGE / folder)]
    order = chapters()
    found = list(_inside(PACKAGE / part))
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def _inside(folder: Path) -> Iterator[str]:
    name = folder.relative_to(PACKAGE).as_posix()
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    if len(tree.body) > 1:  # more than a docstring
        yield name
    for path in sorted(folder.iterdir()):
        module = path.suffix == ".py" and path.stem not in ("__init__", "__main__")
        if module and not _lists_names(folder):
            yield f"{name}/{path.stem}"
        elif (path / "__init__.py").exists() and name != "exercises":
            yield from _inside(path)


def _lists_names(path: Path) -> bool:
    return "\n__all__ = " in (path / "__init__.py").read_text(encoding="utf-8")


def sections(part: str) -> str:
    """Return the markdown of the sections of a part's page."""
    known = chapters()
    written = []
    for name in modules(part):
        dotted = f"tfmlib.{name.replace('/', '.')}"
        lines = [f"## {dotted}", ""]
        if name in known:
            lines += [f"Chapter: [](/book/{name}.ipynb)", ""]
        lines += ["```{eval-rst}", f".. automodule:: {dotted}", "   :members:"]
        if (PACKAGE / name).is_dir() and _lists_names(PACKAGE / name):
            lines += ["   :imported-members:"]
        written.append("\n".join([*lines, "```", ""]))
    return "\n".join(written)


def add_sections(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the sections when Sphinx reads one of the pages."""
    if docname.startswith(PREFIX):
        source[0] += "\n" + sections(docname.removeprefix(PREFIX))


def to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring's own conventions into reStructuredText, in place.

    Names stand in single backticks; an indented piece after an empty line is code; outside of both
    a star or a bar is itself and not markup.
    """
    done: list[str] = []
    in_code, previous = False, ""
    for line in lines:
        text = line.strip()
        if text and not previous.strip() and line.startswith("    ") and not in_code:
            last = next((x.strip() for x in reversed(done) if x.strip()), "")
            if not HEADERS.match(last) and not _in_section(done):
                in_code = True
                done += [".. code-block:: python", ""]
        if in_code and text and not line.startswith("    "):
            in_code = False
        if not in_code:
            line = re.sub(r"\$([^$`]+)\$", r":math:`\1`", line)
            pieces = LEFT_ALONE.split(line)
            line = "".join(p if i % 2 else MARKUP.sub(r"\\\g<0>", p) for i, p in enumerate(pieces))
        done.append(line)
        previous = text
    lines[:] = done


def _in_section(done: list[str]) -> bool:
    """Return whether the lines so far end inside a section such as Args."""
    for line in reversed(done):
        if line.strip() and not line.startswith(" "):
            return bool(HEADERS.match(line.strip()))
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension; it needs autodoc, and napoleon for the sections of docstrings."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("source-read", add_sections)
    app.connect("autodoc-process-docstring", to_rst, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
