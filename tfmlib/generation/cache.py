"""The key-value cache: what attention has computed once need not be computed again.

One object per generation, outside the modules, allocated once for the longest sequence and advanced
by position. A decoder layer is handed its `LayerCache`, whose two halves serve self-attention
(appended to at each step) and cross-attention (filled once).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


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


class KeyValueStore:
    """Keys and values of one attention module, in memory allocated at the first update.

    Args:
        max_length: longest sequence it can hold; None to take the length of the first update.
    """

    def __init__(self, max_length: int | None) -> None:
        self.max_length = max_length
        self.length = 0
        self._k: Tensor | None = None
        self._v: Tensor | None = None

    def update(
        self,
        k: Float[Tensor, "batch kv_heads new d_head"],
        v: Float[Tensor, "batch kv_heads new d_v"],
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all so far, as views of the store.

        Raises:
            ValueError: the store is full, or the batch has changed.
        """
        end = self.length + k.shape[2]
        if self._k is None or self._v is None:
            self.max_length = k.shape[2] if self.max_length is None else self.max_length
            self._k = k.new_empty(*k.shape[:2], self.max_length, k.shape[3])
            self._v = v.new_empty(*v.shape[:2], self.max_length, v.shape[3])
        if end > self._k.shape[2]:
            raise ValueError(f"the cache holds {self._k.shape[2]} positions; {end} are needed")
        if k.shape[0] != self._k.shape[0]:
            raise ValueError(f"the cache has batch {self._k.shape[0]}; got {k.shape[0]}")
        self._k[:, :, self.length : end] = k
        self._v[:, :, self.length : end] = v
        self.length = end
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, [batch, kv_heads, length, d_head]."""
        if self._k is None or self._v is None:
            raise ValueError("the cache is empty")
        return self._k[:, :, : self.length], self._v[:, :, : self.length]

    def crop(self, length: int) -> None:
        """Forget all but the first positions."""
        if not 0 <= length <= self.length:
            raise ValueError(f"can crop to 0..{self.length} positions; got {length}")
        self.length = length

    def reorder(self, rows: Int[Tensor, " new_batch"]) -> None:
        """Let row i go on from what row rows[i] has seen."""
        if self._k is not None and self._v is not None:
            self._k, self._v = self._reordered(self._k, rows), self._reordered(self._v, rows)

    def _reordered(self, store: Tensor, rows: Tensor) -> Tensor:
        """Copy only what is filled, and into the same memory where it is large enough."""
        filled = store[:, :, : self.length][rows]
        if len(rows) <= store.shape[0]:
            store = store[: len(rows)]
        else:
            store = store.new_empty(len(rows), *store.shape[1:])
        store[:, :, : self.length] = filled
        return store


class LayerCache:
    """What one decoder layer remembers: its own keys and values, and those of the memory."""

    def __init__(self, max_length: int) -> None:
        self.self_attention = KeyValueStore(max_length)
        self.cross_attention = KeyValueStore(None)


class KeyValueCache:
    """What a whole decoder remembers.

    Args:
        n_layers: number of decoder layers.
        max_length: longest sequence that will be decoded.
    """

    def __init__(self, n_layers: int, max_length: int) -> None:
        if n_layers < 1 or max_length < 1:
            raise ValueError(
                f"n_layers and max_length must be positive; got {n_layers}, {max_length}"
            )
        self.layers = [LayerCache(max_length) for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self.layers[0].self_attention.length

    def crop(self, length: int) -> None:
        """Forget all but the first tokens."""
        for layer in self.layers:
            layer.self_attention.crop(length)

    def reorder(self, rows: Int[Tensor, " new_batch"]) -> None:
        """Let row i go on from what row rows[i] has seen.

        Keys of the memory move along, so rows may also be dropped or come from other sources.
        """
        for layer in self.layers:
            layer.self_attention.reorder(rows)
            layer.cross_attention.reorder(rows)


class CachedDecoder:
    """A `next_logits` function that feeds a decoder only the tokens it has not seen.

        step = CachedDecoder(model.decode, cache, memory=memory, memory_mask=mask)
        greedy(step, start, max_new=50)

    Args:
        decode: (new tokens [batch, new], cache=cache, **context) -> logits [batch, new, vocab].
        cache: the memory of the decoder.
        padding: where prompts of different lengths stand in one batch, padded on the left: how many
            padding tokens each row begins with. The decoder is then also given `mask` and
            `positions`, so that each row is computed as if it stood alone.
        context: what else the decoder is given at each step; tensors follow `reorder`.
    """

    def __init__(
        self,
        decode: Callable[..., Tensor],
        cache: KeyValueCache,
        *,
        padding: Int[Tensor, " batch"] | None = None,
        **context: Tensor | None,
    ) -> None:
        self.decode, self.cache, self.padding, self.context = decode, cache, padding, context

    @torch.no_grad()
    def __call__(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch vocab"]:
        """Logits of the next token after all tokens so far."""
        past = self.cache.length
        how = {} if self.padding is None else self._places(past, tokens.shape[1])
        return self.decode(tokens[:, past:], cache=self.cache, **how, **self.context)[:, -1]

    def _places(self, past: int, time: int) -> dict[str, Tensor]:
        """Mask of the keys, and positions of what is new, counted from each row's first token."""
        assert self.padding is not None
        place = torch.arange(time, device=self.padding.device) - self.padding.unsqueeze(1)
        return {
            "mask": (place >= 0)[:, None, None, :],  # [batch 1 1 keys]
            "positions": place[:, past:].clamp(min=0),  # [batch new]
        }

    def reorder(self, rows: Int[Tensor, " new_batch"]) -> None:
        """Let row i go on from what row rows[i] has seen; rows may repeat or be left out."""
        self.cache.reorder(rows)
        if self.padding is not None:
            self.padding = self.padding[rows]
        self.context = {
            name: value if value is None else value[rows] for name, value in self.context.items()
        }
