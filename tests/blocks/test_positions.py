"""Positions against the formula, against transformers, and for what they promise."""

import math

import pytest
import torch

from tfmlib.blocks.positions import (
    AlibiBias,
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    T5RelativeBias,
    sinusoidal_table,
)


def test_sinusoids_are_the_formula():
    table = sinusoidal_table(50, 8)
    for position in (0, 1, 7, 49):
        for i in range(4):
            angle = position / 10_000 ** (2 * i / 8)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_sinusoids_in_halves_equal_marian(close):
    from transformers import MarianConfig
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    theirs = MarianSinusoidalPositionalEmbedding(40, 12)
    if hasattr(theirs, "create_weight"):
        theirs.weight.data = theirs.create_weight()
    assert MarianConfig  # the layout belongs to this family
    close(sinusoidal_table(40, 12, layout="halves").float(), theirs.weight.data)


def test_sinusoids_turn_with_an_offset(close):
    """PE(t + k) is PE(t) turned, with one and the same rotation for every t."""
    table, offset = sinusoidal_table(100, 16), 13
    pair = torch.arange(0, 16, 2, dtype=torch.float64)
    angle = offset / 10_000 ** (pair / 16)
    turn = torch.zeros(16, 16, dtype=torch.float64)
    for i, a in enumerate(angle):
        s, c = math.sin(a), math.cos(a)
        turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(
            [[c, s], [-s, c]], dtype=torch.float64
        )
    close(table[:-offset] @ turn.T, table[offset:])


@pytest.mark.parametrize("scheme", [SinusoidalPositions(30, 8), LearnedPositions(30, 8, offset=2)])
def test_added_positions(scheme, close):
    x = torch.zeros(2, 5, 8)
    default = scheme(x)
    close(scheme(x, torch.arange(5)), default)
    close(scheme(x, torch.arange(5).expand(2, 5)), default)
    shifted = scheme(x, torch.tensor([[3, 4, 5, 6, 7], [0, 1, 2, 3, 4]]))
    close(shifted[1], default[1])
    assert not torch.allclose(shifted[0], default[0])
    with pytest.raises(ValueError, match="31 positions asked for; the table has 30"):
        scheme(torch.zeros(1, 31, 8))


@pytest.mark.parametrize("scheme", [SinusoidalPositions(30, 8), LearnedPositions(30, 8, offset=2)])
def test_positions_outside_the_table(scheme, close):
    """Named in both directions; a negative one would silently count from the end."""
    x = torch.zeros(2, 3, 8)
    close(scheme(x, torch.tensor([27, 28, 29]))[0, 0], scheme(torch.zeros(1, 30, 8))[0, 27])
    with pytest.raises(ValueError, match=r"expected positions from 0 to 29.*got 28 to 30"):
        scheme(x, torch.arange(28, 31))
    with pytest.raises(ValueError, match=r"expected positions from 0 to 29.*got -2 to 0"):
        scheme(x, torch.tensor([[0, 0, 0], [-2, -1, 0]]))
    assert scheme(torch.zeros(2, 0, 8), torch.arange(0)).shape == (2, 0, 8)


@pytest.mark.parametrize("scheme", [SinusoidalPositions(30, 8), LearnedPositions(30, 8)])
@pytest.mark.parametrize("shape", [(1,), (4,), (2, 1), (2, 1, 3), ()])
def test_positions_that_do_not_fit_the_tokens(scheme, shape):
    """One position for three tokens would silently be broadcast to all of them."""
    with pytest.raises(ValueError, match=r"\[time\] or \[batch, time\] with time=3; got"):
        scheme(torch.zeros(2, 3, 8), torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("scheme", [SinusoidalPositions(30, 8), LearnedPositions(30, 8)])
def test_positions_on_another_device_are_not_read(scheme):
    """Reading them would wait for a GPU; "meta" has no values, so that reading them fails."""
    there = scheme.to("meta")
    positions = torch.zeros(3, dtype=torch.long, device="meta")
    assert there(torch.zeros(2, 3, 8, device="meta"), positions).shape == (2, 3, 8)


def test_learned_offset():
    scheme = LearnedPositions(4, 8, offset=2)
    assert scheme.table.weight.shape == (6, 8)
    assert torch.equal(scheme(torch.zeros(1, 1, 8))[0, 0], scheme.table.weight[2])


def test_sinusoids_are_not_in_the_checkpoint():
    assert SinusoidalPositions(10, 4).state_dict() == {}


def test_rotary_equals_llama(close):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 9, 16), torch.randn(2, 3, 9, 16)
    positions = torch.stack([torch.arange(9), torch.arange(5, 14)])
    config = LlamaConfig(hidden_size=48, num_attention_heads=3, head_dim=16)
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    theirs = apply_rotary_pos_emb(q, k, cos, sin)
    rotary = Rotary(16)
    close(rotary(q, positions), theirs[0])
    close(rotary(k, positions), theirs[1])


def test_rotary_pairings_are_the_same_up_to_the_order_of_features(close):
    x = torch.randn(1, 2, 6, 8, dtype=torch.float64)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # halves -> interleaved
    halves = Rotary(8)(x, torch.arange(6))
    close(Rotary(8, pairing="interleaved")(x[..., order], torch.arange(6)), halves[..., order])


@pytest.mark.parametrize("pairing", ["interleaved", "halves"])
def test_rotary_products_depend_on_the_distance_only(pairing, close):
    torch.manual_seed(0)
    rotary = Rotary(8, pairing=pairing, d_rotary=6)
    q, k = torch.randn(1, 1, 1, 8).expand(1, 1, 7, 8), torch.randn(1, 1, 1, 8).expand(1, 1, 7, 8)
    product = rotary(q, torch.arange(7)) @ rotary(k, torch.arange(7)).transpose(-1, -2)
    for distance in range(-6, 7):
        diagonal = product[0, 0].diagonal(distance)
        assert (diagonal - diagonal[0]).abs().max() < 1e-5
    assert (product[0, 0].diagonal(1)[0] - product[0, 0].diagonal(2)[0]).abs() > 1e-3
    close(rotary(q, torch.arange(7)).norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(rotary(q, torch.arange(7))[..., 6:], q[..., 6:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rotary_angles_stay_exact_in_half_precision(dtype):
    """A model that is cast as a whole must turn as far as one whose input is."""
    torch.manual_seed(0)
    x, positions = (
        torch.randn(1, 1, 1, 16).to(dtype).expand(1, 1, 3, 16),
        torch.tensor([0, 257, 5000]),
    )
    cast = Rotary(16).to(dtype)
    assert torch.equal(cast(x, positions), Rotary(16)(x, positions))
    assert cast.frequency.dtype == torch.float32
    assert cast(x, positions).dtype == dtype
    exact = Rotary(16)(x.double(), positions)
    assert (cast(x, positions) - exact).abs().max() < 0.05
    assert Rotary(16).double().frequency.dtype == torch.float64


@pytest.mark.parametrize("n_heads", [1, 8, 12])
def test_alibi_equals_bloom(n_heads, close):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 7), n_heads, torch.float32)  # [heads, 1, keys]
    positions = torch.arange(7)
    ours = AlibiBias(n_heads)(positions, positions)
    # Bloom counts from the first key, we from the query: a row's difference is one number, and
    # below the diagonal softmax does not see it.
    last = ours[:, -1:] - ours[:, -1:, :1]
    close(last, theirs - theirs[..., :1])
    assert (ours.diagonal(dim1=-2, dim2=-1) == 0).all()
    assert ours[0, 3, 0] == 3 * ours[0, 1, 0]


@pytest.mark.parametrize("bidirectional", [True, False])
def test_t5_bias_equals_t5(bidirectional, close):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    torch.manual_seed(0)
    config = T5Config(
        num_heads=3,
        d_model=12,
        d_kv=4,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=40,
        is_decoder=not bidirectional,
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = T5RelativeBias(3, bidirectional=bidirectional, n_buckets=16, max_distance=40)
    ours.table.load_state_dict(theirs.relative_attention_bias.state_dict())
    positions = torch.arange(100)
    close(ours(positions, positions), theirs.compute_bias(100, 100)[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sinusoidal_table(3, 5), "must be even; got 5"),
        (lambda: sinusoidal_table(3, 4, layout="both"), "got 'both'"),
        (lambda: Rotary(8, d_rotary=10), "at most d_head=8; got 10"),
        (lambda: Rotary(8, pairing="none"), "got 'none'"),
        (lambda: AlibiBias(0), "must be positive; got 0"),
        (lambda: T5RelativeBias(2, bidirectional=True, n_buckets=2), "leave no bucket"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
