"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math
from functools import reduce

import torch
from answers import Answers

from tfmlib.exercises.training import depth as exercises


def jacobian_from_the_right(jacobians, residual):
    eye = torch.eye(len(jacobians[0]))
    steps = [jacobian + eye if residual else jacobian for jacobian in jacobians]
    return reduce(lambda later, earlier: later @ earlier, reversed(steps))


def jacobian_chained(jacobians, residual):
    steps = [jacobian + residual * torch.eye(len(jacobian)) for jacobian in jacobians]
    return torch.linalg.multi_dot(list(reversed(steps))) if len(steps) > 1 else steps[0]


def jacobian_by_autograd(jacobians, residual):
    def stack(x):
        for jacobian in jacobians:
            x = jacobian @ x + (x if residual else 0)
        return x

    return torch.autograd.functional.jacobian(stack, torch.zeros(len(jacobians[0])))


def jacobian_wrong_order(jacobians, residual):
    whole = torch.eye(len(jacobians[0]))
    for jacobian in jacobians:
        whole = whole @ (jacobian + residual * torch.eye(len(jacobian)))
    return whole


def jacobian_one_bypass(jacobians, residual):
    whole = torch.eye(len(jacobians[0]))
    for jacobian in jacobians:
        whole = jacobian @ whole
    return whole + (torch.eye(len(whole)) if residual else 0)


def jacobian_always_residual(jacobians, residual):
    return jacobian_by_autograd(jacobians, True)


def jacobian_summed(jacobians, residual):
    return sum(jacobians) + (torch.eye(len(jacobians[0])) if residual else 0)


def stack_reduced(x, sublayers, norm):
    return norm(reduce(lambda h, f: h + f(norm(h)), sublayers, x))


def stack_collected(x, sublayers, norm):
    branches = []
    for sublayer in sublayers:
        branches.append(sublayer(norm(x + sum(branches))))
    return norm(x + sum(branches))


def stack_recursive(x, sublayers, norm):
    if not sublayers:
        return norm(x)
    return stack_recursive(x + sublayers[0](norm(x)), sublayers[1:], norm)


def stack_without_the_last_norm(x, sublayers, norm):
    for sublayer in sublayers:
        x = x + sublayer(norm(x))
    return x


def stack_post(x, sublayers, norm):
    for sublayer in sublayers:
        x = norm(x + sublayer(x))
    return x


def stack_norm_in_the_stream(x, sublayers, norm):
    for sublayer in sublayers:
        x = norm(x)
        x = x + sublayer(x)
    return norm(x)


def stack_no_residual(x, sublayers, norm):
    for sublayer in sublayers:
        x = sublayer(norm(x))
    return norm(x)


def stack_norm_after_the_branch(x, sublayers, norm):
    for sublayer in sublayers:
        x = x + norm(sublayer(x))
    return norm(x)


def branch_in_two_steps(n_layers, start, branch, growth):
    wanted = growth * start - start  # to be added by all branches together
    return (wanted / (n_layers * 2) / branch) ** 0.5


def branch_searched(n_layers, start, branch, growth):
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        too_much = start + 2 * n_layers * branch * middle**2 > growth * start
        low, high = (low, middle) if too_much else (middle, high)
    return low


def score_exact(d_model, d_k, std, scaled):
    variance = d_k * (d_model * std**2) ** 2
    return torch.tensor(variance / d_k if scaled else variance).sqrt()


def score_simplified(d_model, d_k, std, scaled):
    return d_model * std * std * (1 if scaled else d_k**0.5)


def score_as_power(d_model, d_k, std, scaled):
    return math.exp(math.log(d_model) + 2 * math.log(std) + (0 if scaled else 0.5 * math.log(d_k)))


RIGHT = {
    "jacobian": [jacobian_from_the_right, jacobian_chained, jacobian_by_autograd],
    "pre_norm": [stack_reduced, stack_collected, stack_recursive],
    "branch_scale": [
        branch_in_two_steps,
        branch_searched,
        lambda n_layers, start, branch, growth: torch.tensor(
            (growth - 1) * start / branch / n_layers / 2
        ).sqrt(),
    ],
    "score_std": [score_exact, score_simplified, score_as_power],
}

WRONG = {
    "jacobian": [
        jacobian_wrong_order,
        jacobian_one_bypass,
        jacobian_always_residual,
        jacobian_summed,
    ],
    "pre_norm": [
        stack_without_the_last_norm,
        stack_post,
        stack_norm_in_the_stream,
        stack_no_residual,
        stack_norm_after_the_branch,
    ],
    "branch_scale": [
        lambda n_layers, start, branch, growth: 1 / math.sqrt(2 * n_layers),
        lambda n_layers, start, branch, growth: math.sqrt(growth * start / (2 * n_layers * branch)),
        lambda n_layers, start, branch, growth: math.sqrt((growth - 1) * start / n_layers / branch),
        lambda n_layers, start, branch, growth: (growth - 1) * start / (2 * n_layers * branch),
    ],
    "score_std": [
        lambda d_model, d_k, std, scaled: 1.0 if scaled else math.sqrt(d_k),
        lambda d_model, d_k, std, scaled: d_k * std**2 * (1 if scaled else math.sqrt(d_k)),
        lambda d_model, d_k, std, scaled: d_model * std * (1 if scaled else math.sqrt(d_k)),
        lambda d_model, d_k, std, scaled: d_model * std**2 / (math.sqrt(d_k) if scaled else 1),
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG


def test_the_scores_of_a_wrong_answer_are_drawn():
    _, line = exercises.check_score_std.run(lambda d_model, d_k, std, scaled: 7.0)
    assert line.endswith("got 7, but a draw of such weights gives scores with std 1")
