"""The encoder against torch.nn.TransformerEncoder with the same weights."""

from functools import partial

import pytest
import torch
from torch import nn
from torch_weights import encoder_layer_weights

from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.blocks.residual import LayerNorm, Residual
from tfmlib.transformer.encoder import Encoder, EncoderLayer


def build(place: str, n_layers: int = 2) -> Encoder:
    return Encoder(
        (
            EncoderLayer(
                MultiHeadAttention(12, 3),
                FeedForward(12, 24),
                partial(Residual, 12, place=place),
            )
            for _ in range(n_layers)
        ),
        norm=LayerNorm(12) if place == "pre" else None,
    )


@pytest.mark.parametrize("place", ["post", "pre"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(place, dtype, close):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        12, 3, 24, dropout=0.0, batch_first=True, norm_first=place == "pre"
    )
    theirs = nn.TransformerEncoder(
        layer,
        2,
        norm=nn.LayerNorm(12) if place == "pre" else None,
        enable_nested_tensor=False,
    ).to(dtype)
    for parameter in theirs.parameters():  # the layers are copies of one: make them differ
        parameter.data += 0.1 * torch.randn_like(parameter)
    ours = build(place).to(dtype)
    for mine, reference in zip(ours.layers, theirs.layers, strict=True):
        mine.load_state_dict(encoder_layer_weights(reference))
    if place == "pre":
        ours.norm.load_state_dict(theirs.norm.state_dict())
    x = torch.randn(2, 5, 12, dtype=dtype, requires_grad=True)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])  # torch: True = hidden
    mine = ours(x, mask=~padding[:, None, None, :])
    reference = theirs(x, src_key_padding_mask=padding)
    real = ~padding
    close(mine[real], reference[real])
    upstream = torch.randn_like(mine) * real.unsqueeze(-1)
    inputs = (x, ours.layers[0].feed_forward.expand.weight)
    expected = (x, theirs.layers[0].linear1.weight)
    for a, b in zip(
        torch.autograd.grad(mine, inputs, upstream),
        torch.autograd.grad(reference, expected, upstream),
        strict=True,
    ):
        close(a, b)


@pytest.mark.parametrize("place", ["post", "pre"])
def test_padding_changes_nothing(place, close):
    torch.manual_seed(0)
    ours = build(place).double()
    x = torch.randn(1, 4, 12, dtype=torch.float64)
    padded = torch.cat([x, torch.randn(1, 3, 12, dtype=torch.float64)], dim=1)
    mask = torch.tensor([[[[True] * 4 + [False] * 3]]])
    close(ours(padded, mask=mask)[:, :4], ours(x))


def test_order_does_not_matter_without_positions(close):
    torch.manual_seed(0)
    ours = build("post").double()
    x = torch.randn(2, 6, 12, dtype=torch.float64)
    order = torch.randperm(6)
    close(ours(x[:, order]), ours(x)[:, order])


def test_any_attention_with_the_signature_fits():
    class Mean(nn.Module):
        def forward(self, x, *, radius):
            return x.mean(1, keepdim=True).expand_as(x) * radius

    layer = EncoderLayer(Mean(), nn.Identity(), partial(Residual, 4, place="pre"))
    x = torch.randn(1, 3, 4)
    assert not torch.equal(layer(x, radius=1.0), layer(x, radius=2.0))
