"""The workflows test what the package says it supports."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
MATRIX = WORKFLOWS["test"]["jobs"]["range"]["strategy"]["matrix"]
ENDS = {entry["set"]: entry for entry in MATRIX["include"]}


def test_three_systems_and_both_ends_are_tested():
    assert {name.partition("-")[0] for name in MATRIX["os"]} == {"ubuntu", "macos", "windows"}
    assert MATRIX["set"] == ["oldest", "newest"] == list(ENDS)


def test_tests_run_on_push_and_every_week():
    when = WORKFLOWS["test"][True]  # YAML reads the word "on" as true
    assert {"push", "pull_request", "schedule"} <= set(when)


def test_ends_are_those_of_the_package():
    versions = [
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert PROJECT["requires-python"] == f">={ENDS['oldest']['python']}"
    assert [ENDS["oldest"]["python"], ENDS["newest"]["python"]] == [versions[0], versions[-1]]
    (torch,) = [line for line in PROJECT["dependencies"] if line.startswith("torch")]
    assert ENDS["newest"]["torch"] == torch
    oldest = torch.partition(">=")[2].partition(",")[0]
    assert ENDS["oldest"]["torch"] == f"torch=={oldest}.*"


def test_publishing_takes_the_address_from_where_it_runs():
    environment = WORKFLOWS["pages"]["env"]
    assert environment["BOOK_REPOSITORY_URL"] == (
        "${{ github.server_url }}/${{ github.repository }}"
    )
    steps = [step.get("run", "") for step in WORKFLOWS["pages"]["jobs"]["links"]["steps"]]
    assert any("tools/colab.py" in step for step in steps)
    assert any("tools/fill_links.py" in step for step in steps)
