"""Beam search: keep the few likeliest beginnings instead of only one.

Sutskever et al. 2014, section 3.2; normalising by length: Wu et al. 2016, section 7.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tfmlib.generation.sampling import log_probabilities


@runtime_checkable
class BeamDecoder(Protocol):
    """A `next_logits` function whose memory can follow the beams."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits of the next token, [batch, vocab], for all tokens so far, [batch, time]."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on from what row rows[i] has seen."""
        ...


@dataclass(frozen=True)
class Hypotheses:
    """The best finished hypotheses of each row, best first.

    Attributes:
        tokens: [batch, beam, time], the prompt included, padded behind the end token.
        scores: [batch, beam], log probability / length^length_exponent; -inf where a row has
            found fewer hypotheses.
    """

    tokens: Int[Tensor, "batch beam time"]
    scores: Float[Tensor, "batch beam"]


@torch.no_grad()
def beam_search(
    next_logits: BeamDecoder,
    prompt: Int[Tensor, "batch prompt"],
    *,
    beam: int,
    max_new: int,
    end_id: int,
    pad_id: int = 0,
    length_exponent: float = 1.0,
) -> Hypotheses:
    """Search for the likeliest continuations with a beam per row.

    At each step the `beam` open hypotheses of a row are extended by every token, and the best 2
    `beam` extensions are looked at: those among the first `beam` that end are finished, the best
    `beam` that do not end stay open. A row is done when it has `beam` finished hypotheses and no
    open one scores better, at its present length, than the worst of them. What is still open after
    `max_new` tokens counts as finished.

    Args:
        next_logits: as for `greedy`, with `reorder`; it is called with batch x beam rows, grouped
            by row, so what it remembers must be of that size or be repeated at the first reorder.
        prompt: the tokens to begin with.
        beam: width of the beam.
        max_new: append at most so many tokens.
        end_id: ends a hypothesis.
        pad_id: fills up behind the end.
        length_exponent: hypotheses are compared by log probability / (new tokens)^exponent; 0
            favours short ones, larger values longer ones.
    """
    if beam < 1 or max_new < 1:
        raise ValueError(f"beam and max_new must be positive; got {beam} and {max_new}")
    batch, prompt_length = prompt.shape
    device = prompt.device
    length = prompt_length + max_new
    result = torch.full((batch, beam, length), pad_id, dtype=prompt.dtype, device=device)
    result_scores = torch.full((batch, beam), -math.inf, device=device)
    rows = torch.arange(batch, device=device)  # rows of the result that are still being searched
    tokens = prompt.repeat_interleave(beam, dim=0)  # [rows * beam, time]
    next_logits.reorder(rows.repeat_interleave(beam))
    # At first all beams of a row are the same; only the first may be extended.
    scores = torch.full((batch, beam), -math.inf, device=device)
    scores[:, 0] = 0.0
    done_tokens, done_scores = result.clone(), result_scores.clone()
    for new in range(1, max_new + 1):
        extended = log_probabilities(next_logits(tokens)).unflatten(0, (-1, beam))
        extended = extended + scores.unsqueeze(-1)  # [rows beam vocab]
        vocab = extended.shape[-1]
        best, place = extended.flatten(1).topk(min(2 * beam, beam * vocab), dim=1)
        parent, token = place // vocab, place % vocab  # [rows 2*beam]
        ends = token == end_id
        time = prompt_length + new
        grown = tokens.unflatten(0, (-1, beam)).gather(
            1, parent.unsqueeze(-1).expand(-1, -1, time - 1)
        )
        grown = torch.cat([grown, token.unsqueeze(-1)], dim=-1)  # [rows 2*beam time]

        finishing = ends.clone()
        finishing[:, beam:] = False
        if new == max_new:
            finishing[:, :beam] = True
        candidate = (best / new**length_exponent).masked_fill(~finishing, -math.inf)
        padded = torch.nn.functional.pad(grown, (0, length - time), value=pad_id)
        pool = torch.cat([done_tokens, padded], dim=1)
        done_scores, chosen = torch.cat([done_scores, candidate], dim=1).topk(beam, dim=1)
        done_tokens = pool.gather(1, chosen.unsqueeze(-1).expand(-1, -1, length))

        # The best `beam` extensions that do not end, in order.
        order = ends.long().argsort(dim=1, stable=True)[:, :beam]
        scores = best.gather(1, order).masked_fill(ends.gather(1, order), -math.inf)
        parent = parent.gather(1, order)
        tokens = grown.gather(1, order.unsqueeze(-1).expand(-1, -1, time))  # [rows beam time]

        open_best = scores[:, 0] / new**length_exponent
        done: Bool[Tensor, " rows"] = done_scores[:, -1] >= open_best
        if new == max_new:
            done = torch.ones_like(done)
        result[rows[done]] = done_tokens[done]
        result_scores[rows[done]] = done_scores[done].to(result_scores.dtype)
        if done.all():
            break
        kept = (~done).nonzero().squeeze(1)
        next_logits.reorder((kept.unsqueeze(1) * beam + parent[kept]).flatten())
        rows, scores, tokens = rows[kept], scores[kept], tokens[kept].flatten(0, 1)
        done_tokens, done_scores = done_tokens[kept], done_scores[kept]
    return Hypotheses(result, result_scores)
