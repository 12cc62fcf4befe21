"""The records of depth.py and attention_scale.py in benchmarks/ are what the scripts make."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from tfmlib import records
from tfmlib.data.source_code import encode

sys.path.insert(0, str(Path(__file__).parents[2]))
ablations = importlib.import_module("benchmarks.ablations")
depth = importlib.import_module("benchmarks.depth")
scale = importlib.import_module("benchmarks.attention_scale")

DEPTH = records.load("depth")
SCALE = records.load("attention_scale")
STEPS = 30  # of the warm-up


def test_settings_are_those_of_the_scripts():
    assert DEPTH["settings"] == depth.SETTINGS
    assert DEPTH["seeds"] == list(depth.SEEDS)
    assert SCALE["settings"] == scale.SETTINGS
    assert SCALE["seeds"] == list(scale.SEEDS)


def test_every_run_is_there():
    for group, (_, _, changes) in depth.SETTINGS["groups"].items():
        settings = depth.SETTINGS | changes
        found = DEPTH["numbers"][group]
        assert list(found) == [str(n) for n in settings["depths"]]
        for by_rate in found.values():
            assert list(by_rate) == [str(lr) for lr in settings["lrs"]]
            for by_seed in by_rate.values():
                assert list(by_seed) == ["0", "1", "2"]
                assert all(len(run["curve"]) == 10 for run in by_seed.values())
    for by_scale in SCALE["numbers"].values():
        assert list(by_scale) == ["scaled", "not scaled"]


@pytest.mark.parametrize("group", ["pre-norm", "post-norm", "no residuals", "no final norm"])
def test_first_steps_of_depth_come_out_again(group):
    kind, init, _ = depth.SETTINGS["groups"][group]
    model = depth.build(kind, init, 2, seed=0)
    recorded = DEPTH["numbers"][group]["2"]["0.003"]["0"]
    few = ablations.validation(depth.SETTINGS)
    assert ablations.validation_loss(model, few) == pytest.approx(recorded["loss_before"], abs=1e-3)
    assert depth.stream_rms(model, few) == pytest.approx(recorded["stream_before"], abs=2e-3)
    losses = ablations.train(model, depth.SETTINGS, 0, lr=3e-3, steps=STEPS)
    first = [losses[step - 1] for step in depth.SETTINGS["first_steps"]]
    assert first == pytest.approx(recorded["first_losses"], abs=2e-3)


@pytest.mark.parametrize("scaled", [True, False])
def test_first_steps_of_scale_come_out_again(scaled):
    model = scale.build(*scale.SETTINGS["starts"]["d_k 128"], scaled, seed=0)
    name = "scaled" if scaled else "not scaled"
    recorded = SCALE["numbers"]["d_k 128"][name]["0.003"]["0"]
    few = ablations.validation(scale.SETTINGS)[0]
    assert scale.entropy(model, few) == pytest.approx(recorded["entropy_before"], abs=2e-3)
    losses = ablations.train(model, scale.SETTINGS, 0, lr=3e-3, steps=STEPS)
    first = [losses[step - 1] for step in scale.SETTINGS["first_steps"]]
    assert first == pytest.approx(recorded["first_losses"], abs=2e-3)


def test_parts_are_taken_away():
    tokens = encode("def f(x):")[None]
    whole, other = (depth.build("pre", "xavier", 2, seed=0) for _ in range(2))
    ablations.remove_final_norm(other)
    stream = []
    whole.decoder.norm.register_forward_pre_hook(lambda _, args: stream.append(args[0]))
    whole(tokens)
    assert torch.allclose(other(tokens), whole.embedding.logits(stream[0]), atol=1e-5)

    bare = depth.build("none", "xavier", 1, seed=0)
    (layer,) = bare.decoder.layers
    x = torch.randn(1, 9, 32)
    attended = torch.nn.functional.layer_norm(layer.self_attention(x, causal=True), (32,))
    out = torch.nn.functional.layer_norm(layer.feed_forward(attended), (32,))
    assert torch.allclose(bare.decoder(x), out, atol=1e-5)


def test_scores_without_the_scale_are_larger_by_the_root():
    tokens = encode("def f(x):")[None]
    seen = {}
    for scaled in (True, False):
        model = scale.build(128, 1, scaled, seed=0)

        def watch(core, scaled=scaled):
            def core_seen(q, k, v, *, scale=None, **how):
                factor = q.shape[-1] ** -0.5 if scale is None else scale
                seen[scaled] = q @ k.mT * factor
                return core(q, k, v, scale=scale, **how)

            return core_seen

        with ablations.core_of(model, 0, watch):
            model(tokens)
        plain = model.decoder.layers[0].self_attention.core
        assert plain is model.decoder.layers[1].self_attention.core
    assert torch.allclose(seen[False], seen[True] * 128**0.5, rtol=1e-4, atol=1e-4)


def test_larger_queries_and_keys():
    plain, larger = (scale.build(128, factor, True, seed=0) for factor in (1, 3))
    a, b = (m.decoder.layers[1].self_attention for m in (plain, larger))
    assert torch.allclose(b.project_q.weight, 3 * a.project_q.weight)
    assert torch.allclose(b.project_k.weight, 3 * a.project_k.weight)
    assert torch.equal(b.project_v.weight, a.project_v.weight)


def test_only_the_warm_up_is_run_in_part():
    with pytest.raises(ValueError, match="at most 50 steps, got 51"):
        ablations.train(None, depth.SETTINGS, 0, lr=1e-3, steps=51)
