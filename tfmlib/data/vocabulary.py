"""A closed vocabulary: a fixed list of tokens, each with a number.

For data whose words are known in advance, such as number words. Running text, which always holds
words never seen before, needs the tokenizer of `tfmlib.blocks.tokens` instead.
"""

import operator
from collections.abc import Iterable

from jaxtyping import Int
from torch import Tensor


class Vocabulary:
    """Tokens and their ids, the special tokens first.

    The first three special tokens are, in this order, padding, start and end, so that by default
    `pad_id, start_id, end_id == 0, 1, 2`. The other tokens follow in the order given.

    Args:
        tokens: The ordinary tokens, each once.
        special_tokens: At least three names. They stand for no text.

    Raises:
        TypeError: `tokens` is one string, not several.
        ValueError: A token comes twice or is empty, or there are fewer than three special tokens.
    """

    def __init__(
        self, tokens: Iterable[str], *, special_tokens: Iterable[str] = ("<pad>", "<s>", "</s>")
    ) -> None:
        if isinstance(tokens, str) or isinstance(special_tokens, str):
            raise TypeError("expected several tokens, got one string")
        self.special_tokens = tuple(special_tokens)
        if len(self.special_tokens) < 3:
            raise ValueError(
                f"expected special tokens for padding, start and end, got {self.special_tokens}"
            )
        self.tokens = (*self.special_tokens, *tokens)
        self._ids: dict[str, int] = {}
        for token in self.tokens:
            if not token:
                raise ValueError("a token must not be the empty string")
            if token in self._ids:
                raise ValueError(f"the token {token!r} stands twice in the vocabulary")
            self._ids[token] = len(self._ids)
        self.pad_id, self.start_id, self.end_id = 0, 1, 2

    def __len__(self) -> int:
        """Return the number of tokens, special tokens included."""
        return len(self.tokens)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, special tokens included."""
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        """Return whether `token` is in the vocabulary."""
        return token in self._ids

    def id(self, token: str) -> int:
        """Return the id of one token; a `ValueError` if there is no such token."""
        if token not in self._ids:
            raise ValueError(f"the vocabulary of {len(self)} tokens has no token {token!r}")
        return self._ids[token]

    def token(self, id: int) -> str:
        """Return the token of one id; a `ValueError` if there is no such id."""
        if not 0 <= id < len(self.tokens):
            raise ValueError(f"expected an id from 0 to {len(self.tokens) - 1}, got {id}")
        return self.tokens[id]

    def encode(
        self, tokens: Iterable[str], *, add_start: bool = False, add_end: bool = False
    ) -> list[int]:
        """Return the ids of tokens, between the start and the end token where asked for.

        Args:
            tokens: Tokens of this vocabulary.
            add_start: Put `start_id` in front.
            add_end: Put `end_id` at the end.

        Raises:
            TypeError: `tokens` is one string, whose letters would be taken for tokens.
            ValueError: A token is not in the vocabulary.
        """
        if isinstance(tokens, str):
            raise TypeError(f"expected a list of tokens, got the string {tokens!r}: split it first")
        ids = [self.id(token) for token in tokens]
        return [self.start_id] * add_start + ids + [self.end_id] * add_end

    def decode(
        self, ids: Iterable[int] | Int[Tensor, " time"], *, skip_special: bool = True
    ) -> list[str]:
        """Return the tokens of ids (a list or a tensor).

        Special tokens are left out unless `skip_special=False`.

        Raises:
            ValueError: An id is outside the vocabulary.
        """
        n_skipped = len(self.special_tokens) if skip_special else 0
        indices = map(operator.index, ids)
        return [self.token(id) for id in indices if not 0 <= id < n_skipped]
