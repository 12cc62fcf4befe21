"""The key-value cache: what attention has computed once need not be computed again.

One object per generation, outside the modules, allocated once and advanced by position. A decoder
layer is handed its `LayerCache`, whose two halves serve self-attention (appended to at each step)
and cross-attention (filled once). `store` has the cache that grows, `window` one that forgets what
is out of reach, `static` one of fixed shapes for compiled models, `decoding` the function that
drives a model with any of them.
"""

from tfmlib.generation.cache.decoding import CachedDecoder, pad_left
from tfmlib.generation.cache.static import StaticCache, compile_step
from tfmlib.generation.cache.store import KeyValueCache, KeyValueStore, LayerCache
from tfmlib.generation.cache.window import WindowCache

__all__ = [
    "CachedDecoder",
    "KeyValueCache",
    "KeyValueStore",
    "LayerCache",
    "StaticCache",
    "WindowCache",
    "compile_step",
    "pad_left",
]
