"""Keys and values of all steps so far, in memory that is allocated once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tfmlib.blocks.multihead import KeyLayout


class KeyValueStore:
    """Keys and values of one attention module, in memory allocated at the first update.

    Args:
        max_length: longest sequence it can hold; None to take the length of the first update.
    """

    def __init__(self, max_length: int | None) -> None:
        self.max_length = max_length
        self._length = 0
        self._k: Tensor | None = None
        self._v: Tensor | None = None

    @property
    def length(self) -> int:
        """Number of positions seen so far."""
        return self._length

    def update(
        self,
        k: Float[Tensor, "batch kv_heads new d_head"],
        v: Float[Tensor, "batch kv_heads new d_v"],
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all so far, as views of the store.

        Raises:
            ValueError: the store is full, or the batch has changed.
        """
        end = self._length + k.shape[2]
        if self._k is None or self._v is None:
            self.max_length = k.shape[2] if self.max_length is None else self.max_length
            self._k = k.new_empty(*k.shape[:2], self.max_length, k.shape[3])
            self._v = v.new_empty(*v.shape[:2], self.max_length, v.shape[3])
        if end > self._k.shape[2]:
            raise ValueError(f"the cache holds {self._k.shape[2]} positions; {end} are needed")
        if k.shape[0] != self._k.shape[0]:
            raise ValueError(f"the cache has batch {self._k.shape[0]}; got {k.shape[0]}")
        self._k[:, :, self._length : end] = k
        self._v[:, :, self._length : end] = v
        self._length = end
        return self._k[:, :, :end], self._v[:, :, :end]

    def read(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, [batch, kv_heads, length, d_head]."""
        if self._k is None or self._v is None:
            raise ValueError("the cache is empty")
        return self._k[:, :, : self.length], self._v[:, :, : self.length]

    def layout(self, queries: int) -> KeyLayout | None:
        """Return None: the keys stand in order, and the newest is the last."""
        return None

    def crop(self, length: int) -> None:
        """Forget all but the first positions."""
        if not 0 <= length <= self.length:
            raise ValueError(f"can crop to 0..{self.length} positions; got {length}")
        self._length = length

    def reorder(
        self,
        rows: Int[Tensor, " new_batch"],
        moved: tuple[Tensor, Tensor] | None = None,
        since: int = 0,
    ) -> None:
        """Let row i go on from what row rows[i] has seen.

        Args:
            rows: where each row comes from.
            moved: the only i for which rows[i] is not i, and these rows[i], where that is known.
            since: rows i and rows[i] have seen the same before this position.
        """
        if self._k is not None and self._v is not None:
            self._k = self._reordered(self._k, rows, moved, since)
            self._v = self._reordered(self._v, rows, moved, since)

    def _reordered(
        self, store: Tensor, rows: Tensor, moved: tuple[Tensor, Tensor] | None, since: int
    ) -> Tensor:
        """Copy only what is filled, and into the same memory where it is large enough."""
        filled = store[:, :, : self._filled()]
        if moved is not None and len(rows) == store.shape[0]:
            other = filled[:, :, self._slot(since) :]
            other.index_copy_(0, moved[0], other.index_select(0, moved[1]))
            return store
        filled = filled[rows]
        if len(rows) <= store.shape[0]:
            store = store[: len(rows)]
        else:
            store = store.new_empty(len(rows), *store.shape[1:])
        store[:, :, : filled.shape[2]] = filled
        return store

    def _filled(self) -> int:
        """Number of slots in use."""
        return self._length

    def _slot(self, position: int) -> int:
        """The first slot of those that hold this position and all later ones."""
        return position


class LayerCache:
    """What one decoder layer remembers: its own keys and values, and those of the memory."""

    def __init__(self, self_attention: KeyValueStore) -> None:
        self.self_attention = self_attention
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
        self.max_length = max_length
        self.layers = [LayerCache(self._store()) for _ in range(n_layers)]

    def _store(self) -> KeyValueStore:
        """Make the store of one self-attention."""
        return KeyValueStore(self.max_length)

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self.layers[0].self_attention.length

    def crop(self, length: int) -> None:
        """Forget all but the first tokens."""
        for layer in self.layers:
            layer.self_attention.crop(length)

    def reorder(self, rows: Int[Tensor, " new_batch"], *, since: int = 0) -> None:
        """Let row i go on from what row rows[i] has seen.

        Keys of the memory move along, so rows may also be dropped or come from other sources.

        Args:
            rows: where each row comes from.
            since: if positive, there are as many rows as before, and rows i and rows[i] have the
                same memory and the same tokens before this position: these stay where they are.
        """
        moved = None
        if rows.device.type == "cpu":  # on a GPU, counting what moves would wait for the device
            places = (rows != torch.arange(len(rows))).nonzero().squeeze(1)
            moved = places, rows[places]
        for layer in self.layers:
            layer.self_attention.reorder(rows, moved, since)
            if not since:
                layer.cross_attention.reorder(rows, moved)

    def bytes(self) -> int:
        """Return the memory that is allocated for keys and values, in bytes."""
        stores = [s for c in self.layers for s in (c.self_attention, c.cross_attention)]
        tensors = [t for s in stores for t in (s._k, s._v) if t is not None]
        return sum(t.numel() * t.element_size() for t in tensors)
