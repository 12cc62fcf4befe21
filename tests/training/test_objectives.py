"""The objective against torch's own cross-entropy, exact arithmetic and its edge cases."""

import math

import pytest
import torch
import torch.nn.functional as F

from tfmlib.training.objectives import count_tokens, cross_entropy


def batch(dtype=torch.float64, vocab=11):
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(4, 6, vocab, generator=generator, dtype=dtype)
    targets = torch.randint(1, vocab, (4, 6), generator=generator)
    targets[0, 4:] = 0
    targets[2, 1:] = 0
    return logits, targets


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("pad_id", [None, 0, -100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.37, 1.0])
def test_equals_torch_in_value_and_gradient(smoothing, pad_id, reduction):
    logits, targets = batch()
    if pad_id == -100:
        targets = targets.masked_fill(targets == 0, -100)
    ours = logits.clone().requires_grad_()
    theirs = logits.clone().requires_grad_()
    a = cross_entropy(ours, targets, label_smoothing=smoothing, pad_id=pad_id, reduction=reduction)
    b = F.cross_entropy(
        theirs.reshape(-1, 11),
        targets.reshape(-1),
        label_smoothing=smoothing,
        ignore_index=-1 if pad_id is None else pad_id,
        reduction=reduction,
    )
    if reduction == "none":
        b = b.reshape(4, 6)
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    weights = torch.linspace(0.5, 2, a.numel(), dtype=a.dtype).reshape(a.shape)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


def test_equals_the_definition_with_the_smoothed_distribution_written_out():
    logits, targets = batch()
    q = torch.full_like(logits, 0.1 / 11)
    q.scatter_add_(-1, targets.unsqueeze(-1), torch.full_like(logits[..., :1], 0.9))
    expected = -(q * logits.softmax(-1).log()).sum()
    torch.testing.assert_close(
        cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum"), expected
    )


def test_smoothing_over_the_wrong_classes_alone_is_the_same_family():
    logits, targets = batch()
    epsilon = 0.1
    smaller = epsilon * 10 / 11
    q = torch.full_like(logits, smaller / 10)
    q.scatter_(-1, targets.unsqueeze(-1), 1 - smaller)
    expected = -(q * logits.softmax(-1).log()).sum()
    torch.testing.assert_close(
        cross_entropy(logits, targets, label_smoothing=epsilon, reduction="sum"), expected
    )


def test_gradcheck():
    logits, targets = batch()
    torch.autograd.gradcheck(
        lambda x: cross_entropy(x, targets, label_smoothing=0.1, pad_id=0),
        logits.clone().requires_grad_(),
    )


def test_the_gradient_is_probability_minus_target():
    logits, targets = batch()
    logits.requires_grad_()
    cross_entropy(logits, targets, label_smoothing=0.2, reduction="sum").backward()
    q = 0.8 * F.one_hot(targets, 11) + 0.2 / 11
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - q)


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    loss = cross_entropy(torch.zeros(5, 8), torch.arange(5), label_smoothing=0.3)
    assert loss.item() == pytest.approx(math.log(8), rel=1e-6)


def test_the_best_smoothed_loss_is_the_entropy_of_the_smoothed_target():
    q = torch.tensor([0.9 + 0.1 / 4, 0.1 / 4, 0.1 / 4, 0.1 / 4], dtype=torch.float64)
    loss = cross_entropy(q.log()[None], torch.tensor([0]), label_smoothing=0.1)
    torch.testing.assert_close(loss, -(q * q.log()).sum())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_of_padding_alone_gives_zero_and_no_gradient(reduction):
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(2, 3, dtype=torch.long), pad_id=0, reduction=reduction)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(2, 3, 5))


def test_padding_positions_change_nothing():
    logits, targets = batch()
    changed = logits.clone()
    changed[targets == 0] = 50.0
    for reduction in ("mean", "sum"):
        a = cross_entropy(logits, targets, pad_id=0, reduction=reduction, label_smoothing=0.1)
        b = cross_entropy(changed, targets, pad_id=0, reduction=reduction, label_smoothing=0.1)
        assert torch.equal(a, b)


def test_half_precision_logits_are_computed_in_float32():
    logits, targets = batch(torch.float32)
    half = logits.bfloat16()
    loss = cross_entropy(half, targets, pad_id=0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(half.float(), targets, pad_id=0))


def test_logits_of_minus_infinity_are_classes_ruled_out():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad.isfinite().all()


def test_large_logits_do_not_overflow():
    loss = cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([1]), label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.95e4)


def test_int32_targets_serve_as_well():
    logits, targets = batch()
    assert torch.equal(cross_entropy(logits, targets.int()), cross_entropy(logits, targets))


def test_count_tokens():
    _, targets = batch()
    assert count_tokens(targets) == 24
    assert count_tokens(targets, 0) == int((targets != 0).sum()) == 17


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(4, 5, dtype=torch.long)}, r"\(4, 6, 11\), targets \(4, 5\)"),
        ({"targets": torch.zeros(4, 6)}, "token ids"),
        ({"targets": torch.full((4, 6), 11)}, r"between 0 and 10 .* got 11"),
        ({"targets": torch.full((4, 6), -100)}, r"got -100"),
        ({"label_smoothing": 1.1}, "between 0 and 1, got 1.1"),
        ({"label_smoothing": -0.1}, "between 0 and 1, got -0.1"),
        ({"reduction": "average"}, "'average'"),
    ],
)
def test_bad_input_is_named(change, message):
    logits, targets = batch()
    arguments = {"logits": logits, "targets": targets} | change
    with pytest.raises(ValueError, match=message):
        cross_entropy(arguments.pop("logits"), arguments.pop("targets"), **arguments)
