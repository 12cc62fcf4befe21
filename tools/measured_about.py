"""The line under a chapter's title: minutes, exercises and module."""

import json
import math
import re
from pathlib import Path
from typing import Any

import measured_reference
from sphinx.application import Sphinx

WORDS_A_MINUTE = 230
SECONDS_A_LINE = 2.5  # of code, read and not only passed over


def minutes(notebook: dict[str, Any]) -> int:
    """Return about how many minutes a notebook takes to read, in steps of five."""
    words = lines = 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            hidden = {"hide-input", "hide-cell", "remove-input"}
            if not hidden & set(cell["metadata"].get("tags", ())):
                lines += sum(1 for line in source.splitlines() if line.strip())
        else:
            words += len(re.findall(r"\w+", source))
    spent = words / WORDS_A_MINUTE + lines * SECONDS_A_LINE / 60
    return 5 * max(1, math.ceil(spent / 5 - 0.5))


def about(notebook: dict[str, Any], module: str | None, to_reference: str) -> str:
    """Return the line as HTML; `module` is dotted, None where the chapter explains none."""
    exercises = sum(
        len(re.findall(r"^`{3,}\{exercise(?:-start)?\}", "".join(cell["source"]), re.M))
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown"
    )
    parts = [f"{minutes(notebook)} minutes"]
    if exercises:
        parts.append(f"{exercises} exercise{'s' if exercises > 1 else ''}")
    if module:
        parts.append(f'module <a href="{to_reference}#module-{module}"><code>{module}</code></a>')
    return f'<p class="measured-about">{" · ".join(parts)}</p>'


def add_line(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Put the line under the title of every chapter."""
    name = pagename.removeprefix("book/")
    path = Path(app.srcdir) / f"{pagename}.ipynb"
    if "body" not in context or "/" not in name or not path.exists():
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    part = name.partition("/")[0]
    module = None
    if name in measured_reference.modules(part):
        module = f"tfmlib.{name.replace('/', '.')}"
    line = about(notebook, module, f"../api_{part}.html")
    context["body"] = re.sub(r"</h1>", lambda end: end.group(0) + line, context["body"], count=1)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", add_line, priority=910)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
