"""Execute chapters in place and store their outputs; turn an author's MyST text into a notebook.

    python tools/chapters.py                       every notebook under book/
    python tools/chapters.py blocks/attention      the chapters named (path or short name)
    python tools/chapters.py --normalise           tidy the JSON, execute nothing
    python tools/chapters.py --from-markdown TEXT.md book/blocks/attention.ipynb

What is written depends on the chapter alone: no times, no versions, no editor settings, so that a
second run of an unchanged chapter leaves the file as it was.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
CELL_TIMEOUT_S = 600

NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
CELL_METADATA = ("mystnb", "tags")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
MACHINE_FOLDER = re.compile(r"(?:~|/)[\w./+-]*?/lib/python3\.\d+/(?:site-packages/)?")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# One thread each: on a small machine, two notebooks with two threads each starve one another.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


@dataclass(frozen=True)
class Outcome:
    """How the execution of one notebook went."""

    path: Path
    cpu_s: float
    wall_s: float
    error: str | None = None


# -- the normal form ---------------------------------------------------------------------------


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Bring a notebook to its one form, in place: what a reader, a test or git needs, no more."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    taken: set[str] = set()
    for cell in notebook.cells:
        cell.source = cell.source.strip("\n")
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)}
        )
        cell.id = _cell_id(cell, taken)
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = _merge_streams(cell.outputs)
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
                if "metadata" in output:
                    output.metadata = nbformat.from_dict({})
                if len(output.get("data", {})) > 1:
                    # A stored view of live controls is dead: keep what stands beside it.
                    output.data.pop(WIDGET_VIEW, None)
                if output.output_type == "error":
                    output.traceback = [_without_folders(line) for line in output.traceback]
    return notebook


def _without_folders(line: str) -> str:
    """Shorten the paths of a traceback to the part that is the same on every machine."""
    return MACHINE_FOLDER.sub("", line).replace(f"{ROOT}/", "")


def _cell_id(cell: NotebookNode, taken: set[str]) -> str:
    """Keep a valid identifier; make a missing one from the text, so that it comes out the same."""
    identifier = cell.get("id", "")
    if not CELL_ID.fullmatch(identifier) or identifier in taken:
        identifier = content_id(cell, taken)
    taken.add(identifier)
    return str(identifier)


def content_id(cell: NotebookNode, taken: Iterable[str] = ()) -> str:
    """Return an identifier made from the cell's own text, different from those in `taken`."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    identifier, copy = digest, 1
    while identifier in taken:
        copy += 1
        identifier = f"{digest}-{copy}"
    return identifier


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: where the kernel cut them is a matter of timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def as_text(notebook: NotebookNode) -> str:
    """Return the JSON text of a notebook, as it stands in the repository."""
    plain = json.loads(nbformat.writes(notebook, version=4))
    return json.dumps(plain, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(notebook: NotebookNode, path: Path) -> bool:
    """Validate, normalise and write a notebook whole; return whether the file changed."""
    nbformat.validate(normalise(notebook))
    text = as_text(notebook)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return True


# -- from an author's text ---------------------------------------------------------------------


def from_markdown(text: str) -> NotebookNode:
    """Turn MyST markdown (`{code-cell}` directives) into a notebook without outputs."""
    import jupytext

    notebook = jupytext.reads(FRONT_MATTER.sub("", text), fmt="md:myst")
    taken: set[str] = set()
    for cell in notebook.cells:
        cell.source = cell.source.strip("\n")
        cell.id = content_id(cell, taken)
        taken.add(cell.id)
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    return normalise(notebook)


# -- execution ---------------------------------------------------------------------------------


def execute(path: Path) -> Outcome:
    """Execute a notebook in its own folder on one thread and store the outputs if all cells ran."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    os.environ.update(KERNEL_ENVIRONMENT)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    wall, cpu = time.perf_counter(), _children_cpu_s()
    error = None
    with tempfile.TemporaryDirectory() as settings:
        # A reader's own IPython start-up files and history are no part of a chapter.
        os.environ["IPYTHONDIR"] = settings
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_S,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(path.parent)}},
            extra_arguments=["--log-level=ERROR"],
        )
        try:
            client.execute()
        except CellExecutionError as failure:
            error = f"{_failing_cell(notebook)}\n{failure}"
        except (CellTimeoutError, DeadKernelError) as failure:
            error = f"{_failing_cell(notebook)}\n{type(failure).__name__}: {failure}"
    outcome = Outcome(path, _children_cpu_s() - cpu, time.perf_counter() - wall, error)
    if error is None:
        write(notebook, path)
    return outcome


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _failing_cell(notebook: NotebookNode) -> str:
    """Say which cell an execution stopped in: the last one that was started."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    started = [number for number, cell in enumerate(code, 1) if cell.execution_count]
    failed = [
        number
        for number, cell in enumerate(code, 1)
        if any(output.output_type == "error" for output in cell.outputs)
        and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    number = (failed or [started[-1] + 1 if started and started[-1] < len(code) else len(code)])[0]
    return f"code cell {number} of {len(code)}"


def find(names: list[str]) -> list[Path]:
    """Return the notebooks meant by paths or short names (`blocks/attention`); all without any."""
    if not names:
        return sorted(
            path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
        )
    found = []
    for name in names:
        stem = name.removesuffix(".ipynb")
        candidates = [Path(f"{stem}.ipynb").absolute(), BOOK / f"{stem}.ipynb"]
        match = next((path for path in candidates if path.is_file()), None)
        if match is None:
            known = ", ".join(str(path.relative_to(BOOK).with_suffix("")) for path in find([]))
            raise FileNotFoundError(f"no chapter {name!r}; there are: {known or 'none yet'}")
        found.append(match)
    return found


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _execute_all(paths: list[Path], jobs: int) -> int:
    failures = 0
    with ProcessPoolExecutor(max_workers=max(1, min(jobs, len(paths)))) as pool:
        for outcome in pool.map(execute, paths):
            state = "failed" if outcome.error else "ok"
            print(
                f"{_shown(outcome.path):<44} {outcome.cpu_s:6.1f} CPU s  "
                f"{outcome.wall_s:6.1f} s  {state}",
                flush=True,
            )
            if outcome.error:
                failures += 1
                print(_without_colours(outcome.error), file=sys.stderr, flush=True)
    if failures:
        print(f"{failures} of {len(paths)} chapters failed; left as they were", file=sys.stderr)
    return 1 if failures else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="chapters, as blocks/attention or as paths")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time (default 1)")
    parser.add_argument(
        "--normalise", action="store_true", help="tidy the files only, execute nothing"
    )
    parser.add_argument(
        "--from-markdown",
        nargs=2,
        metavar=("TEXT", "NOTEBOOK"),
        type=Path,
        help="write NOTEBOOK from the MyST text TEXT, without outputs",
    )
    options: Any = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    try:
        if options.from_markdown:
            text, target = options.from_markdown
            if target.suffix != ".ipynb":
                parser.error(f"NOTEBOOK must end in .ipynb, got {target}")
            write(from_markdown(text.read_text(encoding="utf-8")), target)
            print(f"{_shown(target.absolute())} written; execute it next")
            return 0
        paths = find(options.names)
    except FileNotFoundError as missing:
        parser.error(str(missing))
    if not paths:
        print("no notebooks under book/ yet")
        return 0
    if options.normalise:
        for path in paths:
            if write(nbformat.read(path, as_version=4), path):
                print(f"{_shown(path)} tidied")
        return 0
    return _execute_all(paths, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
