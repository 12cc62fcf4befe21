"""Weights of fewer bits and packed ones: how far off they are, and what a model with them does."""

import copy

import pytest
import torch
from torch import nn

from tfmlib.generation.beam import beam_search
from tfmlib.generation.cache import CachedDecoder, KeyValueCache
from tfmlib.generation.quantization import (
    HalfLinear,
    Int8Linear,
    PackedLinear,
    can_pack,
    pack_,
    quantize_,
    quantize_rows,
)
from tfmlib.generation.quantization import packed as packed_module
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


def test_rows_are_within_half_a_scale():
    torch.manual_seed(0)
    weight = torch.randn(7, 33) * torch.logspace(-3, 3, 7).unsqueeze(1)
    weight[3] = 0.0
    numbers, scale = quantize_rows(weight)
    assert numbers.dtype == torch.int8
    assert numbers.abs().amax(dim=1).tolist() == [127] * 3 + [0] + [127] * 3
    step = scale.float().unsqueeze(1)
    assert ((numbers * step - weight).abs() <= step * 0.5001).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 64), (2, 3, 64), (1, 1, 64)])
@pytest.mark.parametrize("out", [32, 20])
def test_product_is_near_the_float_one(bias, shape, out):
    torch.manual_seed(0)
    linear, x = nn.Linear(64, out, bias=bias), torch.randn(shape)
    exact, ours = linear(x), Int8Linear(linear)
    assert ours(x).shape == exact.shape
    assert ours(x).dtype == torch.float32
    # Each of 64 products is off by half a step of its weight and by bfloat16's rounding of x.
    step = linear.weight.abs().max() / 127 / 2 * x.abs().max()
    assert 0 < (ours(x) - exact).abs().max() < step * 64**0.5
    wide = ours(x.double())  # only the weights are rounded: closer
    weight = ours.numbers.double() * ours.scale.double().unsqueeze(1)
    expected = x.double() @ weight.T + (linear.bias.double() if bias else 0)
    torch.testing.assert_close(wide, expected)


def test_whole_numbers_are_exact():
    linear, x = nn.Linear(32, 32, bias=False), torch.zeros(2, 32)
    x[0, :2], x[1, 0] = torch.tensor([1.0, -3.0]), 2.0
    linear.weight.data = torch.zeros(32, 32)
    linear.weight.data[:2, :2] = torch.tensor([[127.0, 1.0], [-127.0, 64.0]])
    ours = Int8Linear(linear)
    assert torch.equal(ours.numbers, linear.weight.to(torch.int8))
    assert torch.equal(ours(x[1:]), linear(x[1:]))
    torch.testing.assert_close(ours(x), linear(x), rtol=2**-8, atol=0)  # 319 in bfloat16 is 320


def language_model():
    torch.manual_seed(0)
    sizes = dict(vocab_size=23, max_length=40, d_model=32, n_heads=4, n_layers=2)
    return LanguageModel(LanguageModelConfig(**sizes)).eval()


def test_a_whole_model():
    model = language_model()
    small = copy.deepcopy(model)
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    weights, rows = sum(m.weight.numel() for m in linears), sum(m.out_features for m in linears)
    assert quantize_(small) == 3 * weights - 2 * rows
    assert not [m for m in small.modules() if isinstance(m, nn.Linear)]
    tokens = torch.randint(23, (2, 9))
    logits, near = model(tokens), small(tokens)
    assert 0 < (logits - near).abs().max() < 0.1 * logits.abs().max()
    step = CachedDecoder(small, KeyValueCache(2, 30))
    assert greedy(step, tokens, max_new=20).shape == (2, 29)
    again = language_model()
    quantize_(again)
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(tokens), near)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 12), (12,), (2, 3, 12)])
def test_half_the_bits_are_the_rounded_weights(dtype, bias, shape):
    torch.manual_seed(0)
    linear, x = nn.Linear(12, 5, bias=bias).double(), torch.randn(shape, dtype=torch.float64)
    ours, rounded = HalfLinear(linear, dtype), copy.deepcopy(linear)
    rounded.weight.data = linear.weight.detach().to(dtype).double()
    torch.testing.assert_close(ours(x), rounded(x))
    assert not torch.equal(rounded.weight, linear.weight)


def test_a_whole_model_with_half_the_bits():
    model = language_model()
    small = copy.deepcopy(model)
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    assert quantize_(small, torch.bfloat16) == 2 * weights
    tokens = torch.randint(23, (2, 9))
    logits, near = model(tokens), small(tokens)
    assert 0 < (logits - near).abs().max() < 0.02 * logits.abs().max()


def test_other_numbers_are_refused():
    with pytest.raises(ValueError, match=r"torch\.int8, .*; got torch\.float64"):
        quantize_(language_model(), torch.float64)


def test_shared_maps_stay_shared():
    linear = nn.Linear(3, 3)
    model = nn.ModuleDict({"a": linear, "b": nn.Sequential(linear)})
    quantize_(model)
    assert model["a"] is model["b"][0]


def test_bytes_of_shared_maps_count_once():
    linear = nn.Linear(32, 32, bias=False)
    shared = nn.ModuleDict({"a": linear, "b": nn.Sequential(linear)})
    alone = nn.ModuleDict({"a": copy.deepcopy(linear)})
    assert quantize_(shared) == quantize_(alone) == 32 * 32 * 3 - 32 * 2


def test_nothing_to_quantize_is_an_error():
    model = language_model()
    quantize_(model)
    with pytest.raises(ValueError, match=r"LanguageModel has no nn\.Linear to replace"):
        quantize_(model)


needs_onednn = pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (4, 24), (2, 3, 24), (1, 50, 24)])
def test_packed_product_is_the_same(bias, shape):
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 40, bias=bias), torch.randn(shape)
    packed = PackedLinear(linear, 4)
    with torch.no_grad():
        assert torch.allclose(packed(x), linear(x), rtol=0, atol=1e-5)
    assert "in_features=24, out_features=40" in repr(packed)


@needs_onednn
def test_packed_model_finds_the_same_beams():
    model = language_model()
    packed = copy.deepcopy(model)
    pack_(packed, rows=4)
    assert not any(type(module) is nn.Linear for module in packed.modules())
    prompt = torch.tensor([[3, 4, 5]])
    found = [
        beam_search(CachedDecoder(m, KeyValueCache(2, 15)), prompt, beam=4, max_new=12, end_id=0)
        for m in (model, packed)
    ]
    assert torch.equal(found[0].tokens, found[1].tokens)


def test_what_cannot_be_packed_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"float32 weights on the CPU, got torch\.float64 on cpu"):
        pack_(language_model().double(), rows=4)
    with pytest.raises(ValueError, match="rows must be positive, got 0"):
        pack_(language_model(), rows=0)
    monkeypatch.setattr(packed_module, "can_pack", lambda: False)
    with pytest.raises(ValueError, match="a PyTorch with oneDNN"):
        pack_(language_model(), rows=4)
