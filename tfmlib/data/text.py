"""What may be tokenized: text that UTF-8 can write, and names for special tokens."""

from collections.abc import Iterable


def utf8_text(text: str) -> str:
    """Return `text` if it can be written in UTF-8.

    Raises:
        ValueError: It holds a lone surrogate, half of a character; the message says where.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the character U+{ord(text[error.start]):04X} at position {error.start} is a lone "
            "surrogate, half of a character; expected text that UTF-8 can write"
        ) from error
    return text


def special_names(special_tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the names of special tokens as a tuple if they can serve.

    Raises:
        TypeError: `special_tokens` is one string.
        ValueError: They are fewer than three, empty, repeated, or hold a lone surrogate.
    """
    if isinstance(special_tokens, str):
        raise TypeError("expected several special tokens, got one string")
    special = tuple(map(utf8_text, special_tokens))
    if len(special) < 3:
        raise ValueError(f"expected special tokens for padding, start and end, got {special}")
    if len(set(special)) < len(special) or "" in special:
        raise ValueError(f"expected different, non-empty special tokens, got {special}")
    return special
