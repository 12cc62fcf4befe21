"""The file of a tokenizer: what is written is read, and nothing else is.

More files, whole and broken, are read through the tokenizer in tests/blocks/test_tokens.py.
"""

import json

import pytest

from tfmlib.data.merge_file import read_merges, write_merges


def test_round_trip(tmp_path):
    path = tmp_path / "tokens.json"
    write_merges(path, merges=((100, 101), (259, 7)), special_tokens=("a", "空", "c"))
    assert read_merges(path) == ([(100, 101), (259, 7)], ["a", "空", "c"])
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert "空" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "the format 'tfmlib byte-pair tokenizer'"),
        ({"version": 2}, "expected version 1, got 2"),
        ({"more": 1}, "got .*'more'"),
        ({"merges": "ab"}, "merges is not a list"),
        ({"merges": [[1, 2, 3]]}, r"merge 0 is not two integers: \[1, 2, 3\]"),
        ({"special_tokens": [1, 2, 3]}, "not a list of strings"),
    ],
)
def test_other_content_is_named(tmp_path, change, message):
    path = tmp_path / "tokens.json"
    write_merges(path, merges=[(1, 2)], special_tokens=["a", "b", "c"])
    content = json.loads(path.read_text(encoding="utf-8")) | change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_merges(path)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"{"])
def test_what_is_no_json_is_a_value_error(tmp_path, data):
    (tmp_path / "bad.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"Expecting|codec|recursion"):
        read_merges(tmp_path / "bad.json")


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_merges(tmp_path / "none.json")
