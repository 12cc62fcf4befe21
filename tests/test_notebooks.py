"""The stored notebooks of the book keep the rules of tests/harness/notebook_rules.py."""

import json

import chapters
import nbformat
import notebook_rules
import pytest

NOTEBOOKS = {
    path.relative_to(chapters.BOOK).with_suffix("").as_posix(): path for path in chapters.find([])
}


def read(name):
    return json.loads(NOTEBOOKS[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_keeps_every_rule(name):
    found = notebook_rules.check(read(name))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_file_is_written_as_the_tool_writes_it(name):
    text = NOTEBOOKS[name].read_text(encoding="utf-8")
    assert text == chapters.as_text(nbformat.reads(text, as_version=4)), "run make chapters"


def test_few_cells_of_the_book_go_uncompared():
    assert notebook_rules.ignored_over_budget({name: read(name) for name in NOTEBOOKS}) == []
