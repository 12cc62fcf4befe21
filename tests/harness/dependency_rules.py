"""One list of dependencies in three files: what pyproject.toml, constraints.txt and
environment.yml must say about one another, and what code may import.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as _canonical
from packaging.version import Version

TORCH = "torch==2.13.0"
CONDA_NAMES = {"torch": "pytorch"}
CONDA_EXTRAS = ("translation", "book", "test")
# What needs more than the library's own dependencies as soon as it is imported.
NEEDS_EXTRAS = ("viz", "exercises")

Project = Mapping[str, Any]


def canonicalize_name(name: str) -> str:
    """Return the one spelling of a package's name: Types_PyYAML is types-pyyaml."""
    return str(_canonical(name))


def requirements(project: Project, *extras: str) -> dict[str, Requirement]:
    """Return the requirements of a project, those of some extras among them, by their names."""
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    read = [Requirement(line) for line in lines]
    own = canonicalize_name(project["name"])
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in read
        if canonicalize_name(requirement.name) != own
    }


def every_extra(project: Project) -> tuple[str, ...]:
    """Return the names of all extras."""
    return tuple(project["optional-dependencies"])


def pins(constraints: str) -> list[Requirement]:
    """Return the lines of a constraints file as requirements, comments left out."""
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    return [Requirement(line) for line in lines if line]


def exact_pins(constraints: str) -> list[str]:
    """Every line of the constraints pins one version, and torch's is the one all machines have."""
    found = []
    names = []
    for pin in pins(constraints):
        names.append(canonicalize_name(pin.name))
        operators = [specifier.operator for specifier in pin.specifier]
        if operators != ["=="] or "*" in str(pin.specifier):
            found.append(f"constraints.txt: {pin} is not an exact version")
    found += [
        f"constraints.txt pins {name} {names.count(name)} times"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if TORCH not in [line.strip() for line in constraints.splitlines()]:
        found.append(f"constraints.txt has no line {TORCH!r}")
    return found


def pins_in_range(project: Project, constraints: str) -> list[str]:
    """Every requirement has a pin, and the pin lies in its range."""
    pinned = {canonicalize_name(pin.name): pin for pin in pins(constraints)}
    found = []
    for name, requirement in requirements(project, *every_extra(project)).items():
        if name not in pinned:
            found.append(f"{requirement} of pyproject.toml is not in constraints.txt")
            continue
        for specifier in pinned[name].specifier:
            if not requirement.specifier.contains(Version(specifier.version), prereleases=True):
                found.append(f"constraints.txt: {pinned[name]} is outside {requirement}")
    return found


def pins_complete(
    project: Project, constraints: str, requires: Callable[[str], Iterable[str]]
) -> list[str]:
    """Whatever a requirement requires in its turn is pinned too. `requires` maps name to lines."""
    pinned = {canonicalize_name(pin.name) for pin in pins(constraints)}
    waiting = [
        (name, requirement.extras)
        for name, requirement in requirements(project, "translation", "book", "test").items()
    ]
    seen = set()
    found = []
    while waiting:
        name, extras = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in pinned:
            found.append(f"{name} is needed and not in constraints.txt")
        for line in requires(name):
            inner = Requirement(line)
            environments = [{"extra": extra} for extra in (*extras, "")]
            if inner.marker is None or any(inner.marker.evaluate(e) for e in environments):
                waiting.append((canonicalize_name(inner.name), inner.extras))
    return sorted(found)


def conda_agrees(project: Project, environment: Mapping[str, Any]) -> list[str]:
    """environment.yml names the same packages with the same ranges, by their conda names."""
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    by_pip = [
        line
        for entry in environment["dependencies"]
        if isinstance(entry, dict)
        for line in entry.get("pip", ())
        if not line.startswith("-")
    ]
    there = {
        canonicalize_name(requirement.name): requirement
        for requirement in map(Requirement, [*plain, *by_pip])
    }
    found = []
    python = there.pop("python", None)
    if python is None or str(python.specifier) != project["requires-python"]:
        found.append(f"environment.yml: expected python{project['requires-python']}, got {python}")
    there.pop("pip", None)
    wanted = {
        CONDA_NAMES.get(name, name): requirement
        for name, requirement in requirements(project, *CONDA_EXTRAS).items()
    }
    for name, requirement in wanted.items():
        if name not in there:
            found.append(f"environment.yml lacks {name}{requirement.specifier}")
        elif there[name].specifier != requirement.specifier:
            found.append(f"environment.yml: {there[name]}, pyproject.toml: {requirement}")
    found += [
        f"environment.yml: {there[name]} is not in pyproject.toml" for name in there.keys() - wanted
    ]
    return sorted(found)


# -- imports -----------------------------------------------------------------------------------


def imported(code: str, *, at_import: bool) -> Iterator[str]:
    """Yield the outermost names that code imports; `at_import`: as soon as it is imported."""
    stack: list[ast.AST] = [ast.parse(code)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        stack.extend(ast.iter_child_nodes(node))


def undeclared_imports(
    project: Project,
    modules: Mapping[str, str],
    distributions: Mapping[str, Iterable[str]],
) -> list[str]:
    """The library imports only what pyproject.toml declares, and at once only its own dependencies.

    `modules` are sources by name (`viz/frames`); `distributions` maps an importable name to the
    packages that install it.
    """
    own = project["name"]
    core = set(requirements(project))
    declared = set(requirements(project, *every_extra(project)))
    found = set()
    for name, code in modules.items():
        for at_import in (True, False):
            allowed = core if at_import and name.partition("/")[0] not in NEEDS_EXTRAS else declared
            for top in imported(code, at_import=at_import):
                if top == own or top in sys.stdlib_module_names:
                    continue
                installers = {canonicalize_name(one) for one in distributions.get(top, [top])}
                if not installers & allowed:
                    where = "a dependency" if allowed is core else "a dependency or an extra"
                    found.add(f"{name} imports {top}, which is not {where} in pyproject.toml")
    return sorted(found)
