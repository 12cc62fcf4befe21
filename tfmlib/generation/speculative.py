"""Speculative decoding: something cheap drafts, the large model checks several tokens in one pass.

Leviathan, Kalman and Matias 2023, section 2, in its greedy form: the text is, token by token, the
one that the large model would have written alone. What is saved are passes of the large model: one
for every run of drafted tokens that it agrees with, plus the one token that it adds itself. Where
the drafts come from matters for speed only: from a small model, or from the text itself.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tfmlib.generation.cache import KeyValueCache

Decode = Callable[..., Tensor]  # (new tokens [1, new], cache=cache) -> logits [1, new, vocab]
Draft = Callable[[Tensor, int], Tensor]  # (tokens [1, time], count) -> [1, drafted <= count]


@dataclass(frozen=True)
class Speculation:
    """What speculative decoding wrote, and what it took.

    Attributes:
        tokens: [1, time], the prompt included.
        passes: passes of the large model, the one over the prompt included.
        drafted: tokens that were proposed.
        accepted: how many of these the large model agreed with.
    """

    tokens: Int[Tensor, "1 time"]
    passes: int
    drafted: int
    accepted: int


class ModelDraft:
    """Drafts are what a small model would write next.

    Args:
        decode: the small model, of the same vocabulary as the large one.
        cache: its cache, empty, and at least as long as the large model's.
    """

    def __init__(self, decode: Decode, cache: KeyValueCache) -> None:
        self.decode, self.cache = decode, cache

    @torch.no_grad()
    def __call__(self, tokens: Int[Tensor, "1 time"], count: int) -> Int[Tensor, "1 drafted"]:
        """Propose `count` tokens; forgets first what it had drafted and was refused."""
        self.cache.crop(min(self.cache.length, tokens.shape[1] - 1))
        guess = tokens
        for _ in range(count):
            logits = self.decode(guess[:, self.cache.length :], cache=self.cache)
            guess = torch.cat([guess, logits[:, -1:].argmax(dim=-1)], dim=1)
        return guess[:, tokens.shape[1] :]


class LookupDraft:
    """Drafts are what followed the last time that the text ended like this (Yang et al. 2023).

    Costs nothing, and helps where a text repeats its source: summaries, corrections, code.

    Args:
        match: so many tokens at the end must have occurred before.
    """

    def __init__(self, match: int = 2) -> None:
        if match < 1:
            raise ValueError(f"match must be at least 1; got {match}")
        self.match = match

    def __call__(self, tokens: Int[Tensor, "1 time"], count: int) -> Int[Tensor, "1 drafted"]:
        """Propose up to `count` tokens; none if the end of the text is new."""
        row, n = tokens[0], self.match
        if len(row) <= n:
            return tokens[:, :0]
        before = row[:-1].unfold(0, n, 1)  # [places match], each with a token after it
        places = (before == row[-n:]).all(dim=1).nonzero()
        if len(places) == 0:
            return tokens[:, :0]
        start = int(places[-1]) + n
        return tokens[:, start : start + count]


@torch.no_grad()
def speculate(
    large: Decode,
    cache: KeyValueCache,
    draft: Draft,
    prompt: Int[Tensor, "1 prompt"],
    *,
    max_new: int,
    count: int = 4,
    end_id: int | Collection[int] | None = None,
) -> Speculation:
    """Continue one sequence greedily with a large model, checking drafts of what it will say.

        speculate(large, KeyValueCache(12, 512), ModelDraft(small, KeyValueCache(2, 512)), prompt,
                  max_new=200)

    Args:
        large: the model whose text is wanted, such as a `LanguageModel`.
        cache: its cache, empty; it must hold the prompt and `max_new` tokens more.
        draft: proposes tokens, such as a `ModelDraft` or a `LookupDraft`.
        prompt: one sequence. (Rows of a batch would be accepted to different lengths.)
        max_new: append at most so many tokens.
        count: tokens drafted for each pass of the large model, at most.
        end_id: stop after this token, or after one of these.

    Raises:
        ValueError: a count that is not positive, several sequences, or a cache that is in use.
    """
    if max_new < 1 or count < 1:
        raise ValueError(f"max_new and count must be positive; got {max_new} and {count}")
    if prompt.shape[0] != 1 or prompt.shape[1] < 1:
        raise ValueError(f"expected one prompt, [1, time]; got shape {tuple(prompt.shape)}")
    if cache.length:
        raise ValueError("the cache must be empty at the start")
    ends = set() if end_id is None else {end_id} if isinstance(end_id, int) else set(end_id)
    tokens, limit = prompt, prompt.shape[1] + max_new
    passes = drafted = accepted = 0
    while tokens.shape[1] < limit:
        most = min(count, limit - tokens.shape[1] - 1)  # the large model adds one of its own
        proposed = draft(tokens, most) if most else tokens[:, :0]
        n = proposed.shape[1]
        # One pass over all that the large model has not seen: the drafted tokens, and before them
        # the last one that was decided.
        unseen = torch.cat([tokens, proposed], dim=1)[:, cache.length :]
        wanted = large(unseen, cache=cache)[:, -(n + 1) :].argmax(dim=-1)  # [1 n+1]
        agrees = (wanted[:, :n] == proposed).long().cumprod(dim=1)
        good = int(agrees.sum())
        passes, drafted, accepted = passes + 1, drafted + n, accepted + good
        new = wanted[0, : good + 1].tolist()
        for i, token in enumerate(new):
            if token in ends:
                new = new[: i + 1]
                break
        tokens = torch.cat([tokens, wanted[:, : len(new)]], dim=1)
        # What was refused is forgotten; the last token is yet unseen.
        cache.crop(min(cache.length, tokens.shape[1] - 1))
        if new[-1] in ends:
            break
    return Speculation(tokens, passes, drafted, accepted)
