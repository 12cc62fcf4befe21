"""Attention against PyTorch's own, against the equation, and at its edges."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tfmlib.blocks.attention import (
    attention_weights,
    causal_mask,
    get_core,
    naive,
    register_core,
    sdpa,
)

CORES = [naive, sdpa]


def heads(*, queries=5, keys=7, kv_heads=4, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype, requires_grad=True)

    return draw(2, 4, queries, 8), draw(2, kv_heads, keys, 8), draw(2, kv_heads, keys, 6)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_equals_torch(core, dtype, kv_heads, close):
    q, k, v = heads(dtype=dtype, kv_heads=kv_heads)
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(2, 1, 5, 7, generator=generator) > 0.4
    mask[..., 0] = True
    ours = core(q, k, v, mask=mask)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    close(ours, theirs)
    upstream = torch.randn(ours.shape, generator=generator, dtype=dtype)
    for a, b in zip(
        torch.autograd.grad(ours, (q, k, v), upstream),
        torch.autograd.grad(theirs, (q, k, v), upstream),
        strict=True,
    ):
        close(a, b)


def test_is_the_equation():
    """One query by hand: scores 3/sqrt(2) and 0 over two keys, in plain Python."""
    q = torch.tensor([[[[1.0, 2.0]]]], dtype=torch.float64)
    k = torch.tensor([[[[1.0, 1.0], [2.0, -1.0]]]], dtype=torch.float64)
    v = torch.tensor([[[[10.0], [20.0]]]], dtype=torch.float64)
    e = [math.exp(3 / math.sqrt(2)), math.exp(0.0)]
    expected = (10 * e[0] + 20 * e[1]) / sum(e)
    for core in CORES:
        assert core(q, k, v).item() == pytest.approx(expected, rel=1e-12)


OPTIONS = [
    {"causal": causal, "mask": mask, "bias": bias, "scale": scale}
    for causal, mask, bias, scale in itertools.product(
        [False, True], [False, True], [False, True], [None, 0.3]
    )
]


@pytest.mark.parametrize("shape", [(7, 7), (3, 7), (7, 3), (1, 7)])
@pytest.mark.parametrize("options", OPTIONS)
def test_cores_agree(options, shape, close):
    """All cores, outputs and gradients, with every combination of what they take."""
    q, k, v = heads(queries=shape[0], keys=shape[1], kv_heads=2)
    generator = torch.Generator().manual_seed(2)
    options = dict(options)
    if options["mask"]:
        options["mask"] = torch.rand(2, 1, *shape, generator=generator) > 0.5  # with empty rows
    else:
        options["mask"] = None
    options["bias"] = (
        torch.randn(4, *shape, generator=generator, dtype=torch.float64)
        if options["bias"]
        else None
    )
    ours, reference = sdpa(q, k, v, **options), naive(q, k, v, **options)
    close(ours, reference)
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), (q, k, v)),
        torch.autograd.grad(reference.square().sum(), (q, k, v)),
        strict=True,
    ):
        close(a, b)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("how", ["mask", "bias", "causal"])
def test_empty_row_gives_zero_and_no_gradient(core, how):
    q, k, v = heads(queries=7, keys=5)
    options = {}
    if how == "causal":  # two queries more than keys: the first two see nothing
        options, empty = {"causal": True}, slice(0, 2)
    elif how == "mask":
        mask = torch.ones(7, 5, dtype=torch.bool)
        mask[3] = False
        options, empty = {"mask": mask}, slice(3, 4)
    else:
        bias = torch.zeros(7, 5, dtype=torch.float64)
        bias[3] = -math.inf
        options, empty = {"bias": bias}, slice(3, 4)
    with torch.autograd.detect_anomaly(check_nan=True):
        out = core(q, k, v, **options)
        assert (out[:, :, empty] == 0).all()
        out.square().sum().backward()
    assert q.grad is not None
    assert (q.grad[:, :, empty] == 0).all()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    other = torch.ones(7, dtype=torch.bool)
    other[empty] = False
    assert (q.grad[:, :, other] != 0).any()


def test_gradcheck():
    q, k, v = heads(queries=3, keys=4, kv_heads=2)
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    for core in CORES:
        assert torch.autograd.gradcheck(lambda *x, c=core: c(*x, mask=mask, causal=True), (q, k, v))


@pytest.mark.parametrize("core", CORES)
def test_causal_hides_the_future(core):
    """Changing a key changes no query before it, and every query from it on."""
    q, k, v = (x.detach() for x in heads(queries=4, keys=6))
    before = core(q, k, v, causal=True)
    for j in range(6):
        changed = k.clone()
        changed[:, :, j] += 1.0
        difference = (core(q, changed, v, causal=True) - before).abs().amax(dim=(0, 1, 3))
        assert [bool(d > 0) for d in difference] == [j <= i + 2 for i in range(4)]


def test_causal_mask_is_aligned_at_the_bottom_right():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True] * 4]
    assert causal_mask(3, 2).tolist() == [[False, False], [True, False], [True, True]]


def test_weights_are_what_the_output_averages_with(close):
    q, k, v = heads(queries=5, keys=7)
    weights = attention_weights(q, k, causal=True)
    close(weights.sum(-1), torch.ones(2, 4, 5, dtype=torch.float64))
    close(weights @ v, sdpa(q, k, v, causal=True))


def test_naive_dropout_keeps_the_expectation():
    torch.manual_seed(0)
    q, k, v = (x.detach() for x in heads())
    mean = torch.stack([naive(q, k, v, dropout=0.3) for _ in range(4000)]).mean(0)
    assert (mean - naive(q, k, v)).abs().max() < 0.1
    assert not torch.equal(naive(q, k, v, dropout=0.3), naive(q, k, v))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda q, k, v: ((q[0], k, v), {}), ValueError, "must be .batch, heads, time, d_head"),
        (lambda q, k, v: ((q[..., :4], k, v), {}), ValueError, "agree in batch and d_head"),
        (lambda q, k, v: ((q, k, v[:, :, :2]), {}), ValueError, "k and v must agree"),
        (lambda q, k, v: ((q, k[:, :3], v[:, :3]), {}), ValueError, "3 key-value heads do not"),
        (
            lambda q, k, v: ((q, k, v), {"mask": torch.ones(5, 7)}),
            TypeError,
            "mask must be boolean, True = may attend",
        ),
        (
            lambda q, k, v: ((q, k, v), {"mask": torch.ones(7, 5, dtype=torch.bool)}),
            ValueError,
            "does not broadcast",
        ),
        (lambda q, k, v: ((q, k, v), {"bias": torch.ones(3, 7)}), ValueError, "bias of shape"),
    ],
)
def test_bad_input_is_named(core, change, error, words):
    args, options = change(*heads())
    with pytest.raises(error, match=words):
        core(*args, **options)


def test_registry():
    assert get_core("naive") is naive
    assert get_core(naive) is naive
    with pytest.raises(ValueError, match=r"unknown attention core 'fast'; there are \['auto'"):
        get_core("fast")
    with pytest.raises(ValueError, match="registered already"):
        register_core("naive", sdpa)
    register_core("naive", naive)  # the same again is no error
