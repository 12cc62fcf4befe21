"""The full Transformer against torch.nn.Transformer and Marian, and the paper's sizes."""

import pytest
import torch
from torch import nn
from torch_weights import decoder_layer_weights, encoder_layer_weights

from tfmlib.generation.cache import KeyValueCache
from tfmlib.transformer.transformer import Transformer, TransformerConfig


def tiny(**changes) -> Transformer:
    torch.manual_seed(0)
    sizes = {"d_model": 12, "n_heads": 3, "d_ff": 24, "n_encoder_layers": 2}
    config = TransformerConfig(
        **{"vocab_size": 17, "n_decoder_layers": 2, "max_length": 20, **sizes, **changes}
    )
    model = Transformer(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(TransformerConfig.base(), 63_082_496), (TransformerConfig.big(), 214_245_376)],
)
def test_the_papers_sizes(config, parameters):
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert config.norm_place == "post"
    assert isinstance(model.encoder.norm, nn.Identity)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("place", ["post", "pre"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(place, dtype, close):
    ours = tiny(norm_place=place).to(dtype).eval()
    theirs = nn.Transformer(
        12, 3, 2, 2, 24, dropout=0.0, batch_first=True, norm_first=place == "pre", dtype=dtype
    )
    if place == "post":  # PyTorch always ends its stacks in a norm; the paper's post-norm does not
        theirs.encoder.norm = theirs.decoder.norm = None
    else:
        ours.encoder.norm.load_state_dict(theirs.encoder.norm.state_dict())
        ours.decoder.norm.load_state_dict(theirs.decoder.norm.state_dict())
    for mine, reference in zip(ours.encoder.layers, theirs.encoder.layers, strict=True):
        mine.load_state_dict(encoder_layer_weights(reference))
    for mine, reference in zip(ours.decoder.layers, theirs.decoder.layers, strict=True):
        mine.load_state_dict(decoder_layer_weights(reference))
    source, target = torch.randint(1, 17, (2, 6)), torch.randint(1, 17, (2, 5))
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    logits = ours(source, target, real)

    def embed(tokens):
        table = ours.embedding.table.weight
        return table[tokens] * 12**0.5 + ours.positions.table[: tokens.shape[1]]

    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    hidden = theirs(
        embed(source),
        embed(target),
        tgt_mask=future,
        src_key_padding_mask=~real,
        memory_key_padding_mask=~real,
    )
    expected = hidden @ ours.embedding.table.weight.T
    close(logits, expected)
    upstream = torch.randn_like(logits)
    weights = ours.embedding.table.weight
    for a, b in zip(
        torch.autograd.grad(logits, weights, upstream),
        torch.autograd.grad(expected, weights, upstream),
        strict=True,
    ):
        close(a, b)


def test_equals_marian(close):
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    theirs = MarianMTModel(
        MarianConfig(
            vocab_size=17,
            d_model=12,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=3,
            decoder_attention_heads=3,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            max_position_embeddings=20,
            activation_function="silu",
            scale_embedding=True,
            dropout=0.0,
            pad_token_id=0,
            decoder_start_token_id=1,
            init_std=0.3,
        )
    ).eval()
    ours = tiny(activation="silu", position_layout="halves").eval()
    source = theirs.state_dict()
    state = {"embedding.table.weight": source["model.shared.weight"]}
    state["source_embedding.table.weight"] = state["embedding.table.weight"]
    attention = {"q_proj": "project_q", "k_proj": "project_k", "v_proj": "project_v"}
    attention["out_proj"] = "project_o"
    for side, own in {"encoder": "attention", "decoder": "self_attention"}.items():
        names = {f"self_attn.{a}": f"{own}.{b}" for a, b in attention.items()}
        names |= {
            "self_attn_layer_norm": f"residual_{own}.norm",
            "fc1": "feed_forward.expand",
            "fc2": "feed_forward.contract",
            "final_layer_norm": "residual_feed_forward.norm",
        }
        if side == "decoder":
            names |= {f"encoder_attn.{a}": f"cross_attention.{b}" for a, b in attention.items()}
            names |= {"encoder_attn_layer_norm": "residual_cross_attention.norm"}
        for i in range(2):
            for kind in ("weight", "bias"):
                for yours, mine in names.items():
                    value = source[f"model.{side}.layers.{i}.{yours}.{kind}"]
                    state[f"{side}.layers.{i}.{mine}.{kind}"] = value
    ours.load_state_dict(state)
    tokens, target = torch.randint(1, 17, (2, 6)), torch.randint(1, 17, (2, 5))
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    reference = theirs(input_ids=tokens, attention_mask=real.long(), decoder_input_ids=target)
    close(ours(tokens, target, real), reference.logits)


def test_tying():
    tied, untied = tiny(), tiny(tied=False)
    assert tied.source_embedding is tied.embedding
    count = [sum(p.numel() for p in m.parameters()) for m in (tied, untied)]
    assert count[1] - count[0] == 2 * 17 * 12


@pytest.mark.parametrize("place", ["post", "pre"])
def test_padding_changes_nothing(place, close):
    model = tiny(norm_place=place).double().eval()
    source, target = torch.randint(1, 17, (1, 4)), torch.randint(1, 17, (1, 3))
    padding = torch.zeros(1, 2, dtype=torch.long)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    padded = model(torch.cat([source, padding], 1), torch.cat([target, padding], 1), mask)
    close(padded[:, :3], model(source, target))


def test_decoder_is_causal():
    model = tiny().double().eval()
    source, target = torch.randint(1, 17, (1, 4)), torch.randint(1, 17, (1, 6))
    before = model(source, target)
    for t in range(6):
        changed = target.clone()
        changed[0, t] = changed[0, t] % 16 + 1
        difference = (model(source, changed) - before).abs().amax(dim=(0, 2))
        assert (difference[:t] == 0).all()
        assert (difference[t:] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("split", [(1,) * 6, (2, 4), (4, 1, 1)])
def test_cached_equals_uncached(split, dtype, close):
    model = tiny().to(dtype).eval()
    source, target = torch.randint(1, 17, (2, 4)), torch.randint(1, 17, (2, 6))
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    memory, cache = model.encode(source, mask), KeyValueCache(2, 6)
    parts = [model.decode(t, memory, mask, cache=cache) for t in target.split(split, dim=1)]
    close(torch.cat(parts, dim=1), model(source, target, mask))


def test_dropout_is_off_in_evaluation():
    model = tiny(dropout=0.5, attention_dropout=0.3, activation_dropout=0.3)
    source, target = torch.randint(1, 17, (1, 4)), torch.randint(1, 17, (1, 3))
    assert not torch.equal(model(source, target), model(source, target))
    assert torch.equal(model.eval()(source, target), model(source, target))


def test_too_long_is_named():
    model = tiny()
    with pytest.raises(ValueError, match="21 positions asked for; the table has 20"):
        model.encode(torch.ones(1, 21, dtype=torch.long))
    memory, cache = model.encode(torch.ones(1, 3, dtype=torch.long)), KeyValueCache(2, 30)
    with pytest.raises(ValueError, match="21 positions asked for; the table has 20"):
        model.decode(torch.ones(1, 21, dtype=torch.long), memory)
    model.decode(torch.ones(1, 18, dtype=torch.long), memory, cache=cache)
    with pytest.raises(ValueError, match="21 positions asked for; the table has 20"):
        model.decode(torch.ones(1, 3, dtype=torch.long), memory, cache=cache)
