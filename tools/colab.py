"""Write the chapters as Colab opens them: with a first cell that installs the package.

    BOOK_REPOSITORY_URL=https://github.com/OWNER/NAME python tools/colab.py FOLDER

Colab has torch but not `tfmlib`. The notebooks of the repository do not carry this cell, since they
do not know the repository's address; the publishing build puts the copies on a branch of their own.
"""

import os
import sys
from pathlib import Path

import chapters
import fill_links
import nbformat
from nbformat import NotebookNode


def with_install_cell(notebook: NotebookNode, address: str, branch: str) -> NotebookNode:
    """Return the notebook with the installing cell put before its first code cell."""
    owner, name = fill_links.owner_and_name(address)
    requirement = f"tfmlib[book] @ git+https://github.com/{owner}/{name}@{branch}"
    cell = nbformat.v4.new_code_cell(f'%pip install --quiet "{requirement}"')
    cell.id = chapters.content_id(cell, [other.id for other in notebook.cells])
    kinds = [other.cell_type for other in notebook.cells]
    place = kinds.index("code") if "code" in kinds else len(kinds)
    notebook.cells.insert(place, cell)
    return notebook


def write_all(folder: Path, address: str, branch: str) -> int:
    """Write every chapter under `folder`, at its own path; return how many."""
    paths = chapters.find([])
    for path in paths:
        notebook = with_install_cell(nbformat.read(path, as_version=4), address, branch)
        target = folder / path.relative_to(chapters.ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(chapters.as_text(notebook), encoding="utf-8")
    return len(paths)


def main(arguments: list[str]) -> int:
    """Run the command line; return its exit code."""
    if len(arguments) != 1:
        print("usage: python tools/colab.py FOLDER", file=sys.stderr)
        return 2
    address = os.environ.get("BOOK_REPOSITORY_URL", "")
    try:
        count = write_all(
            Path(arguments[0]), address, os.environ.get("BOOK_REPOSITORY_BRANCH", "main")
        )
    except ValueError as error:
        print(f"nothing is written: {error}", file=sys.stderr)
        return 2
    print(f"{count} chapters written for Colab")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
