"""A cache of fixed shapes: every step runs the same code on tensors of the same sizes.

The growing cache hands out longer keys at each step. To a compiler or a CUDA graph every length is
another program. Here the whole memory is handed out at every step, and a mask that is computed from
a position on the device says how much of it counts.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tfmlib.blocks.multihead import KeyLayout
from tfmlib.generation.cache.store import KeyValueCache, KeyValueStore


class StaticStore(KeyValueStore):
    """Keys and values of one attention module, always handed out whole.

    The number of tokens is a tensor, so that a compiled step neither waits for it nor is compiled
    again when it changes. So it is not checked that the store is not yet full: `CachedDecoder`
    does that, which counts by itself.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length)
        self._size = max_length
        self._newest = torch.tensor(-1)  # index of the last token
        self._slots = torch.arange(max_length)

    @property
    def length(self) -> int:
        """Number of tokens seen so far; on a GPU, asking waits for the device."""
        return int(self._newest) + 1

    def update(
        self,
        k: Float[Tensor, "batch kv_heads new d_head"],
        v: Float[Tensor, "batch kv_heads new d_v"],
    ) -> tuple[Tensor, Tensor]:
        """Append; return the whole memory, [batch, kv_heads, max_length, d_head]."""
        if self._k is None or self._v is None:
            # Zeros, as a mask cannot hide the NaN that uninitialised memory may hold.
            self._k = k.new_zeros(*k.shape[:2], self._size, k.shape[3])
            self._v = v.new_zeros(*v.shape[:2], self._size, v.shape[3])
            self._newest, self._slots = self._newest.to(k.device), self._slots.to(k.device)
        if k.shape[0] != self._k.shape[0]:
            raise ValueError(f"the cache has batch {self._k.shape[0]}; got {k.shape[0]}")
        index = self._newest + 1 + self._slots[: k.shape[2]]
        self._k.index_copy_(2, index, k)
        self._v.index_copy_(2, index, v)
        self._newest.add_(k.shape[2])
        return self._k, self._v

    def layout(self, queries: int) -> KeyLayout:
        """Say where the keys stand, and which of them each query sees."""
        offsets = self._slots - self._newest  # [keys], positive for slots that are not yet filled
        query = self._slots[:queries].unsqueeze(1) - (queries - 1)
        return KeyLayout(offsets, offsets <= query)

    def crop(self, length: int) -> None:
        """Forget all but the first positions."""
        if not 0 <= length <= self._size:
            raise ValueError(f"can crop to 0..{self._size} positions; got {length}")
        self._newest.fill_(length - 1)

    def _filled(self) -> int:
        return self._size


class StaticCache(KeyValueCache):
    """What a decoder remembers, in tensors whose shapes never change.

        step = CachedDecoder(compile_step(model), StaticCache(12, 1024), prefill=model)

    Args:
        n_layers: number of decoder layers.
        max_length: longest sequence that will be decoded; every step reads so many keys.
    """

    def _store(self) -> KeyValueStore:
        return StaticStore(self.max_length)


def compile_step(decode: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compile a decoder for one new token at a time, with a `StaticCache`.

    The first call takes some tens of seconds, and needs a C++ compiler on the CPU; all later ones
    run the same code, as long as batch and cache keep their shapes.

    On a CUDA device the step is recorded as one CUDA graph, which spares the launch of each kernel.
    A graph works on memory at fixed addresses. So what the cache holds is marked as staying where
    it is: else every step would copy the keys to the graph's own memory or, as the step writes to
    them, no graph would be recorded at all. The logits are copied out, as the next step overwrites
    them. A new cache is recorded anew; `CachedDecoder.crop(0)` keeps the old one.

    A product of a matrix and a single vector becomes a loop that is fused with what stands around
    it: it reads the weights at the speed of the memory, which the library that PyTorch calls for
    products does not on every processor.
    """
    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"post_grad_fusion_options": {"decompose_mm_pass": {}}}
    if on_gpu:  # the first is mode="reduce-overhead"; without the second no product becomes a loop
        options = {"triton.cudagraphs": True, "coordinate_descent_tuning": True}
    compiled = torch.compile(decode, dynamic=False, options=options)

    def step(tokens: Tensor, *, cache: KeyValueCache, **context: Any) -> Tensor:
        _stay(cache)
        logits = compiled(tokens, cache=cache, **context)
        return logits.clone() if on_gpu else logits

    return step


def _stay(cache: KeyValueCache) -> None:
    """Tell the compiler that the tensors of a cache keep their addresses."""
    for layer in cache.layers:
        for store in (layer.self_attention, layer.cross_attention):
            for tensor in vars(store).values():
                if isinstance(tensor, Tensor) and not hasattr(tensor, "_dynamo_static_input_type"):
                    torch._dynamo.mark_static_address(tensor, guard=False)
