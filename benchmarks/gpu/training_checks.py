"""Whether the device computes what it should: models, losses, the steps of training."""

import itertools
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.checks import (
    TOLERANCES,
    VOCAB,
    Check,
    difference,
    draw,
    draw_tokens,
    language_model,
    on,
)
from tfmlib.training.device import chunked_cross_entropy, next_token_loss, recompute_layers
from tfmlib.training.loop import TrainingConfig, add_gradients, train
from tfmlib.training.objectives import cross_entropy
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.transformer import Transformer, TransformerConfig


def gradients_of(model: nn.Module) -> list[Tensor]:
    """Return all gradients as one tensor: some of them are zero but for rounding."""
    return [
        torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
    ]


def model_error(
    device: torch.device, precision: str, *, padded: bool = False, **options: Any
) -> float:
    """Return the error of a language model's loss, logits and gradients."""
    plain = language_model(**options)
    tokens = draw_tokens(3, 33)
    mask = None
    if padded:
        mask = (torch.arange(32) >= torch.tensor([[0], [5], [9]]))[:, None, None, :]
    results = []
    for model in (plain, on(device, plain)):
        place = next(model.parameters()).device
        inputs, targets = tokens[:, :-1].to(place), tokens[:, 1:].to(place)
        bf16 = precision == "bf16" and model is not plain
        with torch.autocast(place.type, torch.bfloat16, enabled=bf16):
            logits = model(inputs, mask=None if mask is None else mask.to(place))
            loss = cross_entropy(logits, targets)
        loss.backward()
        results.append([loss, logits, *gradients_of(model)])
    return difference(results[1], results[0])


def transformer_error(device: torch.device, precision: str) -> float:
    """Return the error of an encoder-decoder's logits and gradients, with padding."""
    torch.manual_seed(0)
    config = TransformerConfig(
        vocab_size=VOCAB,
        d_model=64,
        n_heads=4,
        d_ff=128,
        n_encoder_layers=2,
        n_decoder_layers=2,
        dropout=0.0,
    )
    plain = Transformer(config).double()
    source, target = draw_tokens(3, 20), draw_tokens(3, 17, seed=1)
    mask = torch.arange(20) < torch.tensor([[20], [11], [3]])
    results = []
    for model in (plain, on(device, plain)):
        place = next(model.parameters()).device
        bf16 = precision == "bf16" and model is not plain
        with torch.autocast(place.type, torch.bfloat16, enabled=bf16):
            logits = model(source.to(place), target[:, :-1].to(place), mask.to(place))
            loss = cross_entropy(logits, target[:, 1:].to(place), label_smoothing=0.1)
        loss.backward()
        results.append([logits, *gradients_of(model)])
    return difference(results[1], results[0])


def chunked_error(device: torch.device, precision: str) -> float:
    """Return the error of the loss that never holds all logits, and of its gradients."""
    hidden, weight, targets = draw(50, 64), draw(VOCAB, 64, seed=1), draw_tokens(50)
    options = {"label_smoothing": 0.1, "pad_id": 7}
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    expected = cross_entropy(h @ w.T, targets, reduction="sum", **options)
    expected.backward()
    a, b = (x.to(device, torch.float32).requires_grad_() for x in (hidden, weight))
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        found = chunked_cross_entropy(a, b, targets.to(device), chunk=16, **options)
    found.backward()
    return difference([found, a.grad, b.grad], [expected, h.grad, w.grad])


def recompute_error(device: torch.device) -> float:
    """Return the difference that recomputed layers make, dropout included."""
    model = on(device, language_model(dropout=0.2)).train()
    tokens, results = draw_tokens(2, 33).to(device), []
    for again in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        if again:
            with recompute_layers(model):
                next_token_loss(model, tokens)[0].backward()
        else:
            next_token_loss(model, tokens)[0].backward()
        results.append(gradients_of(model))
    return difference(results[1], results[0])


def adamw_error(device: torch.device) -> float:
    """Return the error of the weights after three fused steps with the same gradients."""
    plain = language_model()
    models = [plain, on(device, plain)]
    for model, fused in zip(models, (False, True), strict=True):
        optimizer = adamw(model, lr=1e-2, weight_decay=0.1, fused=fused)
        for step in range(3):
            for i, parameter in enumerate(model.parameters()):
                parameter.grad = draw(*parameter.shape, seed=100 * step + i).to(parameter)
            optimizer.step()
    return difference(*(list(m.parameters()) for m in reversed(models)))


class _Texts:
    """Ten batches an epoch."""

    def epoch(self, epoch: int) -> Iterator[Tensor]:
        return (draw_tokens(4, 17, seed=10 * epoch + i) for i in range(10))


def resume_error(device: torch.device) -> float:
    """Return what stopping and going on from the checkpoint changes in the weights."""
    found = []
    for stops in ((), (2,)):
        with tempfile.TemporaryDirectory() as folder:
            for last in (*stops, 5):
                model = on(device, language_model(dropout=0.1))
                torch.manual_seed(3)
                train(
                    model,
                    adamw(model, lr=1e-3),
                    lambda step: 1e-3,
                    _Texts(),
                    next_token_loss,
                    TrainingConfig(steps=5),
                    should_stop=partial(int.__eq__, last),
                    folder=folder,
                    device=device,
                    progress=False,
                )
        found.append(list(model.parameters()))
    return difference(found[1], found[0])


def autocast_error(device: torch.device) -> float:
    """Return the error of `add_gradients` in bf16 autocast, loss in chunks, several batches."""
    plain = language_model()
    batches = [draw_tokens(2, 33), draw_tokens(3, 21, seed=1)]
    results = []
    for model in (plain, on(device, plain)):
        place = next(model.parameters()).device
        precision = "fp32" if model is plain else "bf16"
        total, _ = add_gradients(
            model, [b.to(place) for b in batches], next_token_loss, precision=precision
        )
        results.append([torch.tensor(total), *gradients_of(model)])
    return difference(results[1], results[0])


def training_checks() -> list[Check]:
    """Return the checks of models and training."""
    found = []
    variants: dict[str, dict[str, Any]] = {
        "GPT-2's layout": {},
        "padded on the left": {"padded": True},
        "rotary, RMSNorm, gated, grouped": {
            "positions": "rotary",
            "norm": "rms",
            "activation": "silu",
            "gated": True,
            "bias": False,
            "n_kv_heads": 2,
        },
        "ALiBi": {"positions": "alibi"},
        "T5's bias": {"positions": "t5"},
        "sinusoidal, own output map": {"positions": "sinusoidal", "tied": False},
    }
    for (name, how), kind in itertools.product(variants.items(), TOLERANCES):
        run = partial(model_error, precision=kind, **how)
        found.append(Check(f"language model, {kind}: {name}", 2 * TOLERANCES[kind], run))
    for kind in TOLERANCES:
        bound = TOLERANCES[kind]
        run, chunked = (partial(f, precision=kind) for f in (transformer_error, chunked_error))
        found.append(Check(f"encoder-decoder, {kind}", 2 * bound, run))
        found.append(Check(f"loss in chunks, {kind}", bound, chunked))
    return [
        *found,
        Check("gradients of two batches, bf16", 2 * TOLERANCES["bf16"], autocast_error),
        Check("layers recomputed, with dropout", 1e-5, recompute_error),
        Check("fused AdamW, three steps", 1e-5, adamw_error),
        Check("training resumed from a checkpoint", 1e-4, resume_error),
    ]
