"""One list of dependencies in three files, and code that imports nothing else."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import dependency_rules as rules
import layer_rules
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def requires(name):
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def test_constraints_are_exact():
    assert rules.exact_pins(CONSTRAINTS) == []


def test_constraints_lie_in_the_ranges():
    assert rules.pins_in_range(PROJECT, CONSTRAINTS) == []


def test_constraints_are_complete():
    assert rules.pins_complete(PROJECT, CONSTRAINTS, requires) == []


def test_conda_environment_is_the_same_list():
    assert rules.conda_agrees(PROJECT, ENVIRONMENT) == []


def test_library_imports_only_what_is_declared():
    modules = layer_rules.read_tree(ROOT).modules
    distributions = importlib.metadata.packages_distributions()
    found = rules.undeclared_imports(PROJECT, modules, distributions)
    assert not found, "\n".join(found)


def test_notebooks_import_only_what_the_book_declares():
    declared = set(rules.requirements(PROJECT, "translation", "book"))
    project = {**PROJECT, "dependencies": [], "optional-dependencies": {"book": list(declared)}}
    # Every cell runs when the notebook does: the names of a support package stand for `viz/...`.
    cells = {
        f"viz/{name}/{number}": cell
        for name, code in layer_rules.read_tree(ROOT).notebooks.items()
        for number, cell in enumerate(code.split(layer_rules.CELL_BREAK), 1)
        if layer_rules.parses(cell)
    }
    distributions = importlib.metadata.packages_distributions()
    found = rules.undeclared_imports(project, cells, distributions)
    assert not found, "\n".join(found)


def test_jupyterlab_shows_the_directives_of_the_book():
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    listed = done.stdout + done.stderr
    assert "jupyterlab-myst v" in listed
    assert "jupyterlab-myst@" not in listed, f"it does not load:\n{listed}"
