"""Source code as text for language models: nothing is lost, nothing held out is trained on."""

import itertools
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tfmlib.data import source_code as module
from tfmlib.data.source_code import CHARACTERS, decode, encode, in_order, source_code, windows

LONG = "x = 1\n" * 200


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of forty files, some of which do not count."""
    root = tmp_path / "tests" / "aardvark"  # a folder above the package must not matter
    (root / "tests").mkdir(parents=True)
    for number in range(40):
        (root / f"m{number:02}.py").write_text(f"# file {number}\n{LONG}", encoding="utf-8")
    (root / "__init__.py").write_text("", encoding="utf-8")  # too short
    (root / "tests" / "test_it.py").write_text(f"# a test\n{LONG}", encoding="utf-8")
    (root / "data.txt").write_text(LONG, encoding="utf-8")
    monkeypatch.syspath_prepend(root.parent)
    source_code.cache_clear()
    yield root
    sys.modules.pop("aardvark", None)
    source_code.cache_clear()


def test_characters():
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 97
    assert decode(encode(CHARACTERS)) == CHARACTERS
    assert encode(CHARACTERS).tolist() == list(range(97))
    assert encode("").shape == (0,)


def test_what_is_not_ascii_becomes_one_sign():
    assert decode(encode("naïve — 😀\x00\x7f")) == "na\ufffdve \ufffd \ufffd\ufffd\ufffd"


@given(st.text())
def test_one_id_for_each_character(text):
    assert len(encode(text)) == len(text)
    kept = [a for a, b in zip(text, decode(encode(text)), strict=True) if a in CHARACTERS]
    assert kept == [b for a, b in zip(text, decode(encode(text)), strict=True) if a in CHARACTERS]


def test_reads_a_package_without_importing_it(package):
    code = source_code("aardvark")
    assert "aardvark" not in sys.modules
    assert len(code.train_files) + len(code.valid_files) == 40
    assert sorted(code.train_files + code.valid_files)[0] == "m00.py"
    assert 1 <= len(code.valid_files) <= 10
    for ids, names in ((code.train, code.train_files), (code.valid, code.valid_files)):
        expected = "".join((package / name).read_text(encoding="utf-8") for name in names)
        assert decode(ids) == expected


def test_a_file_keeps_its_side(package):
    before = source_code("aardvark")
    (package / "m07.py").unlink()
    (package / "new.py").write_text(LONG, encoding="utf-8")
    source_code.cache_clear()
    after = source_code("aardvark")
    assert set(after.valid_files) - {"new.py"} == set(before.valid_files) - {"m07.py"}
    assert set(after.train_files) - {"new.py"} == set(before.train_files) - {"m07.py"}


def test_unknown_and_tiny_packages(package):
    with pytest.raises(ValueError, match="expected an installed package, got 'no_such_package'"):
        source_code("no_such_package")
    with pytest.raises(ValueError, match="expected an installed package, got 'zlib'"):
        source_code("zlib")
    for path in package.glob("m*.py"):
        path.unlink()
    with pytest.raises(ValueError, match="too few source files"):
        source_code("aardvark")


def test_the_default_text():
    code = source_code()
    assert len(code.train) > 5_000_000
    assert len(code.valid) > 500_000
    assert not set(code.train_files) & set(code.valid_files)
    assert "def fit(self, X, y" in decode(code.valid)
    assert (code.train == len(CHARACTERS) - 1).float().mean() < 1e-4


def test_windows_are_pieces_of_the_text():
    ids = torch.arange(50)
    first = list(itertools.islice(windows(ids, 7, batch=4, seed=3), 30))
    for x, y in first:
        assert x.shape == y.shape == (4, 7)
        assert torch.equal(x + 1, y)
        assert torch.equal(x - x[:, :1], torch.arange(7).expand(4, 7))
    starts = torch.cat([x[:, 0] for x, _ in first])
    assert starts.min() == 0
    assert starts.max() == 42, "the last piece ends with the last character"
    again = list(itertools.islice(windows(ids, 7, batch=4, seed=3), 30))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    (other, _) = next(windows(ids, 7, batch=4, seed=4))
    assert not torch.equal(first[0][0], other)
    with pytest.raises(ValueError, match="more than 50 characters, got 50"):
        next(windows(ids, 50, batch=1))


def test_pieces_in_order():
    x, y = in_order(torch.arange(41), 10, pieces=4)
    assert x.tolist()[0] == list(range(10))
    assert x[:, 0].tolist() == [0, 10, 20, 30]
    assert torch.equal(y, x + 1)
    assert in_order(torch.arange(100), 10, pieces=3)[0][:, 0].tolist() == [0, 33, 66]
    with pytest.raises(ValueError, match="at least 41 characters for 4 pieces of 10, got 40"):
        in_order(torch.arange(40), 10, pieces=4)


def test_ids_are_those_of_the_module():
    assert module.encode("\n").item() == 0
