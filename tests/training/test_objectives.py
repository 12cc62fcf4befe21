"""The objective against torch's own cross-entropy, exact arithmetic and its edge cases."""

import math

import pytest
import torch
import torch.nn.functional as F

from tfmlib.training.objectives import calibration, count_tokens, cross_entropy, mask_tokens


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


def masked(seed=0, **options):
    tokens = torch.randint(3, 50, (200, 100), generator=torch.Generator().manual_seed(9))
    tokens[:, 0], tokens[:, 80:] = 1, 0  # a start token, and padding
    generator = torch.Generator().manual_seed(seed)
    settings = {"mask_id": 2, "vocab_size": 50, "special_ids": [1], "generator": generator}
    return tokens, *mask_tokens(tokens, **settings | options)


def test_masked_tokens_are_a_share_and_never_special():
    tokens, inputs, targets = masked()
    chosen = targets != 0
    assert torch.equal(targets[chosen], tokens[chosen])
    assert not chosen[:, 0].any()
    assert not chosen[:, 80:].any()
    assert torch.equal(inputs[~chosen], tokens[~chosen])
    assert chosen[:, 1:80].double().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (inputs[chosen] == 2).double().mean().item() == pytest.approx(0.8, abs=0.03)
    # Of the tenth that is replaced at random, one in fifty hits the token itself.
    same = (inputs == tokens)[chosen].double().mean().item()
    assert same == pytest.approx(0.1 + 0.1 / 50, abs=0.02)
    other = inputs[chosen & (inputs != 2) & (inputs != tokens)]
    assert other.unique().numel() > 40


def test_masking_repeats_with_its_generator_and_differs_without():
    assert torch.equal(masked(1)[1], masked(1)[1])
    assert not torch.equal(masked(1)[2], masked(2)[2])


def test_masking_all_or_nothing():
    tokens, inputs, targets = masked(share=1.0, randomised=0.0, unchanged=0.0)
    assert (inputs[:, 1:80] == 2).all()
    assert torch.equal(targets[:, 1:], tokens[:, 1:])
    tokens, inputs, targets = masked(share=0.0)
    assert torch.equal(inputs, tokens)
    assert not targets.any()


@pytest.mark.parametrize("options", [{"share": 1.5}, {"randomised": 0.6, "unchanged": 0.6}])
def test_impossible_shares_are_named(options):
    with pytest.raises(ValueError, match=r"1\.5|0\.6 and 0\.6"):
        masked(**options)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_equals_scikit_learn(bins):
    from sklearn.calibration import calibration_curve

    generator = torch.Generator().manual_seed(4)
    logits = 2 * torch.randn(3000, 5, generator=generator, dtype=torch.float64)
    targets = torch.where(
        torch.rand(3000, generator=generator) < 0.5,
        logits.argmax(-1),
        torch.randint(5, (3000,), generator=generator),
    )
    ours = calibration(logits, targets, bins=bins)
    confidence, right = logits.softmax(-1).amax(-1), logits.argmax(-1) == targets
    accuracy, mean = calibration_curve(right.numpy(), confidence.numpy(), n_bins=bins)
    some = ours.counts > 0
    torch.testing.assert_close(ours.accuracy[some], torch.from_numpy(accuracy))
    torch.testing.assert_close(ours.confidence[some], torch.from_numpy(mean))
    gaps = torch.from_numpy(abs(accuracy - mean))
    assert ours.error == pytest.approx(float((ours.counts[some] / 3000 * gaps).sum()))


def test_calibration_of_one_bin_is_mean_confidence_against_accuracy():
    logits, targets = batch()
    found = calibration(logits, targets, bins=1, pad_id=0)
    real = targets != 0
    confidence = logits.softmax(-1).amax(-1)[real].mean().item()
    accuracy = (logits.argmax(-1) == targets)[real].double().mean().item()
    assert found.counts.item() == 17
    assert found.error == pytest.approx(abs(confidence - accuracy))


def test_certain_and_right_is_calibrated():
    logits = 200.0 * torch.eye(4)
    found = calibration(logits, torch.arange(4))
    assert found.counts[-1] == 4
    assert found.error == pytest.approx(0.0, abs=1e-9)
    assert calibration(logits, torch.zeros(4, dtype=torch.long)).error == pytest.approx(0.75)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        calibration(logits, torch.arange(4), bins=0)
