"""The loop: accumulation is exact, resuming is exact, and what goes wrong is said."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tfmlib.training import run as run_module
from tfmlib.training.checkpoint import load_checkpoint, load_model, named_weights
from tfmlib.training.loop import History, TrainingConfig, add_gradients, train
from tfmlib.training.optimizer import adamw, warmup_inverse_square_root

VOCAB = 9


class Toy(nn.Module):
    """Predicts each token from the one before; dropout, and weights tied as in a Transformer."""

    def __init__(self, dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 8)
        self.hidden = nn.Linear(8, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, VOCAB, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.dropout(torch.tanh(self.hidden(self.embedding(ids)))))


def toy_loss(model, ids):
    targets = ids[:, 1:]
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, reduction="sum")
    return loss, (targets != 0).sum()


class ToyBatches:
    """Seven batches an epoch, of unequal sizes, with padding (id 0)."""

    def __init__(self, n=7):
        self.n = n
        self.asked = []

    def epoch(self, epoch):
        self.asked.append(epoch)
        generator = torch.Generator().manual_seed(1000 + epoch)
        for _ in range(self.n):
            rows, length = torch.randint(2, 6, (2,), generator=generator).tolist()
            start = torch.randint(1, VOCAB, (rows, 1), generator=generator)
            ids = (start + torch.arange(length)) % (VOCAB - 1) + 1
            ids[0, max(2, length - 1) :] = 0
            yield ids


def toy_evaluation(model):
    ids = torch.arange(1, VOCAB).repeat(3, 1)
    loss, n = toy_loss(model, ids)
    torch.rand(7)  # an evaluation may draw random numbers, as sampling does
    random.random()
    return {"valid_loss": loss / n, "n": 24}


def run(folder=None, make=Toy, batches=None, loss=toy_loss, schedule=None, **options):
    """Train a toy for 20 steps, or as the options say; returns the model and the history."""
    keywords = {
        name: options.pop(name)
        for name in ("evaluate", "on_log", "should_stop", "device")
        if name in options
    }
    torch.manual_seed(11)
    random.seed(11)
    model = make()
    history = train(
        model,
        adamw(model, lr=0.1),
        schedule or warmup_inverse_square_root(0.02, 5),
        batches or ToyBatches(),
        loss,
        TrainingConfig(**({"steps": 20, "log_every": 3} | options)),
        folder=folder,
        progress=False,
        **keywords,
    )
    return model, history


def timeless(history):
    return [{k: v for k, v in r.items() if k != "cpu_seconds"} for r in history.records]


def values(model):
    return {name: tensor.flatten().tolist() for name, tensor in named_weights(model).items()}


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
    full = run(steps=60, log_every=10)[1].series("loss")[1]
    assert losses == pytest.approx(full, rel=0.03 if precision == "bf16" else 0.2)  # skipped steps
    assert losses != full


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


def test_it_learns_and_ends_in_evaluation_mode():
    model, history = run(steps=150, log_every=10)
    assert history.series("loss")[1][-1] < 0.25 * math.log(VOCAB)
    assert not model.training


# ---- evaluation ------------------------------------------------------------------------------


def test_evaluation_is_in_evaluation_mode_and_does_not_touch_the_training():
    modes = []

    def evaluate(model):
        modes.append((model.training, torch.is_grad_enabled()))
        return toy_evaluation(model)

    model, history = run(evaluate=evaluate, evaluate_every=6)
    assert modes == [(False, False)] * 4
    assert history.series("valid_loss")[0] == [6, 12, 18, 20]
    assert history.records[-1] == {"step": 20, "valid_loss": pytest.approx(2.0, abs=1), "n": 24}
    plain, plain_history = run()
    assert values(plain) == values(model)
    training = [record for record in timeless(history) if "loss" in record]
    assert training == timeless(plain_history)


@pytest.mark.parametrize(("highest", "expected"), [(False, 4), (True, 8)])
def test_the_best_weights_are_kept(tmp_path, highest, expected):
    scores = iter([5.0, 2.0, math.nan, 9.0, 3.0])
    weights = {}

    def evaluate(model):
        weights[2 * len(weights) + 2] = values(model)
        return {"score": next(scores)}

    options = {"keep_best": "score", "best_is_highest": highest, "evaluate_every": 2, "steps": 10}
    model, history = run(tmp_path, evaluate=evaluate, **options)
    assert history.series("score")[1] == [5.0, 2.0, None, 9.0, 3.0]
    load_model(tmp_path / "best.safetensors", model)
    assert values(model) == weights[expected]


def test_weights_are_averaged_over_the_last_checkpoints(tmp_path):
    raw, evaluated = {}, {}

    def evaluate(model):
        evaluated[len(evaluated)] = values(model)
        return {}

    def take(step):
        raw[step] = values(models[0])
        return False

    options = {"steps": 10, "checkpoint_every": 2, "evaluate_every": 2, "average_last": 3}
    models = []
    run(
        tmp_path,
        make=lambda: models.append(Toy()) or models[0],
        evaluate=evaluate,
        should_stop=take,
        **options,
    )
    assert values(models[0]) == evaluated[4]
    for last, steps in ((0, [2]), (1, [2, 4]), (2, [2, 4, 6]), (4, [6, 8, 10])):
        for name, mean in evaluated[last].items():
            expected = torch.tensor([raw[s][name] for s in steps]).double().mean(0)
            torch.testing.assert_close(torch.tensor(mean), expected.float(), rtol=1e-6, atol=1e-7)
    assert raw[10] != evaluated[4]
    # Training went on from the weights themselves, and the checkpoint has these.
    again = Toy()
    load_checkpoint(tmp_path / "checkpoint", again, adamw(again, lr=0.1))
    assert values(again) == raw[10]
    assert raw[10] == values(run(steps=10)[0])
    assert sorted(p.stem for p in (tmp_path / "weights").iterdir()) == [
        "00000006",
        "00000008",
        "00000010",
    ]


# ---- stopping and going on -------------------------------------------------------------------

FULL = {
    "steps": 20,
    "accumulate": 2,  # an epoch of 7 batches ends in the middle of a step
    "log_every": 3,
    "evaluate_every": 5,
    "checkpoint_every": 4,
    "average_last": 2,
    "cooldown": 6,
    "keep_best": "valid_loss",
    "evaluate": toy_evaluation,
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model, history = run(folder, **FULL)
    return values(model), timeless(history), folder


@pytest.mark.parametrize("stop", [(1,), (3,), (4, 11), (7,), (13, 14, 19)])
def test_a_stopped_run_goes_on_bitwise(tmp_path, uninterrupted, stop):
    expected, records, folder = uninterrupted
    for step in stop:
        _, history = run(tmp_path, **FULL, should_stop=lambda s, step=step: s == step)
        assert history.stopped == "asked"
    torch.manual_seed(99)  # what the process did before does not matter
    model, history = run(tmp_path, **FULL)
    assert values(model) == expected
    assert timeless(history) == records
    assert timeless(History.read(tmp_path)) == records
    for name in ("best", "averaged"):
        file = f"{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()
    # And once more: there is nothing left to do.
    model, history = run(tmp_path, **FULL)
    assert values(model) == expected
    assert timeless(history) == records


class Killed(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


@pytest.mark.parametrize(
    "place", ["save_checkpoint", "save_model", "save_weights", "set_weights", "average_weights"]
)
def test_a_run_killed_while_it_writes_goes_on_bitwise(tmp_path, uninterrupted, place):
    """Broken off just before and just after each of its writes, at every step where it has one."""
    expected, records, _ = uninterrupted
    real = getattr(run_module, place)
    kills = 0
    for moment in range(1, 100):
        count = iter(range(1, 1000))

        def killed(*arguments, count=count, moment=moment, **keywords):
            number = next(count)
            if number == moment and moment % 2:
                raise Killed
            result = real(*arguments, **keywords)
            if number == moment:
                raise Killed
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, place, killed)
            try:
                model, history = run(tmp_path / str(moment // 3), **FULL)
                break
            except Killed:
                kills += 1
    assert kills >= 3
    model, history = run(tmp_path / str(moment // 3), **FULL)
    assert values(model) == expected
    assert timeless(history) == records


def test_python_s_generator_is_restored_too(tmp_path, own_errors):  # beartype draws from it too
    def loss(model, ids):
        value, n = toy_loss(model, ids)
        return value * random.uniform(0.5, 1.5), n

    options = {"loss": loss, "steps": 12, "clip": None, "log_every": 1}
    expected = timeless(run(tmp_path / "a", **options)[1])
    run(tmp_path / "b", **options, should_stop=lambda step: step == 5)
    assert timeless(run(tmp_path / "b", **options)[1]) == expected


def test_what_a_kill_left_after_the_last_checkpoint_is_removed(tmp_path, uninterrupted):
    expected, records, _ = uninterrupted
    run(tmp_path, **FULL, should_stop=lambda step: step == 8)
    with (tmp_path / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 9, "loss": 1.0}\n{"step": 12, "lo')
    (tmp_path / "weights" / "00000012.safetensors").write_bytes(b"half")
    model, history = run(tmp_path, **FULL)
    assert values(model) == expected
    assert timeless(history) == records
    assert timeless(History.read(tmp_path)) == records


def test_a_history_shorter_than_the_checkpoint_says_is_an_error(tmp_path):
    run(tmp_path, **FULL, should_stop=lambda step: step == 8)
    (tmp_path / "history.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"history.jsonl has 0 records, but .* after 3"):
        run(tmp_path, **FULL)


def test_a_folder_without_a_checkpoint_is_begun_anew(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"step": 1, "loss": 3.0}\n', encoding="utf-8")
    _, history = run(tmp_path)
    assert timeless(history) == timeless(run()[1]) == timeless(History.read(tmp_path))


def test_more_steps_can_be_asked_for(tmp_path):
    run(tmp_path, steps=8)
    model, history = run(tmp_path, steps=20)
    assert values(model) == values(run()[0])
    assert history.series("loss")[0] == [3, 6, 8, 9, 12, 15, 18, 20]


@pytest.mark.parametrize("change", [{"accumulate": 2}, {"clip": 2.0}, {"precision": "bf16"}])
def test_a_run_does_not_go_on_with_other_arithmetic(tmp_path, change):
    run(tmp_path, steps=4)
    with pytest.raises(ValueError, match=f"was begun with {next(iter(change))}="):
        run(tmp_path, **change)


def test_skipping_to_the_position_reads_the_epoch_it_stopped_in(tmp_path):
    run(tmp_path, steps=9)
    batches = ToyBatches()
    run(tmp_path, steps=12, batches=batches)
    assert batches.asked == [1]


def test_the_loss_scale_of_fp16_is_restored(tmp_path):
    def loss(model, ids):  # overflows until the scale has come down
        value, n = toy_loss(model, ids)
        return value * 1e4, n

    options = {"loss": loss, "precision": "fp16", "steps": 40, "log_every": 1}
    model, history = run(tmp_path / "a", **options)
    skipped = history.series("skipped")[1]
    assert 0 < skipped[-1] < 35
    run(tmp_path / "b", **options, should_stop=lambda step: step == 2)
    again, history_again = run(tmp_path / "b", **options)
    assert values(again) == values(model)
    assert timeless(history_again) == timeless(history)


SCRIPT = """
import importlib.util, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)
toys.run(Path(sys.argv[2]), steps=100_000, checkpoint_every=2, accumulate=2)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_process_killed_while_it_writes_goes_on_bitwise(tmp_path, name):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, __file__, str(tmp_path)], stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        state = tmp_path / "checkpoint" / "state.json"
        while not state.exists():
            assert time.monotonic() < deadline, "no checkpoint was written"
            assert process.poll() is None, process.stderr.read().decode()
        while not (tmp_path / "checkpoint.new").exists() and time.monotonic() < deadline:
            pass  # in the middle of a later checkpoint
        process.send_signal(getattr(signal, name))
        process.wait(timeout=60)
    finally:
        process.kill()
        process.stderr.close()
    assert process.returncode != 0
    probe = Toy()
    reached = load_checkpoint(tmp_path / "checkpoint", probe, adamw(probe, lr=0.1))["step"]
    options = {"steps": reached + 7, "accumulate": 2}
    resumed, history = run(tmp_path, **options, checkpoint_every=2)
    whole, whole_history = run(**options)
    assert values(resumed) == values(whole)
    assert timeless(history) == timeless(whole_history)


def test_a_keyboard_interrupt_comes_through_and_keeps_the_last_checkpoint(tmp_path):
    def loss(model, ids):
        nonlocal calls
        calls += 1
        if calls == 11:
            raise KeyboardInterrupt
        return toy_loss(model, ids)

    calls = 0
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, loss=loss, checkpoint_every=4)
    probe = Toy()
    assert load_checkpoint(tmp_path / "checkpoint", probe, adamw(probe, lr=0.1))["step"] == 8
    assert values(run(tmp_path, checkpoint_every=4)[0]) == values(run()[0])


# ---- the budget ------------------------------------------------------------------------------


def fake_clock(monkeypatch, seconds_a_call=1.0):
    """A processor clock on which every batch takes a second, and nothing else any."""
    now = [0.0]
    monkeypatch.setattr(run_module.time, "process_time", lambda: now[0])

    def loss(model, ids):
        now[0] += seconds_a_call
        return toy_loss(model, ids)

    return loss


def test_the_budget_ends_the_run_and_counts_all_its_parts(tmp_path, monkeypatch):
    loss = fake_clock(monkeypatch)
    options = {"loss": loss, "max_cpu_seconds": 10.0, "log_every": 1, "steps": 500}
    run(tmp_path, **options, should_stop=lambda step: step == 6)
    _, history = run(tmp_path, **options)
    assert history.stopped == "budget"
    assert history.series("cpu_seconds") == (list(range(1, 11)), [*range(1, 11)])
    _, history = run(tmp_path, **options)  # nothing left
    assert (history.records[-1]["step"], history.stopped) == (10, "budget")
    _, history = run(tmp_path, **(options | {"max_cpu_seconds": 13.0}))  # more
    assert (history.records[-1]["step"], history.stopped) == (13, "budget")


def test_the_budget_leaves_time_for_the_cool_down(tmp_path, monkeypatch):
    loss = fake_clock(monkeypatch)
    options = {"loss": loss, "max_cpu_seconds": 20.0, "log_every": 1, "steps": 500, "cooldown": 5}
    _, whole = run(**options, schedule=lambda step: 0.01)
    assert whole.records[-1]["step"] == 20
    rates = whole.series("lr")[1]
    assert rates == pytest.approx([0.01] * 15 + [0.01 * i / 6 for i in (5, 4, 3, 2, 1)])
    # Stopped within the cool-down, it goes on with it.
    run(tmp_path, **options, schedule=lambda step: 0.01, should_stop=lambda step: step == 17)
    _, resumed = run(tmp_path, **options, schedule=lambda step: 0.01)
    assert timeless(resumed) == timeless(whole)


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


def test_the_files_are_json_lines_and_json(tmp_path):
    run(tmp_path, **FULL)
    lines = Path(tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines[:3]] == [3, 5, 6]
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    assert state["version"] == 1
    assert state["state"]["config"]["accumulate"] == 2
