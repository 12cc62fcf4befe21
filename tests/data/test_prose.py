"""Prose out of docstrings: running text and nothing else, split by files."""

import doctest

import pytest

from tfmlib.data import prose as module
from tfmlib.data.prose import docstring_prose, paragraphs

SOURCE = '''
"""Short."""
def f(x):
    """Return something that takes a sentence
    of two lines to describe, for instance.

    Parameters
    ----------
    x : array of numbers, described at some length here.

    >>> f(1)  A sentence that follows an example, with a full stop.

    Another paragraph, which has a formula: 1/2 of `x` is kept. Is it?
    """
'''


def test_running_text_is_kept_and_the_rest_is_not():
    assert paragraphs(SOURCE) == [
        "Return something that takes a sentence of two lines to describe, for instance.",
        "Another paragraph, which has a formula: 1/2 of `x` is kept. Is it?",
    ]


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "wordy"
    (root / "tests").mkdir(parents=True)
    (root / "__init__.py").write_text("", encoding="utf-8")
    for number in range(1, 9):
        text = f'"""This is the paragraph of file {number}, long enough to count."""\n'
        text += '"""This paragraph stands in every one of the files, but counts once."""\n'
        (root / f"f{number}.py").write_text(text, encoding="utf-8")
    (root / "tests" / "t.py").write_text(text.replace("file 8", "a test"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "wordy"


def test_whole_files_are_held_out_and_nothing_comes_twice(package):
    prose = docstring_prose(package, hold_out=3)  # __init__, f3, f6 of nine files
    numbers = [text.split("file ")[1][0] for text in prose.test]
    assert numbers == ["3", "6"]
    assert len(prose.train) == 6 + 1
    assert not any("a test" in text for text in prose.train + prose.test)


def test_the_book_s_own_corpus():
    prose = docstring_prose()
    assert len(prose.train) > 3 * len(prose.test) > 1500
    assert not set(prose.train) & set(prose.test)
    assert docstring_prose() == prose


def test_bad_arguments():
    with pytest.raises(ValueError, match="no installed package is called 'no_such_package'"):
        docstring_prose("no_such_package")
    with pytest.raises(ValueError, match="hold_out >= 2, got 1"):
        docstring_prose(hold_out=1)


def test_docstring_example():
    result = doctest.testmod(module)
    assert result == (0, 1)
