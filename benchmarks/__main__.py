"""Measure tfmlib beside its peers, in one run, on one thread: `make bench`.

    python -m benchmarks [--only NAME ...] [--rounds 7] [--json FILE]

A ratio is the peer's processor time over ours for the same work, the median over interleaved
rounds: above 1 we are faster. Weights are random: what is compared is the work, and before it is
timed, that both give the same numbers.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from benchmarks.side_by_side import Measure, Result, run, table
from tfmlib import records
from tfmlib.data.source_code import CHARACTERS, source_code, windows
from tfmlib.generation.beam import beam_search
from tfmlib.generation.cache import CachedDecoder, KeyValueCache, StaticCache, compile_step
from tfmlib.generation.quantization import PackedLinear, pack_, quantize_
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig
from tfmlib.transformer.transformer import Transformer, TransformerConfig

LAYERS, HEADS, WIDTH, CONTEXT, VOCAB = 6, 6, 384, 256, 65
PROMPT, NEW = 32, 200


def ours(vocab: int = VOCAB) -> LanguageModel:
    """Our decoder-only model of the common shape."""
    torch.manual_seed(0)
    return LanguageModel(
        LanguageModelConfig(
            vocab_size=vocab, max_length=CONTEXT, d_model=WIDTH, n_heads=HEADS, n_layers=LAYERS
        )
    )


def gpt2(model: LanguageModel) -> nn.Module:
    """transformers' GPT-2 of the same shape, with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=model.config.vocab_size,
            n_positions=CONTEXT,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="sdpa",
        )
    )
    with torch.no_grad():
        theirs.transformer.wte.weight.copy_(model.embedding.table.weight)
        theirs.transformer.wpe.weight.copy_(model.positions.table.weight)
        for layer, block in zip(model.decoder.layers, theirs.transformer.h, strict=True):
            a, f = layer.self_attention, layer.feed_forward
            projections = (a.project_q, a.project_k, a.project_v)
            block.attn.c_attn.weight.copy_(torch.cat([p.weight.T for p in projections], 1))
            block.attn.c_attn.bias.copy_(torch.cat([p.bias for p in projections]))
            # GPT-2's linear maps hold their matrices transposed.
            for linear, other in (
                (a.project_o, block.attn.c_proj),
                (f.expand, block.mlp.c_fc),
                (f.contract, block.mlp.c_proj),
            ):
                other.weight.copy_(linear.weight.T)
                other.bias.copy_(linear.bias)
            block.ln_1.load_state_dict(layer.residual_self_attention.norm.state_dict())
            block.ln_2.load_state_dict(layer.residual_feed_forward.norm.state_dict())
        theirs.transformer.ln_f.load_state_dict(model.decoder.norm.state_dict())
    return theirs


def torch_decoder() -> nn.Module:
    """torch.nn's layers as a decoder-only model: its encoder with a causal mask."""

    class TorchDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(VOCAB, WIDTH)
            self.positions = nn.Embedding(CONTEXT, WIDTH)
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.stack = nn.TransformerEncoder(
                layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False
            )
            mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
            self.register_buffer("mask", mask)
            self.places = torch.arange(CONTEXT)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.tokens(tokens) + self.positions(self.places)
            x = self.stack(x, mask=self.mask, is_causal=True)
            return x @ self.tokens.weight.T

    return TorchDecoder()


def x_transformers_decoder() -> nn.Module:
    """x-transformers' decoder of the same shape, with weights of its own."""
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=WIDTH, depth=LAYERS, heads=HEADS, attn_flash=True)
    return TransformerWrapper(
        num_tokens=VOCAB, max_seq_len=CONTEXT, attn_layers=layers, tie_embedding=True
    )


def training_step(
    model: nn.Module, tokens: Tensor, logits_of: Callable[[Tensor], Tensor], *, bf16: bool = False
) -> Callable[[], object]:
    """Return a function that makes one step of AdamW: forward, backward, update."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = logits_of(tokens[:, :-1])
            loss = cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def agree(a: Tensor, b: Tensor, bound: float = 1e-4) -> str:
    """Say that two results agree, or stop."""
    gap = float(((a - b).abs().max() / b.abs().max()).detach())
    if gap > bound:
        raise AssertionError(f"the contestants differ by {gap:.1e}, relative to the largest value")
    return f"outputs agree within {bound:g}"


def training_fp32() -> Measure:
    """A training step in float32, against GPT-2 and against torch.nn."""
    model = ours()
    theirs = gpt2(model)
    tokens = torch.randint(VOCAB, (4, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        checked = agree(model(tokens[:, :-1]), theirs(tokens[:, :-1]).logits)
    plain, other = torch_decoder(), x_transformers_decoder()
    work = {
        "tfmlib": training_step(model, tokens, model),
        "transformers GPT-2": training_step(theirs, tokens, lambda t: theirs(t).logits),
        "torch.nn": training_step(plain, tokens, plain),
        "x-transformers": training_step(other, tokens, other),
    }
    return Measure("training step, fp32", work, 4 * CONTEXT, "tokens", 1.06, checked)


def training_bf16() -> Measure:
    """The same in bf16 autocast, against our own float32; the peers in bf16 beside it."""
    model, wide = ours(), ours()
    theirs, other = gpt2(model), x_transformers_decoder()
    tokens = torch.randint(VOCAB, (4, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = model(tokens[:, :-1]).float()
    checked = agree(half, wide(tokens[:, :-1]), bound=0.05)
    work = {
        "tfmlib, bf16": training_step(model, tokens, model, bf16=True),
        "tfmlib, fp32": training_step(wide, tokens, wide),
        "transformers GPT-2, bf16": training_step(
            theirs, tokens, lambda t: theirs(t).logits, bf16=True
        ),
        "x-transformers, bf16": training_step(other, tokens, other, bf16=True),
    }
    return Measure("training step, bf16 autocast", work, 4 * CONTEXT, "tokens", 2.5, checked)


def prompt_of(model: nn.Module) -> Tensor:
    """Return the prompt of the decoding measures, and put the model into evaluation mode."""
    model.eval()
    return torch.randint(VOCAB, (1, PROMPT), generator=torch.Generator().manual_seed(1))


def written(model: LanguageModel, prompt: Tensor, *, compiled: bool) -> Callable[[], Tensor]:
    """Return a function that continues the prompt greedily; compiled, it is run once for that."""
    step = compile_step(model) if compiled else model

    def write() -> Tensor:
        longest = PROMPT + NEW
        cache = StaticCache(LAYERS, longest) if compiled else KeyValueCache(LAYERS, longest)
        return greedy(CachedDecoder(step, cache, prefill=model), prompt, max_new=NEW)

    write()
    return write


def generated(theirs: nn.Module, prompt: Tensor, **how: object) -> Callable[[], Tensor]:
    """Return a function that continues the prompt by transformers' generate."""
    return lambda: theirs.generate(
        prompt, max_new_tokens=NEW, do_sample=False, use_cache=True, pad_token_id=0, **how
    )


def x_transformers_generated(prompt: Tensor) -> Callable[[], Tensor]:
    """Return a function that continues the prompt greedily by x-transformers' generate."""
    from x_transformers import AutoregressiveWrapper

    model = AutoregressiveWrapper(x_transformers_decoder().eval())

    def write() -> Tensor:
        new: Tensor = model.generate(prompt, NEW, temperature=0.0, cache_kv=True)
        if new.shape != (1, NEW):
            raise AssertionError(f"x-transformers wrote tokens of shape {tuple(new.shape)}")
        return new

    return write


def decoding_greedy() -> Measure:
    """Greedy decoding with a cache, one sequence, against transformers' generate."""
    model = ours()
    theirs = generated(gpt2(model).eval(), prompt := prompt_of(model))
    work = {
        "tfmlib, compiled step": written(model, prompt, compiled=True),
        "transformers GPT-2": theirs,
        "tfmlib, not compiled": written(model, prompt, compiled=False),
    }
    wanted = theirs()
    if not all(torch.equal(write(), wanted) for write in work.values()):
        raise AssertionError("the contestants write different tokens")
    work["x-transformers"] = x_transformers_generated(prompt)  # has weights of its own
    return Measure("greedy, 32 + 200 tokens", work, NEW, "tokens", 1.5, "the same tokens")


def trained(steps: int = 200) -> LanguageModel:
    """Our model after a short training on source code, in bf16 autocast."""
    model = ours(len(CHARACTERS)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    batches = windows(source_code().train, 128, batch=8)
    for step in tqdm(range(steps), desc="training the model whose text is compared"):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 30) * (1 - step / steps)
        tokens, following = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(tokens)
        optimizer.zero_grad()
        cross_entropy(logits.float().flatten(0, 1), following.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def decoding_narrow() -> Measure:
    """The same with weights of fewer bits, and how many of 40 texts stay what they were."""
    model, prompts = trained(), 40
    valid = source_code().valid
    starts = torch.randint(
        len(valid) - PROMPT, (prompts,), generator=torch.Generator().manual_seed(1)
    )
    batch = torch.stack([valid[start : start + PROMPT] for start in starts.tolist()])
    wanted = written(model, batch, compiled=False)()
    work, same = {}, []
    theirs = generated(gpt2(model).eval(), batch[:1])
    for dtype in (torch.bfloat16, torch.int8):
        narrow, name = copy.deepcopy(model), str(dtype).removeprefix("torch.")
        quantize_(narrow, dtype)
        equal = (written(narrow, batch, compiled=False)() == wanted).all(dim=1)
        same.append(f"{int(equal.sum())} of {prompts} texts stay the same in {name}")
        work[f"tfmlib, {name}, compiled step"] = written(narrow, batch[:1], compiled=True)
        work.setdefault("transformers GPT-2", theirs)
    work["tfmlib, fp32, compiled step"] = written(model, batch[:1], compiled=True)
    name = "greedy, weights of fewer bits"
    return Measure(name, work, NEW, "tokens", 3.0, "; ".join(same))


def decoding_beam() -> Measure:
    """Beam search with 4 beams, against transformers' generate."""
    model = ours()
    theirs = generated(gpt2(model).eval(), prompt := prompt_of(model), num_beams=4)

    packed = copy.deepcopy(model)
    pack_(packed, rows=4)

    def mine(model: LanguageModel) -> Callable[[], Tensor]:
        def search() -> Tensor:
            decoder = CachedDecoder(model, KeyValueCache(LAYERS, PROMPT + NEW))
            found = beam_search(decoder, prompt, beam=4, max_new=NEW, end_id=VOCAB)
            return found.tokens[:, 0]

        return search

    work = {
        "tfmlib, packed weights": mine(packed),
        "transformers GPT-2": theirs,
        "tfmlib": mine(model),
    }
    wanted = theirs()
    same = all(torch.equal(write(), wanted) for write in work.values())
    checked = "the same tokens" if same else "both end after 200 tokens; the tokens differ"
    return Measure("beam 4, 32 + 200 tokens", work, NEW, "tokens", 1.5, checked)


def encoder_decoder() -> Measure:
    """Forward and backward of the base encoder-decoder, against torch.nn.Transformer."""
    config = TransformerConfig(vocab_size=VOCAB, dropout=0.0)
    torch.manual_seed(0)
    model = Transformer(config).train()
    theirs = nn.Transformer(512, 8, 6, 6, 2048, 0.0, batch_first=True).train()
    # torch adds a final norm to both stacks, which the paper's post-norm model does not have.
    theirs.encoder.norm = theirs.decoder.norm = None
    generator = torch.Generator().manual_seed(2)
    source, target = torch.randint(1, VOCAB, (2, 8, 32), generator=generator)
    causal = nn.Transformer.generate_square_subsequent_mask(32)

    def mine() -> None:
        model.zero_grad()
        model(source, target).square().mean().backward()

    def plain() -> None:
        theirs.zero_grad()
        embed = model.embedding
        x, y = model.positions(embed(source)), model.positions(embed(target))
        out = theirs(x, y, tgt_mask=causal, tgt_is_causal=True)
        embed.logits(out).square().mean().backward()

    work = {"tfmlib": mine, "torch.nn.Transformer": plain}
    checked = "the unit tests hold both equal with copied weights"
    return Measure("encoder-decoder base, 8 x (32+32)", work, 8 * 64, "tokens", 1.02, checked)


def import_seconds() -> dict[str, float]:
    """Return the processor seconds of importing torch, and of all models of tfmlib after it."""
    code = (
        "import time, torch; a = time.process_time();"
        "import tfmlib.transformer.transformer, tfmlib.generation.beam, tfmlib.training.loop;"
        "print(time.process_time() - a)"
    )
    found = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    return {"seconds": round(min(found), 3), "bound": 0.2}


def limits() -> dict[str, float]:
    """Return what one thread of this processor can do, by PyTorch's own operations.

    matmul_gflops: products as in the feed-forward networks of a training step, in float32, and
    matmul_bf16_gflops in bfloat16. read_gbytes: a sum over more numbers than the caches hold, in
    10^9 bytes a second. vector_gbytes: the same for the weights of our model, each multiplied by
    one vector; vectors_gbytes by four at once, and packed_gbytes by four when they are packed for
    that. parameters: the numbers of our model that are read for each token.
    """
    x, w = torch.randn(4 * CONTEXT, WIDTH), torch.randn(WIDTH, 4 * WIDTH)
    x_half, w_half = x.bfloat16(), w.bfloat16()
    numbers = torch.randn(10_000_000)
    matrices = [p for p in ours().parameters() if p.dim() == 2 and len(p) != CONTEXT]
    maps = [nn.Linear(m.shape[1], m.shape[0], bias=False) for m in matrices]
    packed = [PackedLinear(linear, 4) for linear in maps]
    vectors = {m.shape[1]: torch.randn(4, m.shape[1]) for m in matrices}

    def products(maps: Sequence[nn.Module], rows: int) -> Callable[[], object]:
        return lambda: [linear(vectors[linear.in_features][:rows]) for linear in maps]

    def rate(amount: float, work: Callable[[], object]) -> float:
        times = []
        for _ in range(50):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return round(amount / statistics.median(times) / 1e9, 1)

    weights = sum(m.numel() for m in matrices)
    flops = 2 * x.numel() * w.shape[1]
    with torch.no_grad():
        return {
            "matmul_gflops": rate(flops, lambda: x @ w),
            "matmul_bf16_gflops": rate(flops, lambda: x_half @ w_half),
            "read_gbytes": rate(numbers.numel() * 4, numbers.sum),
            "vector_gbytes": rate(weights * 4, products(maps, 1)),
            "vectors_gbytes": rate(weights * 4, products(maps, 4)),
            "packed_gbytes": rate(weights * 4, products(packed, 4)),
            "parameters": weights,
        }


MEASURES: dict[str, Callable[[], Measure]] = {
    "training_fp32": training_fp32,
    "training_bf16": training_bf16,
    "greedy": decoding_greedy,
    "narrow": decoding_narrow,
    "beam": decoding_beam,
    "encoder_decoder": encoder_decoder,
}


def main() -> None:
    """Measure what was asked for, print the table, write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*MEASURES], default=[*MEASURES])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each measure (default 7)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    results: list[Result] = []
    for name in options.only:
        measure = MEASURES[name]()
        with tqdm(total=len(measure.work) * (options.rounds + 1), desc=measure.name) as bar:
            results.append(run(measure, options.rounds, bar.update))
    print(table(results))
    imports = import_seconds()
    holds = "holds" if imports["seconds"] <= imports["bound"] else "DOES NOT HOLD"
    print(f"import of tfmlib beyond torch: {imports['seconds']:.2f} s, <= 0.20 {holds}")
    if options.json:
        records.save(
            options.json,
            settings={
                "layers": LAYERS,
                "d_model": WIDTH,
                "heads": HEADS,
                "context": CONTEXT,
                "vocab": VOCAB,
                "rounds": options.rounds,
                "matmul_precision": "highest",
            },
            numbers={
                "measures": [r.as_json() for r in results],
                "import": imports,
                "limits": limits(),
            },
            command="python -m benchmarks --json tfmlib/records/benchmarks.json",
            seeds=[0],
            note="Ratios of processor time on one thread, the peer's over ours.",
        )


if __name__ == "__main__":
    main()
