"""Fill the repository's address into the links of README.md, when the book is published.

    BOOK_REPOSITORY_URL=https://github.com/OWNER/NAME python tools/fill_links.py [README.md]

What stands between the two marker comments is replaced: where to read the book, and for each
chapter a link that opens it on Colab and on Binder. Running it again changes nothing.
"""

import os
import re
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
COLAB_BRANCH = "colab"  # the chapters with an installing cell: tools/colab.py
START, STOP = "<!-- links: start -->", "<!-- links: stop -->"


def owner_and_name(address: str) -> tuple[str, str]:
    """Split the address of a repository; only GitHub's can be opened on Colab."""
    parts = urlsplit(address)
    path = parts.path.strip("/").removesuffix(".git").split("/")
    if parts.scheme != "https" or parts.hostname != "github.com" or len(path) != 2:
        raise ValueError(f"expected https://github.com/OWNER/NAME, got {address!r}")
    return path[0], path[1]


def chapters(root: Path) -> dict[str, str]:
    """Return the notebooks of the table of contents: path to title, in reading order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found = {}
    for part in toc.get("parts", ()):
        for chapter in part["chapters"]:
            path = root / f"{chapter['file']}.ipynb"
            if path.exists():
                text = nbformat.read(path, as_version=4).cells[0].source
                title = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
                found[f"{chapter['file']}.ipynb"] = title.group(1) if title else chapter["file"]
    return found


def links(address: str, branch: str, notebooks: dict[str, str], pages: str | None = None) -> str:
    """Return the markdown that stands between the markers."""
    owner, name = owner_and_name(address)
    lines = []
    if pages:
        lines += [f"- **Read it:** <{pages}>"]
    lines += [
        "- **On Colab or Binder**, with nothing to install; on Colab, the first cell of a chapter "
        "does it:",
        "",
        "| Chapter | | |",
        "|:--|:--|:--|",
    ]
    for path, title in notebooks.items():
        colab = (
            f"https://colab.research.google.com/github/{owner}/{name}/blob/{COLAB_BRANCH}/{path}"
        )
        binder = (
            f"https://mybinder.org/v2/gh/{owner}/{name}/{quote(branch, safe='')}"
            f"?urlpath={quote('lab/tree/' + path, safe='')}"
        )
        lines.append(
            f"| {title.replace('|', chr(92) + '|')} | [Colab]({colab}) | [Binder]({binder}) |"
        )
    return "\n".join(lines)


def fill(text: str, content: str) -> str:
    """Replace what stands between the markers."""
    before, start, rest = text.partition(START)
    _, stop, after = rest.partition(STOP)
    if not (start and stop):
        raise ValueError(f"expected the markers {START} and {STOP}")
    return f"{before}{START}\n{content}\n{STOP}{after}"


def main(arguments: list[str]) -> int:
    """Run the command line; return its exit code."""
    readme = Path(arguments[0]) if arguments else ROOT / "README.md"
    address = os.environ.get("BOOK_REPOSITORY_URL", "")
    branch = os.environ.get("BOOK_REPOSITORY_BRANCH", "main")
    pages = os.environ.get("BOOK_PAGES_URL") or None
    try:
        content = links(address, branch, chapters(ROOT), pages)
        readme.write_text(fill(readme.read_text(encoding="utf-8"), content), encoding="utf-8")
    except ValueError as error:
        print(f"{readme.name} is left as it was: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
