"""Cross-entropy from hidden states, chunk by chunk: the logits of all tokens never exist at once.

The gradient of the loss with respect to the logits is known as soon as they are (softmax minus
target), so the forward pass can turn it into the gradients of hidden states and weight at once and
throw the chunk's logits away (Hsu et al. 2024, section 3.2; Wijmans et al. 2025 go further and do
so inside one kernel).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tfmlib.training.objectives import count_tokens, cross_entropy


def chunked_cross_entropy(
    hidden: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "*batch"],
    *,
    label_smoothing: float = 0.0,
    pad_id: int | None = None,
    chunk: int = 1024,
) -> Float[Tensor, ""]:
    r"""Return the summed cross-entropy of the logits $HW^\top$ without ever holding all of them.

    Equals `cross_entropy(hidden @ weight.T, targets, reduction="sum", ...)` in value and gradients,
    with logits of `chunk` tokens at a time. The work is the same, too: nothing is computed twice.
    What is held instead of the logits are the two gradients, as large as `hidden` and `weight`.

    Under `torch.autocast` the products are computed as the output map would be. With float16 the
    products of the gradients stay in 32 bits: the scale of the loss, which would keep them in
    float16's range, is not known yet when they are computed.

    Raises ValueError for shapes that do not belong together or a chunk below 1, and as
    `cross_entropy` does.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    shapes = [tuple(t.shape) for t in (hidden, weight, targets)]
    if hidden.shape != (*targets.shape, weight.shape[-1]):
        raise ValueError(
            "expected hidden [..., d_model], weight [vocab, d_model] and "
            f"targets [...], got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    flat = hidden.flatten(0, -2), weight, targets.flatten()
    options = {"label_smoothing": label_smoothing, "pad_id": pad_id}
    return _Chunked.apply(*flat, chunk, torch.is_grad_enabled(), options)


def next_token_loss(
    model: nn.Module,
    tokens: Int[Tensor, "batch time"],
    *,
    pad_id: int | None = None,
    label_smoothing: float = 0.0,
    chunk: int | None = 1024,
) -> tuple[Tensor, int]:
    """Return the summed loss of a language model on `tokens`, and the number of its targets.

    Each token but the first is predicted from those before it. With `functools.partial` it is the
    `loss` that `tfmlib.training.loop.train` asks for. `chunk=None` holds all logits. The model
    has `hidden(tokens)` and `output_weight`, as `LanguageModel` does.
    """
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    how: dict[str, Any] = {"label_smoothing": label_smoothing, "pad_id": pad_id}
    if chunk is None:
        loss = cross_entropy(model(inputs), targets, reduction="sum", **how)
    else:
        lm: Any = model  # nn.Module does not declare the two
        hidden, weight = lm.hidden(inputs), lm.output_weight
        loss = chunked_cross_entropy(hidden, weight, targets, chunk=chunk, **how)
    return loss, count_tokens(targets, pad_id)


class _Chunked(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [tokens d_model]
        weight: Tensor,  # [vocab d_model]
        targets: Tensor,  # [tokens]
        chunk: int,
        training: bool,
        options: dict[str, Any],
    ) -> Tensor:
        wants_hidden, wants_weight = (training and need for need in ctx.needs_input_grad[:2])
        d_hidden = torch.zeros_like(hidden) if wants_hidden else None
        d_weight = torch.zeros_like(weight) if wants_weight else None
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = nn.functional.linear(hidden[rows], weight).to(wide)  # [chunk vocab]
            loss, d_logits = _loss(logits, targets[rows], options, wants_hidden or wants_weight)
            total += loss
            if d_hidden is not None:
                d_hidden[rows] = _product(d_logits, weight)
            if d_weight is not None:
                d_weight += _product(d_logits.T, hidden[rows])
            del logits, d_logits  # before the next chunk has its own
        ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = (None if d is None else d * d_total for d in ctx.saved_tensors)
        return d_hidden, d_weight, None, None, None, None


def _loss(
    logits: Tensor, targets: Tensor, options: dict[str, Any], gradient: bool
) -> tuple[Tensor, Tensor]:
    """Return the loss of a chunk and, if asked for, its gradient with respect to the logits."""
    if not gradient:
        return cross_entropy(logits, targets, reduction="sum", **options), logits
    with torch.enable_grad():
        leaf = logits.requires_grad_()
        loss = cross_entropy(leaf, targets, reduction="sum", **options)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b in the precision of the output map, but never in float16."""
    device = a.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) != torch.float16:
        return a @ b
    dtype = b.dtype if b.dtype == torch.bfloat16 else torch.promote_types(b.dtype, torch.float32)
    with torch.autocast(device, enabled=False):
        return a.to(dtype) @ b.to(dtype)
