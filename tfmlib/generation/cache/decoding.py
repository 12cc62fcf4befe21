"""Driving a decoder with a cache: prompts of different lengths, and one new token at a time."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tfmlib.generation.cache.static import StaticCache
from tfmlib.generation.cache.store import KeyValueCache


def pad_left(
    rows: Sequence[Sequence[int]], *, pad_id: int = 0, device: torch.device | str | None = None
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, " batch"]]:
    """Put prompts of different lengths into one batch that ends where they all end.

    Returns:
        The tokens, and how many padding tokens each row begins with (see `CachedDecoder`).

    Raises:
        ValueError: there is no prompt, or one without a token.
    """
    if not rows or not all(rows):
        raise ValueError(f"expected prompts of at least one token; got lengths {[*map(len, rows)]}")
    longest = max(map(len, rows))
    tokens = [[pad_id] * (longest - len(row)) + list(row) for row in rows]
    padding = [longest - len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(padding, device=device)


class CachedDecoder:
    """A `next_logits` function that feeds a decoder only the tokens it has not seen.

        step = CachedDecoder(model.decode, cache, memory=memory, memory_mask=mask)
        greedy(step, start, max_new=50)

    Args:
        decode: (new tokens [batch, new], cache=cache, **context) -> logits [batch, new, vocab].
        cache: the memory of the decoder. With a static one the decoder is also given `positions`.
        padding: where prompts of different lengths stand in one batch, padded on the left: how many
            padding tokens each row begins with. The decoder is then also given `mask` and
            `positions`, so that each row is computed as if it stood alone.
        prefill: reads the prompt in the place of `decode`, where that is compiled for one token.
        context: what else the decoder is given at each step; tensors follow `reorder`.
    """

    def __init__(
        self,
        decode: Callable[..., Tensor],
        cache: KeyValueCache,
        *,
        padding: Int[Tensor, " batch"] | None = None,
        prefill: Callable[..., Tensor] | None = None,
        **context: Tensor | None,
    ) -> None:
        self.decode, self.cache, self.padding, self.context = decode, cache, padding, context
        self.prefill = prefill
        self._seen = cache.length  # counted here, as a static cache counts on the device
        self._tokens: Tensor | None = None  # those of the last call, [batch, time]
        self._prompt: Tensor | None = None  # which row of the first call each row comes from

    @torch.no_grad()
    def __call__(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch vocab"]:
        """Logits of the next token after all tokens so far."""
        static = isinstance(self.cache, StaticCache)
        past, time = self._seen if static else self.cache.length, tokens.shape[1]
        if static and time > self.cache.max_length:
            raise ValueError(
                f"the cache holds {self.cache.max_length} positions; {time} are needed"
            )
        self._seen, self._tokens = time, tokens
        decode = self.decode if past or self.prefill is None else self.prefill
        how = self._places(past, time, self.cache.max_length if static else time, tokens.device)
        new = tokens[:, past:]
        if static:  # strides of its own: a compiled step is one for these, and not for each length
            new = new.clone(memory_format=torch.contiguous_format)
        return decode(new, cache=self.cache, **how, **self.context)[:, -1]

    def _places(
        self, past: int, time: int, keys: int, device: torch.device
    ) -> dict[str, Int[Tensor, "..."] | Bool[Tensor, "..."]]:
        """Mask of the keys, and positions of what is new, where the decoder cannot know them."""
        if self.padding is not None:  # positions count from each row's first token
            place = torch.arange(keys, device=device) - self.padding.unsqueeze(1)
            return {
                "mask": (place >= 0)[:, None, None, :],  # [batch 1 1 keys]
                "positions": place[:, past:time].clamp(min=0),  # [batch new]
            }
        if isinstance(self.cache, StaticCache):  # whose length would have to be asked for
            return {"positions": torch.arange(past, time, device=device)}
        return {}

    def crop(self, length: int) -> None:
        """Forget all but the first tokens. (Crop a static cache here, not by itself.)"""
        self.cache.crop(length)
        self._seen = length
        self._tokens = None if self._tokens is None else self._tokens[:, :length]

    def reorder(self, rows: Int[Tensor, " new_batch"]) -> None:
        """Let row i go on from what row rows[i] has seen; rows may repeat or be left out."""
        tokens = None if self._tokens is None else self._tokens[rows]
        prompt = rows if self._prompt is None else self._prompt[rows]
        shared = self._shared(tokens, prompt)
        self._tokens, self._prompt = tokens, prompt
        self.cache.reorder(rows, since=shared)
        if shared:
            return
        if self.padding is not None:
            self.padding = self.padding[rows]
        self.context = {
            name: value if value is None else value[rows] for name, value in self.context.items()
        }

    def _shared(
        self, tokens: Int[Tensor, "new_batch time"] | None, prompt: Int[Tensor, " new_batch"]
    ) -> int:
        """How many first tokens each row has in common with the row whose place it takes.

        The beams of one sentence have its context in common and often all but the last few tokens,
        and what is in its place already need not be copied. 0 where a row takes the place of one
        from another prompt; and on a GPU, where looking would cost more than copying does.

        Args:
            tokens: those of the rows after they have moved; `self._tokens` are those before.
            prompt: which row of the first call each of them comes from.
        """
        if tokens is None or self._tokens is None or prompt.device.type != "cpu":
            return 0
        old = torch.arange(len(prompt)) if self._prompt is None else self._prompt
        if len(tokens) != len(self._tokens) or not torch.equal(prompt, old):
            return 0
        differ = (tokens != self._tokens).any(dim=0)
        return int(differ.byte().argmax()) if differ.any() else tokens.shape[1]
