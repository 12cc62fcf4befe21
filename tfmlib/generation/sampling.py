"""Choosing the next token.

Every way of decoding here drives a model through one function, `next_logits(tokens)`: all tokens so
far in, the logits of the next one out. Whether it runs the whole prefix again or keeps a cache is
its own business (`tfmlib.generation.cache`).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

NextLogits = Callable[[Tensor], Tensor]  # [batch, time] -> [batch, vocab]


@torch.no_grad()
def greedy(
    next_logits: NextLogits,
    prompt: Int[Tensor, "batch prompt"],
    *,
    max_new: int,
    end_id: int | None = None,
    pad_id: int = 0,
) -> Int[Tensor, "batch time"]:
    """Append the likeliest token, again and again.

    Args:
        next_logits: logits of the next token, [batch, vocab], for all tokens so far, [batch, time].
        prompt: the tokens to begin with, for a translation the start token alone.
        max_new: append at most so many tokens.
        end_id: a row that has produced this token is finished and gets `pad_id` from then on;
            decoding stops when all rows are finished.
        pad_id: fills finished rows.

    Returns:
        Prompt and new tokens.
    """
    if max_new < 1:
        raise ValueError(f"max_new must be positive; got {max_new}")
    tokens = prompt
    finished = torch.zeros(prompt.shape[0], dtype=torch.bool, device=prompt.device)
    for _ in range(max_new):
        chosen = next_logits(tokens).argmax(dim=-1).masked_fill(finished, pad_id)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], dim=1)
        if end_id is not None:
            finished = finished | (chosen == end_id)
            if finished.all():
                break
    return tokens


def log_probabilities(logits: Float[Tensor, "... vocab"]) -> Float[Tensor, "... vocab"]:
    """Log of the softmax over the vocabulary, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
