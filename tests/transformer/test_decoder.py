"""The decoder against torch.nn.TransformerDecoder, the language model against GPT-2 and Llama."""

from functools import partial

import pytest
import torch
from torch import nn
from torch_weights import decoder_layer_weights

from tfmlib.blocks.feedforward import FeedForward
from tfmlib.blocks.multihead import MultiHeadAttention
from tfmlib.blocks.residual import LayerNorm, Residual
from tfmlib.generation.cache import KeyValueCache
from tfmlib.transformer.decoder import Decoder, DecoderLayer, LanguageModel, LanguageModelConfig


def build(place: str) -> Decoder:
    return Decoder(
        (
            DecoderLayer(
                MultiHeadAttention(12, 3),
                FeedForward(12, 24),
                partial(Residual, 12, place=place),
                cross_attention=MultiHeadAttention(12, 3),
            )
            for _ in range(2)
        ),
        norm=LayerNorm(12) if place == "pre" else None,
    )


@pytest.mark.parametrize("place", ["post", "pre"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(place, dtype, close):
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(
        12, 3, 24, dropout=0.0, batch_first=True, norm_first=place == "pre"
    )
    theirs = nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(12) if place == "pre" else None).to(
        dtype
    )
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    ours = build(place).to(dtype)
    for mine, reference in zip(ours.layers, theirs.layers, strict=True):
        mine.load_state_dict(decoder_layer_weights(reference))
    if place == "pre":
        ours.norm.load_state_dict(theirs.norm.state_dict())
    x = torch.randn(2, 5, 12, dtype=dtype, requires_grad=True)
    memory = torch.randn(2, 4, 12, dtype=dtype, requires_grad=True)
    hidden = torch.tensor([[False] * 4, [False] * 2 + [True] * 2])
    mine = ours(x, memory, memory_mask=~hidden[:, None, None, :])
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)  # torch: True = hidden
    reference = theirs(x, memory, tgt_mask=future, memory_key_padding_mask=hidden)
    close(mine, reference)
    upstream = torch.randn_like(mine)
    for a, b in zip(
        torch.autograd.grad(mine, (x, memory), upstream),
        torch.autograd.grad(reference, (x, memory), upstream),
        strict=True,
    ):
        close(a, b)


def test_memory_and_cross_attention_go_together():
    decoder = build("post")
    with pytest.raises(ValueError, match="needs a memory"):
        decoder(torch.randn(1, 2, 12))
    model = LanguageModel(LanguageModelConfig(vocab_size=5, d_model=8, n_heads=2, n_layers=1))
    with pytest.raises(ValueError, match="cannot take any"):
        model.decoder(torch.randn(1, 2, 8), torch.randn(1, 3, 8))


def test_equals_gpt2(close):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=17,
            n_positions=10,
            n_embd=12,
            n_layer=2,
            n_head=3,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            initializer_range=0.3,
        )
    ).eval()
    ours = LanguageModel(
        LanguageModelConfig(vocab_size=17, max_length=10, d_model=12, n_layers=2, n_heads=3)
    )
    source = theirs.state_dict()
    state = {
        "embedding.table.weight": source["transformer.wte.weight"],
        "positions.table.weight": source["transformer.wpe.weight"],
    }
    for kind in ("weight", "bias"):
        state[f"decoder.norm.{kind}"] = source[f"transformer.ln_f.{kind}"]
        for i in range(2):
            a, b = f"decoder.layers.{i}", f"transformer.h.{i}"
            qkv = source[f"{b}.attn.c_attn.{kind}"].chunk(3, dim=-1)
            for part, value in zip("qkv", qkv, strict=True):
                state[f"{a}.self_attention.project_{part}.{kind}"] = value.t()
            for mine, yours in {
                "self_attention.project_o": "attn.c_proj",
                "feed_forward.expand": "mlp.c_fc",
                "feed_forward.contract": "mlp.c_proj",
            }.items():
                state[f"{a}.{mine}.{kind}"] = source[f"{b}.{yours}.{kind}"].t()
            for mine, yours in {"self_attention": "ln_1", "feed_forward": "ln_2"}.items():
                state[f"{a}.residual_{mine}.norm.{kind}"] = source[f"{b}.{yours}.{kind}"]
    ours.load_state_dict(state)
    tokens = torch.randint(17, (2, 10))
    close(ours(tokens), theirs(tokens).logits)


def test_gpt2_has_no_cross_attention_and_just_our_parameters():
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        theirs = GPT2LMHeadModel(GPT2Config())
        ours = LanguageModel(LanguageModelConfig(vocab_size=50_257))
    names = [name for name, _ in theirs.named_modules()]
    assert sum(name.endswith(".attn") for name in names) == 12
    assert not [name for name in names if "cross" in name]
    counts = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert counts == [124_439_808] * 2
    assert all(layer.cross_attention is None for layer in ours.decoder.layers)


SCHEMES = ["learned", "sinusoidal", "rotary", "alibi", "t5", "none"]


def tiny(positions: str, **changes) -> LanguageModel:
    torch.manual_seed(0)
    config = LanguageModelConfig(
        vocab_size=13,
        max_length=12,
        d_model=12,
        n_layers=2,
        n_heads=3,
        positions=positions,
        **changes,
    )
    model = LanguageModel(config).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("positions", SCHEMES)
def test_causal(positions):
    """Changing a token changes the logits from its own position on, and none before."""
    model = tiny(positions)
    tokens = torch.randint(13, (1, 8))
    before = model(tokens)
    for t in range(8):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1) % 13
        difference = (model(changed) - before).abs().amax(dim=(0, 2))
        assert (difference[:t] == 0).all()
        assert (difference[t:] > 0).all()


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("split", [(1,) * 8, (3, 5), (5, 1, 2), (8,)])
def test_cached_equals_uncached(positions, split, close):
    model = tiny(positions, n_kv_heads=1, norm="rms", gated=True, activation="silu")
    tokens = torch.randint(13, (2, 8))
    cache, parts = KeyValueCache(2, 8), []
    for part in tokens.split(split, dim=1):
        parts.append(model(part, cache=cache))
    close(torch.cat(parts, dim=1), model(tokens))
    assert cache.length == 8


@pytest.mark.parametrize("positions", SCHEMES)
def test_left_padding_changes_nothing(positions, close):
    model = tiny(positions)
    tokens = torch.randint(13, (1, 5))
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), tokens], dim=1)
    mask = torch.tensor([[[[False] * 3 + [True] * 5]]])
    counted = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4]])
    close(model(padded, mask=mask, positions=counted)[:, 3:], model(tokens))


def test_names_are_checked():
    with pytest.raises(ValueError, match=r"positions must be one of .* got 'rope'"):
        LanguageModelConfig(vocab_size=5, positions="rope")
    with pytest.raises(ValueError, match=r"norm must be one of \['layer', 'rms'\]; got 'batch'"):
        LanguageModelConfig(vocab_size=5, norm="batch")


def test_untied_output():
    model = LanguageModel(
        LanguageModelConfig(vocab_size=13, d_model=12, n_heads=3, n_layers=1, tied=False)
    )
    assert model.output is not None
    assert model(torch.tensor([[1, 2]])).shape == (1, 2, 13)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_hidden_states_times_the_output_weight(tied):
    model = tiny("learned", tied=tied)
    tokens = torch.tensor([[1, 2, 3, 4]])
    expected = torch.nn.functional.linear(model.hidden(tokens), model.output_weight)
    assert torch.equal(model(tokens), expected)
