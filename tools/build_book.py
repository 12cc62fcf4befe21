"""Build the book from the stored outputs, warnings as errors; `--if-needed` only when it is stale.

    python tools/build_book.py [--if-needed]

Sphinx builds step by step, and a page that only warned is not read again. A failed build is
therefore thrown away, so that the next one reports the same warnings again.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
HTML = BUILD / "html"
STAMP = BUILD / "book-is-built"


def settings() -> Iterator[Path]:
    """Yield the files that change every page, which Sphinx does not all follow."""
    for name in ("_config.yml", "constraints.txt"):
        yield ROOT / name
    yield from (ROOT / "tools").glob("*.py")
    yield from (ROOT / "_static").rglob("*")


def sources() -> Iterator[Path]:
    """Yield every file that a page is made of."""
    yield from settings()
    yield ROOT / "_toc.yml"
    yield from (ROOT / "tfmlib").rglob("*.py")  # the reference is made of their docstrings
    for path in (ROOT / "book").rglob("*"):
        if path.is_file() and ".ipynb_checkpoints" not in path.parts:
            yield path


def _are_older(paths: Iterator[Path]) -> bool:
    """Return whether there is a built book that is younger than all these files."""
    if not STAMP.exists() or not (HTML / "index.html").exists():
        return False
    built = STAMP.stat().st_mtime
    return all(path.stat().st_mtime <= built for path in paths if path.exists())


def is_fresh() -> bool:
    """Return whether the last build succeeded and is younger than all its sources."""
    return _are_older(sources())


def build() -> int:
    """Build the pages; return the exit code of the builder."""
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(ROOT), "-W", "-n", "--keep-going", "-q"]
    if not _are_older(settings()):
        shutil.rmtree(BUILD, ignore_errors=True)
    STAMP.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    code = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False
    ).returncode
    if code == 0:
        STAMP.touch()
    else:
        shutil.rmtree(BUILD, ignore_errors=True)
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--if-needed", action="store_true", help="do nothing if it is up to date")
    options = parser.parse_args(arguments)
    if options.if_needed and is_fresh():
        return 0
    if code := build():
        print("The book was not built: see the warnings above.", file=sys.stderr)
        return code
    print(f"\nThe book is built. Open it:   {(HTML / 'index.html').as_uri()}")
    print("or serve it on this machine:  make serve")
    return 0


if __name__ == "__main__":
    sys.exit(main())
