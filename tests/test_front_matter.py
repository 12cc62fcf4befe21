"""What the front pages, the README and the guide say is true: commands, names, paths, versions."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = ["README.md", "CONTRIBUTING.md", "book/intro.md", "book/for_lecturers.md"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def console_commands(name: str) -> list[list[str]]:
    """Every command after a `$` in the console blocks of a page, split into words."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", read(name), re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), lines
    return [shlex.split(line[2:], comments=True) for line in lines]


def glossary_terms() -> list[str]:
    """Terms in the order of the page: the lines of the directive that are not indented."""
    body = read("book/glossary.md").split("```{glossary}\n")[1].split("\n```")[0]
    return [line for line in body.splitlines() if line and not line.startswith(" ")]


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    named = set(re.findall(r"`make ([a-z]+)", read(name)))
    for command in console_commands(name):
        if command[0] == "make":
            named.update(command[1:])
    assert named <= targets


def test_the_two_commands_of_the_readme_are_there() -> None:
    commands = console_commands("README.md")
    assert ["make", "book"] in commands
    assert ["make", "test"] in commands


def test_the_translator_takes_the_options_that_the_readme_gives() -> None:
    commands = [c for c in console_commands("README.md") if c[:3] == ["python", "-m", "tfmlib"]]
    assert [c[3:5] for c in commands] == [
        ["translation", verb] for verb in ("train", "score", "translate")
    ]
    for command in commands:
        answer = subprocess.run(
            [sys.executable, *command[1:5], "--help"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        for option in (word for word in command if word.startswith("--")):
            assert re.search(rf"{option}\b", answer.stdout), f"{command[4]} has no {option}"


def test_scripts_and_options_of_the_guide_exist() -> None:
    scripts = [c for c in console_commands("CONTRIBUTING.md") if c[0] == "python"]
    assert scripts
    for command in scripts:
        source = read(command[1])
        assert all(f'"{word}"' in source for word in command if word.startswith("--")), command


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_named_paths_exist(name: str) -> None:
    quoted = re.findall(r"`([\w./-]+(?:/|\.\w+))`", read(name)) + re.findall(
        r'(?:\]\(|src=")([\w./-]+)', read(name)
    )
    own = [path for path in quoted if "/" in path or path.endswith((".yml", ".txt", ".toml"))]
    assert len(own) >= 6
    missing = [path for path in own if not (ROOT / path).exists()]
    assert not missing


def test_the_quickstart_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", read("book/intro.md"), re.S)
    assert max(map(len, code.splitlines())) <= 88
    script = tmp_path / "quickstart.py"
    script.write_text(code, encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert re.fullmatch(r"\d+% of the new sequences .*\n", answer.stdout)


def test_glossary_terms_are_unique_and_in_order() -> None:
    terms = glossary_terms()
    assert len(terms) > 80
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms, key=lambda term: term.lower().replace("-", " "))


def test_terms_that_pages_link_are_in_the_glossary() -> None:
    known = {term.lower() for term in glossary_terms()}
    for page in [*BOOK.rglob("*.md"), *BOOK.rglob("*.ipynb")]:
        if ".ipynb_checkpoints" in page.parts:
            continue
        for link in re.findall(r"\{term\}`([^`]+)`", page.read_text(encoding="utf-8")):
            target = re.sub(r"^.*<(.+)>$", r"\1", link)
            assert target.lower() in known, f"{page.name} links the term {target!r}"


def test_names_in_the_notation_are_names_in_the_code() -> None:
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tfmlib").rglob("*.py"))
    tables = [line for line in read("book/notation.md").splitlines() if line.startswith("| ")]
    names = {name for row in tables for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 25
    missing = sorted(name for name in names if not re.search(rf"\b{name}\b", source))
    assert not missing


def test_the_map_has_the_parts_in_their_order() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \|", read("book/intro.md"), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 10))
    order = [part.lower() for _, part in rows]
    assert len(set(order)) == 9
    support = {"data", "viz", "claims", "records", "exercises", "cli", "__pycache__"}
    packages = {path.name for path in (ROOT / "tfmlib").iterdir() if path.is_dir()} - support
    assert packages <= set(order)
    toc = yaml.safe_load(read("_toc.yml"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    parts = [Path(file).parts[1] for file in files if len(Path(file).parts) == 3]
    assert set(parts) <= set(order)
    assert parts == sorted(parts, key=order.index)


def test_works_are_sorted_and_point_to_no_page() -> None:
    text = read("book/references.bib")
    keys = re.findall(r"^@\w+\{(\w+),$", text, re.M)
    assert len(keys) > 50
    assert keys == sorted(set(keys))
    assert not re.search(r"^\s*(url|howpublished)\s*=", text, re.M | re.I)
    assert "http" not in text
    for entry in text.split("\n@")[1:]:
        named = set(re.findall(r"^  (\w+) +=", entry, re.M))
        assert {"author", "title", "year"} <= named, entry
        assert named & {"doi", "eprint", "booktitle", "journal", "institution"}, entry


def test_one_version_everywhere() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    assert re.findall(r"^## ([\d.]+)", read("CHANGELOG.md"), re.M)[0] == version
    assert f"Version {version}." in read("book/intro.md")
