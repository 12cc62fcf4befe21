"""Counted operations against torch's counter; peaks that are known, and none that is guessed."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tfmlib.training.device import (
    PEAKS,
    language_model_flops,
    measure_peak,
    mfu,
    next_token_loss,
    published_peak,
)
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


@pytest.mark.parametrize(
    "changes", [{}, {"n_kv_heads": 2}, {"gated": True, "d_ff": 40}, {"tied": False}]
)
@pytest.mark.parametrize("time", [1, 12])
def test_operations_are_those_that_torch_counts(changes, time):
    config = LanguageModelConfig(
        **({"vocab_size": 70, "d_model": 24, "n_layers": 3, "n_heads": 4} | changes),
        positions="none",
        core="naive",
    )
    with torch.device("meta"):
        model = LanguageModel(config)
        tokens = torch.zeros(2, time, dtype=torch.long)
        with FlopCounterMode(display=False) as forward:
            model(tokens)
        with FlopCounterMode(display=False) as step:
            model(tokens).sum().backward()
    terms = language_model_flops(config, time)
    assert forward.get_total_flops() == 2 * time * sum(terms.values())
    assert step.get_total_flops() == 3 * forward.get_total_flops()


def test_the_chunked_loss_takes_as_many_operations():
    torch.manual_seed(0)
    config = LanguageModelConfig(
        vocab_size=70, d_model=24, n_layers=1, n_heads=4, positions="none", core="naive"
    )
    model, tokens = LanguageModel(config), torch.randint(0, 70, (2, 13))
    counts = []
    for chunk in (None, 5):
        with FlopCounterMode(display=False) as counter:
            next_token_loss(model, tokens, chunk=chunk)[0].backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 12 * sum(language_model_flops(config, 12).values())


def test_mfu_by_hand():
    # 1 000 tokens a second of 3 000 operations each, on a chip that can do 12 million.
    assert mfu(1000, 3000, peak=12e6) == 0.25
    assert mfu(1e6, 31.2e6, device_name="NVIDIA A100-SXM4-40GB") == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-PCIE-40GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
    ],
)
def test_published_peaks(name, flops):
    peak = published_peak(name)
    assert peak.flops == flops
    assert "data sheet" in peak.source


@pytest.mark.parametrize(
    "name", ["NVIDIA H100", "NVIDIA A10G", "NVIDIA GeForce RTX 4090 Laptop GPU", "Card 0", ""]
)
def test_an_unknown_device_is_not_guessed(name):
    with pytest.raises(ValueError, match=r"look it up and pass peak="):
        published_peak(name)
    with pytest.raises(ValueError, match="pass peak="):
        mfu(1.0, 1.0, device_name=name or "x")


def test_without_a_device_the_peak_must_be_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="pass peak="):
        mfu(1.0, 1.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert mfu(989.4e12, 0.5) == 0.5


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, -2, 1), (1, 1, 0), (1, 1, float("nan"))])
def test_numbers_must_be_positive(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        mfu(*wrong[:2], peak=wrong[2])


def test_no_name_fits_two_entries():
    for pattern in PEAKS:
        name = pattern.removesuffix(".*")
        assert [p for p in PEAKS if re.fullmatch(p, name)] == [pattern]


def test_measured_peak_is_a_rate():
    peak = measure_peak(size=128, repeats=2)
    assert 1e7 < peak.flops < 1e14
    assert peak.source == "measured: products of 128 x 128 in float32"
