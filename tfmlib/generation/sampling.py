"""Choosing the next token: the likeliest, or one drawn from a distribution that is shaped first.

Every way of decoding here drives a model through one function, `next_logits(tokens)`: all tokens so
far in, the logits of the next one out. Whether it runs the whole prefix again or keeps a cache is
its own business (`tfmlib.generation.cache`).

What shapes the distribution are small functions of `(logits, tokens)`, applied one after the other:
temperature, top-k (Fan et al. 2018, section 5.1), top-p (Holtzman et al. 2020, section 3.1), min-p
(Nguyen et al. 2024) and the repetition penalty (Keskar et al. 2019, section 4.1). Those that cut
keep at least the likeliest token, so there is always something left to choose.
"""

import math
from collections.abc import Callable, Collection

import torch
from jaxtyping import Float, Int
from torch import Tensor

NextLogits = Callable[[Tensor], Tensor]  # [batch, time] -> [batch, vocab]
Shape = Callable[[Tensor, Tensor], Tensor]  # (logits [batch, vocab], tokens) -> logits
Choose = Callable[[Tensor, Tensor], Tensor]  # (logits [batch, vocab], tokens) -> ids [batch]


@torch.no_grad()
def generate(
    next_logits: NextLogits,
    prompt: Int[Tensor, "batch prompt"],
    *,
    max_new: int,
    choose: Choose | None = None,
    end_id: int | Collection[int] | None = None,
    pad_id: int = 0,
    on_token: Callable[[Tensor], object] | None = None,
    check_every: int = 1,
) -> Int[Tensor, "batch time"]:
    """Append tokens, one at a time.

    Args:
        next_logits: logits of the next token, [batch, vocab], for all tokens so far, [batch, time].
        prompt: the tokens to begin with, for a translation the start token alone.
        max_new: append at most so many tokens.
        choose: picks the tokens from the logits, such as a `Sampler`; the likeliest if None.
        end_id: a row that has produced this token, or one of these, is finished and gets `pad_id`
            from then on; decoding stops when all rows are finished.
        pad_id: fills finished rows.
        on_token: called with the new tokens, [batch], as soon as they are chosen.
        check_every: look only at every so many tokens whether all rows are finished. On a GPU each
            look waits for the device, which else runs ahead; surplus columns are cut off again.

    Returns:
        Prompt and new tokens.

    Raises:
        ValueError: `max_new` or `check_every` is not positive, or the prompt is empty.
    """
    if max_new < 1 or check_every < 1:
        raise ValueError(
            f"max_new and check_every must be positive; got {max_new} and {check_every}"
        )
    if prompt.shape[1] < 1:
        raise ValueError(f"a prompt needs at least one token; got shape {tuple(prompt.shape)}")
    choose = likeliest if choose is None else choose
    ends = None
    if end_id is not None:
        ids = [end_id] if isinstance(end_id, int) else sorted(end_id)
        ends = torch.tensor(ids, device=prompt.device)
    # Written in place: nothing grows, so nothing is copied at each step.
    tokens = prompt.new_full((prompt.shape[0], prompt.shape[1] + max_new), pad_id)
    tokens[:, : prompt.shape[1]] = prompt
    finished = torch.zeros(prompt.shape[0], dtype=torch.bool, device=prompt.device)
    length = prompt.shape[1]
    for new in range(1, max_new + 1):
        so_far = tokens[:, :length]
        chosen = choose(next_logits(so_far), so_far)
        if ends is not None:
            chosen = chosen.masked_fill(finished, pad_id)
        tokens[:, length] = chosen
        length += 1
        if on_token is not None:
            on_token(chosen)
        if ends is not None:
            finished = finished | torch.isin(chosen, ends)
            if new % check_every == 0 and finished.all():
                break
    if ends is not None and check_every > 1:
        length = _without_surplus(tokens[:, :length], prompt.shape[1], ends)
    return tokens[:, :length]


def _without_surplus(tokens: Tensor, prompt: int, ends: Tensor) -> int:
    """Return the length at which decoding would have stopped with a look at every token."""
    is_end = torch.isin(tokens[:, prompt:], ends)
    if not is_end.any(dim=1).all():
        return tokens.shape[1]
    return prompt + int(is_end.int().argmax(dim=1).max()) + 1


def greedy(
    next_logits: NextLogits,
    prompt: Int[Tensor, "batch prompt"],
    *,
    max_new: int,
    end_id: int | Collection[int] | None = None,
    pad_id: int = 0,
) -> Int[Tensor, "batch time"]:
    """Append the likeliest token, again and again: `generate` without a `choose`."""
    return generate(next_logits, prompt, max_new=max_new, end_id=end_id, pad_id=pad_id)


def likeliest(
    logits: Float[Tensor, "batch vocab"], tokens: Int[Tensor, "batch time"]
) -> Int[Tensor, " batch"]:
    """Choose the token with the largest logit."""
    return logits.argmax(dim=-1)


class Sampler:
    """Draw from the softmax of the logits, after they were shaped.

        generate(model, prompt, max_new=50,
                 choose=Sampler(temperature(0.8), top_p(0.95), generator=generator))

    Args:
        shapes: applied in this order.
        generator: source of the random numbers, on the device of the logits.
    """

    def __init__(self, *shapes: Shape, generator: torch.Generator | None = None) -> None:
        self.shapes, self.generator = shapes, generator

    def probabilities(
        self, logits: Float[Tensor, "batch vocab"], tokens: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """Return what is drawn from."""
        for shape in self.shapes:
            logits = shape(logits, tokens)
        return log_probabilities(logits).exp()

    def __call__(
        self, logits: Float[Tensor, "batch vocab"], tokens: Int[Tensor, "batch time"]
    ) -> Int[Tensor, " batch"]:
        """Choose one token for each row.

        Each token races with rate p: of exponential waiting times E/p the shortest comes from token
        i with probability p_i. Unlike `torch.multinomial` this never waits for a GPU.
        """
        p = self.probabilities(logits, tokens)
        waiting = torch.empty_like(p).exponential_(generator=self.generator)
        return (p / waiting).argmax(dim=-1)


def temperature(value: float) -> Shape:
    """Divide the logits: below 1 the distribution gets sharper, above 1 flatter."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"temperature must be positive; got {value} (greedy is `likeliest`)")
    return lambda logits, tokens: logits / value


def top_k(k: int) -> Shape:
    """Keep the k likeliest tokens, and all that are as likely as the last of them."""
    if k < 1:
        raise ValueError(f"top_k must be at least 1; got {k}")

    def shape(logits: Tensor, tokens: Tensor) -> Tensor:
        least = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
        return logits.masked_fill(logits < least, -math.inf)

    return shape


def top_p(p: float) -> Shape:
    """Keep the fewest likeliest tokens whose probabilities sum to p or more (the nucleus)."""
    if not 0 < p <= 1:
        raise ValueError(f"top_p must lie in (0, 1]; got {p}")

    def shape(logits: Tensor, tokens: Tensor) -> Tensor:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probability = log_probabilities(ordered).exp()
        before = probability.cumsum(dim=-1) - probability  # of all likelier tokens: 0 for the first
        cut = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
        return logits.masked_fill(cut, -math.inf)

    return shape


def min_p(p: float) -> Shape:
    """Keep the tokens that are at least p times as likely as the likeliest."""
    if not 0 <= p <= 1:
        raise ValueError(f"min_p must lie in [0, 1]; got {p}")

    def shape(logits: Tensor, tokens: Tensor) -> Tensor:
        # p_i >= p max_j p_j, as a difference of logits: no softmax is needed.
        least = logits.amax(dim=-1, keepdim=True) + (math.log(p) if p else -math.inf)
        return logits.masked_fill(logits < least, -math.inf)

    return shape


def repetition_penalty(factor: float) -> Shape:
    """Make tokens that have occurred, in the prompt or since, less likely (factor above 1).

    Their logits are divided by the factor where positive and multiplied by it where negative, as
    the paper's code does: dividing a negative logit would make the token likelier.
    """
    if not (factor > 0 and math.isfinite(factor)):
        raise ValueError(f"repetition_penalty must be positive; got {factor}")

    def shape(logits: Tensor, tokens: Tensor) -> Tensor:
        seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
        return torch.where(seen, torch.where(logits > 0, logits / factor, logits * factor), logits)

    return shape


def log_probabilities(logits: Float[Tensor, "... vocab"]) -> Float[Tensor, "... vocab"]:
    """Log of the softmax over the vocabulary, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
