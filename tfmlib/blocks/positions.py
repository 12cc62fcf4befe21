"""Positions: how attention, which sees a set, is told about order.

Added to the embeddings: sinusoidal (Vaswani et al. 2017, section 3.5) and learned positions.
Turning queries and keys: rotary positions, RoPE (Su et al. 2021, section 3.2). Added to the scores:
ALiBi (Press et al. 2022, section 3) and T5's relative bias (Raffel et al. 2020, section 2.1).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def sinusoidal_table(
    length: int, d_model: int, *, layout: str = "interleaved", base: float = 10_000.0
) -> Float[Tensor, "length d_model"]:
    """Sines and cosines of the positions 0..length-1, at d_model / 2 frequencies, in float64.

    The frequency of pair i is base^(-2i / d_model). Layout "interleaved" is the paper's: column 2i
    has the sine and column 2i + 1 the cosine. "halves" has all sines first, then all cosines.
    """
    if d_model % 2:
        raise ValueError(f"sinusoids come in pairs, so d_model must be even; got {d_model}")
    if layout not in ("interleaved", "halves"):
        raise ValueError(f'layout must be "interleaved" or "halves"; got {layout!r}')
    position = torch.arange(length, dtype=torch.float64)
    pair = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = torch.outer(position, base ** (-pair / d_model))  # [length, d_model / 2]
    both = torch.stack([angle.sin(), angle.cos()])  # [2, length, d_model / 2]
    if layout == "interleaved":
        return both.permute(1, 2, 0).flatten(1)
    return both.permute(1, 0, 2).flatten(1)


class SinusoidalPositions(nn.Module):
    """Add fixed sines and cosines of the position; nothing is learned.

    Args:
        max_length: number of positions in the table.
        d_model: width, even.
        layout: "interleaved" (the paper) or "halves".
        base: the longest wavelength is about 2 pi times this.
    """

    table: Tensor

    def __init__(
        self, max_length: int, d_model: int, *, layout: str = "interleaved", base: float = 10_000.0
    ) -> None:
        super().__init__()
        table = sinusoidal_table(max_length, d_model, layout=layout, base=base)
        # Not saved with the weights: it is computed, and its length is not part of the model.
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        positions: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Add the rows of `positions`, [time] or [batch, time]; 0, 1, 2, ... if None.

        Raises:
            ValueError: there are more positions than rows, or not one for every token of x; on
                the CPU also if a position lies outside the table.
        """
        return x + _rows(self.table, x, positions)


class LearnedPositions(nn.Module):
    """Add one trained vector per position.

    Args:
        max_length: number of positions.
        d_model: width.
        offset: position 0 is this row of the table (BART's tables start at row 2).
        std: of the normal distribution that the table is drawn from.
    """

    def __init__(
        self, max_length: int, d_model: int, *, offset: int = 0, std: float = 0.02
    ) -> None:
        super().__init__()
        self.offset = offset
        self.table = nn.Embedding(max_length + offset, d_model)
        nn.init.normal_(self.table.weight, std=std)

    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        positions: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Add the rows of `positions`, [time] or [batch, time]; 0, 1, 2, ... if None.

        Raises:
            ValueError: there are more positions than rows, or not one for every token of x; on
                the CPU also if a position lies outside the table.
        """
        return x + _rows(self.table.weight[self.offset :], x, positions)


class Rotary(nn.Module):
    """Turn pairs of features of queries and keys by an angle proportional to the position.

    The product of a query at position i and a key at position j then depends on i - j only. Pair p
    turns by i * base^(-2p / d_rotary).

    Args:
        d_head: width of a head.
        base: the slowest pair turns by about 1 / base per position.
        pairing: which features form a pair: "interleaved" (2p, 2p + 1), as in the paper, or
            "halves" (p, p + d_rotary / 2), as in Llama.
        d_rotary: number of leading features that turn; the rest stay. Default: all.
    """

    frequency: Tensor

    def __init__(
        self,
        d_head: int,
        *,
        base: float = 10_000.0,
        pairing: str = "halves",
        d_rotary: int | None = None,
    ) -> None:
        super().__init__()
        d_rotary = d_head if d_rotary is None else d_rotary
        if d_rotary % 2 or not 0 < d_rotary <= d_head:
            raise ValueError(f"d_rotary must be even and at most d_head={d_head}; got {d_rotary}")
        if pairing not in ("interleaved", "halves"):
            raise ValueError(f'pairing must be "interleaved" or "halves"; got {pairing!r}')
        self.pairing, self.d_rotary = pairing, d_rotary
        pair = torch.arange(0, d_rotary, 2, dtype=torch.float64)
        frequency = (base ** (-pair / d_rotary)).float()
        self.register_buffer("frequency", frequency, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        """Move and cast as any module, but never to half precision: angles grow with position."""
        kept = self.frequency
        super()._apply(fn, recurse)
        if torch.finfo(self.frequency.dtype).bits < 32:
            self.frequency = kept.to(self.frequency.device)
        return self

    def forward(
        self, x: Float[Tensor, "batch heads time d_head"], positions: Int[Tensor, "..."]
    ) -> Float[Tensor, "batch heads time d_head"]:
        """Turn the heads of each position; positions are [time] or [batch, time]."""
        angle = positions.unsqueeze(-1) * self.frequency  # [(batch) time d_rotary/2]
        if angle.dim() == 3:
            angle = angle.unsqueeze(1)  # the same for all heads
        sin, cos = angle.sin().to(x.dtype), angle.cos().to(x.dtype)
        turning, rest = x[..., : self.d_rotary], x[..., self.d_rotary :]
        if self.pairing == "interleaved":
            a, b = turning[..., 0::2], turning[..., 1::2]
            turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
        else:
            a, b = turning.chunk(2, dim=-1)
            turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
        return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


class AlibiBias(nn.Module):
    """Attention with linear biases: minus slope times distance, added to the scores.

    Slopes are 2^(-8h / n_heads) for head h = 1..n_heads. Where n_heads is no power of two, the
    slopes of the next smaller one are filled up with every other slope of the next larger one.
    """

    slopes: Tensor

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1:
            raise ValueError(f"n_heads must be positive; got {n_heads}")
        power = 2 ** math.floor(math.log2(n_heads))
        slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
        slopes += [2 ** (-4 * (2 * h + 1) / power) for h in range(n_heads - power)]
        self.register_buffer("slopes", torch.tensor(slopes), persistent=False)

    def forward(
        self, queries: Int[Tensor, "... queries"], keys: Int[Tensor, "... keys"]
    ) -> Float[Tensor, "... heads queries keys"]:
        """Bias for queries and keys at these positions."""
        distance = (queries.unsqueeze(-1) - keys.unsqueeze(-2)).abs()  # [... queries keys]
        return -self.slopes[:, None, None] * distance.unsqueeze(-3)


class T5RelativeBias(nn.Module):
    """One learned number per head and bucket of relative position.

    Half of the buckets hold one distance each, the other half widen logarithmically up to
    `max_distance`, beyond which all distances share the last bucket. The module is shared between
    layers by passing the same one to each.

    Args:
        n_heads: number of heads.
        bidirectional: separate buckets for keys before and after the query (encoder); otherwise
            all later keys fall in bucket 0, where a causal mask hides them (decoder).
        n_buckets: number of buckets.
        max_distance: distance from which on the last bucket serves.
    """

    def __init__(
        self,
        n_heads: int,
        *,
        bidirectional: bool,
        n_buckets: int = 32,
        max_distance: int = 128,
    ) -> None:
        super().__init__()
        exact = n_buckets // (4 if bidirectional else 2)
        if exact < 1 or max_distance <= exact:
            raise ValueError(
                f"n_buckets={n_buckets} and max_distance={max_distance} leave no bucket: "
                f"max_distance must exceed the {exact} exact buckets"
            )
        self.bidirectional, self.n_buckets, self.max_distance = (
            bidirectional,
            n_buckets,
            max_distance,
        )
        self.table = nn.Embedding(n_buckets, n_heads)

    def buckets(self, relative: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        """Bucket of a relative position, key minus query."""
        buckets = self.n_buckets // 2 if self.bidirectional else self.n_buckets
        first = (relative > 0) * buckets if self.bidirectional else torch.zeros_like(relative)
        distance = relative.abs() if self.bidirectional else (-relative).clamp(min=0)
        exact = buckets // 2
        ratio = torch.log(distance.clamp(min=1) / exact) / math.log(self.max_distance / exact)
        wide = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
        return first + torch.where(distance < exact, distance, wide)

    def forward(
        self, queries: Int[Tensor, "... queries"], keys: Int[Tensor, "... keys"]
    ) -> Float[Tensor, "... heads queries keys"]:
        """Bias for queries and keys at these positions."""
        relative = keys.unsqueeze(-2) - queries.unsqueeze(-1)  # [... queries keys]
        return self.table(self.buckets(relative)).movedim(-1, -3)


def _rows(table: Tensor, x: Tensor, positions: Tensor | None) -> Tensor:
    """Rows of a position table for x, [batch, time, d_model].

    How many positions there are is known from the shapes. Which they are is looked at on the CPU
    only: elsewhere it would stop the host until the device has caught up.
    """
    time, length = x.shape[1], table.shape[0]
    if positions is None:
        if time > length:
            raise ValueError(f"{time} positions asked for; the table has {length}")
        return table[:time]
    if positions.dim() not in (1, 2) or positions.shape[-1] != time:
        raise ValueError(
            f"expected positions of shape [time] or [batch, time] with time={time}; "
            f"got {list(positions.shape)}"
        )
    if positions.device.type == "cpu" and positions.numel() and not torch.compiler.is_compiling():
        low, high = positions.min().item(), positions.max().item()
        if low < 0 or high >= length:
            raise ValueError(
                f"expected positions from 0 to {length - 1}, the rows of the table; "
                f"got {low} to {high}"
            )
    return table[positions]
