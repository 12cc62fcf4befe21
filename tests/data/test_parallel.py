"""Parallel text: lines are never split or shifted, and bad files are named."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmlib.data.parallel import read_lines, read_parallel


def write(path, data):
    data = data.encode("utf-8") if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["text.de", "text.de.gz"])
def test_lines(tmp_path, name):
    path = write(tmp_path / name, "Zwei Männer.\n\n ein Hund \n")
    assert read_lines(path) == ["Zwei Männer.", "", " ein Hund "]
    assert read_lines(str(path)) == read_lines(path)


def test_only_a_newline_ends_a_line(tmp_path):
    inside = ["a\rb", "a\x85b", "a\u2028b", "a\u2029b", "a\x0bb", "a\x0cb", "a\x1cb\x1db\x1eb", "z"]
    assert read_lines(write(tmp_path / "text", "\n".join(inside) + "\n")) == inside
    assert len("\n".join(inside).splitlines()) > len(inside), "what this test is about"


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = write(tmp_path / "text", b"\xef\xbb\xbfeins\r\nzwei\r\n")
    assert read_lines(path) == ["eins", "zwei"]


def test_the_last_line_may_lack_its_end(tmp_path):
    assert read_lines(write(tmp_path / "text", "eins\nzwei")) == ["eins", "zwei"]
    assert read_lines(write(tmp_path / "text", "eins\nzwei\n\n")) == ["eins", "zwei", ""]


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")), min_size=1
)


@given(lines=LINES)
def test_any_lines_come_back(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("lines") / "text", "start\n" + "\n".join(lines) + "\n")
    assert read_lines(path) == ["start", *(line.removesuffix("\r") for line in lines)]


def test_pairs(tmp_path):
    source = write(tmp_path / "a.gz", "eins\nzwei\n")
    target = write(tmp_path / "b", "one\ntwo\n")
    assert read_parallel(source, target) == [("eins", "one"), ("zwei", "two")]


@pytest.mark.parametrize(("n_source", "n_target", "longer"), [(3, 5, "b"), (6, 5, "a")])
def test_different_line_counts(tmp_path, n_source, n_target, longer):
    write(tmp_path / "a", "x\n" * n_source)
    write(tmp_path / "b", "y\n" * n_target)
    line = min(n_source, n_target) + 1
    with pytest.raises(ValueError, match=f"{longer}, line {line} has no counterpart") as caught:
        read_parallel(tmp_path / "a", tmp_path / "b")
    assert f"a has {n_source} lines" in str(caught.value)
    assert f"b has {n_target}" in str(caught.value)


@pytest.mark.parametrize("name", ["text", "text.gz"])
@pytest.mark.parametrize("data", ["", "\n", " \r\n\n", "\ufeff"])
def test_a_file_without_text(tmp_path, name, data):
    path = write(tmp_path / name, data)
    with pytest.raises(ValueError, match=r"text(\.gz)?: the file is empty"):
        read_lines(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_wrong_encoding_names_file_and_line(tmp_path, encoding):
    path = write(tmp_path / "text", "eins\nzwei\nfünf\n".encode(encoding))
    line, byte = (3, "0xfc after 1 bytes") if encoding == "latin-1" else (1, "0xff after 0 bytes")
    with pytest.raises(ValueError, match=f"text, line {line}: expected UTF-8, got the byte {byte}"):
        read_lines(path)


def test_a_broken_gzip_file(tmp_path):
    whole = gzip.compress(b"".join(b"line %d\n" % i for i in range(1000)))
    broken = bytearray(whole)
    broken[100] ^= 0xFF
    for data in (b"plain text\n", whole[: len(whole) // 2], bytes(broken)):
        (tmp_path / "text.gz").write_bytes(data)
        with pytest.raises(ValueError, match=r"text\.gz: expected a whole gzip file"):
            read_lines(tmp_path / "text.gz")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_lines(tmp_path / "nowhere")
