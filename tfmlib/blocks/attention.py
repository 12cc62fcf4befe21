"""Scaled dot-product attention: every query takes a weighted average of the values.

Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, equation 1.

A *core* is exact attention on projected heads in one of its forms. All cores have one signature,

    core(q, k, v, *, causal=False, mask=None, bias=None, scale=None, dropout=0.0) -> out

and stand in one registry, from which multi-head attention takes one by name. Later chapters add
theirs with `register_core`; approximate attention is a different operator and does not belong here.

Conventions, the same in every core:

* A mask is boolean and True means "may attend". (`torch.nn.MultiheadAttention` has it the other
  way round.) Masks combine with `&` and `|`.
* `causal` lets query i of n_q see key j of n_k when j <= i + n_k - n_q: aligned bottom right,
  so the last query sees every key. It stays right when the keys of earlier steps come from a cache.
* A query that may attend to nothing gets output 0 and gradient 0, never NaN.
* Keys and values may have fewer heads than the queries (grouped-query attention): head i of the
  queries reads key-value head i // (heads / kv_heads).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Queries = Float[Tensor, "batch heads queries d_head"]
Keys = Float[Tensor, "batch kv_heads keys d_head"]
Values = Float[Tensor, "batch kv_heads keys d_v"]
Mask = Bool[Tensor, "..."]
Bias = Float[Tensor, "..."]
Weights = Float[Tensor, "batch heads queries keys"]
Output = Float[Tensor, "batch heads queries d_v"]


Core = Callable[..., Tensor]  # called as `naive` is


def causal_mask(
    queries: int, keys: int, device: torch.device | None = None
) -> Bool[Tensor, "queries keys"]:
    """Mask in which the last query sees every key, the one before all but the last, and so on."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.tril(diagonal=keys - queries)


def attention_weights(
    q: Queries,
    k: Keys,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    bias: Bias | None = None,
    scale: float | None = None,
) -> Weights:
    """Softmax of the scaled scores over the keys: softmax(q k^T / sqrt(d_head)) of equation 1.

    Every row sums to 1, or is 0 throughout where a query may attend to nothing.

    Args and errors: as in `naive`.
    """
    _check(q, k, mask, bias)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    k = _repeat_heads(k, q.shape[1])
    scores = (q * scale) @ k.transpose(-2, -1)  # [batch heads queries keys]
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    if causal:
        scores = scores.masked_fill(~causal_mask(q.shape[2], k.shape[2], q.device), -math.inf)
    if mask is None and bias is None and (not causal or q.shape[-2] <= k.shape[-2]):
        return scores.softmax(dim=-1)  # no row can be empty
    # An empty row is all -inf, and softmax makes that 0/0: give it finite scores, then no weight.
    empty = (scores == -math.inf).all(dim=-1, keepdim=True)
    return scores.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)


def naive(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    bias: Bias | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Output:
    """Attention as equation 1 writes it, holding all queries x keys weights in memory.

    Args:
        q: queries, [batch, heads, queries, d_head].
        k: keys, [batch, kv_heads, keys, d_head]; kv_heads divides heads.
        v: values, [batch, kv_heads, keys, d_v].
        causal: hide later keys, aligned at the bottom right; combines with `mask`.
        mask: boolean, True = may attend; broadcasts to [batch, heads, queries, keys].
        bias: added to the scaled scores; broadcasts likewise.
        scale: factor on the scores, by default 1 / sqrt(d_head).
        dropout: probability of dropping an attention weight (the caller passes 0 in evaluation).

    Raises:
        ValueError: shapes that do not fit, a head count that does not divide.
        TypeError: a mask that is not boolean.
    """
    _check(q, k, mask, bias, v)
    weights = attention_weights(q, k, causal=causal, mask=mask, bias=bias, scale=scale)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights @ _repeat_heads(v, q.shape[1])


def sdpa(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    bias: Bias | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Output:
    """The same by PyTorch's fused kernels (`torch.nn.functional.scaled_dot_product_attention`).

    PyTorch's own `is_causal` is aligned at the top left and excludes a mask, so it serves only the
    plain square case; every other causal call gets its mask written out. Args: as in `naive`.
    """
    _check(q, k, mask, bias, v)
    queries, keys = q.shape[-2], k.shape[-2]
    causal = causal and queries > 1  # one query sees every key, as when decoding step by step
    is_causal = causal and queries == keys and mask is None and bias is None
    if causal and not is_causal:
        visible = causal_mask(queries, keys, q.device)
        mask = visible if mask is None else mask & visible
    empty = None
    if mask is not None:
        # Kernels differ on a row that may attend to nothing: let it see all, then clear it.
        empty = ~mask.any(dim=-1, keepdim=True)
        mask = mask | empty
    attn_mask = mask
    if bias is not None:
        attn_mask = bias.to(q.dtype)
        if mask is not None:
            attn_mask = attn_mask.masked_fill(~mask, -math.inf)
        hidden = (attn_mask == -math.inf).all(dim=-1, keepdim=True)  # a bias may hide a row, too
        attn_mask = attn_mask.masked_fill(hidden, 0.0)
        empty = hidden if empty is None else empty | hidden
    out = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if attn_mask is None else _four_dimensional(attn_mask),
        dropout_p=dropout,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out if empty is None else out.masked_fill(_four_dimensional(empty), 0.0)


def auto(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    bias: Bias | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Output:
    """The fastest of these for the call at hand. Args: as in `naive`.

    That is `sdpa`, but for a single query in a program that is compiled for the CPU. There the
    scores are written as products and a sum, which the compiler makes one loop of; the fused kernel
    is made for many queries, and takes longer than that loop.
    """
    if (
        torch.compiler.is_compiling()
        and (q.shape[2], dropout, bias, q.device.type) == (1, 0.0, None, "cpu")
        and not q.requires_grad
    ):
        scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
        k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
        scores = (q * scale * k).sum(-1).unsqueeze(2)  # [batch heads 1 keys]
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = scores.softmax(-1)
        if mask is not None:
            weights = weights.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
        return (weights.transpose(2, 3) * v).sum(2, keepdim=True)  # [batch heads 1 d_v]
    return sdpa(q, k, v, causal=causal, mask=mask, bias=bias, scale=scale, dropout=dropout)


_CORES: dict[str, Core] = {}


def register_core(name: str, core: Core) -> None:
    """Add an exact core under a name; a name stands for one core only."""
    if name in _CORES and _CORES[name] is not core:
        raise ValueError(f"a core named {name!r} is registered already")
    _CORES[name] = core


def get_core(core: str | Core) -> Core:
    """Return the core of that name, or the callable itself.

    "auto" is the fastest core that serves every call on every device. A core asked for by its own
    name is never replaced by another: if it cannot serve a call, it raises and says why.
    """
    if not isinstance(core, str):
        return core
    if core not in _CORES:
        raise ValueError(f"unknown attention core {core!r}; there are {sorted(_CORES)}")
    return _CORES[core]


register_core("naive", naive)
register_core("sdpa", sdpa)
register_core("auto", auto)


def _repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Repeat each key-value head for the group of query heads that reads it."""
    groups = heads // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def _four_dimensional(x: Tensor) -> Tensor:
    """View with leading ones up to [batch, heads, queries, keys]."""
    return x[(None,) * (4 - x.dim())]


def _check(
    q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, v: Tensor | None = None
) -> None:
    """Raise an error that names what does not fit."""
    if q.dim() != 4 or k.dim() != 4 or (v is not None and v.dim() != 4):
        raise ValueError(
            "q, k and v must be [batch, heads, time, d_head]; got "
            + ", ".join(str(tuple(x.shape)) for x in (q, k, v) if x is not None)
        )
    if q.shape[-1] != k.shape[-1] or q.shape[0] != k.shape[0]:
        raise ValueError(
            f"q and k must agree in batch and d_head; got {tuple(q.shape)} and {tuple(k.shape)}"
        )
    if v is not None and v.shape[:-1] != k.shape[:-1]:
        raise ValueError(
            "k and v must agree in batch, heads and keys; "
            f"got {tuple(k.shape)} and {tuple(v.shape)}"
        )
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"{k.shape[1]} key-value heads do not divide {q.shape[1]} query heads")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask must be boolean, True = may attend; got {mask.dtype}")
    full = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    for name, extra in (("mask", mask), ("bias", bias)):
        if extra is None:
            continue
        padded = (1,) * (4 - extra.dim()) + tuple(extra.shape)
        if len(padded) != 4 or any(a not in (1, b) for a, b in zip(padded, full, strict=False)):
            raise ValueError(
                f"{name} of shape {tuple(extra.shape)} does not broadcast to "
                f"[batch, heads, queries, keys] = {full}"
            )
