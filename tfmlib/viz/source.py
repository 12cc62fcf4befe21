"""Listings taken from the module itself, so that a chapter never carries a pasted copy."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from IPython.display import Markdown


def source_of(obj: type | Callable[..., Any], *, docstring: bool = True) -> str:
    """Return the source of a function, class or method, optionally without its docstrings.

    Raises:
        TypeError: if Python has no source for it.
    """
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))
    except (OSError, TypeError) as error:
        raise TypeError(f"no source to show for {obj!r}: {error}") from None
    if docstring:
        return source.rstrip()
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is None or len(node.body) == 1:
            continue
        first = node.body[0]
        assert first.end_lineno is not None
        last = first.end_lineno
        if isinstance(node, ast.ClassDef) and lines[last : last + 1] == [""]:
            last += 1  # the blank line that follows a class docstring
        for number in range(first.lineno - 1, last):
            lines[number] = None
    return "\n".join(line for line in lines if line is not None).rstrip()


def show_source(*objects: type | Callable[..., Any], docstring: bool = False) -> Markdown:
    """Show the library's own source of one or more objects as a Python listing.

    Args:
        objects: functions, classes or methods of one module.
        docstring: whether to keep the docstrings.

    Raises:
        TypeError: if there is no source for one of them.
        ValueError: if nothing is given, or the objects come from different modules.
    """
    if not objects:
        raise ValueError("show_source needs at least one function, class or method")
    modules = {inspect.unwrap(obj).__module__ for obj in objects}
    if len(modules) > 1:
        raise ValueError(f"objects of one module expected, got {', '.join(sorted(modules))}")
    path = modules.pop().replace(".", "/") + ".py"
    listing = "\n\n\n".join(source_of(obj, docstring=docstring) for obj in objects)
    return Markdown(f"From `{path}`:\n\n```python\n{listing}\n```")
