"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import math

import pytest
import torch

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


def cases(table):
    return [
        pytest.param(name, way, id=f"{name}-{i}")
        for name, ways in table.items()
        for i, way in enumerate(ways)
    ]


@pytest.mark.parametrize(("name", "way"), cases(RIGHT))
def test_accepts(name, way):
    check = getattr(exercises, f"check_{name}")
    passed, line = check.run(way)
    assert passed, line
    check(way, must_pass=True)


@pytest.mark.parametrize(("name", "way"), cases(WRONG))
def test_rejects(name, way, capsys):
    check = getattr(exercises, f"check_{name}")
    check(way)  # never raises
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert ": for " in out
    with pytest.raises(AssertionError):
        check(way, must_pass=True)


def test_every_checker_has_both_kinds():
    names = {n.removeprefix("check_") for n in vars(exercises) if n.startswith("check_")}
    assert names == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("name", [n for n in RIGHT if n != "stack"])
def test_the_reference_itself_passes(name):
    check = getattr(exercises, f"check_{name}")
    assert check.run(check.reference)[0]
