"""The schedules at their known points and against LambdaLR; AdamW's groups against torch's."""

import copy
import itertools

import pytest
import torch
from torch import nn

from tfmlib.training.optimizer import (
    adamw,
    inverse_square_root,
    linear_cooldown,
    parameter_groups,
    warmup_inverse_square_root,
)


class TiedModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.norm = nn.LayerNorm((3, 4))  # a norm whose parameters are matrices
        self.scale_bias = nn.Parameter(torch.zeros(2, 2))  # a bias that is a matrix
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.norm(self.hidden(self.embedding(ids)))) + self.scale_bias.sum()


def test_the_paper_s_schedule_has_its_peak_at_the_end_of_the_warm_up():
    rates = [inverse_square_root(t, d_model=512, warmup=4000) for t in range(1, 20_001)]
    assert max(rates) == rates[3999]
    assert rates[3999] == pytest.approx((512 * 4000) ** -0.5, rel=1e-12)
    assert rates[3999] == pytest.approx(6.9877e-4, rel=1e-4)
    assert rates[0] == pytest.approx(512**-0.5 * 4000**-1.5, rel=1e-12)
    assert rates[999] == pytest.approx(rates[3999] / 4, rel=1e-12)  # a quarter of the way
    assert rates[15_999] == pytest.approx(rates[3999] / 2, rel=1e-12)  # four times the steps


def test_the_two_forms_of_the_schedule_agree():
    schedule = warmup_inverse_square_root((128 * 300) ** -0.5, 300)
    for step in (1, 7, 299, 300, 301, 5000):
        assert schedule(step) == pytest.approx(
            inverse_square_root(step, d_model=128, warmup=300), rel=1e-12
        )
    assert warmup_inverse_square_root(4e-3, 500)(500) == 4e-3


def test_schedule_against_lambda_lr():
    parameter = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        theirs, lambda i: inverse_square_root(i + 1, d_model=64, warmup=10)
    )
    for step in range(1, 40):
        assert theirs.param_groups[0]["lr"] == inverse_square_root(step, d_model=64, warmup=10)
        theirs.step()
        scheduler.step()


def test_cooldown_is_a_straight_line_to_zero_after_the_last_step():
    schedule = warmup_inverse_square_root(1.0, 10)
    cooled = linear_cooldown(schedule, last_step=100, n_steps=20)
    assert [cooled(t) for t in range(1, 81)] == [schedule(t) for t in range(1, 81)]
    last = [cooled(t) for t in range(80, 102)]
    steps = [a - b for a, b in itertools.pairwise(last)]
    assert steps == pytest.approx([schedule(80) / 21] * 21)
    assert last[-2] > 0
    assert last[-1] == 0
    assert cooled(200) == 0
    assert linear_cooldown(schedule, last_step=100, n_steps=0)(100) == schedule(100)


def test_groups_decay_matrices_alone_and_hold_tied_parameters_once():
    model = TiedModel()
    decayed, kept = parameter_groups(model, 0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[p] for p in decayed["params"]] == ["embedding.weight", "hidden.weight"]
    assert {names[p] for p in kept["params"]} == {
        "scale_bias",
        "hidden.bias",
        "norm.weight",
        "norm.bias",
    }
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0


def test_groups_leave_out_frozen_parameters_and_empty_groups():
    model = TiedModel()
    model.hidden.requires_grad_(False)
    parameters = [p for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert not any(p is q for p in parameters for q in model.hidden.parameters())
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


@pytest.mark.parametrize("fused", [None, False])
def test_adamw_with_the_schedule_equals_torch_s_adamw_with_lambda_lr(fused):
    torch.manual_seed(0)
    ours = TiedModel().double()
    theirs = copy.deepcopy(ours)
    a = adamw(ours, lr=1.0, weight_decay=0.3, fused=fused)
    decay = [theirs.embedding.weight, theirs.hidden.weight]
    keep = [theirs.hidden.bias, theirs.norm.weight, theirs.norm.bias, theirs.scale_bias]
    b = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.3}, {"params": keep, "weight_decay": 0.0}],
        lr=1.0,
        betas=(0.9, 0.98),
        eps=1e-9,
        foreach=False,
        fused=False,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        b, lambda i: inverse_square_root(i + 1, d_model=4, warmup=5)
    )
    start = ours.hidden.weight.detach().clone()
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    for step in range(1, 13):
        for group in a.param_groups:
            group["lr"] = inverse_square_root(step, d_model=4, warmup=5)
        for model, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            model(ids).square().mean().backward()
            optimizer.step()
        scheduler.step()
    assert (ours.hidden.weight - start).abs().max() > 0.01
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(
            ours.get_parameter(name), parameter, rtol=1e-10, atol=1e-10, msg=name
        )


def test_adamw_s_defaults_are_the_paper_s():
    group = adamw(TiedModel(), lr=0.1).param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.98), 1e-9, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inverse_square_root(0, d_model=4, warmup=5), "from 1, got step 0"),
        (lambda: inverse_square_root(1, d_model=4, warmup=0), "warmup must be positive, got 0"),
        (lambda: warmup_inverse_square_root(-1e-3, 5), "peak must be positive, got -0.001"),
        (lambda: warmup_inverse_square_root(1e-3, 5)(0), "from 1, got step 0"),
        (lambda: linear_cooldown(float, last_step=10, n_steps=10), "0 and last_step - 1 = 9"),
        (lambda: parameter_groups(TiedModel(), -0.1), "not be negative, got -0.1"),
        (lambda: adamw(nn.ReLU(), lr=0.1), "ReLU has no parameters"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
