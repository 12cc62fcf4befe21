"""Reading parallel text: two files of equally many lines, each line the other's translation.

Files are UTF-8, plain or compressed with gzip (told by the ending `.gz`).
"""

import gzip
import zlib
from pathlib import Path


def read_lines(path: str | Path) -> list[str]:
    r"""Return the lines of a UTF-8 text file, without their ends.

    Only `\n` (or `\r\n`) ends a line. `str.splitlines`, and a file opened as text, would
    also split at a lone `\r`, and the former at U+0085 and U+2028, which do stand inside
    sentences of web text: from there on, every sentence would face another's translation.

    Args:
        path: A text file; one whose name ends in `.gz` is decompressed.

    Returns:
        The lines in order, empty ones included. A byte order mark at the start is dropped.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has no text, is not UTF-8, or is not (all of) a gzip file; the message
            names the file, and the line where there is one.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file ({error})") from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise ValueError(f"{path}: the file is empty")
    lines = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            lines.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: expected UTF-8, got the byte 0x{line[error.start]:02x} "
                f"after {error.start} bytes ({error.reason})"
            ) from error
    return lines


def read_parallel(source_path: str | Path, target_path: str | Path) -> list[tuple[str, str]]:
    """Return the pairs (source sentence, target sentence) of two files.

    Args:
        source_path: The sentences to translate, one a line; see `read_lines`.
        target_path: Their translations, in the same order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file cannot be read (see `read_lines`), or the files have different numbers
            of lines; the message names the first line without a counterpart.
    """
    source, target = read_lines(source_path), read_lines(target_path)
    if len(source) != len(target):
        longer = source_path if len(source) > len(target) else target_path
        raise ValueError(
            f"{source_path} has {len(source)} lines and {target_path} has {len(target)}: "
            f"{longer}, line {min(len(source), len(target)) + 1} has no counterpart"
        )
    return list(zip(source, target, strict=True))
