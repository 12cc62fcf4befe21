"""The chunked loss against torch's own, in value, gradients and what it holds."""

import pytest
import torch
import torch.nn.functional as F

from tfmlib.training.device import chunked_cross_entropy, next_token_loss, peak_memory
from tfmlib.training.loop import add_gradients
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


def example(tokens=23, d_model=6, vocab=17, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, d_model, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(vocab, d_model, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(0, vocab, (tokens,), generator=generator)
    targets[::5] = 3
    return hidden, weight, targets


def reference(hidden, weight, targets, label_smoothing=0.0, pad_id=None):
    return F.cross_entropy(
        hidden @ weight.T,
        targets,
        label_smoothing=label_smoothing,
        ignore_index=-100 if pad_id is None else pad_id,
        reduction="sum",
    )


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"pad_id": 3}])
@pytest.mark.parametrize("chunk", [1, 7, 23, 1000])
def test_loss_and_gradients_are_those_of_torch(options, chunk, close):
    hidden, weight, targets = example()
    expected = reference(hidden, weight, targets, **options)
    loss = chunked_cross_entropy(hidden, weight, targets, chunk=chunk, **options)
    close(loss, expected)
    for scale in (1.0, -2.5):
        ours = torch.autograd.grad(scale * loss, (hidden, weight), retain_graph=True)
        theirs = torch.autograd.grad(scale * expected, (hidden, weight), retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)


def test_gradcheck():
    hidden, weight, targets = example(tokens=5, d_model=3, vocab=4)
    targets = targets % 4
    options = {"label_smoothing": 0.2, "pad_id": 3, "chunk": 2}
    assert torch.autograd.gradcheck(
        lambda h, w: chunked_cross_entropy(h, w, targets, **options), (hidden, weight)
    )


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both"])
def test_what_needs_no_gradient_gets_none(frozen, close):
    hidden, weight, targets = example()
    hidden.requires_grad_(frozen == "weight")
    weight.requires_grad_(frozen == "hidden")
    loss = chunked_cross_entropy(hidden, weight, targets, chunk=4)
    close(loss.detach(), reference(hidden, weight, targets).detach())
    assert loss.requires_grad == (frozen != "both")
    if frozen != "both":
        loss.backward()
    assert (hidden.grad is None) == (frozen != "weight")
    assert (weight.grad is None) == (frozen != "hidden")


def test_without_gradients_nothing_is_prepared():
    hidden, weight, targets = example(tokens=64, d_model=32, vocab=512, dtype=torch.float32)
    with torch.no_grad():
        held = peak_memory(lambda: chunked_cross_entropy(hidden, weight, targets, chunk=8))
    assert held < weight.numel() * 4


def test_any_shape_of_batch(close):
    hidden, weight, targets = example(tokens=24)
    flat = chunked_cross_entropy(hidden, weight, targets, chunk=5)
    folded = chunked_cross_entropy(
        hidden.unflatten(0, (2, 3, 4)), weight, targets.unflatten(0, (2, 3, 4)), chunk=5
    )
    close(folded, flat)


def test_peak_does_not_grow_with_the_logits():
    vocab, d_model, chunk = 2000, 16, 64

    def peak(tokens, chunked):
        hidden, weight, targets = example(tokens, d_model, vocab, torch.float32)
        loss = (
            (lambda: chunked_cross_entropy(hidden, weight, targets, chunk=chunk))
            if chunked
            else (lambda: reference(hidden, weight, targets))
        )
        return peak_memory(lambda: loss().backward())

    one_chunk = 4 * chunk * vocab
    grown = peak(2048, True) - peak(512, True)
    assert grown < 8 * (2048 - 512) * d_model * 4
    # Four of a chunk at once: logits, their logarithms, and two gradients.
    assert peak(2048, True) < 4.1 * one_chunk + 4 * (2048 + vocab) * d_model
    assert peak(2048, False) > 2 * 4 * 2048 * vocab


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_as_exact_as_the_full_loss(dtype):
    hidden, weight, targets = example(tokens=200, d_model=32, vocab=300)
    exact = torch.autograd.grad(reference(hidden, weight, targets), (hidden, weight))
    h, w = (x.detach().float().requires_grad_() for x in (hidden, weight))

    def errors(loss):
        gradients = torch.autograd.grad(loss, (h, w))
        assert {g.dtype for g in gradients} == {torch.float32}
        return [((g - e).norm() / e.norm()).item() for g, e in zip(gradients, exact, strict=True)]

    with torch.autocast("cpu", dtype):
        full = errors(F.cross_entropy((F.linear(h, w)).float(), targets, reduction="sum"))
        chunked = errors(chunked_cross_entropy(h, w, targets, chunk=64))
    assert all(c < 1.5 * f + 1e-6 for c, f in zip(chunked, full, strict=True))


def test_small_gradients_survive_float16():
    """Probabilities below float16's range still push: the scale of the loss comes too late here."""
    vocab = 40_000
    hidden = torch.full((4, 8), 1e-3, requires_grad=True)
    weight = torch.full((vocab, 8), 1e-3, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        loss = chunked_cross_entropy(hidden, weight, torch.zeros(4, dtype=torch.long), chunk=2)
    (loss / 4).backward()
    expected = 1e-3 / vocab
    torch.testing.assert_close(
        weight.grad[1:], torch.full((vocab - 1, 8), expected), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_altogether(dtype):
    hidden, weight, targets = example(tokens=50)
    exact = torch.autograd.grad(reference(hidden, weight, targets), (hidden, weight))
    h, w = (x.detach().to(dtype).requires_grad_() for x in (hidden, weight))
    ours = torch.autograd.grad(chunked_cross_entropy(h, w, targets, chunk=16), (h, w))
    for gradient, expected in zip(ours, exact, strict=True):
        assert gradient.dtype == dtype
        assert (gradient.double() - expected).norm() < 0.03 * expected.norm()


def test_errors_name_what_does_not_fit(own_errors):
    hidden, weight, targets = example()
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        chunked_cross_entropy(hidden, weight, targets, chunk=0)
    with pytest.raises(ValueError, match=r"\(23, 6\), \(17, 6\) and \(22,\)"):
        chunked_cross_entropy(hidden, weight, targets[1:])
    with pytest.raises(ValueError, match=r"expected hidden .* \(17, 5\)"):
        chunked_cross_entropy(hidden, weight[:, 1:], targets)
    with pytest.raises(ValueError, match="between 0 and 16"):
        chunked_cross_entropy(hidden, weight, targets + 5)
    with pytest.raises(ValueError, match="label_smoothing"):
        chunked_cross_entropy(hidden, weight, targets, label_smoothing=2.0)


@pytest.mark.parametrize("tied", [True, False])
def test_next_token_loss_is_the_same_in_chunks(tied):
    torch.manual_seed(0)
    model = LanguageModel(
        LanguageModelConfig(
            vocab_size=19, max_length=16, d_model=8, n_layers=1, n_heads=2, tied=tied
        )
    ).double()
    tokens = torch.randint(1, 19, (3, 11))
    tokens[1, 6:] = 0
    found = []
    for chunk in (None, 4):

        def loss(model, batch, chunk=chunk):
            return next_token_loss(model, batch, pad_id=0, label_smoothing=0.1, chunk=chunk)

        total, n = add_gradients(model, [tokens], loss)
        assert n == 10 + 5 + 10
        found.append((total, [p.grad.clone() for p in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    logits = model(tokens[:, :-1])
    expected = F.cross_entropy(
        logits.flatten(0, 1),
        tokens[:, 1:].flatten(),
        ignore_index=0,
        label_smoothing=0.1,
        reduction="sum",
    )
    assert found[1][0] == pytest.approx(expected.item(), rel=1e-12)
