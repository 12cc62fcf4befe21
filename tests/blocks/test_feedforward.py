"""The feed-forward network against torch.nn and transformers."""

import pytest
import torch
from torch import nn

from tfmlib.blocks.feedforward import ACTIVATIONS, FeedForward


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("relu", nn.ReLU()),
        ("gelu", nn.GELU()),
        ("gelu_tanh", nn.GELU(approximate="tanh")),
        ("silu", nn.SiLU()),
        ("sigmoid", nn.Sigmoid()),
    ],
)
def test_equals_torch(name, theirs, close):
    torch.manual_seed(0)
    ours = FeedForward(8, 32, activation=name).double()
    reference = nn.Sequential(nn.Linear(8, 32), theirs, nn.Linear(32, 8)).double()
    reference[0].load_state_dict(ours.expand.state_dict())
    reference[2].load_state_dict(ours.contract.state_dict())
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    close(ours(x), reference(x))


def test_swiglu_equals_llama(close):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    torch.manual_seed(0)
    theirs = LlamaMLP(
        LlamaConfig(hidden_size=8, intermediate_size=24, num_attention_heads=2)
    ).double()
    ours = FeedForward(8, 24, activation="silu", gated=True, bias=False).double()
    names = {"expand": "up_proj", "gate": "gate_proj", "contract": "down_proj"}
    weights = theirs.state_dict()
    ours.load_state_dict({f"{a}.weight": weights[f"{b}.weight"] for a, b in names.items()})
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    close(ours(x), theirs(x))


def test_each_position_by_itself(close):
    net = FeedForward(8, 32).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    close(net(x[:, order]), net(x)[:, order])


def test_gated_sizes_and_dropout():
    plain, gated = FeedForward(12, 48), FeedForward(12, 32, gated=True)
    count = [
        sum(p.numel() for n, p in m.named_parameters() if "weight" in n) for m in (plain, gated)
    ]
    assert count[0] == count[1] == 2 * 12 * 48
    net = FeedForward(8, 512, dropout=0.5)
    x = torch.randn(1, 1, 8)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="unknown activation 'tanh'") as error:
        FeedForward(4, 8, activation="tanh")
    assert all(name in str(error.value) for name in ACTIVATIONS)
