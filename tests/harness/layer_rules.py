"""Who may import whom: the table of contents is the order of dependencies.

A `Tree` holds what the rules look at: the order of the chapters, the source of every module and the
code of every notebook. `read_tree` reads it from a repository; tests make small ones of their own.
Names are paths without an ending: a chapter or its module is `blocks/attention`, the file
tfmlib/exercises/blocks/attention.py is `exercises/blocks/attention`, a package is its folder.
A module that is too long for one file is a package at its chapter's path: `training/loop` gives the
public names, `training/loop/run` is one of its inner modules.
"""

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import notebook_rules
import yaml

PACKAGE = "tfmlib"
PARTS = (
    "sequences",
    "blocks",
    "transformer",
    "training",
    "generation",
    "models",
    "efficient",
    "scaling",
    "applications",
)
SUPPORT = ("data", "viz", "claims", "records")
EXERCISES = "exercises"
TOP = ("", "cli", "__main__")
END = "end"
CELL_BREAK = "\n# %%\n"


@dataclass(frozen=True)
class Tree:
    """What the rules look at."""

    toc: tuple[str, ...] = ()  # the chapters of _toc.yml, in order
    pages: tuple[str, ...] = ()  # front and back matter of _toc.yml
    pending: Mapping[str, list[str]] = field(default_factory=dict)  # book/pending.yml
    modules: Mapping[str, str] = field(default_factory=dict)  # name -> source
    notebooks: Mapping[str, str] = field(default_factory=dict)  # name -> Python of its cells
    tests: frozenset[str] = frozenset()  # names of test files: blocks/test_attention

    @property
    def order(self) -> tuple[str, ...]:
        """Chapters and pending modules in one reading order."""
        order: list[str] = []
        for chapter in self.toc:
            order += [*self.pending.get(chapter, ()), chapter]
        return (*order, *self.pending.get(END, ()))

    def place(self, name: str) -> int | None:
        """Return where a chapter or a pending module stands in the order, None if nowhere.

        A module inside a chapter's package stands where the chapter does.
        """
        name = self.chapter(name)
        return self.order.index(name) if name in self.order else None

    def chapter(self, name: str) -> str:
        """Return the chapter whose package a module lies in, or the name itself."""
        package = "/".join(name.split("/")[:2])
        return package if name != package and part_of(name) in PARTS else name


# -- reading a repository ----------------------------------------------------------------------


def files_of(toc: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all that a table of contents names; a chapter is PART/CONCEPT, the rest is pages."""
    files = [
        chapter["file"] for part in toc.get("parts", ()) for chapter in part.get("chapters", ())
    ]
    return tuple(name.removeprefix("book/") for name in files)


def read_tree(root: Path) -> Tree:
    """Read everything that the rules look at from a repository."""

    def named(folder: Path, ending: str) -> dict[str, Path]:
        return {
            path.relative_to(folder).with_suffix("").as_posix(): path
            for path in sorted(folder.rglob(f"*{ending}"))
            if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
        }

    def python(path: Path) -> str:
        cells = notebook_rules.code_cells(json.loads(path.read_text(encoding="utf-8")))
        return CELL_BREAK.join(notebook_rules.python_of(cell) for _, cell in cells)

    modules = {
        "" if name == "__init__" else name.removesuffix("/__init__"): path
        for name, path in named(root / PACKAGE, ".py").items()
    }
    named_there = files_of(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")))
    return Tree(
        toc=tuple(name for name in named_there if "/" in name),
        pages=tuple(name for name in named_there if "/" not in name),
        pending=yaml.safe_load((root / "book/pending.yml").read_text(encoding="utf-8")) or {},
        modules={name: path.read_text(encoding="utf-8") for name, path in modules.items()},
        notebooks={name: python(path) for name, path in named(root / "book", ".ipynb").items()},
        tests=frozenset(
            name for name in named(root / "tests", ".py") if Path(name).name.startswith("test_")
        ),
    )


# -- imports -----------------------------------------------------------------------------------


def parses(code: str) -> bool:
    """Return whether a piece of code is Python."""
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def _top_level(code: str) -> Iterator[ast.stmt]:
    """Yield the statements of a module or of a notebook; a cell that is no Python has none."""
    for piece in code.split(CELL_BREAK):
        if parses(piece):
            yield from ast.parse(piece).body


def imports(code: str, modules: Iterable[str], importer: str | None = None) -> set[str]:
    """Return the modules of the package that a piece of code imports, as names.

    `importer` is the module that the code stands in, for relative imports. Importing the package
    itself (its lazy public names) is the name "".
    """
    known = set(modules)
    found: set[str] = set()

    def add(dotted: str, names: Iterable[str] = ()) -> None:
        if dotted != PACKAGE and not dotted.startswith(f"{PACKAGE}."):
            return
        module = dotted.removeprefix(PACKAGE).removeprefix(".").replace(".", "/")
        rest = []
        for name in names:
            inner = f"{module}/{name}".removeprefix("/")
            if inner in known:
                found.add(inner)
            elif not (module == "" and name == "__version__"):
                rest.append(name)
        if rest or not names:
            found.add(module)

    for node in (node for statement in _top_level(code) for node in ast.walk(statement)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and importer is not None:
                is_package = any(name.startswith(f"{importer}/") for name in known)
                parts = [PACKAGE, *filter(None, importer.split("/"))]
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join(filter(None, [*parts, base]))
            add(base, [alias.name for alias in node.names])
    return found


def part_of(name: str) -> str:
    """Return the first folder of a name."""
    return name.partition("/")[0]


def is_chapter_module(name: str) -> bool:
    """Return whether a name is that of a chapter's module (not of a part's package)."""
    return "/" in name and part_of(name) in PARTS


def chapter_of_checker(name: str) -> str | None:
    """Return the chapter of an exercises module; None for the shared package and the parts'."""
    chapter = name.removeprefix(f"{EXERCISES}/")
    return chapter if name.startswith(f"{EXERCISES}/") and "/" in chapter else None


def _forward(tree: Tree, importer: str, place: int, targets: set[str], who: str) -> list[str]:
    found = []
    for target in sorted(targets):
        chapter = chapter_of_checker(target) or target
        if not is_chapter_module(chapter):
            continue
        there = tree.place(chapter)
        if there is None:
            found.append(f"{who} {importer} imports {target}, which has no place in the order")
        elif there > place:
            found.append(f"{who} {importer} imports {target}, which stands after it")
    return found


def _is_top(target: str) -> bool:
    return part_of(target) in TOP


def _shown(target: str) -> str:
    return f"{PACKAGE}/{target}" if target else PACKAGE


# -- the rules ---------------------------------------------------------------------------------


def support_imports(tree: Tree) -> list[str]:
    """data, viz, claims and records rest on nothing of the package but one another."""
    return [
        f"support module {name} imports {_shown(target)}"
        for name, code in tree.modules.items()
        if part_of(name) in SUPPORT
        for target in sorted(imports(code, tree.modules, name))
        if part_of(target) not in SUPPORT
    ]


def module_imports(tree: Tree) -> list[str]:
    """A chapter's module imports only modules before it, and support packages."""
    found = []
    for name, code in tree.modules.items():
        place = tree.place(name)
        if not is_chapter_module(name) or place is None:  # see module_places
            continue
        targets = imports(code, tree.modules, name) - {name}
        found += _forward(tree, name, place, {t for t in targets if is_chapter_module(t)}, "module")
        found += [
            f"module {name} imports {_shown(target)}"
            for target in sorted(targets)
            if _is_top(target) or part_of(target) == EXERCISES
        ]
    return found


def inner_imports(tree: Tree) -> list[str]:
    """What lies inside a chapter's package is imported through the package's public names."""
    found = []
    code = {("module", name): text for name, text in tree.modules.items()}
    code |= {("notebook", name): text for name, text in tree.notebooks.items()}
    for (who, name), text in code.items():
        for target in sorted(imports(text, tree.modules, name if who == "module" else None)):
            package = tree.chapter(target)
            if package not in (target, tree.chapter(name)) or (
                who == "notebook" and package != target
            ):
                found.append(f"{who} {name} imports {target}, which is inside {package}")
    return found


def package_imports(tree: Tree) -> list[str]:
    """Packages of parts and of exercises import no chapter: they load before all their modules."""
    packages = {*PARTS, EXERCISES, *(f"{EXERCISES}/{part}" for part in PARTS)}
    return [
        f"package {name} imports {_shown(target)}"
        for name, code in tree.modules.items()
        if name in packages
        for target in sorted(imports(code, tree.modules, name))
        if part_of(target) not in SUPPORT and target not in (name, EXERCISES)
    ]


def exercise_imports(tree: Tree) -> list[str]:
    """A checker imports its own chapter's module and those before it."""
    found = []
    for name, code in tree.modules.items():
        chapter = chapter_of_checker(name)
        place = tree.place(chapter) if chapter else None
        if place is None:
            continue
        targets = imports(code, tree.modules, name) - {name}
        found += _forward(tree, name, place, targets, "checker")
        found += [f"checker {name} imports {_shown(t)}" for t in sorted(targets) if _is_top(t)]
    return found


def notebook_imports(tree: Tree) -> list[str]:
    """A notebook imports modules and checkers of its own chapter and of those before it."""
    found = []
    for name, code in tree.notebooks.items():
        place = tree.place(name)
        if place is None:  # see notebooks_listed
            continue
        targets = imports(code, tree.modules)
        found += _forward(tree, name, place, targets, "notebook")
        found += [f"notebook {name} imports {_shown(t)}" for t in sorted(targets) if _is_top(t)]
    return found


def unknown_modules(tree: Tree) -> list[str]:
    """Every module of the package lies in a folder that has a layer."""
    known = {*PARTS, *SUPPORT, EXERCISES, *TOP}
    return [
        f"module {name} lies in no layer" for name in tree.modules if part_of(name) not in known
    ]


def module_places(tree: Tree) -> list[str]:
    """Every chapter module has a chapter, or stands in the list of those to be written."""
    return [
        f"module {name} has no chapter in _toc.yml and is not in book/pending.yml"
        for name in tree.modules
        if is_chapter_module(name) and tree.place(name) is None
    ]


def pending_list(tree: Tree) -> list[str]:
    """The list of pending modules is well-formed, and names nothing that has its chapter."""
    found = [
        f"book/pending.yml: {key} is no chapter of _toc.yml"
        for key in tree.pending
        if key not in (*tree.toc, END)
    ]
    entries = [entry for value in tree.pending.values() for entry in value]
    for entry in dict.fromkeys(entries):
        if entries.count(entry) > 1:
            found.append(f"book/pending.yml names {entry} {entries.count(entry)} times")
        if entry in tree.toc:
            found.append(f"book/pending.yml names {entry}, which has its chapter")
        if not is_chapter_module(entry):
            found.append(f"book/pending.yml: {entry} is not PART/CONCEPT with a part of the book")
    return found


def parts_in_order(tree: Tree) -> list[str]:
    """Chapters and pending modules come part by part, in the order of the parts."""
    found = []
    reached = 0
    for name in tree.order:
        if part_of(name) not in PARTS:
            found.append(f"{name} is in no part of the book")
            continue
        here = PARTS.index(part_of(name))
        if here < reached:
            found.append(f"{name} stands after part {PARTS[reached]}")
        reached = max(reached, here)
    return found


def notebooks_listed(tree: Tree) -> list[str]:
    """Every notebook is in the table of contents, and a chapter is there only once."""
    found = [
        f"notebook {name} is not in _toc.yml"
        for name in tree.notebooks
        if name not in (*tree.toc, *tree.pages)
    ]
    return found + [
        f"_toc.yml names {name} {tree.toc.count(name)} times"
        for name in dict.fromkeys(tree.toc)
        if tree.toc.count(name) > 1
    ]


def exercises_belong(tree: Tree) -> list[str]:
    """Every checker module belongs to a chapter that a reader can open."""
    return [
        f"{name} belongs to no chapter of _toc.yml"
        for name in tree.modules
        if (chapter := chapter_of_checker(name)) is not None and chapter not in tree.toc
    ]


def public_names(name: str, modules: Mapping[str, str]) -> set[str]:
    """Return the public names of a module: those it binds itself, not those that it imports.

    A package has those that it imports from its inner modules, too.
    """
    body = ast.parse(modules[name]).body
    inner = f"{PACKAGE}.{name.replace('/', '.')}."
    found = {bound for bound, _ in _bound(body)}
    for node in body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(inner):
            found |= {alias.asname or alias.name for alias in node.names}
    return {bound for bound in found if not bound.startswith("_")}


def _bound(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names that statements bind at the top level, imports left out."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name, statement
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        stack: list[ast.AST] = [statement]
        while stack:
            node = stack.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name, statement
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, statement
            elif not isinstance(
                node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
            ):
                stack.extend(ast.iter_child_nodes(node))


def redefinitions(tree: Tree) -> list[str]:
    """A notebook gives its ladder names of its own: what its module calls so stays the module's."""
    found = []
    for name, code in tree.notebooks.items():
        if name not in tree.modules:
            continue
        public = public_names(name, tree.modules)
        own = f"{PACKAGE}.{name.replace('/', '.')}"
        rebound = set()
        for node in _top_level(code):
            if isinstance(node, ast.ImportFrom):
                if node.module != own:
                    rebound |= {alias.asname or alias.name for alias in node.names}
                else:
                    rebound |= {
                        alias.asname
                        for alias in node.names
                        if alias.asname and alias.asname != alias.name
                    }
            elif isinstance(node, ast.Import):
                rebound |= {alias.asname or part_of(alias.name) for alias in node.names}
            else:
                rebound |= {bound for bound, _ in _bound([node])}
        found += [
            f"notebook {name} re-defines {bound} of its module"
            for bound in sorted(rebound & public)
        ]
    return found


def tests_exist(tree: Tree) -> list[str]:
    """Every chapter module and every checker has its tests at its own path, and no test dangles.

    What lies inside a chapter's package is tested with it, or at a path of its own.
    """
    found = []
    for name in tree.modules:
        chapter = chapter_of_checker(name)
        if (is_chapter_module(name) and tree.chapter(name) == name) or chapter is not None:
            folder, _, stem = name.rpartition("/")
            if f"{folder}/test_{stem}" not in tree.tests:
                found.append(f"module {name} has no test file tests/{folder}/test_{stem}.py")
    for test in sorted(tree.tests):
        folder, _, stem = test.rpartition("/")
        subject = f"{folder}/{stem.removeprefix('test_')}"
        if is_chapter_module(subject) and subject not in tree.modules and subject not in tree.toc:
            found.append(f"tests/{test}.py tests neither a module nor a chapter")
    return found


RULES: tuple[Callable[[Tree], list[str]], ...] = (
    support_imports,
    module_imports,
    inner_imports,
    package_imports,
    exercise_imports,
    notebook_imports,
    unknown_modules,
    module_places,
    pending_list,
    parts_in_order,
    notebooks_listed,
    exercises_belong,
    redefinitions,
    tests_exist,
)


def check(tree: Tree) -> list[str]:
    """Return the violations of all rules."""
    return [violation for rule in RULES for violation in rule(tree)]
