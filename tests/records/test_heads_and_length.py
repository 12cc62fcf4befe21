"""The record of benchmarks/heads_and_length.py is what the script makes."""

import importlib
import math
import sys
from pathlib import Path

import pytest
import torch

from tfmlib import records
from tfmlib.blocks.attention import naive

sys.path.insert(0, str(Path(__file__).parents[2]))
ablations = importlib.import_module("benchmarks.ablations")
sweep = importlib.import_module("benchmarks.heads_and_length")

RECORD = records.load("heads_and_length")
STEPS = 30  # of the warm-up


def test_settings_are_those_of_the_script():
    assert RECORD["settings"] == sweep.SETTINGS
    assert RECORD["seeds"] == list(sweep.SEEDS)


def test_every_run_is_there():
    settings = sweep.SETTINGS
    names = [f"learned, {n} heads" for n in settings["heads"]]
    names += [f"{p}, 4 heads" for p in settings["positions"] if p != "learned"]
    names += [f"rotary, {n} heads" for n in settings["heads_with_rotary"]]
    assert list(RECORD["numbers"]) == names
    bins = settings["longest"] // settings["bin"]
    for name, by_seed in RECORD["numbers"].items():
        count = len(sweep.SEEDS) if name.startswith("learned") else settings["position_seeds"]
        assert list(by_seed) == [str(seed) for seed in sweep.SEEDS[:count]]
        for run in by_seed.values():
            assert 1.5 < run["valid_loss"] < 3.2
            if name.endswith(", 4 heads"):
                assert len(run["by_position"]) == len(run["restarted"]) == bins
                # Within the training length, reading on and starting anew are the same.
                within = settings["length"] // settings["bin"]
                assert run["by_position"][:within] == run["restarted"][:within]


@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
def test_first_steps_come_out_again(positions):
    model = sweep.build(4, positions, seed=0)
    recorded = RECORD["numbers"][f"{positions}, 4 heads"]["0"]
    assert sum(p.numel() for p in model.parameters()) == recorded["parameters"]
    if positions == "learned":
        batch = ablations.validation(sweep.SETTINGS)
        for ours, theirs in zip(
            sweep.patterns(model, batch), recorded["patterns_before"], strict=True
        ):
            assert ours["distance"] == pytest.approx(theirs["distance"], abs=1e-2)
            assert ours["entropy"] == pytest.approx(theirs["entropy"], abs=1e-3)
    losses = ablations.train(model, sweep.SETTINGS, 0, steps=STEPS)
    first = [losses[step - 1] for step in sweep.SETTINGS["first_steps"]]
    assert first == pytest.approx(recorded["first_losses"], abs=2e-3)


def heads(*shape, seed=0):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))


def test_removed_heads_hand_over_nothing():
    q, k, v = heads(2, 4, 5, 3)
    whole = naive(q, k, v, causal=True)
    pruned = sweep.without(1, 3)(naive)(q, k, v, causal=True)
    assert torch.equal(pruned[:, [0, 2]], whole[:, [0, 2]])
    assert (pruned[:, [1, 3]] == 0).all()


def test_removing_a_head_is_zeroing_its_columns():
    model = sweep.build(4, "rotary", seed=0)
    tokens = torch.arange(12)[None]
    with ablations.core_of(model, 1, sweep.without(2)):
        removed = model(tokens)
    with torch.no_grad():
        model.decoder.layers[1].self_attention.project_o.weight[:, 32:48] = 0
    assert torch.allclose(removed, model(tokens), atol=1e-5)


def test_one_pattern_for_all_heads():
    q, k, v = heads(1, 2, 4, 3)
    q, k = q[:, :1].expand_as(q), k[:, :1].expand_as(k)  # heads that look at the same places
    same = sweep.same_pattern(naive)(q, k, v, causal=True)
    assert torch.allclose(same, naive(q, k, v, causal=True), atol=1e-6)


def test_divergence_of_patterns():
    here, there = torch.eye(3)[None, None], torch.eye(3).roll(1, 0)[None, None]
    apart = sweep.divergence(torch.cat([here, there, here], dim=1))
    expected = math.log(2) * torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert torch.allclose(apart, expected, atol=1e-6)


def test_slowed_rotation_turns_by_the_fraction():
    model, plain = (sweep.build(4, "rotary", seed=0) for _ in range(2))
    sweep.slow_down(model, 4, "interpolated")
    x = torch.randn(1, 1, 5, 16)
    ours, theirs = (m.decoder.layers[1].self_attention.rotary for m in (model, plain))
    assert torch.allclose(ours(x, 4 * torch.arange(5)), theirs(x, torch.arange(5)), atol=1e-5)


def test_remedies_slow_the_pairs_that_they_say():
    (frequency,) = {
        layer.self_attention.rotary.frequency
        for layer in sweep.build(4, "rotary", seed=0).decoder.layers
    }
    ratio = {how: frequency / sweep.slowed(frequency, 4, how) for how in sweep.SETTINGS["remedies"]}
    assert ratio["as_trained"].tolist() == [1] * 8
    assert ratio["interpolated"].tolist() == [4] * 8
    assert ratio["slow_pairs"].tolist() == [1, 1, 1, 4, 4, 4, 4, 4]
    larger = ratio["larger_base"]
    assert larger[0] == 1
    assert larger[-1].item() == pytest.approx(4)
    base = 10_000 * 4 ** (16 / 14)
    expected = base ** -(torch.arange(0, 16, 2) / 16)
    assert torch.allclose(frequency / larger, expected, rtol=1e-4), "a rotation of a larger base"


def test_starting_anew_scores_every_character_once():
    class Where(torch.nn.Module):
        """The loss of a character tells how far from the start of its piece it stands."""

        def forward(self, tokens):
            place = torch.arange(tokens.shape[1]).float()
            logits = torch.zeros(*tokens.shape, 97)
            logits[..., 0] = place + 100  # far enough that the loss is the place
            return logits

    batch = torch.ones(2, 256, dtype=torch.long), torch.ones(2, 256, dtype=torch.long)
    rows = sweep.restarted(Where(), batch)
    half = [100 + sum(range(a, a + 32)) / 32 for a in (0, 32)]
    assert rows == pytest.approx([half[0], *[half[1]] * 7])
