"""Batches of sentence pairs: padded tensors, and batches of equal size in tokens, not sentences.

Vaswani et al. 2017, section 5.1: pairs are batched together by approximate length, each batch with
about 25 000 source and 25 000 target tokens.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from tfmlib.training.objectives import count_tokens, cross_entropy

Pair = tuple[Sequence[int], Sequence[int]]
"""The token ids of a source and of its target, without start, end or padding."""


@dataclass(frozen=True, eq=False)
class PairBatch:
    """A padded batch for an encoder-decoder: at each position, `target_in` is to give `target_out`.

    Attributes:
        source: token ids, padded at the end.
        source_mask: True at real tokens.
        target_in: the start token, then the target.
        target_out: the target, then the end token (`target_in`, one place to the left).
    """

    source: Int[Tensor, "batch source_time"]
    source_mask: Bool[Tensor, "batch source_time"]
    target_in: Int[Tensor, "batch target_time"]
    target_out: Int[Tensor, "batch target_time"]

    def to(self, device: torch.device | str) -> "PairBatch":
        """Return the batch with its tensors on `device`."""
        return PairBatch(
            self.source.to(device),
            self.source_mask.to(device),
            self.target_in.to(device),
            self.target_out.to(device),
        )

    def n_tokens(self, pad_id: int) -> int:
        """Return the number of target tokens to predict, end tokens included."""
        return count_tokens(self.target_out, pad_id)


def collate(pairs: Sequence[Pair], *, pad_id: int, start_id: int, end_id: int) -> PairBatch:
    """Pad `pairs` to a PairBatch; the target gets its start and end tokens, the source none.

    Raises ValueError for no pairs, an empty source, or a pair that contains `pad_id` (the loss
    and the mask would take it for padding).
    """
    if not pairs:
        raise ValueError("a batch needs at least one pair")
    for i, (source, target) in enumerate(pairs):
        if len(source) == 0:
            raise ValueError(f"the source of pair {i} of the batch is empty")
        if pad_id in source or pad_id in target:
            raise ValueError(f"pair {i} of the batch contains the padding id {pad_id} as a token")

    def padded(rows: list[list[int]]) -> Int[Tensor, "batch time"]:
        longest = max(map(len, rows))
        return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])

    source_rows = padded([list(source) for source, _ in pairs])
    return PairBatch(
        source=source_rows,
        source_mask=source_rows != pad_id,
        target_in=padded([[start_id, *target] for _, target in pairs]),
        target_out=padded([[*target, end_id] for _, target in pairs]),
    )


def pair_loss(
    model: nn.Module, batch: PairBatch, *, pad_id: int, label_smoothing: float = 0.0
) -> tuple[Tensor, int]:
    """Return the summed loss of `batch` under teacher forcing, and its number of target tokens.

    With `functools.partial(pair_loss, pad_id=..., label_smoothing=0.1)` it is the `loss` that
    `tfmlib.training.loop.train` asks for.
    """
    logits = model(batch.source, batch.target_in, batch.source_mask)  # [batch target_time vocab]
    loss = cross_entropy(
        logits,
        batch.target_out,
        label_smoothing=label_smoothing,
        pad_id=pad_id,
        reduction="sum",
    )
    return loss, batch.n_tokens(pad_id)


class TokenBudgetBatches:
    """Cut pairs of any length into batches of at most `max_tokens` padded tokens a side.

    The size of a batch is its number of rows times the longest sequence in it, source or target
    (with its start or end token), so that neither padded side is larger than the budget.

    Every epoch is a function of (seed, epoch) alone: the pairs are shuffled, each pool of
    `pool_size` pairs is sorted by length and cut into batches, and the batches of all pools are
    shuffled. Sorting keeps padding small; pools keep it from always giving the same batches.
    Every pair comes exactly once an epoch.

    `too_long` says what happens to a pair that is larger than the budget alone: "error" raises
    ValueError, "drop" leaves it out and lists its index in `dropped`.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        max_tokens: int,
        seed: int,
        pad_id: int,
        start_id: int,
        end_id: int,
        pool_size: int = 10_000,
        too_long: Literal["error", "drop"] = "error",
    ) -> None:
        if not pairs:
            raise ValueError("there are no pairs to make batches of")
        if max_tokens < 1 or pool_size < 1:
            raise ValueError(
                f"max_tokens and pool_size must be positive, got {max_tokens} and {pool_size}"
            )
        if too_long not in ("error", "drop"):
            raise ValueError(f'too_long must be "error" or "drop", got {too_long!r}')
        self.pairs, self.max_tokens, self.seed, self.pool_size = pairs, max_tokens, seed, pool_size
        self._ids = {"pad_id": pad_id, "start_id": start_id, "end_id": end_id}
        self._lengths = [(max(len(s), len(t) + 1), len(s)) for s, t in pairs]
        self.dropped = [i for i, (n, _) in enumerate(self._lengths) if n > max_tokens]
        if self.dropped and too_long == "error":
            i = self.dropped[0]
            raise ValueError(
                f"pair {i} alone is larger than the budget of max_tokens={max_tokens}: source "
                f"{len(pairs[i][0])} tokens, target {len(pairs[i][1]) + 1} with its end token "
                f"({len(self.dropped)} of {len(pairs)} pairs are; too_long='drop' leaves them out)"
            )
        if len(self.dropped) == len(pairs):
            raise ValueError(f"every pair is larger than the budget of max_tokens={max_tokens}")

    def indices(self, epoch: int) -> list[list[int]]:
        """Return the batches of `epoch` (from 0) as indices into the pairs."""
        rng = random.Random(f"{self.seed}/{epoch}")
        gone = set(self.dropped)
        order = [i for i in range(len(self.pairs)) if i not in gone]
        rng.shuffle(order)
        batches: list[list[int]] = []
        for start in range(0, len(order), self.pool_size):
            # Stable: among equal lengths the shuffled order stays.
            pool = sorted(order[start : start + self.pool_size], key=self._lengths.__getitem__)
            batch: list[int] = []
            for i in pool:  # the longest so far is always the newest
                if (len(batch) + 1) * self._lengths[i][0] > self.max_tokens:
                    batches.append(batch)
                    batch = []
                batch.append(i)
            batches.append(batch)
        rng.shuffle(batches)
        return batches

    def epoch(self, epoch: int) -> Iterator[PairBatch]:
        """Yield the batches of `epoch` (from 0), each made when it is asked for."""
        for batch in self.indices(epoch):
            yield collate([self.pairs[i] for i in batch], **self._ids)


class ResampledBatches:
    """`TokenBudgetBatches` of pairs that are drawn anew for every epoch, as words cut by chance.

    Args:
        pairs_of: gives the pairs of an epoch (from 0), a function of the epoch alone.
        options: those of `TokenBudgetBatches`.
    """

    def __init__(self, pairs_of: Callable[[int], Sequence[Pair]], **options: Any) -> None:
        self.pairs_of, self.options = pairs_of, options

    def indices(self, epoch: int) -> list[list[int]]:
        """Return the batches of `epoch` (from 0) as indices into its pairs."""
        return TokenBudgetBatches(self.pairs_of(epoch), **self.options).indices(epoch)

    def epoch(self, epoch: int) -> Iterator[PairBatch]:
        """Yield the batches of `epoch` (from 0), each made when it is asked for."""
        return TokenBudgetBatches(self.pairs_of(epoch), **self.options).epoch(epoch)
