"""What training minimises: label-smoothed cross-entropy over the real tokens of a batch.

Label smoothing is from Szegedy et al. 2016 ("Rethinking the Inception Architecture", section 7);
Vaswani et al. 2017, section 5.4, train the Transformer with a smoothing of 0.1. Masked tokens:
Devlin et al. 2019, section 3.1. Calibration: Guo et al. 2017, section 2.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def count_tokens(targets: Int[Tensor, "..."], pad_id: int | None = None) -> int:
    """Return how many entries of `targets` are real tokens: all that are not `pad_id`."""
    return targets.numel() if pad_id is None else int((targets != pad_id).sum())


def cross_entropy(
    logits: Float[Tensor, "*batch vocab"],
    targets: Int[Tensor, "*batch"],
    *,
    label_smoothing: float = 0.0,
    pad_id: int | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "*result"]:
    r"""Return the cross-entropy, in nats, between smoothed targets and the softmax of `logits`.

    With smoothing $\epsilon$ the target distribution of a position whose token is $y$ is
    $q(v) = (1-\epsilon)\,[v = y] + \epsilon/|\mathcal{V}|$, so the loss of that position is
    $-(1-\epsilon)\log p(y) - \frac{\epsilon}{|\mathcal{V}|}\sum_v \log p(v)$
    (Szegedy et al. 2016, section 7). This is also the convention of `F.cross_entropy`.

    Other code spreads $\epsilon'$ over the $|\mathcal{V}|-1$ *wrong* classes alone. The two are the
    same family: $\epsilon' = \epsilon\,(|\mathcal{V}|-1)/|\mathcal{V}|$ gives the same $q$. At
    $\epsilon = 0.1$ that is 0.0999975 for 40 000 classes, but 0.05 for two.

    `logits` are [... vocab] and `targets` [...]. Positions whose target is `pad_id` add nothing to
    the loss, to its gradient or to the number of tokens. `reduction` is "mean" (over the real
    tokens; 0 with zero gradient where there are none), "sum" (for batches whose sums are added up
    before they are divided, as the training loop does) or "none" (one loss a position, 0 at
    padding). Half-precision logits are converted to float32 first.

    Raises ValueError for shapes that do not belong together, a smoothing outside [0, 1], an
    unknown reduction and, where looking costs nothing (on the CPU), a target outside the
    vocabulary.
    """
    if logits.ndim < 1 or logits.shape[:-1] != targets.shape:
        raise ValueError(
            "targets must have the shape of logits without the last dimension (the vocabulary): "
            f"logits are {tuple(logits.shape)}, targets {tuple(targets.shape)}"
        )
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise ValueError(f"targets must be token ids (integers), not {targets.dtype}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must lie between 0 and 1, got {label_smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')

    padding = torch.zeros_like(targets, dtype=torch.bool) if pad_id is None else targets == pad_id
    labels = targets.masked_fill(padding, 0).long()  # any valid class: masked out below
    if labels.device.type == "cpu" and labels.numel() > 0:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= logits.shape[-1]:
            raise ValueError(
                f"targets must lie between 0 and {logits.shape[-1] - 1} (the vocabulary has "
                f"{logits.shape[-1]} tokens), got {low if low < 0 else high}"
            )

    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    log_p = logits.log_softmax(dim=-1)  # [... vocab]
    losses = -log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)  # [...]
    if label_smoothing > 0:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_p.mean(dim=-1)
    losses = losses.masked_fill(padding, 0.0)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / (~padding).sum().clamp(min=1)


def mask_tokens(
    tokens: Int[Tensor, "batch time"],
    *,
    mask_id: int,
    vocab_size: int,
    pad_id: int = 0,
    special_ids: Collection[int] = (),
    share: float = 0.15,
    randomised: float = 0.1,
    unchanged: float = 0.1,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Choose tokens to be predicted from all the others; return inputs and targets.

    Every token but padding and `special_ids` is chosen with probability `share`, on its own. Of
    the chosen, a part `randomised` is replaced by any token of the vocabulary, a part `unchanged`
    stays, and the rest becomes `mask_id`. The targets are the chosen tokens, and `pad_id`
    everywhere else, so that `cross_entropy(..., pad_id=pad_id)` counts the chosen alone. The
    defaults are those of Devlin et al. 2019, section 3.1.

    Raises ValueError for a share outside [0, 1], or parts that do not fit into 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    if min(randomised, unchanged) < 0 or randomised + unchanged > 1:
        raise ValueError(
            f"randomised and unchanged must be parts of 1, got {randomised} and {unchanged}"
        )
    special = torch.tensor([pad_id, *special_ids], device=tokens.device)

    def uniform() -> Tensor:
        return torch.rand(tokens.shape, generator=generator, device=tokens.device)

    chosen = (uniform() < share) & ~torch.isin(tokens, special)  # [batch time]
    fate = uniform()
    anything = (uniform() * vocab_size).to(tokens.dtype).clamp(max=vocab_size - 1)
    inputs = tokens.masked_fill(chosen & (fate >= randomised + unchanged), mask_id)
    inputs = torch.where(chosen & (fate < randomised), anything, inputs)
    return inputs, tokens.masked_fill(~chosen, pad_id)


class Calibration(NamedTuple):
    """Predictions sorted by their probability into bins of equal width.

    Attributes:
        counts: predictions in each bin.
        confidence: their mean probability; 0 where there are none.
        accuracy: the share of them that is right; 0 where there are none.
    """

    counts: Float[Tensor, "bins"]
    confidence: Float[Tensor, "bins"]
    accuracy: Float[Tensor, "bins"]

    @property
    def error(self) -> float:
        """The expected calibration error: mean gap between confidence and accuracy."""
        gaps = (self.confidence - self.accuracy).abs()
        return float((self.counts * gaps).sum() / self.counts.sum().clamp(min=1))


def calibration(
    logits: Float[Tensor, "*batch vocab"],
    targets: Int[Tensor, "*batch"],
    *,
    bins: int = 15,
    pad_id: int | None = None,
) -> Calibration:
    """Compare the probability of the likeliest token with how often it is the right one.

    Guo et al. 2017, section 2, equations 2 to 4. Positions whose target is `pad_id` do not count.
    Raises ValueError for fewer than one bin.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    real = torch.ones_like(targets, dtype=torch.bool) if pad_id is None else targets != pad_id
    top = logits[real].double().softmax(dim=-1).max(dim=-1)  # over [tokens vocab]
    right = (top.indices == targets[real]).double()
    bin_of = (top.values * bins).long().clamp(max=bins - 1)
    count, confidence, accuracy = (
        torch.zeros(bins, dtype=torch.float64, device=logits.device).index_add(0, bin_of, x)
        for x in (torch.ones_like(right), top.values, right)
    )
    some = count.clamp(min=1)
    return Calibration(count, confidence / some, accuracy / some)
