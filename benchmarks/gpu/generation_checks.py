"""Whether the device writes what it should: caches, compiled steps, beams, narrow weights."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.checks import (
    TOLERANCES,
    VOCAB,
    Check,
    difference,
    draw,
    draw_tokens,
    language_model,
    on,
)
from benchmarks.gpu.report import graphs_skipped
from tfmlib.generation.beam import beam_search
from tfmlib.generation.cache import (
    CachedDecoder,
    KeyValueCache,
    StaticCache,
    WindowCache,
    compile_step,
    pad_left,
)
from tfmlib.generation.quantization import quantize_
from tfmlib.generation.sampling import Sampler, greedy
from tfmlib.generation.speculative import LookupDraft, speculate

LONGEST, PROMPT = 40, 5
ROTARY: dict[str, Any] = {"positions": "rotary", "n_kv_heads": 2, "norm": "rms", "bias": False}


def steps(decoder: CachedDecoder, tokens: Tensor) -> Tensor:
    """Return the logits after the prompt and after each token that follows, [batch steps vocab]."""
    lengths = range(PROMPT, tokens.shape[1] + 1)
    return torch.stack([decoder(tokens[:, :length]).clone() for length in lengths], dim=1)


def cache_error(device: torch.device, kind: str, **options: Any) -> float:
    """Return the error of decoding with a cache, against the whole sequence at once."""
    plain = language_model(**options).eval()
    tokens = draw_tokens(2, LONGEST - 8)
    mask = None
    if kind == "window":
        place = torch.arange(tokens.shape[1])
        mask = place[:, None] - place < 6
    with torch.no_grad():
        expected = plain(tokens, mask=mask)[:, PROMPT - 1 :]
    cache = {
        "growing": lambda: KeyValueCache(2, LONGEST),
        "window": lambda: WindowCache(2, 6),
        "static": lambda: StaticCache(2, LONGEST),
    }[kind]()
    return difference(
        [steps(CachedDecoder(on(device, plain), cache), tokens.to(device))], [expected]
    )


def padded_error(device: torch.device) -> float:
    """Return the error of prompts of different lengths in one batch, static cache."""
    plain = language_model(**ROTARY).eval()
    rows = [draw_tokens(n, seed=n).tolist() for n in (3, 9, 6)]
    tokens, padding = pad_left(rows, device=device)
    decoder = CachedDecoder(on(device, plain), StaticCache(2, LONGEST), padding=padding)
    found = decoder(tokens)
    with torch.no_grad():
        expected = torch.stack([plain(torch.tensor([row]))[0, -1] for row in rows])
    return difference([found], [expected])


def compiled(device: torch.device, model: torch.nn.Module) -> CachedDecoder:
    """Return a step with a static cache, compiled on a GPU, as it is elsewhere."""
    step = compile_step(model) if device.type == "cuda" else model
    return CachedDecoder(step, StaticCache(2, LONGEST), prefill=model)


def compiled_error(device: torch.device) -> float:
    """Return the error of the logits of a compiled step."""
    plain = language_model(**ROTARY).eval()
    tokens = draw_tokens(1, LONGEST - 8)
    with torch.no_grad():
        expected = plain(tokens)[:, PROMPT - 1 :]
    return difference([steps(compiled(device, on(device, plain)), tokens.to(device))], [expected])


def compiled_tokens(device: torch.device) -> float:
    """Return how many tokens a compiled step writes that an uncompiled one does not.

    Raises RuntimeError where PyTorch did without the CUDA graph that the step asks for.
    """
    skips = graphs_skipped()
    model = on(device, language_model(**ROTARY).eval())
    prompt = draw_tokens(1, PROMPT).to(device)
    new = LONGEST - PROMPT
    expected = greedy(CachedDecoder(model, KeyValueCache(2, LONGEST)), prompt, max_new=new)
    step = compiled(device, model)
    found = []
    for _ in range(3):  # compiled, recorded, played back
        found.append(greedy(step, prompt, max_new=new))
        step.crop(0)
    if device.type == "cuda" and graphs_skipped() > skips:
        raise RuntimeError("the compiled step was not recorded as a CUDA graph")
    return float(sum((f != expected).sum() for f in found))


def beam_error(device: torch.device) -> float:
    """Return the error of a beam search's scores; infinite where the tokens differ."""
    plain = language_model().eval()
    prompt, found = draw_tokens(2, PROMPT), []
    for model in (plain, on(device, plain)):
        place = next(model.parameters()).device
        decoder = CachedDecoder(model, KeyValueCache(2, LONGEST))
        best = beam_search(decoder, prompt.to(place), beam=4, max_new=20, end_id=2)
        found.append(best)
    if not torch.equal(found[0].tokens, found[1].tokens.cpu()):
        return float("inf")
    return difference([found[1].scores], [found[0].scores])


def narrow_error(device: torch.device, dtype: torch.dtype) -> float:
    """Return the error of a model with weights of fewer bits, against the same weights widened."""
    narrow = language_model(**ROTARY).float().eval()
    quantize_(narrow, dtype)
    wide = copy.deepcopy(narrow).double()
    tokens = draw_tokens(1, LONGEST)
    with torch.no_grad():
        expected = wide(tokens)[:, PROMPT - 1 :]
        found = steps(
            CachedDecoder(copy.deepcopy(narrow).to(device), KeyValueCache(2, LONGEST)),
            tokens.to(device),
        )
    return difference([found], [expected])


def speculative_tokens(device: torch.device) -> float:
    """Return how many tokens speculative decoding writes that greedy decoding does not."""
    model = on(device, language_model().eval())
    prompt = draw_tokens(1, PROMPT).to(device)
    expected = greedy(CachedDecoder(model, KeyValueCache(2, LONGEST)), prompt, max_new=30)
    cache = KeyValueCache(2, LONGEST)
    found = speculate(model, cache, LookupDraft(), prompt, max_new=30)
    return float((found.tokens != expected).sum())


def sampled_error(device: torch.device) -> float:
    """Return how far the shares of sampled tokens are from their probabilities."""
    logits = draw(VOCAB).float().to(device)
    rows = 50_000
    sampler = Sampler(generator=torch.Generator(device).manual_seed(0))
    tokens = torch.zeros(rows, 1, dtype=torch.long, device=device)
    drawn = sampler(logits.expand(rows, -1), tokens)
    shares = torch.bincount(drawn, minlength=VOCAB) / rows
    return float((shares - logits.softmax(-1)).abs().max())


def generation_checks() -> list[Check]:
    """Return the checks of generation."""
    bound = TOLERANCES["fp32"]
    found = []
    for kind in ("growing", "window", "static"):
        for name, options in (("learned", {}), ("rotary, grouped", ROTARY)):
            run = partial(cache_error, kind=kind, **options)
            found.append(Check(f"{kind} cache, {name}", 2 * bound, run))
    # On the CPU the kernel for 8 bits rounds the vector to bfloat16; elsewhere nothing is rounded.
    return [
        *found,
        Check("prompts of different lengths", 2 * bound, padded_error),
        Check("beam search, 4 beams", 2 * bound, beam_error),
        Check("weights of 8 bits", 5e-2, partial(narrow_error, dtype=torch.int8)),
        Check("weights of 16 bits", 2 * bound, partial(narrow_error, dtype=torch.bfloat16)),
        Check("speculative decoding: tokens that differ", 0.0, speculative_tokens),
        Check("sampled shares", 0.01, sampled_error),
        Check("compiled step: tokens that differ", 0.0, compiled_tokens, needs=30.0),
        Check("compiled step: logits", 2 * bound, compiled_error, needs=15.0),
    ]
