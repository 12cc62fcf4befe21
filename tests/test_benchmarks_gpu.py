"""The script for a GPU, run on the CPU with tiny sizes: its record, its failures, its budget."""

import functools
import json
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu import __main__ as script
from benchmarks.gpu import characters, checks, decoding, ladder
from benchmarks.gpu.report import Report
from tfmlib.blocks.attention import get_core
from tfmlib.generation.cache import CachedDecoder, KeyValueCache, StaticCache, WindowCache
from tfmlib.generation.quantization import quantize_
from tfmlib.generation.sampling import Sampler, generate, top_k, top_p
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

CPU = torch.device("cpu")


def run(path, *options):
    code = script.main(["--smoke", "--out", str(path), *options])
    return code, json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return run(tmp_path_factory.mktemp("gpu") / "gpu.json")


def test_everything_is_measured_and_passes(smoke):
    code, record = smoke
    numbers = record["numbers"]
    assert code == 0
    assert numbers["failed"] == numbers["skipped"] == []
    assert len(numbers["checks"]) > 60
    assert all(c["passed"] and c["error"] <= c["tolerance"] for c in numbers["checks"])
    assert len({c["name"] for c in numbers["checks"]}) == len(numbers["checks"])
    assert record["command"] == "python -m benchmarks.gpu --smoke"
    assert list(numbers["seconds"]) == list(script.PARTS)


def test_rungs_are_what_the_chapter_shows(smoke):
    """It goes through `numbers["rungs"].items()`: a rung's name and its runs by seed."""
    numbers = smoke[1]["numbers"]
    assert list(numbers["rungs"]) == list(ladder.RUNGS)
    flops, peak = (numbers["ladder"][name] for name in ("flops_per_token", "peak"))
    for runs in numbers["rungs"].values():
        assert list(runs) == [str(seed) for seed in smoke[1]["seeds"]]
        for found in runs.values():
            assert min(found["seconds"], found["peak"], found["loss"]) > 0
            share = found["tokens_per_second"] * flops / peak
            assert found["mfu"] == pytest.approx(share, abs=1e-4)
    plain, chunked = (numbers["rungs"][n]["0"] for n in ("plain", [*ladder.RUNGS][-1]))
    assert plain["loss"] == pytest.approx(chunked["loss"], abs=0.1)


def test_goals_say_whether_they_hold(smoke):
    numbers = smoke[1]["numbers"]
    assert len(numbers["goals"]) == 4
    for goal in numbers["goals"].values():
        assert set(goal) == {"goal", "reached", "holds"}
        assert isinstance(goal["holds"], bool)
    for found in numbers["characters"].values():
        assert [point["step"] for point in found["curve"] if "valid" in point] == [3, 6]
        assert all(point["seconds"] >= 0 for point in found["curve"])
        assert found["best"] < 3.5
    assert set(numbers["decoding"]["cores"]) == {"auto", "naive"}


def test_a_wrong_scale_is_found_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        checks, "get_core", lambda name: functools.partial(get_core(name), scale=0.2)
    )

    every = script.all_checks()
    kept = ("attention, sdpa", "attention, flash", "fused AdamW")
    few = [check for check in every if check.name.startswith(kept)]
    monkeypatch.setattr(script, "all_checks", lambda: few)
    code, record = run(tmp_path / "gpu.json", "--parts", "checks", "decoding")
    found = {c["name"]: c["passed"] for c in record["numbers"]["checks"]}
    assert code == 1
    assert found.pop("fused AdamW, three steps")
    assert len(found) == 15
    assert not any(found.values())
    assert len(record["numbers"]["failed"]) == 15
    assert record["numbers"]["decoding"]["cores"]
    assert "FAILED check: attention, sdpa, fp32: causal: error" in capsys.readouterr().err


def test_a_failed_rung_does_not_stop_the_others(tmp_path, monkeypatch):
    climb = ladder.climb

    def failing(rung, *how):
        if rung == "bfloat16":
            raise RuntimeError("no kernel in /some/where/on/this-machine.so\nmore")
        return climb(rung, *how)

    monkeypatch.setattr(ladder, "climb", failing)
    code, record = run(tmp_path / "gpu.json", "--parts", "ladder")
    assert code == 1
    assert list(record["numbers"]["rungs"]) == [r for r in ladder.RUNGS if r != "bfloat16"]
    (failure,) = record["numbers"]["failed"]
    assert failure == {
        "name": "rung: bfloat16",
        "reason": "RuntimeError: no kernel in ... more",
    }


def test_what_does_not_fit_the_budget_is_said(tmp_path):
    code, record = run(tmp_path / "gpu.json", "--minutes", "1e-9")
    numbers = record["numbers"]
    assert code == 0
    assert [skipped["name"] for skipped in numbers["skipped"]] == list(script.PARTS)
    assert numbers["rungs"] == numbers["goals"] == {}


def test_parts_share_the_time_and_what_is_there_is_kept(tmp_path):
    now = [0.0]
    report = Report(
        tmp_path / "gpu.json",
        {"some": "thing"},
        "python run.py",
        CPU,
        minutes=1,
        clock=lambda: now[0],
        say=lambda text: None,
    )

    def work(seconds):
        now[0] += seconds

    def second(report):
        report.numbers["rungs"]["plain"] = {"0": {}}
        assert report.left() == 20  # what the first one left is there as well
        assert report.fits("a short thing", 20)
        assert not report.fits("a long thing", 21)
        work(35)

    report.part("first", 0.25, lambda report: work(10))
    report.part("second", 0.5, second)
    report.part("third", 0.7, lambda report: work(1))
    saved = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["numbers"]
    assert saved["seconds"] == {"first": 10, "second": 35, "third": 0}
    assert [s["name"] for s in saved["skipped"]] == ["a long thing", "third"]
    assert saved["skipped"][0]["reason"] == "needs about 21 s of the 20 s left"
    assert saved["rungs"] == {"plain": {"0": {}}}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(capsys):
    assert script.main(["--parts", "checks"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "cuda" in message.lower()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--smoke"], "needs --out FILE"),
        (["--smoke", "--out", "x.json", "--minutes", "0"], "must be positive"),
        (["--smoke", "--out", "x.json", "--text", "no such file"], "cannot read the text"),
    ],
)
def test_what_cannot_begin_ends_with_two(capsys, options, message):
    assert script.main(options) == 2
    assert message in capsys.readouterr().err


def test_difference_is_relative_and_no_number_is_a_failure():
    a, b = torch.tensor([1.0, -4.0]), torch.tensor([1.0, -5.0])
    assert checks.difference([a], [b]) == pytest.approx(0.2)
    assert checks.difference([a * torch.nan], [b]) == float("inf")


def test_rungs_add_up():
    top = ladder.cumulative("cuDNN's attention")
    assert top == {
        "matmul": "high",
        "precision": "bf16",
        "core": "sdpa",
        "compile": True,
        "fused": True,
        "padded": True,
        "rows": "many",
        "chunked": False,
        "cudnn": True,
    }
    with pytest.raises(ValueError, match="unknown rung 'none'"):
        ladder.cumulative("none")


@pytest.mark.parametrize(
    ("positions", "tied", "numbers"),
    [
        ("rotary", True, 11 * 8),
        ("learned", True, 11 * 8),  # one position is read, not the table
        ("rotary", False, 11 * 8),  # one token is read, and the whole output map
    ],
)
def test_bytes_of_a_token_are_weights_and_cache(positions, tied, numbers):
    config = LanguageModelConfig(
        vocab_size=11, max_length=7, d_model=8, n_layers=1, n_heads=2, positions=positions,
        norm="rms", bias=False, tied=tied,
    )  # fmt: skip
    model, cache = LanguageModel(config), StaticCache(1, 7)
    with torch.no_grad():
        model(torch.ones(1, 2, dtype=torch.long), cache=cache)
    layer = 4 * 8 * 8 + 2 * 8 * 32 + 2 * 8
    keys = 2 * 7 * 8
    assert decoding.bytes_read(model, cache) == 4 * (numbers + layer + 8 + keys)


def test_the_real_sizes_are_those_that_are_named():
    settings = script.settings_for(smoke=False)
    with torch.device("meta"):
        one = LanguageModel(LanguageModelConfig(**settings["decoding"]["model"]))
        small = LanguageModel(LanguageModelConfig(vocab_size=65, **settings["characters"]["model"]))
        gpt2 = LanguageModel(LanguageModelConfig(vocab_size=50257, **settings["ladder"]["model"]))
    counts = [sum(p.numel() for p in model.parameters()) for model in (one, small, gpt2)]
    assert 1.0e9 < counts[0] < 1.2e9
    assert round(counts[1] / 1e6, 1) == 10.8
    assert counts[2] == 124_439_808
    assert settings["characters"]["seconds"] <= 180


def test_every_character_but_the_first_is_predicted_once():
    windows = characters.side_by_side(torch.arange(14), 4)
    assert windows.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12]]
    batches = characters.Windows(torch.arange(50), rows=3, length=5)
    first, again = (list(batches.epoch(0)) for _ in range(2))
    assert len(first) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], next(iter(batches.epoch(1))))
    assert all((batch.diff(dim=1) == 1).all() and batch.max() < 50 for batch in first)


def test_the_learning_rate_rises_and_falls():
    rates = [
        characters.cosine(step, peak=1.0, low=0.1, warmup=4, steps=20) for step in range(1, 21)
    ]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[11] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
    assert rates[3:] == sorted(rates[3:], reverse=True)


# What a GPU needs of the package, looked at without one. Tensors on the "meta" device have shapes
# and no numbers: an operation that mixes them with the CPU's, or asks for a number, is an error.
KINDS = {"positions": "rotary", "n_kv_heads": 2, "norm": "rms"}, {"positions": "alibi"}, {}


@pytest.mark.parametrize("options", KINDS, ids=["rotary", "ALiBi", "learned"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cache", [KeyValueCache, WindowCache, StaticCache])
@pytest.mark.usefixtures("own_errors")  # the shape checks would ask the cache for its length
def test_decoding_makes_all_on_the_device_and_asks_for_no_number(cache, padded, options):
    with torch.device("meta"):
        sizes = {"vocab_size": 61, "max_length": 64, "d_model": 64, "n_layers": 2, "n_heads": 4}
        model = LanguageModel(LanguageModelConfig(**(sizes | options))).eval()
        prompt = torch.ones(2, 5, dtype=torch.long)
        context = {"padding": torch.zeros(2, dtype=torch.long)} if padded else {}
        rows = torch.zeros(3, dtype=torch.long)
    quantize_(model, torch.int8)
    decoder = CachedDecoder(model, cache(2, 20), **context)
    choose = Sampler(top_k(5), top_p(0.9))
    assert generate(decoder, prompt, max_new=9, choose=choose).shape == (2, 14)
    decoder.reorder(rows)
    assert decoder(torch.ones(3, 15, dtype=torch.long, device="meta")).shape == (3, 61)


ONE_GRAPH = """
import torch
from torch._dynamo.testing import CompileCounter
from benchmarks.gpu.ladder import whole_loss
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

graphs, sizes = CompileCounter(), dict(max_length=16, d_model=16, n_layers=2, n_heads=2)
with torch.device("meta"):
    model = LanguageModel(LanguageModelConfig(vocab_size=61, dropout=0.2, **sizes))
    tokens = torch.ones(2, 17, dtype=torch.long)
loss = torch.compile(whole_loss, dynamic=False, fullgraph=True, backend=graphs)
for _ in range(3):
    loss(model, tokens)[0].backward()
print(graphs.frame_count)
"""


def test_model_and_loss_are_one_program_on_a_device():
    """Not on the CPU, where the targets are looked at."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_GRAPH], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
