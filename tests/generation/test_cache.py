"""The key-value cache: what it returns, how it follows rows, and what it refuses."""

import pytest
import torch

from tfmlib.generation.cache import CachedDecoder, KeyValueCache, KeyValueStore, pad_left
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig
from tfmlib.transformer.transformer import Transformer, TransformerConfig


def test_store_appends_in_place():
    store = KeyValueStore(5)
    k, v = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 7)
    first = store.update(k[:, :, :1], v[:, :, :1])[0]
    keys, values = store.update(k[:, :, 1:], v[:, :, 1:])
    assert torch.equal(keys, k)
    assert torch.equal(values, v)
    assert keys.data_ptr() == first.data_ptr()  # allocated once
    store.crop(2)
    assert torch.equal(store.read()[0], k[:, :, :2])
    store.update(k[:, :, 3:], v[:, :, 3:])
    assert torch.equal(store.read()[1][:, :, 2], v[:, :, 3])
    store.reorder(torch.tensor([1, 1, 0]))
    assert torch.equal(store.read()[0][:, :, :2], k[[1, 1, 0]][:, :, :2])


def test_what_it_refuses():
    store = KeyValueStore(2)
    with pytest.raises(ValueError, match="the cache is empty"):
        store.read()
    k = torch.randn(2, 1, 2, 3)
    store.update(k, k)
    with pytest.raises(ValueError, match="holds 2 positions; 4 are needed"):
        store.update(k, k)
    store.crop(0)
    with pytest.raises(ValueError, match="has batch 2; got 1"):
        store.update(k[:1], k[:1])
    with pytest.raises(ValueError, match=r"0\.\.0 positions; got 1"):
        store.crop(1)
    with pytest.raises(ValueError, match="must be positive; got 0, 3"):
        KeyValueCache(0, 3)


def model_and_source():
    torch.manual_seed(0)
    model = Transformer(
        TransformerConfig(
            vocab_size=23, d_model=16, n_heads=4, d_ff=32, n_encoder_layers=2, n_decoder_layers=2
        )
    )
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model = model.double().eval()
    source = torch.randint(3, 23, (3, 6))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 5 + [False]])
    return model, model.encode(source, mask), mask


def test_cached_decoding_equals_uncached():
    model, memory, mask = model_and_source()
    cached = CachedDecoder(model.decode, KeyValueCache(2, 12), memory=memory, memory_mask=mask)
    seen = []

    def logged(new, **how):
        seen.append(new.shape[1])
        return model.decode(new, **how)

    cached.decode = logged
    start = torch.ones(3, 1, dtype=torch.long)
    a = greedy(cached, start, max_new=11)
    b = greedy(lambda t: model.decode(t, memory, mask)[:, -1], start, max_new=11)
    assert torch.equal(a, b)
    assert len({tuple(row) for row in a.tolist()}) == 3  # the rows do differ
    assert seen == [1] * 11


def test_rows_can_be_reordered_and_dropped(close):
    model, memory, mask = model_and_source()
    cached = CachedDecoder(model.decode, KeyValueCache(2, 12), memory=memory, memory_mask=mask)
    tokens = torch.randint(3, 23, (3, 4))
    cached(tokens)
    rows = torch.tensor([2, 0, 0, 1])
    for kept in (rows, torch.tensor([0, 3])):
        cached.reorder(kept)
        tokens, memory, mask = tokens[kept], memory[kept], mask[kept]
        tokens = torch.cat([tokens, torch.randint(3, 23, (len(kept), 1))], dim=1)
        close(cached(tokens), model.decode(tokens, memory, mask)[:, -1])


PROMPTS = [[3, 4, 5, 6, 7], [8], [9, 10, 3]]


def language_model(positions):
    torch.manual_seed(0)
    sizes = dict(vocab_size=23, max_length=40, d_model=16, n_heads=4, n_layers=2)
    model = LanguageModel(LanguageModelConfig(positions=positions, **sizes))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.double().eval()


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "alibi", "t5"])
def test_padded_rows_are_as_if_each_stood_alone(close, positions):
    model = language_model(positions)
    tokens, padding = pad_left(PROMPTS)
    assert tokens.tolist() == [[3, 4, 5, 6, 7], [0, 0, 0, 0, 8], [0, 0, 9, 10, 3]]
    together = CachedDecoder(model, KeyValueCache(2, 20), padding=padding)
    rows = torch.tensor([2, 0, 1, 1])
    for step in range(3):
        logits = together(tokens)
        for i, prompt in enumerate(PROMPTS):
            alone = torch.tensor([prompt + tokens[i, 5:].tolist()])
            close(logits[i : i + 1], model(alone)[:, -1])
        tokens = torch.cat([tokens, torch.randint(3, 23, (3, 1))], dim=1)
        if step == 1:  # and rows may move
            together.reorder(rows)
            moved = together(tokens[rows])
            alone = torch.tensor([PROMPTS[2] + tokens[2, 5:].tolist()])
            close(moved[:1], model(alone)[:, -1])
            together.reorder(torch.tensor([1, 2, 0]))
            together.cache.crop(tokens.shape[1] - 1)


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_prompts_to_pad_need_tokens(rows):
    with pytest.raises(ValueError, match="at least one token"):
        pad_left(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("split", [[9], [1] * 9, [4, 5], [3, 1, 1, 4], [8, 1]])
def test_any_split_of_the_sequence_gives_the_same(close, dtype, split):
    model = language_model("rotary").to(dtype)
    tokens = torch.randint(23, (2, 9), generator=torch.Generator().manual_seed(1))
    whole, cache, done = model(tokens), KeyValueCache(2, 9), 0
    for count in split:
        close(model(tokens[:, done : done + count], cache=cache), whole[:, done : done + count])
        done += count
