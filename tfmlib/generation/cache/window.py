"""A cache for attention within a sliding window: it keeps what can still be seen, and no more.

Beltagy et al. 2020, section 3.1, for the window; the rolling buffer: Jiang et al. 2023, section 2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tfmlib.blocks.multihead import KeyLayout
from tfmlib.generation.cache.store import KeyValueCache, KeyValueStore


class WindowStore(KeyValueStore):
    """Keys and values of the last tokens only: token t stands in slot t mod window.

    Args:
        window: how many tokens a query sees, its own included.
    """

    def __init__(self, window: int) -> None:
        super().__init__(window)
        self.window = window
        self._offsets = torch.empty(0)

    def update(
        self,
        k: Float[Tensor, "batch kv_heads new d_head"],
        v: Float[Tensor, "batch kv_heads new d_v"],
    ) -> tuple[Tensor, Tensor]:
        """Append; return the keys and values that one of the new queries sees, in any order."""
        if self._k is None or self._v is None:
            self._k = k.new_empty(*k.shape[:2], self.window, k.shape[3])
            self._v = v.new_empty(*v.shape[:2], self.window, v.shape[3])
        if k.shape[0] != self._k.shape[0]:
            raise ValueError(f"the cache has batch {self._k.shape[0]}; got {k.shape[0]}")
        new, before = k.shape[2], self._length
        old = torch.arange(max(0, before - self.window), before, device=k.device)
        self._length = before + new
        if new == 1:  # what the new token overwrites is what it no longer sees
            slot = before % self.window
            self._k[:, :, slot], self._v[:, :, slot] = k[:, :, 0], v[:, :, 0]
            filled = self._filled()
            slots = torch.arange(filled, device=k.device)
            self._offsets = slots - before
            if before >= self.window:
                self._offsets = (slots - slot - 1) % self.window - (self.window - 1)
            return self._k[:, :, :filled], self._v[:, :, :filled]
        # The first of several new tokens may see what the last of them overwrites.
        places = torch.arange(before, self.length, device=k.device)
        everything = [
            torch.cat([store[:, :, old % self.window], x], dim=2)
            for store, x in ((self._k, k), (self._v, v))
        ]
        kept = min(new, self.window)
        self._k[:, :, places[-kept:] % self.window] = k[:, :, -kept:]
        self._v[:, :, places[-kept:] % self.window] = v[:, :, -kept:]
        self._offsets = torch.cat([old, places]) - (self.length - 1)
        return everything[0], everything[1]

    def layout(self, queries: int) -> KeyLayout:
        """Say where the keys stand, and which of them each query sees."""
        offsets = self._offsets  # [keys], 0 for the newest token
        query = torch.arange(1 - queries, 1, device=offsets.device).unsqueeze(1)
        return KeyLayout(offsets, (offsets <= query) & (offsets > query - self.window))

    def crop(self, length: int) -> None:
        """Refuse to go back, unless nothing has been overwritten yet."""
        if length < self.length > self.window:
            raise ValueError(
                f"cannot crop to {length} of {self.length} tokens: a window of {self.window} has "
                "forgotten what the tokens before saw"
            )
        super().crop(length)

    def _filled(self) -> int:
        return min(self._length, self.window)

    def _slot(self, position: int) -> int:
        return position if self._length <= self.window else 0  # later tokens come round again


class WindowCache(KeyValueCache):
    """What a decoder remembers whose queries see only the last tokens.

    Its result is that of a model that is given the band as a mask, in memory
    that does not grow with the text.

    Args:
        n_layers: number of decoder layers.
        window: how many tokens a query sees in each layer, its own included.
    """

    def __init__(self, n_layers: int, window: int) -> None:
        super().__init__(n_layers, window)

    def _store(self) -> KeyValueStore:
        return WindowStore(self.max_length)
