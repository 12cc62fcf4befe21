"""Norms and residual connections against torch.nn and the equations."""

import pytest
import torch
from torch import nn

from tfmlib.blocks.residual import (
    LayerNorm,
    Residual,
    RMSNorm,
    depth_scaled_init_,
    xavier_init_,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("ours", "theirs"), [(LayerNorm, nn.LayerNorm), (RMSNorm, nn.RMSNorm)])
def test_equals_torch(ours, theirs, dtype, close):
    torch.manual_seed(0)
    mine, reference = ours(16, eps=1e-3).to(dtype), theirs(16, eps=1e-3).to(dtype)
    for parameter in mine.parameters():
        nn.init.normal_(parameter)
    reference.load_state_dict(mine.state_dict())
    x = (3 + 2 * torch.randn(4, 5, 16, dtype=dtype)).requires_grad_()
    close(mine(x), reference(x))
    upstream = torch.randn(4, 5, 16, dtype=dtype)
    for a, b in zip(
        torch.autograd.grad(mine(x), (x, *mine.parameters()), upstream),
        torch.autograd.grad(reference(x), (x, *reference.parameters()), upstream),
        strict=True,
    ):
        close(a, b)


def test_layer_norm_is_the_equation(close):
    norm = LayerNorm(6, eps=0.1).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 6, dtype=torch.float64)
    mean = x.sum(-1, keepdim=True) / 6
    variance = ((x - mean) ** 2).sum(-1, keepdim=True) / 6
    close(norm(x), (x - mean) / (variance + 0.1) ** 0.5 * norm.weight + norm.bias)
    assert LayerNorm(6, bias=False).bias is None


def test_rms_norm_does_not_overflow_in_half_precision():
    x = torch.full((1, 8), 1000.0, dtype=torch.float16)
    assert torch.allclose(RMSNorm(8).half()(x), torch.ones(1, 8, dtype=torch.float16))


def test_place_of_the_norm(close):
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    post, pre = (Residual(8, place=place).double() for place in ("post", "pre"))
    for layer in (post, pre):
        nn.init.normal_(layer.norm.weight)
    close(post(x, torch.sin), post.norm(x + torch.sin(x)))
    close(pre(x, torch.sin), x + torch.sin(pre.norm(x)))
    with pytest.raises(ValueError, match='"pre" or "post"; got \'both\''):
        Residual(8, place="both")


def test_dropout_falls_on_the_sublayer_only():
    torch.manual_seed(0)
    layer = Residual(8, place="pre", dropout=0.5)
    x = torch.randn(2, 3, 8)
    added = layer(x, torch.ones_like) - x
    assert set(added.round(decimals=4).unique().tolist()) == {0.0, 2.0}
    assert torch.allclose(layer.eval()(x, torch.ones_like), x + 1)


def test_xavier():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 600), nn.Embedding(7, 5), LayerNorm(4))
    before = model[1].weight.clone()
    xavier_init_(model)
    bound = (6 / 900) ** 0.5
    assert model[0].weight.abs().max() <= bound
    assert model[0].weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert (model[0].bias == 0).all()
    assert torch.equal(model[1].weight, before)


def test_depth_scaled():
    torch.manual_seed(0)
    model = nn.ModuleDict({"expand": nn.Linear(200, 300), "contract": nn.Linear(300, 200)})
    depth_scaled_init_(model, 8)
    assert model["expand"].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model["contract"].weight.std().item() == pytest.approx(0.02 / 4, rel=0.02)
    assert (model["contract"].bias == 0).all()
    with pytest.raises(ValueError, match="got 0, 2"):
        depth_scaled_init_(model, 0)
