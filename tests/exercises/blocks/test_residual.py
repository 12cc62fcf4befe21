"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import torch
from answers import Answers

from tfmlib.exercises.blocks import residual as exercises


def stack_by_recursion(x, sublayers, norm, place):
    if not sublayers:
        return norm(x) if place == "pre" else x
    first, *rest = sublayers
    x = x + first(norm(x)) if place == "pre" else norm(x + first(x))
    return stack_by_recursion(x, rest, norm, place)


def stack_two_loops(x, sublayers, norm, place):
    if place == "post":
        for f in sublayers:
            x = norm(f(x) + x)
        return x
    stream = x.clone()
    for f in sublayers:
        stream += f(norm(stream))
    return norm(stream)


def backward_by_jacobian(x, upstream, eps):
    r = torch.sqrt((x**2).mean(-1) + eps)[..., None, None]
    y = x[..., None] / r
    d = x.shape[-1]
    jacobian = (torch.eye(d, dtype=x.dtype) - y @ y.mT / d) / r
    return (jacobian @ upstream[..., None])[..., 0]


def backward_by_quotient_rule(x, upstream, eps):
    square = x.square().mean(-1, keepdim=True) + eps
    along = (upstream * x).sum(-1, keepdim=True) / x.shape[-1]
    return upstream / square**0.5 - x * along / square**1.5


RIGHT = {
    "path_share": [
        lambda a, depth, k: math.comb(depth, k) * (a / (1 + a)) ** k / (1 + a) ** (depth - k),
        lambda a, depth, k: torch.exp(
            torch.distributions.Binomial(
                depth, torch.tensor(a / (1 + a), dtype=torch.float64)
            ).log_prob(torch.tensor(float(k), dtype=torch.float64))
        ),
    ],
    "stack": [stack_by_recursion, stack_two_loops],
    "norm_backward": [backward_by_jacobian, backward_by_quotient_rule],
    "fold_gain": [
        lambda gain, bias, W, b: ((W.T * gain).T, b + (bias[:, None] * W).sum(0)),
        lambda gain, bias, W, b: [torch.einsum("i,ij->ij", gain, W), b + W.T @ bias],
    ],
    "centre": [
        lambda W_2, b_2: (W_2 - W_2.mean(-1, keepdim=True), b_2 - b_2.mean()),
        lambda W_2, b_2: (
            (W_2.T - W_2.T.mean(0)).T,
            b_2 - b_2.sum() / len(b_2),
        ),
    ],
}

WRONG = {
    "path_share": [
        lambda a, depth, k: a**k / (1 + a) ** depth,
        lambda a, depth, k: math.comb(depth, k) * a**k,
        lambda a, depth, k: math.comb(depth, k) * a ** (depth - k) / (1 + a) ** depth,
        lambda a, depth, k: math.comb(depth, k) / 2**depth,
    ],
    "stack": [
        lambda x, sublayers, norm, place: stack_two_loops(
            x, sublayers, norm, "pre" if place == "post" else "post"
        ),
        lambda x, sublayers, norm, place: _no_final_norm(x, sublayers, norm, place),
        lambda x, sublayers, norm, place: norm(_no_final_norm(x, sublayers, norm, "pre")),
        lambda x, sublayers, norm, place: _normed_path(x, sublayers, norm, place),
        lambda x, sublayers, norm, place: _no_residual(x, sublayers, norm, place),
    ],
    "norm_backward": [
        lambda x, upstream, eps: upstream / (x.square().mean(-1, keepdim=True) + eps).sqrt(),
        lambda x, upstream, eps: backward_by_quotient_rule(x, upstream, 0.0),
        lambda x, upstream, eps: (
            backward_by_quotient_rule(x, upstream, eps) - upstream.mean(-1, keepdim=True)
        ),
        lambda x, upstream, eps: (
            backward_by_quotient_rule(x - x.mean(-1, keepdim=True), upstream, eps)
        ),
        lambda x, upstream, eps: (
            upstream - x * (upstream * x).mean(-1, keepdim=True)
        ) / (x.square().mean(-1, keepdim=True) + eps).sqrt(),
    ],
    "fold_gain": [
        lambda gain, bias, W, b: (gain * W if W.shape[1] == len(gain) else W, bias @ W + b),
        lambda gain, bias, W, b: (gain[:, None] * W, b),
        lambda gain, bias, W, b: (gain[:, None] * W, bias @ (gain[:, None] * W) + b),
        lambda gain, bias, W, b: gain[:, None] * W,
    ],
    "centre": [
        lambda W_2, b_2: (W_2 - W_2.mean(0), b_2 - b_2.mean()),
        lambda W_2, b_2: (W_2 - W_2.mean(), b_2 - b_2.mean()),
        lambda W_2, b_2: (W_2 - W_2.mean(1, keepdim=True), b_2),
        lambda W_2, b_2: (W_2, b_2),
    ],
}  # fmt: skip


def _no_final_norm(x, sublayers, norm, place):
    for f in sublayers:
        x = norm(x + f(x)) if place == "post" else x + f(norm(x))
    return x


def _normed_path(x, sublayers, norm, place):
    for f in sublayers:
        if place == "post":
            x = norm(x + f(x))
        else:
            x = norm(x)
            x = x + f(x)
    return x if place == "post" else norm(x)


def _no_residual(x, sublayers, norm, place):
    for f in sublayers:
        x = norm(f(x)) if place == "post" else f(norm(x))
    return x if place == "post" else norm(x)


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG

    def test_counterexample_of_a_stack_is_short(self):
        """Functions are shown by their names, and a small case comes first."""
        _, line = exercises.check_stack.run(_no_residual)
        assert line.startswith(
            "stack: for x=[[1, 1, 4]], sublayers=[h.roll(1, -1)], norm=layer_norm, place='post': "
        )
        assert len(line) < 160
