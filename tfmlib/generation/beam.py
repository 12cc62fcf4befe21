"""Beam search: keep the few likeliest beginnings instead of only one.

Sutskever et al. 2014, section 3.2; normalising by length: Wu et al. 2016, section 7.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from tfmlib.generation.sampling import log_probabilities

EarlyStopping = bool | Literal["never"]


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
            found fewer hypotheses, whose tokens are padding.
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
    early_stopping: EarlyStopping = False,
) -> Hypotheses:
    """Search for the likeliest continuations with a beam per row.

    At each step the open hypotheses of a row, `beam` at most, are extended by every token, and the
    best 2 `beam` extensions are looked at: those among the first `beam` that end are finished, the
    best `beam` that do not end stay open. The best `beam` finished ones are kept. What is still
    open after `max_new` tokens counts as finished.

    Args:
        next_logits: as for `greedy`, with `reorder`. It is first called with the prompts as they
            are; the first `reorder` then repeats each of them for its beams.
        prompt: the tokens to begin with.
        beam: width of the beam.
        max_new: append at most so many tokens.
        end_id: ends a hypothesis.
        pad_id: fills up behind the end.
        length_exponent: hypotheses are compared by log probability / (new tokens)^exponent; 0
            favours short ones, larger values longer ones.
        early_stopping: when a row with `beam` finished hypotheses is done. True: at once. False:
            when no open hypothesis scores better, at its present length, than the worst of them;
            with a positive exponent one that grows longer still might. "never": when none could
            displace it at any length, so that the result is that of `max_new` steps.

    Raises:
        ValueError: `beam` or `max_new` is not positive, or `early_stopping` is something else.
    """
    if beam < 1 or max_new < 1:
        raise ValueError(f"beam and max_new must be positive; got {beam} and {max_new}")
    if early_stopping not in (True, False, "never"):
        raise ValueError(f'early_stopping must be True, False or "never"; got {early_stopping!r}')
    batch, device = prompt.shape[0], prompt.device
    result = Hypotheses(
        prompt.new_full((batch, beam, prompt.shape[1] + max_new), pad_id),
        torch.full((batch, beam), -math.inf, device=device),
    )
    rows = torch.arange(batch, device=device)  # rows of the result that are still being searched
    tokens = prompt  # [rows * width, time], where width grows from 1 to beam
    scores = torch.zeros(batch, 1, device=device)  # [rows width], sums of log probabilities
    for new in range(1, max_new + 1):
        width = scores.shape[1]
        extended = log_probabilities(next_logits(tokens)).unflatten(0, (-1, width))
        extended = extended + scores.unsqueeze(-1)  # [rows width vocab]
        vocab = extended.shape[-1]
        best, place = extended.flatten(1).topk(min(2 * beam, width * vocab), dim=1)
        parent, token = place // vocab, place % vocab  # [rows extensions]
        ends = token == end_id
        first = torch.arange(0, len(tokens), width, device=device).unsqueeze(1)

        finishing = ends[:, :beam] if new < max_new else torch.ones_like(ends[:, :beam])
        if finishing.any():
            finished = (best[:, :beam] / new**length_exponent).masked_fill(~finishing, -math.inf)
            grown = _grown(tokens, (first + parent)[:, :beam], token[:, :beam])
            _keep_best(result, rows, finished, pad(grown, (0, max_new - new), value=pad_id))

        # The best `beam` extensions that do not end; one that ends fills a gap, and is never best.
        going_on = ends.long().argsort(dim=1, stable=True)[:, :beam]
        going_on = going_on.gather(1, _in_place(parent.gather(1, going_on)))
        scores = best.masked_fill(ends, -math.inf).gather(1, going_on)

        # The length at which an open hypothesis is compared with the finished ones.
        at = max_new if early_stopping == "never" and length_exponent > 0 else new
        worst, open_best = result.scores[rows, -1], scores.amax(1)
        done = worst >= open_best / at**length_exponent
        if early_stopping is True:
            done = done | (worst > -math.inf)
        n_done = len(rows) if new == max_new else int(done.sum())
        if n_done == len(rows):
            break
        parent, token = (first + parent).gather(1, going_on), token.gather(1, going_on)
        if n_done:
            rows, scores, parent, token = (x[~done] for x in (rows, scores, parent, token))
        tokens = _grown(tokens, parent, token).flatten(0, 1)
        parent = parent.flatten()
        if n_done or not torch.equal(parent, torch.arange(len(tokens), device=device)):
            next_logits.reorder(parent)
    nothing = result.scores.isneginf().unsqueeze(-1)
    result.tokens.masked_fill_(nothing, pad_id)
    return result


def _grown(
    tokens: Int[Tensor, "old time"],
    parents: Int[Tensor, "rows width"],
    new: Int[Tensor, "rows width"],
) -> Int[Tensor, "rows width longer"]:
    """Append to the tokens of each parent a new one."""
    return torch.cat([tokens[parents], new.unsqueeze(-1)], dim=-1)


def _keep_best(
    result: Hypotheses,
    rows: Int[Tensor, " rows"],
    scores: Float[Tensor, "rows candidates"],
    tokens: Int[Tensor, "rows candidates time"],
) -> None:
    """Let finished hypotheses into the result where they are better than what it holds."""
    beam = result.scores.shape[1]
    all_scores = torch.cat([result.scores[rows], scores.to(result.scores.dtype)], dim=1)
    all_tokens = torch.cat([result.tokens[rows], tokens], dim=1)
    result.scores[rows], chosen = all_scores.topk(beam, dim=1)
    result.tokens[rows] = all_tokens.gather(1, chosen.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


def _in_place(parent: Int[Tensor, "rows width"]) -> Int[Tensor, "rows width"]:
    """Order hypotheses so that, where it can be, each stands where its parent stood.

    Their order means nothing to the search. But what a decoder remembers of a hypothesis that stays
    in its place need not be moved, and often that is all of them.

    Returns:
        [rows, width]: which hypothesis goes to place i. The first child of a parent takes the
        parent's place; its other children take the places of parents without children.
    """
    same = parent.unsqueeze(2) == parent.unsqueeze(1)
    further = same.tril(-1).any(dim=2)  # has an elder sibling
    childless = torch.ones_like(further).scatter(1, parent, False)
    vacant = childless.byte().argsort(dim=1, descending=True, stable=True)
    turn = (further.cumsum(dim=1) - 1).clamp(min=0)  # the first of them takes the first vacancy
    place = torch.where(further, vacant.gather(1, turn), parent)
    return place.argsort(dim=1)  # the inverse of a permutation
