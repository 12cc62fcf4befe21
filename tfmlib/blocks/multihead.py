"""Multi-head attention: several attentions side by side, each on its own projections.

Vaswani et al. 2017, section 3.2.2. Fewer key-value heads than query heads: Shazeer 2019
(multi-query), Ainslie et al. 2023 (grouped-query).

What later chapters add comes in through two seams. A *core* computes attention on projected heads
(`tfmlib.blocks.attention`), and rotary positions, position biases and caches are plain callables or
objects that are passed in. Any module with the call signature of `MultiHeadAttention.forward` can
stand in its place in a layer.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tfmlib.blocks.attention import Core, attention_weights, get_core

Rotary = Callable[[Tensor, Tensor], Tensor]  # (heads, positions) -> rotated heads
PositionBias = Callable[[Tensor, Tensor], Tensor]  # (query, key positions) -> [heads queries keys]


class KeyLayout(NamedTuple):
    """Where the keys of a cache stand that does not hand them out in order, the newest last.

    Attributes:
        offsets: [keys], position of each key, counted from the newest: 0, the one before it -1.
        visible: [queries keys], which of them each of the newest queries may attend to.
    """

    offsets: Int[Tensor, " keys"]
    visible: Bool[Tensor, "queries keys"]


@runtime_checkable
class AttentionCache(Protocol):
    """Keys and values that one attention module has already computed, [batch kv_heads time d]."""

    @property
    def length(self) -> int:
        """Number of positions seen so far."""
        ...

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append along time; return all keys and values so far."""
        ...

    def read(self) -> tuple[Tensor, Tensor]:
        """Return all keys and values so far."""
        ...

    def layout(self, queries: int) -> KeyLayout | None:
        """Where the keys of the last update stand, or None: in order, the newest last."""
        ...


class MultiHeadAttention(nn.Module):
    """Project to heads, attend in each, concatenate, project back: Concat(head_1..head_h) W_O.

    Every head sees the whole input; it is the projection that is d_head wide, not the input that
    is cut.

    Args:
        d_model: width of the input and of the output.
        n_heads: number of query heads.
        n_kv_heads: number of key-value heads; divides n_heads. Default: n_heads.
        d_head: width of a head. Default: d_model / n_heads.
        d_context: width of the context of cross-attention. Default: d_model.
        bias: whether the projections have biases: for all, for none, or the names of those that
            have, from "q", "k", "v", "o".
        core: name of a registered core, or a core.
        dropout: probability of dropping an attention weight in training.
        scale: factor on the scores. Default: 1 / sqrt(d_head).
        rotary: rotates queries and keys by their positions (self-attention only).
        position_bias: term added to the scaled scores, from query and key positions. A module
            shared between layers, as in T5, is simply passed to each of them.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        d_context: int | None = None,
        bias: bool | Collection[str] = True,
        core: str | Core = "auto",
        dropout: float = 0.0,
        scale: float | None = None,
        rotary: Rotary | None = None,
        position_bias: PositionBias | None = None,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if d_head is None and d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}; give d_head")
        if n_kv_heads < 1 or n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads={n_kv_heads} does not divide n_heads={n_heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {dropout}")
        if not isinstance(bias, bool) and set(bias) - set("qkvo"):
            raise ValueError(f'bias must name projections from "q", "k", "v", "o"; got {bias!r}')
        biased = set("qkvo" if bias is True else bias or "")
        d_head = d_model // n_heads if d_head is None else d_head
        d_context = d_model if d_context is None else d_context
        self.n_heads, self.n_kv_heads, self.d_head = n_heads, n_kv_heads, d_head
        self.core, self.dropout, self.scale = get_core(core), dropout, scale
        self.rotary, self.position_bias = rotary, position_bias
        self.project_q = nn.Linear(d_model, n_heads * d_head, bias="q" in biased)
        self.project_k = nn.Linear(d_context, n_kv_heads * d_head, bias="k" in biased)
        self.project_v = nn.Linear(d_context, n_kv_heads * d_head, bias="v" in biased)
        self.project_o = nn.Linear(n_heads * d_head, d_model, bias="o" in biased)

    def forward(
        self,
        x: Float[Tensor, "batch queries d_model"],
        context: Float[Tensor, "batch context d_context"] | None = None,
        *,
        causal: bool = False,
        mask: Bool[Tensor, "..."] | None = None,
        positions: Int[Tensor, "..."] | None = None,
        cache: AttentionCache | None = None,
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from x to itself, or to the context where one is given (cross-attention).

        Args:
            x: where the queries come from.
            context: where keys and values come from; x itself if None.
            causal: hide later keys.
            mask: boolean, True = may attend; broadcasts to [batch, heads, queries, keys].
            positions: of the queries, [queries] or [batch, queries]. Default: counted on from the
                length of the cache, or from 0.
            cache: with self-attention, keys and values of x are appended to it and all of them are
                attended to; with cross-attention it is filled once and then read.
        """
        q = self._heads(self.project_q(x), self.n_heads)  # [batch heads queries d_head]
        rotary = self.rotary if context is None else None
        if positions is None and (rotary is not None or self.position_bias is not None):
            past = 0 if cache is None or context is not None else cache.length
            positions = torch.arange(past, past + x.shape[1], device=x.device)
        layout = None
        if context is not None and cache is not None and cache.length:
            k, v = cache.read()
        else:
            source = x if context is None else context
            k = self._heads(self.project_k(source), self.n_kv_heads)
            v = self._heads(self.project_v(source), self.n_kv_heads)
            if rotary is not None and positions is not None:
                k = rotary(k, positions)
            if cache is not None:
                k, v = cache.update(k, v)  # [batch kv_heads keys d_head]
                layout = None if context is not None else cache.layout(q.shape[2])
        if rotary is not None and positions is not None:
            q = rotary(q, positions)
        if layout is not None:
            if not causal:
                raise ValueError("a cache that lays out its keys itself needs causal attention")
            causal, mask = False, _visible(layout, mask)
        bias = None
        if self.position_bias is not None and positions is not None:
            keys = _key_positions(positions, k.shape[2], context, layout)
            bias = self.position_bias(positions, keys)
        dropout = self.dropout if self.training else 0.0
        out = self.core(
            q, k, v, causal=causal, mask=mask, bias=bias, scale=self.scale, dropout=dropout
        )
        return self.project_o(out.transpose(1, 2).flatten(2))  # [batch queries d_model]

    def _heads(
        self, x: Float[Tensor, "batch time width"], heads: int
    ) -> Float[Tensor, "batch heads time d_head"]:
        """Cut the projected features into heads."""
        return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _key_positions(
    positions: Tensor, keys: int, context: Tensor | None, layout: KeyLayout | None
) -> Tensor:
    """Positions of the keys: those of a context count from 0, one's own end with the queries'."""
    if layout is not None:
        return positions[..., -1:] + layout.offsets
    count = torch.arange(keys, device=positions.device)
    if context is not None:
        return count
    return positions if positions.shape[-1] == keys else positions[..., -1:] - (keys - 1) + count


def _visible(layout: KeyLayout, mask: Tensor | None) -> Tensor:
    """What is visible of the keys as they stand, where a mask speaks of the tokens in order."""
    if mask is None:
        return layout.visible
    time = mask.shape[-1]
    if time not in (1, layout.offsets.shape[0]):
        mask = mask[..., (time - 1 + layout.offsets).clamp(0, time - 1)]
    return mask & layout.visible


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Record the attention weights of every attention module in a model while it runs.

    Fused cores return no weights, so the recorder stands in front of each module's core and
    computes them from the same arguments, mask and bias included.

        with record_attention(model) as maps:
            model(tokens)
        maps["layers.0.attention"][0]  # [batch heads queries keys] of the first call

    Yields:
        A dictionary from the module's name to its weights, one tensor per call.
    """
    maps: dict[str, list[Tensor]] = {}
    modules = {n: m for n, m in model.named_modules() if isinstance(m, MultiHeadAttention)}
    if not modules:
        raise ValueError(f"{type(model).__name__} has no MultiHeadAttention to record")
    cores = {name: module.core for name, module in modules.items()}

    def recorder(name: str, core: Core) -> Core:
        def record(q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0, **how: Any) -> Tensor:
            maps.setdefault(name, []).append(attention_weights(q, k, **how).detach())
            return core(q, k, v, dropout=dropout, **how)

        return record

    try:
        for name, module in modules.items():
            module.core = recorder(name, cores[name])
        yield maps
    finally:
        for name, module in modules.items():
            module.core = cores[name]
