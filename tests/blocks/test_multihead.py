"""Multi-head attention against torch.nn and transformers, its seams and its recorder."""

import pytest
import torch
from torch import nn

from tfmlib.blocks.attention import naive
from tfmlib.blocks.multihead import MultiHeadAttention, record_attention
from tfmlib.blocks.positions import AlibiBias, Rotary


def torch_twin(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    """PyTorch's module with the same weights."""
    theirs = nn.MultiheadAttention(12, ours.n_heads, batch_first=True, dtype=torch.float64)
    parts = [ours.project_q, ours.project_k, ours.project_v]
    theirs.in_proj_weight.data = torch.cat([p.weight.data for p in parts])
    theirs.in_proj_bias.data = torch.cat([p.bias.data for p in parts])
    theirs.out_proj.load_state_dict(ours.project_o.state_dict())
    return theirs


@pytest.mark.parametrize("core", ["naive", "sdpa"])
@pytest.mark.parametrize("cross", [False, True])
def test_equals_torch(core, cross, close):
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3, core=core).double()
    theirs = torch_twin(ours)
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    context = torch.randn(2, 7, 12, dtype=torch.float64, requires_grad=True) if cross else None
    source = x if context is None else context
    padding = torch.zeros(2, source.shape[1], dtype=torch.bool)
    padding[1, -2:] = True  # torch: True = hidden
    mine = ours(x, context, mask=~padding[:, None, None, :])
    reference, _ = theirs(x, source, source, key_padding_mask=padding, need_weights=False)
    close(mine, reference)
    inputs = (x,) if context is None else (x, context)
    upstream = torch.randn_like(mine)
    gradients = torch.autograd.grad(mine, (*inputs, ours.project_k.weight), upstream)
    expected = torch.autograd.grad(reference, (*inputs, theirs.in_proj_weight), upstream)
    for a, b in zip(gradients[:-1], expected[:-1], strict=True):
        close(a, b)
    close(gradients[-1], expected[-1][12:24])


def test_grouped_query_rotary_equals_llama(close):
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=6,
        num_key_value_heads=2,
        vocab_size=11,
    )
    model = LlamaModel(config)
    theirs = model.layers[0].self_attn
    ours = MultiHeadAttention(24, 6, n_kv_heads=2, bias=False, rotary=Rotary(4))
    weights = theirs.state_dict()
    ours.load_state_dict({f"project_{x}.weight": weights[f"{x}_proj.weight"] for x in "qkvo"})
    x = torch.randn(2, 9, 24)
    positions = torch.arange(9)[None]
    mask = torch.full((9, 9), -torch.inf).triu(1)[None, None]
    reference, _ = theirs(
        x, position_embeddings=model.rotary_emb(x, positions), attention_mask=mask
    )
    close(ours(x, causal=True), reference)


def test_heads_are_cut_in_order(close):
    """Head i reads the features i * d_head .. of each projection, and the output keeps them so."""
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3, bias=False).double()
    x = torch.randn(1, 5, 12, dtype=torch.float64)
    q, k, v = (p(x) for p in (ours.project_q, ours.project_k, ours.project_v))
    heads = [naive(*(y[:, None, :, 4 * i : 4 * i + 4] for y in (q, k, v)))[:, 0] for i in range(3)]
    close(ours(x), ours.project_o(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize("seam", ["rotary", "bias"])
def test_relative_positions_come_in_as_callables(seam, close):
    torch.manual_seed(0)
    how = {"rotary": Rotary(4)} if seam == "rotary" else {"position_bias": AlibiBias(3)}
    ours = MultiHeadAttention(12, 3, **how).double()
    x = torch.randn(2, 6, 12, dtype=torch.float64)
    out = ours(x)
    close(ours(x, positions=torch.arange(100, 106)), out, fp64=1e-6)  # only distances matter
    reverse = torch.arange(5, -1, -1)
    assert not torch.allclose(ours(x, positions=reverse * 2), out, atol=1e-3)


def test_options():
    some = MultiHeadAttention(12, 3, bias=("q", "v", "o"))
    assert some.project_k.bias is None
    assert some.project_q.bias is not None
    wide = MultiHeadAttention(12, 3, d_head=10, d_context=7)
    assert wide(torch.randn(1, 2, 12), torch.randn(1, 4, 7)).shape == (1, 2, 12)
    assert wide.project_k.weight.shape == (30, 7)
    dropping = MultiHeadAttention(12, 3, dropout=0.5)
    x = torch.randn(1, 8, 12)
    assert not torch.equal(dropping(x), dropping(x))
    assert torch.equal(dropping.eval()(x), dropping(x))


def test_record_sees_the_weights_with_the_mask(close):
    torch.manual_seed(0)
    model = nn.Sequential(MultiHeadAttention(12, 3), MultiHeadAttention(12, 3))
    x = torch.randn(2, 5, 12)
    plain = model(x)
    with record_attention(model) as maps:
        close(model(x), plain)
        model[0](x, causal=True)
    assert sorted(maps) == ["0", "1"]
    assert [len(maps["0"]), len(maps["1"])] == [2, 1]
    close(maps["0"][0].sum(-1), torch.ones(2, 3, 5))
    assert (maps["0"][1].triu(1) == 0).all()
    core = model[0].core
    model(x)
    assert len(maps["0"]) == 2  # outside the context nothing is recorded
    assert core is model[1].core
    with (
        pytest.raises(ValueError, match="Linear has no MultiHeadAttention"),
        record_attention(nn.Linear(2, 2)),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_heads": 5}, "n_heads=5 does not divide d_model=12"),
        ({"n_heads": 3, "n_kv_heads": 2}, "n_kv_heads=2 does not divide n_heads=3"),
        ({"n_heads": 3, "dropout": 1.0}, "dropout must lie in"),
        ({"n_heads": 3, "bias": ("q", "x")}, "bias must name"),
        ({"n_heads": 3, "core": "quick"}, "unknown attention core 'quick'"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        MultiHeadAttention(12, **options)


class Growing:
    """The smallest cache there can be: this module's own tests need no later chapter's."""

    def __init__(self) -> None:
        self.length = 0
        self.kept = []

    def update(self, k, v):
        self.kept.append((k, v))
        self.length += k.shape[2]
        return self.read()

    def read(self):
        return tuple(torch.cat(parts, dim=2) for parts in zip(*self.kept, strict=True))

    def layout(self, queries):
        return None


@pytest.mark.parametrize("seam", ["none", "rotary", "bias"])
@pytest.mark.parametrize("split", [(1,) * 6, (4, 1, 1), (2, 4)])
def test_positions_count_on_from_the_cache(seam, split, close):
    """Without positions of the caller's, those of new tokens follow on those in the cache."""
    torch.manual_seed(0)
    seams = {"rotary": {"rotary": Rotary(4)}, "bias": {"position_bias": AlibiBias(3)}}
    ours = MultiHeadAttention(12, 3, **seams.get(seam, {})).double()
    x, cache = torch.randn(2, 6, 12, dtype=torch.float64), Growing()
    parts = [ours(part, causal=True, cache=cache) for part in x.split(split, dim=1)]
    close(torch.cat(parts, dim=1), ours(x, causal=True))


def test_cross_attention_fills_its_cache_once(close):
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3).double()
    x, context = (torch.randn(2, n, 12, dtype=torch.float64) for n in (4, 5))
    cache = Growing()
    close(ours(x, context, cache=cache), ours(x, context))
    close(ours(x[:, :1], context, cache=cache), ours(x[:, :1], context))
    assert len(cache.kept) == 1
    assert cache.length == 5
