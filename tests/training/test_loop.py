"""The loop: what a step computes, in which precision, on which batches, and what goes wrong."""

import math

import pytest
import torch
from torch import nn
from toy_training import VOCAB, Toy, ToyBatches, run, toy_evaluation, toy_loss, values

from tfmlib.training.checkpoint import load_checkpoint
from tfmlib.training.loop import TrainingConfig, add_gradients
from tfmlib.training.optimizer import adamw, warmup_inverse_square_root

# ---- gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_gradients_of_unequal_parts_equal_those_of_the_whole(parts):
    torch.manual_seed(0)
    model = Toy(dropout=0.0).double()
    whole = torch.randint(1, VOCAB, (10, 8))
    whole[:, 5:] = torch.where(torch.rand(10, 3) < 0.6, 0, whole[:, 5:])
    whole[7:, 3:] = 0
    loss, n = toy_loss(model, whole)
    (loss / n).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    pieces = [p for p in whole.split({1: [10], 2: [3, 7], 5: [1, 4, 2, 1, 2]}[parts])]
    total, tokens = add_gradients(model, pieces, toy_loss)
    assert tokens == int(n)
    assert total == pytest.approx(loss.item(), rel=1e-12)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-10)
    # The mean of the parts' means is something else: the test can tell them apart.
    if parts > 1:
        model.zero_grad()
        for piece in pieces:
            loss, n = toy_loss(model, piece)
            (loss / n / parts).backward()
        gap = model.hidden.weight.grad - expected["hidden.weight"]
        assert gap.abs().max() > 1e-4


def test_a_part_without_tokens_adds_nothing():
    model = Toy(dropout=0.0).double()
    full = torch.randint(1, VOCAB, (4, 5))
    empty = torch.zeros(2, 5, dtype=torch.long)
    add_gradients(model, [full], toy_loss)
    expected = model.hidden.weight.grad.clone()
    add_gradients(model, [empty, full], toy_loss)
    torch.testing.assert_close(model.hidden.weight.grad, expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="no target tokens"):
        add_gradients(model, [empty], toy_loss)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_computes_in_half_and_steps_in_full(precision):
    seen = []

    def loss(model, ids):
        seen.append(model.hidden(model.embedding(ids)).dtype)
        return toy_loss(model, ids)

    model, history = run(loss=loss, precision=precision, steps=60, log_every=10)
    assert set(seen) == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert model.hidden.weight.dtype == torch.float32
    losses = history.series("loss")[1]
    assert losses[-1] < 0.6 * losses[0]
    exact = run(steps=60, log_every=10)[1]
    full = exact.series("loss")[1]
    assert losses == pytest.approx(full, rel=0.03 if precision == "bf16" else 0.2)  # skipped steps
    assert losses != full
    # The norm is that of the gradient itself, not of the scaled loss's.
    assert max(history.series("grad_norm")[1]) < 2 * max(exact.series("grad_norm")[1])


# ---- one step --------------------------------------------------------------------------------


def test_steps_equal_a_loop_written_out():
    """Accumulation of 2, clipping, a schedule and a cool-down, against plain torch."""
    ours, history = run(
        make=lambda: Toy(dropout=0.0), accumulate=2, clip=0.5, steps=12, cooldown=4, log_every=1
    )
    torch.manual_seed(11)
    theirs = Toy(dropout=0.0)
    optimizer = torch.optim.AdamW(
        theirs.parameters(), betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True
    )
    schedule = warmup_inverse_square_root(0.02, 5)
    stream = (batch for epoch in range(9) for batch in ToyBatches().epoch(epoch))
    rates, norms = [], []
    for step in range(1, 13):
        first, second = next(stream), next(stream)
        (a, n), (b, m) = toy_loss(theirs, first), toy_loss(theirs, second)
        optimizer.zero_grad()
        ((a + b) / (n + m)).backward()
        norms.append(float(nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)))
        rates.append(schedule(step) if step <= 8 else schedule(8) * (13 - step) / 5)
        optimizer.param_groups[0]["lr"] = rates[-1]
        optimizer.step()
    assert max(norms) > 0.5  # or clipping was not tested
    assert history.series("lr")[1] == pytest.approx(rates, rel=1e-12)
    assert history.series("grad_norm")[1] == pytest.approx(norms, rel=1e-4)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), parameter, rtol=1e-4, atol=1e-5)


def test_without_clipping_the_gradient_is_left_alone():
    gradients = []

    def optimizer_step(model, ids):
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        return toy_loss(model, ids)

    a = values(run(clip=None, loss=optimizer_step)[0])
    b = values(run(clip=1e9)[0])
    assert a == b
    assert a != values(run(clip=1e-3)[0])


def test_the_history_counts_what_was_trained_on():
    ids = [batch for epoch in range(2) for batch in ToyBatches().epoch(epoch)][:10]
    counts = [int((batch[:, 1:] != 0).sum()) for batch in ids]
    logged = []
    _, history = run(steps=10, log_every=4, on_log=logged.append, schedule=lambda step: 1e-30)
    assert history.records == logged
    assert history.series("tokens") == ([4, 8, 10], [sum(counts[:n]) for n in (4, 8, 10)])
    assert history.series("epoch")[1] == [0, 1, 1]
    assert history.stopped == "steps"
    # At a learning rate of nothing, the loss logged is the mean over the tokens of the interval.
    torch.manual_seed(11)
    model = Toy()
    sums = [toy_loss(model, batch)[0].item() for batch in ids]
    means = [sum(sums[i:j]) / sum(counts[i:j]) for i, j in ((0, 4), (4, 8), (8, 10))]
    assert history.series("loss")[1] == pytest.approx(means, rel=1e-5)
    seconds = history.series("cpu_seconds")[1]
    assert seconds == sorted(seconds)


def test_a_model_in_evaluation_mode_is_trained_with_dropout():
    assert values(run(make=lambda: Toy().eval())[0]) == values(run()[0])


def test_it_learns_and_ends_in_evaluation_mode():
    model, history = run(steps=150, log_every=10)
    assert history.series("loss")[1][-1] < 0.25 * math.log(VOCAB)
    assert not model.training


# ---- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_names_the_step_and_leaves_the_weights(
    tmp_path, precision, where
):
    model = Toy()

    def loss(model, ids):
        nonlocal calls
        calls += 1
        value, n = toy_loss(model, ids)
        if calls == 6:
            if where == "loss":
                return value * math.nan, n
            zero = model.hidden.weight.flatten()[0] * 0
            return value + zero.sqrt(), n  # 0, but its derivative is not finite
        return value, n

    calls = 0
    with pytest.raises(FloatingPointError, match=r"step 6 \(epoch 0, learning rate 0.0183\)"):
        run(tmp_path, make=lambda: model, loss=loss, precision=precision, checkpoint_every=2)
    assert all(p.isfinite().all() for p in model.parameters())
    assert load_checkpoint(tmp_path / "checkpoint", model, adamw(model, lr=0.1))["step"] == 4


def test_fp16_skips_steps_but_not_for_ever():
    def loss(model, ids):
        value, n = toy_loss(model, ids)
        return value * math.inf, n

    with pytest.raises(FloatingPointError, match=r"step \d\d "):
        run(loss=loss, precision="fp16", steps=1000)


class NoBatches:
    def epoch(self, epoch):
        return iter(())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1, got 0"),
        ({"clip": 0.0}, "clip must be positive or None, got 0.0"),
        ({"max_cpu_seconds": -1.0}, "max_cpu_seconds must be positive or None"),
        ({"cooldown": 20}, "cooldown must lie between 0 and steps - 1, got 20"),
        ({"average_last": -1}, "average_last must not be negative"),
        ({"checkpoint_every": 5}, "checkpoint_every=5 needs a folder"),
        ({"average_last": 2}, "average_last=2 needs a folder"),
        ({"keep_best": "bleu"}, "keep_best='bleu' needs a folder"),
        ({"batches": NoBatches()}, "epoch 0 has no batches"),
        ({"device": "meta"}, "embedding.weight is on cpu, but device is meta"),
        ({"evaluate": lambda model: {"loss": 1.0}}, "'loss'.* which training records have too"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_an_unknown_precision_is_named(own_errors):
    with pytest.raises(ValueError, match=r"\['fp32', 'bf16', 'fp16'\], got 'int8'"):
        TrainingConfig(steps=5, precision="int8")


def test_a_best_metric_that_evaluate_does_not_return_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"keep_best='bleu', but evaluate returned \['n', 'valid"):
        run(tmp_path, keep_best="bleu", evaluate=toy_evaluation)


def test_batches_may_be_nested(tmp_path):
    class Nested:
        def epoch(self, epoch):
            return iter([{"ids": (batch, [batch])} for batch in ToyBatches().epoch(epoch)])

    def loss(model, batch):
        assert batch["ids"][0] is batch["ids"][1][0] or torch.equal(*batch["ids"][1], *batch["ids"])
        return toy_loss(model, batch["ids"][0])

    assert values(run(batches=Nested(), loss=loss)[0]) == values(run()[0])
