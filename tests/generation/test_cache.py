"""The key-value cache: what it returns, how it follows rows, and what it refuses."""

import shutil
import subprocess
import sys

import pytest
import torch

from tfmlib.generation.cache import (
    CachedDecoder,
    KeyValueCache,
    KeyValueStore,
    StaticCache,
    WindowCache,
    pad_left,
)
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


CACHES = [KeyValueCache, StaticCache, WindowCache]


@pytest.mark.parametrize("make", CACHES)
def test_beams_leave_in_place_what_they_share(close, make, monkeypatch):
    """Rows that move within their sentence: what is copied begins where their tokens differ."""
    model, memory, mask = model_and_source()
    rows = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    cache, shares = make(2, 12), []
    reorder = cache.reorder
    monkeypatch.setattr(
        cache, "reorder", lambda rows, *, since: shares.append(since) or reorder(rows, since=since)
    )
    cached = CachedDecoder(model.decode, cache, memory=memory, memory_mask=mask)
    tokens = torch.full((3, 2), 5)  # the same for all: only the memories tell sentences apart
    cached(tokens)
    cached.reorder(rows)
    tokens, memory, mask = tokens[rows], memory[rows], mask[rows]
    generator = torch.Generator().manual_seed(0)
    for step in range(8):
        new = torch.randint(3, 23, (9, 1), generator=generator)
        tokens = torch.cat([tokens, new], dim=1)
        close(cached(tokens), model.decode(tokens, memory, mask)[:, -1])
        moved = rows * 3 + torch.randint(3, (9,), generator=generator)
        if step == 5:  # sentences change places
            moved = moved.roll(3)
            memory, mask = memory[moved], mask[moved]
        cached.reorder(moved)
        tokens = tokens[moved]
    assert shares[0] == shares[6] == 0
    assert all(shared >= 2 for i, shared in enumerate(shares) if i not in (0, 6))
    assert max(shares) > 2


def test_rows_may_move_twice_before_the_next_call(close):
    model = language_model("rotary")
    cached = CachedDecoder(model, KeyValueCache(2, 8))
    cached(torch.tensor([[5]]))
    cached.reorder(torch.tensor([0, 0, 0]))
    tokens = torch.tensor([[5, 6, 7], [5, 8, 9], [5, 6, 10]])
    cached(tokens)
    for rows in ([1, 1, 2], [2, 1, 2]):
        cached.reorder(torch.tensor(rows))
        tokens = tokens[rows]
    tokens = torch.cat([tokens, torch.tensor([[3]] * 3)], dim=1)
    close(cached(tokens), model(tokens)[:, -1])


def test_a_window_that_came_round_is_copied_whole(close, monkeypatch):
    model, tokens = language_model("rotary"), torch.tensor([[3, 4]])
    a, b = (CachedDecoder(model, WindowCache(2, 4)) for _ in range(2))
    monkeypatch.setattr(b, "_shared", lambda tokens, prompt: 0)
    generator = torch.Generator().manual_seed(0)
    rows = torch.tensor([0, 0, 0])
    for _ in range(10):
        close(a(tokens), b(tokens))
        for cached in (a, b):
            cached.reorder(rows)
        new = torch.randint(3, 23, (3, 1), generator=generator)
        tokens = torch.cat([tokens[rows], new], dim=1)
        rows = torch.randint(3, (3,), generator=generator)


SCHEMES = ["learned", "sinusoidal", "rotary", "alibi", "t5"]
PROMPTS = [[3, 4, 5, 6, 7], [8], [9, 10, 3]]


def language_model(positions):
    torch.manual_seed(0)
    sizes = dict(vocab_size=23, max_length=40, d_model=16, n_heads=4, n_layers=2)
    model = LanguageModel(LanguageModelConfig(positions=positions, **sizes))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.double().eval()


@pytest.mark.parametrize("positions", SCHEMES)
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


SPLITS = [[9], [1] * 9, [4, 5], [3, 1, 1, 4], [8, 1], [2, 3, 1, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", [KeyValueCache, StaticCache])
def test_any_split_of_the_sequence_gives_the_same(close, dtype, split, kind):
    model = language_model("rotary").to(dtype)
    tokens = torch.randint(23, (2, 9), generator=torch.Generator().manual_seed(1))
    whole, cache, done = model(tokens), kind(2, 9), 0
    for count in split:
        close(model(tokens[:, done : done + count], cache=cache), whole[:, done : done + count])
        done += count
        assert cache.length == done


def band(time, window):
    ones = torch.ones(time, time, dtype=torch.bool)
    return ones.tril() & ones.triu(1 - window)


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("window", [1, 3, 4, 20])
def test_window_equals_the_whole_sequence_with_a_band_as_its_mask(close, positions, split, window):
    model = language_model(positions)
    tokens = torch.randint(23, (2, 9), generator=torch.Generator().manual_seed(1))
    whole, cache, done = model(tokens, mask=band(9, window)), WindowCache(2, window), 0
    if window < 9:
        assert not torch.allclose(whole, model(tokens), atol=1e-3)  # the window does hide something
    for count in split:
        close(model(tokens[:, done : done + count], cache=cache), whole[:, done : done + count])
        done += count


def test_a_window_takes_memory_for_what_is_seen_only():
    model, long, short = language_model("rotary"), KeyValueCache(2, 40), WindowCache(2, 4)
    for cache in (long, short):
        for _ in range(30):
            model(torch.ones(1, 1, dtype=torch.long), cache=cache)
    # 2 layers x keys and values x positions x d_model x 8 bytes
    assert (long.bytes(), short.bytes()) == (2 * 2 * 40 * 16 * 8, 2 * 2 * 4 * 16 * 8)


def test_a_window_does_not_go_back():
    model, cache = language_model("rotary"), WindowCache(2, 4)
    model(torch.ones(1, 3, dtype=torch.long), cache=cache)
    cache.crop(2)
    model(torch.ones(1, 3, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match=r"crop to 4 of 5 tokens: a window of 4 has forgotten"):
        cache.crop(4)
    cache.crop(5)


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("kind", [StaticCache, WindowCache])
def test_other_caches_follow_padded_rows_that_move(close, positions, kind):
    model = language_model(positions)
    tokens, padding = pad_left(PROMPTS)
    size, width = (40, 40) if kind is StaticCache else (3, 3)
    step = CachedDecoder(model, kind(2, size), padding=padding)
    generator = torch.Generator().manual_seed(2)
    for rows in ([0, 1, 2], [2, 0, 2], [0, 1, 2], [1, 1, 0]):
        logits = step(tokens)
        for i, row in enumerate(tokens):
            alone = row[step.padding[i] :].unsqueeze(0)
            mask = band(alone.shape[1], width)
            close(logits[i : i + 1], model(alone, mask=mask)[:, -1])
        rows = torch.tensor(rows)
        step.reorder(rows)
        new = torch.randint(23, (3, 1), generator=generator)
        tokens = torch.cat([tokens[rows], new], dim=1)


def test_static_cache_goes_back_and_says_when_it_is_full(close):
    model, source, mask = model_and_source()
    step = CachedDecoder(model.decode, StaticCache(2, 5), memory=source, memory_mask=mask)
    tokens = torch.randint(3, 23, (3, 5), generator=torch.Generator().manual_seed(3))
    step(tokens)
    step.crop(2)
    assert step.cache.length == 2
    close(step(tokens[:, :4]), model.decode(tokens[:, :4], source, mask)[:, -1])
    with pytest.raises(ValueError, match="the cache holds 5 positions; 6 are needed"):
        step(torch.ones(3, 6, dtype=torch.long))
    with pytest.raises(ValueError, match=r"crop to 0\.\.5 positions; got 6"):
        step.crop(6)


COMPILED = """
import torch
from torch._dynamo.testing import CompileCounter
from tfmlib.generation.cache import CachedDecoder, KeyValueCache, StaticCache
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig
from tfmlib.transformer.transformer import Transformer, TransformerConfig

torch.manual_seed(0)
sizes = dict(vocab_size=23, d_model=16, n_heads=4)
translator = Transformer(
    TransformerConfig(d_ff=32, n_encoder_layers=2, n_decoder_layers=2, **sizes)
).double().eval()
source, mask = torch.randint(3, 23, (3, 6)), torch.ones(3, 6, dtype=torch.bool)
cases = [(translator.decode, {"memory": translator.encode(source, mask), "memory_mask": mask})]
for positions, heads in (("learned", 4), ("rotary", 2), ("alibi", 4)):
    config = LanguageModelConfig(
        max_length=40, n_layers=2, positions=positions, n_kv_heads=heads, **sizes
    )
    cases.append((LanguageModel(config).double().eval(), {}))
prompt = torch.randint(3, 23, (3, 4))
for plain, context in cases:
    for parameter in getattr(plain, "__self__", plain).parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    graphs = CompileCounter()
    compiled = torch.compile(plain, backend=graphs, fullgraph=True, dynamic=False)
    if not context:
        context["padding"] = torch.tensor([0, 2, 3])
    static = CachedDecoder(compiled, StaticCache(2, 30), prefill=plain, **context)
    growing = CachedDecoder(plain, KeyValueCache(2, 30), **context)
    a, b = (greedy(step, prompt, max_new=20) for step in (static, growing))
    assert torch.equal(a, b), (a, b)
    for _ in range(3):  # tokens that grow, and so have other strides at each step
        logits, wanted = static(a), growing(a)
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-10 * float(wanted.abs().max()))
        a = torch.cat([a, logits.argmax(-1, keepdim=True)], 1)
    print(graphs.frame_count)
"""


def test_a_compiled_step_is_compiled_once():
    """In a process of its own, without the shape checks, through which a compiler cannot see."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * 4


FOR_THE_PROCESSOR = """
import torch
from tfmlib.generation.cache import CachedDecoder, KeyValueCache, StaticCache, compile_step
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

torch.manual_seed(0)
config = LanguageModelConfig(max_length=16, n_layers=1, vocab_size=23, d_model=32, n_heads=2)
model = LanguageModel(config).eval()
for parameter in model.parameters():
    parameter.data += 0.3 * torch.randn_like(parameter)
prompt = torch.randint(3, 23, (1, 4))
plain = greedy(CachedDecoder(model, KeyValueCache(1, 16)), prompt, max_new=12)
step = CachedDecoder(compile_step(model), StaticCache(1, 16), prefill=model)
assert torch.equal(greedy(step, prompt, max_new=12), plain)
assert len(set(plain[0].tolist())) > 4
"""


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_a_step_compiled_for_the_processor_writes_the_same():
    done = subprocess.run(
        [sys.executable, "-c", FOR_THE_PROCESSOR], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


ADDRESSES = """
import torch
from tfmlib.generation.cache import CachedDecoder, StaticCache, compile_step
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig
from tfmlib.transformer.transformer import Transformer, TransformerConfig

sizes = dict(vocab_size=23, d_model=16, n_heads=2)
moving, asked, compiler = [], [], torch.compile

def backend(graph, inputs):
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            kept = node.meta.get("tensor_dict", {}).get("_dynamo_static_input_type")
            if not kept:
                moving.append(tuple(node.meta["example_value"].shape))
    results = []

    def played(*inputs):  # as a CUDA graph does, into the same memory every time
        for i, new in enumerate(graph.forward(*inputs)):
            results.append(new) if len(results) <= i else results[i].copy_(new)
        return tuple(results)

    return played

def compile(decode, *, dynamic, options):
    asked.append(options)
    torch.cuda.is_available = lambda: False  # only compile_step is to believe in a GPU
    return compiler(decode, dynamic=dynamic, fullgraph=True, backend=backend)

torch.compile = compile
model = LanguageModel(LanguageModelConfig(max_length=16, n_layers=2, positions="rotary", **sizes))
config = TransformerConfig(d_ff=32, n_encoder_layers=1, n_decoder_layers=2, **sizes)
translator = Transformer(config)
memory = translator.encode(torch.ones(1, 5, dtype=torch.long))
for plain, context in ((model, {}), (translator.decode, {"memory": memory})):
    getattr(plain, "__self__", plain).eval()
    torch.cuda.is_available = lambda: True
    step = CachedDecoder(compile_step(plain), StaticCache(2, 9), prefill=plain, **context)
    tokens, kept = torch.ones(1, 3, dtype=torch.long), []
    for _ in range(3):
        kept.append(step(tokens))
        assert not any(kept[-1].data_ptr() == old.data_ptr() for old in kept[:-1])
        tokens = torch.cat([tokens, kept[-1].argmax(-1, keepdim=True)], 1)
assert all(o["triton.cudagraphs"] and o["coordinate_descent_tuning"] for o in asked)
print(sorted(moving))
"""


def test_a_step_for_a_gpu_finds_its_cache_where_it_was():
    """Only what is new, tokens and positions, comes from elsewhere at each step.

    Without a GPU: what the compiler is told is looked at, with a backend that runs the graph as it
    is. A CUDA graph is not recorded for a step that writes to memory that may move.
    """
    done = subprocess.run(
        [sys.executable, "-c", ADDRESSES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == str([(1,), (1,), (1, 1), (1, 1)])


def test_a_layout_needs_causal_attention():
    layer = language_model("none").decoder.layers[0].self_attention
    store = WindowCache(1, 3).layers[0].self_attention
    with pytest.raises(ValueError, match="needs causal attention"):
        layer(torch.ones(1, 2, 16, dtype=torch.float64), cache=store)
