"""Speculative decoding: a small model drafts, the large one checks several tokens in one pass.

Leviathan, Kalman and Matias 2023, section 2, in its greedy form: the text is, token by token, the
one that the large model would have written alone. What is saved are passes of the large model: one
for every run of drafted tokens that it agrees with, plus the one token that it adds itself.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tfmlib.generation.cache import KeyValueCache

Decode = Callable[..., Tensor]  # (new tokens [1, new], cache=cache) -> logits [1, new, vocab]


@dataclass(frozen=True)
class Speculation:
    """What speculative decoding wrote, and what it took.

    Attributes:
        tokens: [1, time], the prompt included.
        passes: passes of the large model, the one over the prompt included.
        drafted: tokens that the small model proposed.
        accepted: how many of these the large model agreed with.
    """

    tokens: Int[Tensor, "1 time"]
    passes: int
    drafted: int
    accepted: int


@torch.no_grad()
def speculate(
    large: Decode,
    large_cache: KeyValueCache,
    small: Decode,
    small_cache: KeyValueCache,
    prompt: Int[Tensor, "1 prompt"],
    *,
    max_new: int,
    draft: int = 4,
    end_id: int | Collection[int] | None = None,
) -> Speculation:
    """Continue one sequence greedily with a large model that a small one runs ahead of.

    Args:
        large: the model whose text is wanted, such as a `LanguageModel`.
        large_cache: its cache, empty; it must hold the prompt and `max_new + draft` tokens more.
        small: the model that drafts, of the same vocabulary.
        small_cache: its cache, empty and of the same size.
        prompt: one sequence. (Rows of a batch would be accepted to different lengths.)
        max_new: append at most so many tokens.
        draft: tokens drafted for each pass of the large model.
        end_id: stop after this token, or after one of these.

    Raises:
        ValueError: a count that is not positive, several sequences, or a cache that is in use.
    """
    if max_new < 1 or draft < 1:
        raise ValueError(f"max_new and draft must be positive; got {max_new} and {draft}")
    if prompt.shape[0] != 1 or prompt.shape[1] < 1:
        raise ValueError(f"expected one prompt, [1, time]; got shape {tuple(prompt.shape)}")
    if large_cache.length or small_cache.length:
        raise ValueError("the caches must be empty at the start")
    ends = set() if end_id is None else {end_id} if isinstance(end_id, int) else set(end_id)
    tokens, limit = prompt, prompt.shape[1] + max_new
    passes = drafted = accepted = 0
    while tokens.shape[1] < limit:
        count = min(draft, limit - tokens.shape[1] - 1)  # the large model adds one of its own
        guess = tokens
        for _ in range(count):
            logits = small(guess[:, small_cache.length :], cache=small_cache)
            guess = torch.cat([guess, logits[:, -1:].argmax(dim=-1)], dim=1)
        proposed = guess[:, tokens.shape[1] :]  # [1 count]
        # One pass over all that the large model has not seen: the drafted tokens, and before them
        # the last one that was decided.
        logits = large(guess[:, large_cache.length :], cache=large_cache)
        wanted = logits[:, -(count + 1) :].argmax(dim=-1)  # [1 count+1], after each drafted token
        agrees = (wanted[:, :count] == proposed).long().cumprod(dim=1)
        good = int(agrees.sum())
        passes, drafted, accepted = passes + 1, drafted + count, accepted + good
        new = wanted[0, : good + 1].tolist()
        for i, token in enumerate(new):
            if token in ends:
                new = new[: i + 1]
                break
        tokens = torch.cat([tokens, wanted[:, : len(new)]], dim=1)
        # What was refused is forgotten; the last token is yet unseen by both models.
        for cache in (large_cache, small_cache):
            cache.crop(min(cache.length, tokens.shape[1] - 1))
        if new[-1] in ends:
            break
    return Speculation(tokens, passes, drafted, accepted)
