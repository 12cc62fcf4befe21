"""The small training loop, held against the same steps written out with torch.optim."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tfmlib.sequences.fit import fit, schedule


def make(n_batches=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    batches = [
        (
            torch.randn(5, 4, generator=generator, dtype=torch.double),
            torch.randn(5, 2, generator=generator, dtype=torch.double),
        )
        for _ in range(n_batches)
    ]
    return model, batches


def squared_error(model, batch):
    x, y = batch
    return F.mse_loss(model(x), y)


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("scheduled", [False, True])
def test_equals_the_steps_written_out(clip, weight_decay, scheduled):
    model, batches = make()
    reference = copy.deepcopy(model)
    steps, lr, warmup = 7, 0.05, 3 if scheduled else 0
    losses = fit(
        model,
        batches,
        squared_error,
        steps=steps,
        lr=lr,
        weight_decay=weight_decay,
        betas=(0.8, 0.98),
        clip=clip,
        warmup=warmup,
        decay=scheduled,
    )

    # The peers: Adam where there is no decay, and torch's own schedulers one after the other.
    arguments = {"lr": lr, "betas": (0.8, 0.98)}
    optimizer = (
        torch.optim.AdamW(reference.parameters(), weight_decay=weight_decay, **arguments)
        if weight_decay
        else torch.optim.Adam(reference.parameters(), **arguments)
    )
    if scheduled:
        schedulers = torch.optim.lr_scheduler
        scheduler = schedulers.SequentialLR(
            optimizer,
            [
                schedulers.LinearLR(optimizer, start_factor=1 / 3, total_iters=2),
                schedulers.CosineAnnealingLR(optimizer, T_max=steps - warmup),
            ],
            milestones=[warmup],
        )
    expected = []
    for batch in itertools.islice(itertools.cycle(batches), steps):
        value = squared_error(reference, batch)
        expected.append(value.item())
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            norm = torch.cat([p.grad.flatten() for p in reference.parameters()]).norm()
            assert norm > clip, "what this test is about"
            for p in reference.parameters():
                p.grad *= clip / norm
        optimizer.step()
        if scheduled:
            scheduler.step()
    assert losses == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_schedule_by_hand():
    factors = [schedule(step, 6, warmup=2, decay=True) for step in range(6)]
    half = math.sqrt(0.5)
    assert factors == pytest.approx([0.5, 1, 1, (1 + half) / 2, 0.5, (1 - half) / 2])
    assert [schedule(step, 4, warmup=2) for step in range(4)] == [0.5, 1, 1, 1]
    assert [schedule(step, 3) for step in range(3)] == [1, 1, 1]
    assert [schedule(step, 3, warmup=3, decay=True) for step in range(3)] == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )


def test_it_learns_and_leaves_the_model_in_training_mode():
    model, batches = make(n_batches=1)
    model.eval()
    losses = fit(model, batches, squared_error, steps=300, lr=0.05)
    assert len(losses) == 300
    assert losses[-1] < 1e-3 * losses[0]
    assert model.training


def test_the_loss_is_measured_in_training_mode():
    modes = []

    def loss(model, batch):
        modes.append(model.training)
        return squared_error(model, batch)

    model, batches = make()
    fit(model.eval(), batches, loss, steps=2)
    assert modes == [True, True]


def test_no_steps_change_nothing():
    model, batches = make()
    before = copy.deepcopy(model.state_dict())
    assert fit(model, batches, squared_error, steps=0) == []
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_generator_may_be_endless_but_not_too_short():
    model, batches = make()
    assert len(fit(model, itertools.cycle(batches), squared_error, steps=8)) == 8
    assert len(fit(model, iter(batches), squared_error, steps=3)) == 3
    with pytest.raises(ValueError, match="the batches ran out after 3"):
        fit(model, iter(batches), squared_error, steps=4)
    with pytest.raises(ValueError, match="the batches ran out after 0"):
        fit(model, [], squared_error, steps=1)


def test_a_loss_that_is_not_finite_stops_the_run():
    model, batches = make()
    weights = copy.deepcopy(model.state_dict())
    bad = [batches[0], (batches[1][0] * math.inf, batches[1][1])]
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        fit(model, bad, squared_error, steps=3)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert not torch.equal(model.state_dict()["0.weight"], weights["0.weight"])


@pytest.mark.parametrize(
    "arguments", [{"steps": -1}, {"steps": 3, "warmup": 4}, {"steps": 3, "clip": 0.0}]
)
def test_bad_arguments(arguments):
    model, batches = make()
    with pytest.raises(ValueError, match="expected steps >= 0"):
        fit(model, batches, squared_error, **arguments)


def test_no_bar_unless_asked(capsys):
    model, batches = make()
    fit(model, batches, squared_error, steps=2)
    assert capsys.readouterr() == ("", "")
    fit(model, batches, squared_error, steps=2, progress=True)
    assert "2/2" in capsys.readouterr().err
