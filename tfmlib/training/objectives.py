"""What training minimises: label-smoothed cross-entropy over the real tokens of a batch.

Label smoothing is from Szegedy et al. 2016 ("Rethinking the Inception Architecture", section 7);
Vaswani et al. 2017, section 5.4, train the Transformer with a smoothing of 0.1.
"""

from typing import Literal

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
