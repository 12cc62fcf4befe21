"""What a stored notebook must be, rule by rule: the holes through which nbval sees nothing.

Every rule is a plain function from a notebook (its JSON, read) to the violations found, one line
each. `check` runs them all; `ignored_over_budget` looks at the whole book.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import chapters
import nbformat

Notebook = Mapping[str, Any]
Cell = Mapping[str, Any]

MAX_LINES = 25
MAX_BYTES = 1_000_000
MAX_IGNORED = 0.03

RAISES = "raises-exception"
IGNORING_TAGS = {"nbval-ignore-output", "skip-execution"}
FORBIDDEN_TAGS = {"nbval-skip"}
COMMENT_MARKS = re.compile(
    r"#\s*(NBVAL_[A-Z_]+|PYTEST_VALIDATE_[A-Z_]+)|#\s*(nbval-(?:skip|ignore-output))"
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
FOLDERS = "home|Users|root|tmp|work|usr|opt|var|mnt|media|private|srv|workspace|content"
ABSOLUTE_PATH = re.compile(rf"(?<![\w.:/~<}}-])/(?:{FOLDERS})/[\w.-]+|\b[A-Z]:\\\\?[A-Za-z]")
HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
HTML_ALT = re.compile(r"\balt\s*=\s*(\"[^\"]*[^\s\"][^\"]*\"|'[^']*[^\s'][^']*')", re.IGNORECASE)
SVG_OPENING = re.compile(r"<svg\b[^>]*>", re.IGNORECASE)
SVG_NAMED = re.compile(r"aria-label(?:ledby)?\s*=|aria-hidden\s*=\s*[\"']true", re.IGNORECASE)
MARKDOWN_IMAGE = re.compile(r"!\[\s*\]\(")
WIDGET = "application/vnd.jupyter.widget-view+json"
# Calls that show something whatever they are given: print, display, verdict, show..., check_...
SHOWING = re.compile(r"(?:print|display|pprint|verdict|show\w*|check_\w+)")


# -- reading -----------------------------------------------------------------------------------


def text_of(value: str | list[str]) -> str:
    """Return a text that the notebook format stores as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def source(cell: Cell) -> str:
    """Return the text of a cell."""
    return text_of(cell["source"])


def code_cells(notebook: Notebook) -> Iterator[tuple[int, Cell]]:
    """Yield the code cells with their numbers, from 1."""
    yield from enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1)


def tags(cell: Cell) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.get("metadata", {}).get("tags", ()))


def python_of(cell: Cell) -> str:
    """Return the Python of a cell, its shell and magic lines blanked."""
    text = source(cell)
    if text.lstrip().startswith("%%"):
        return ""
    return re.sub(r"^[ \t]*[%!].*$", "", text, flags=re.MULTILINE)


def _parsed(cell: Cell) -> ast.Module:
    try:
        return ast.parse(python_of(cell))
    except SyntaxError:  # shown on purpose, or IPython's own: nothing to see for a rule
        return ast.Module(body=[], type_ignores=[])


def _as_node(notebook: Notebook) -> nbformat.NotebookNode:
    return nbformat.reads(json.dumps(notebook), as_version=4)


def _texts(output: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text that an output shows (pictures are base64: no text)."""
    if output["output_type"] == "stream":
        yield text_of(output["text"])
    elif output["output_type"] == "error":
        yield "\n".join([output["ename"], output["evalue"], *output["traceback"]])
    else:
        for kind, value in output["data"].items():
            if isinstance(value, str | list) and not kind.startswith("image/"):
                yield text_of(value)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(re.sub(r"\x1b\[[0-9;]*m", "", text))
    return match.group(0) if match else None


# -- the rules ---------------------------------------------------------------------------------


def execution_counts(notebook: Notebook) -> list[str]:
    """Every code cell was run once, from top to bottom, in a fresh kernel: counts are 1..n."""
    return [
        f"code cell {number}: execution count {cell['execution_count']}, expected {number}"
        for number, cell in code_cells(notebook)
        if cell["execution_count"] != number
    ]


def empty_cells(notebook: Notebook) -> list[str]:
    """No cell is empty: nbval passes over it, and a reader wonders."""
    return [
        f"cell {number} is empty"
        for number, cell in enumerate(notebook["cells"], 1)
        if not source(cell).strip()
    ]


def _shows(statement: ast.stmt, *, last: bool) -> bool:
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else ""
        name = value.func.id if isinstance(value.func, ast.Name) else name
        return SHOWING.fullmatch(name) is not None
    if isinstance(value, ast.Constant):
        return last and value.value is not ... and value.value is not None
    return last and not isinstance(value, ast.Await | ast.Yield)


def output_due(notebook: Notebook) -> list[str]:
    """A cell that prints, or ends in a value, has an output stored for nbval to compare with."""
    found = []
    for number, cell in code_cells(notebook):
        body = _parsed(cell).body
        due = any(_shows(statement, last=statement is body[-1]) for statement in body)
        if due and not cell["outputs"]:
            found.append(f"code cell {number} shows something, but no output is stored")
    return found


def semicolons(notebook: Notebook) -> list[str]:
    """No cell ends in a semicolon: nbval runs cells where IPython does not see it.

    The value that it hides in JupyterLab would come out there and differ. Assign it to `_` instead.
    """
    return [
        f"code cell {number} ends in a semicolon; write `_ = ...`"
        for number, cell in code_cells(notebook)
        if python_of(cell).rstrip().endswith(";")
    ]


def errors(notebook: Notebook) -> list[str]:
    """An error is stored exactly where the cell is tagged `raises-exception`."""
    found = []
    for number, cell in code_cells(notebook):
        names = [out["ename"] for out in cell["outputs"] if out["output_type"] == "error"]
        if names and RAISES not in tags(cell):
            found.append(f"code cell {number} stores a {names[0]} and is not tagged {RAISES}")
        if not names and RAISES in tags(cell):
            found.append(f"code cell {number} is tagged {RAISES} and raises nothing")
    return found


def standard_error(notebook: Notebook) -> list[str]:
    """Nothing stands on stderr: warnings and progress bars differ from run to run."""
    return [
        f"code cell {number} wrote to stderr: {text_of(output['text']).strip()[:60]!r}"
        for number, cell in code_cells(notebook)
        for output in cell["outputs"]
        if output["output_type"] == "stream" and output["name"] == "stderr"
    ]


def addresses(notebook: Notebook) -> list[str]:
    """No output shows a memory address, which is another one in every run."""
    return [
        f"code cell {number} shows a memory address: {hit}"
        for number, cell in code_cells(notebook)
        for output in cell["outputs"]
        for text in _texts(output)
        if (hit := _first(ADDRESS, text))
    ]


def absolute_paths(notebook: Notebook) -> list[str]:
    """Neither text nor code nor outputs name a folder of somebody's machine."""
    found = []
    for number, cell in enumerate(notebook["cells"], 1):
        texts = [source(cell)]
        for output in cell.get("outputs", ()):
            texts += _texts(output)
        hits = {hit for text in texts if (hit := _first(ABSOLUTE_PATH, text))}
        found += [f"cell {number} names an absolute path: {hit}" for hit in sorted(hits)]
    return found


def markers(notebook: Notebook) -> list[str]:
    """Nothing is kept from being run, and what is ignored is tagged, not marked in a comment."""
    found = []
    for number, cell in code_cells(notebook):
        found += [
            f"code cell {number} is tagged {tag}" for tag in sorted(tags(cell) & FORBIDDEN_TAGS)
        ]
        if mark := COMMENT_MARKS.search(source(cell)):
            found.append(f"code cell {number}: {mark.group(0)!r} in a comment; use a tag")
    return found


def alternative_texts(notebook: Notebook) -> list[str]:
    """Every picture has alternative text, for readers who do not see it."""
    found = []
    for number, cell in code_cells(notebook):
        image = cell["metadata"].get("mystnb", {}).get("image", {})
        for output in cell["outputs"]:
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data) and not image.get("alt", "").strip():
                found.append(
                    f"code cell {number} stores a picture without alternative text"
                    " (metadata mystnb.image.alt)"
                )
            html = text_of(data.get("text/html", ""))
            if any(not HTML_ALT.search(tag) for tag in HTML_IMAGE.findall(html)):
                found.append(f"code cell {number}: an <img> in its HTML has no alt text")
            for svg in SVG_OPENING.finditer(html):
                titled = html[svg.end() :].lstrip().lower().startswith("<title")
                if not titled and not SVG_NAMED.search(svg.group(0)):
                    found.append(f"code cell {number}: an <svg> in its HTML has no aria-label")
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "markdown" and MARKDOWN_IMAGE.search(source(cell)):
            found.append(f"cell {number}: a picture in its text has no alternative text")
    return found


def cell_length(notebook: Notebook) -> list[str]:
    """No code cell is longer than a reader takes in at once."""
    return [
        f"code cell {number} has {lines} lines, at most {MAX_LINES} allowed"
        for number, cell in code_cells(notebook)
        if (lines := len(source(cell).splitlines())) > MAX_LINES
    ]


def widgets(notebook: Notebook) -> list[str]:
    """No output is a widget view: the static page could not show it without a foreign script."""
    return [
        f"code cell {number} shows a widget; draw frames with tfmlib.viz instead"
        for number, cell in code_cells(notebook)
        if any(WIDGET in output.get("data", {}) for output in cell["outputs"])
    ]


def normal_form(notebook: Notebook) -> list[str]:
    """Metadata and identifiers are those that tools/chapters.py writes, and nothing else."""
    tidy = chapters.normalise(_as_node(notebook))
    if chapters.as_text(tidy) != chapters.as_text(_as_node(notebook)):
        return ["not in its normal form: run tools/chapters.py --normalise"]
    return []


def size(notebook: Notebook) -> list[str]:
    """The file stays small enough to load on a phone."""
    taken = len(chapters.as_text(_as_node(notebook)).encode())
    return [f"{taken} bytes, at most {MAX_BYTES} allowed"] if taken > MAX_BYTES else []


RULES: tuple[Callable[[Notebook], list[str]], ...] = (
    execution_counts,
    empty_cells,
    output_due,
    semicolons,
    errors,
    standard_error,
    addresses,
    absolute_paths,
    markers,
    alternative_texts,
    cell_length,
    widgets,
    normal_form,
    size,
)


def check(notebook: Notebook) -> list[str]:
    """Return the violations of all rules in one notebook."""
    return [violation for rule in RULES for violation in rule(notebook)]


def ignored_over_budget(notebooks: Mapping[str, Notebook]) -> list[str]:
    """At most 3 % of the book's code cells are not compared, all chapters taken together."""
    cells = [
        (name, number, tags(cell))
        for name, notebook in notebooks.items()
        for number, cell in code_cells(notebook)
    ]
    ignored = [f"{name}:{number}" for name, number, marks in cells if marks & IGNORING_TAGS]
    allowed = int(MAX_IGNORED * len(cells))
    if len(ignored) > allowed:
        return [
            f"{len(ignored)} of {len(cells)} code cells are ignored, at most {allowed} allowed: "
            + ", ".join(ignored)
        ]
    return []
