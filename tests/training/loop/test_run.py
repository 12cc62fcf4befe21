"""A run: resuming is exact, whatever stopped it; its history, evaluations, averages, budget."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from toy_training import Toy, ToyBatches, run, timeless, toy_evaluation, toy_loss, values

from tfmlib.training.batching import TokenBudgetBatches, pair_loss
from tfmlib.training.checkpoint import load_checkpoint, load_model, named_weights
from tfmlib.training.loop import History, TrainingConfig, train
from tfmlib.training.loop import run as run_module
from tfmlib.training.optimizer import adamw, warmup_inverse_square_root
from tfmlib.transformer.transformer import Transformer, TransformerConfig

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


@pytest.mark.parametrize(("highest", "expected"), [(False, 6), (True, 8)])
def test_the_best_weights_are_kept(tmp_path, highest, expected):
    scores = iter([math.nan, 5.0, 2.0, 9.0, 3.0])
    weights = {}

    def evaluate(model):
        weights[2 * len(weights) + 2] = values(model)
        return {"score": next(scores)}

    options = {"keep_best": "score", "best_is_highest": highest, "evaluate_every": 2, "steps": 10}
    model, history = run(tmp_path, evaluate=evaluate, **options)
    assert history.series("score")[1] == [None, 5.0, 2.0, 9.0, 3.0]
    load_model(tmp_path / "best.safetensors", model)
    assert values(model) == weights[expected]


def test_the_best_of_an_earlier_part_of_the_run_still_counts(tmp_path):
    scores = iter([3.0, 1.0, 2.0, 4.0])
    options = {
        "evaluate": lambda model: {"score": next(scores)},
        "evaluate_every": 2,
        "keep_best": "score",
        "steps": 8,
    }
    run(tmp_path, **options, should_stop=lambda step: step == 4)
    best = (tmp_path / "best.safetensors").read_bytes()
    run(tmp_path, **options)
    assert (tmp_path / "best.safetensors").read_bytes() == best


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


def test_a_skipped_step_is_counted_but_not_in_the_mean_loss():
    def loss(model, ids):
        nonlocal calls
        calls += 1
        value, n = toy_loss(model, ids)
        return value * (math.inf if calls == 14 else 1e-4), n

    calls = 0
    _, history = run(loss=loss, precision="fp16", steps=20, log_every=10)
    assert history.series("skipped")[1] == [0, 1]
    assert all(0 < value < 1e-3 for value in history.series("loss")[1])


SCRIPT = """
import sys
from pathlib import Path
from toy_training import run
run(Path(sys.argv[1]), steps=100_000, checkpoint_every=2, accumulate=2)
"""
HARNESS = Path(__file__).parents[2] / "harness"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_process_killed_while_it_writes_goes_on_bitwise(tmp_path, name):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HARNESS), *sys.path])},
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


def translator(seed=0):
    torch.manual_seed(seed)
    config = TransformerConfig(
        vocab_size=13, d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1
    )
    return Transformer(config)


def train_translator(folder, **keywords):
    """Reverse short sequences, on batches of a token budget."""
    rng = random.Random(0)
    sources = [[rng.randrange(3, 13) for _ in range(rng.randrange(1, 6))] for _ in range(120)]
    batches = TokenBudgetBatches(
        [(source, source[::-1]) for source in sources],
        max_tokens=64,
        seed=1,
        pad_id=0,
        start_id=1,
        end_id=2,
    )
    model = translator()
    history = train(
        model,
        adamw(model, lr=0.1, weight_decay=0.01),
        warmup_inverse_square_root(0.01, 10),
        batches,
        partial(pair_loss, pad_id=0, label_smoothing=0.1),
        TrainingConfig(steps=24, accumulate=2, log_every=4, checkpoint_every=10, average_last=2),
        folder=folder,
        progress=False,
        **keywords,
    )
    return model, history


def test_the_full_transformer_learns_and_goes_on_bitwise(tmp_path):
    whole, records = train_translator(tmp_path / "whole")
    assert records.series("epoch")[1][-1] >= 1
    losses = records.series("loss")[1]
    assert losses[-1] < 0.8 * losses[0]
    for step in (3, 17):
        train_translator(tmp_path / "parts", should_stop=lambda s, step=step: s == step)
    parts, records_of_parts = train_translator(tmp_path / "parts")
    assert values(parts) == values(whole)
    assert timeless(records_of_parts) == timeless(records)
    assert list(named_weights(whole)) == [name for name, _ in whole.named_parameters()]
    other = translator(seed=5)
    load_model(tmp_path / "parts" / "averaged.safetensors", other)
    assert values(other) == values(whole)


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


def test_the_files_are_json_lines_and_json(tmp_path):
    run(tmp_path, **FULL)
    lines = Path(tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines[:3]] == [3, 5, 6]
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    assert state["version"] == 1
    assert state["state"]["config"]["accumulate"] == 2
