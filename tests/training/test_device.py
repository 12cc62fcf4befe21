"""The choice of the device, on machines that we pretend to have; the allocator's switch."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from tfmlib.training.device import keep_freed_memory, pick_device


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with so many CUDA devices, with MPS or not."""

    def pretend(cuda=0, mps=False, built_with="13.0"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"Card {i}")
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda i: SimpleNamespace(total_memory=(8 + i) * 2**30),
        )
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.version, "cuda", built_with)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 4)

    return pretend


@pytest.mark.parametrize(
    ("name", "has", "device", "reason"),
    [
        ("auto", {"cuda": 2, "mps": True}, "cuda", "Card 0 (8 GiB, cuda:0), the first CUDA device"),
        ("auto", {"mps": True}, "mps", "Apple GPU (mps): no CUDA device was found"),
        ("auto", {}, "cpu", "CPU with 4 threads: no GPU was found (torch finds no CUDA device)"),
        ("auto", {"built_with": None}, "cpu", "(this build of torch has no CUDA)"),
        ("cpu", {"cuda": 1, "mps": True}, "cpu", "CPU with 4 threads, as asked"),
        ("cuda", {"cuda": 1}, "cuda", "Card 0 (8 GiB, cuda:0), as asked"),
        ("cuda:1", {"cuda": 2}, "cuda:1", "Card 1 (9 GiB, cuda:1), as asked"),
        ("mps", {"cuda": 1, "mps": True}, "mps", "Apple GPU (mps), as asked"),
    ],
)
def test_the_choice_and_its_reason(machine, name, has, device, reason):
    machine(**has)
    choice, sentence = pick_device(name)
    assert choice == torch.device(device)
    assert reason in sentence
    assert sentence.startswith("Computing on ")
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("name", "has", "message"),
    [
        ("cuda", {}, '"cuda" was asked for, but torch finds no CUDA device'),
        ("cuda:0", {"built_with": None}, '"cuda:0" was asked .* this build of torch has no CUDA'),
        ("cuda:2", {"cuda": 2}, "the CUDA devices here are 0 to 1"),
        ("mps", {"cuda": 1}, "no Apple GPU"),
        ("gpu", {"cuda": 1}, "device must be \"auto\".* got 'gpu'"),
        ("cpu:1", {}, "got 'cpu:1'"),
        ("cuda:x", {"cuda": 1}, "got 'cuda:x'"),
        ("", {}, "got ''"),
    ],
)
def test_what_is_not_there_is_said(machine, name, has, message):
    machine(**has)
    with pytest.raises(ValueError, match=message):
        pick_device(name)


def test_the_device_of_this_machine_can_compute():
    device, _ = pick_device()
    assert torch.ones(3, device=device).sum().item() == 3


FAULTS = """
import resource, sys
import torch
from tfmlib.training.device import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
block = torch.zeros(10 * 2**20)
for i in range(15):
    if i == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a switch of glibc")
def test_freed_memory_is_kept():
    faults = {
        mode: int(subprocess.check_output([sys.executable, "-c", FAULTS, mode], text=True))
        for mode in ("default", "keep")
    }
    # Ten blocks of 40 MiB: 102 400 pages of 4 KiB, or 200 where the system uses huge ones.
    assert faults["default"] > 100
    assert 5 * faults["keep"] < faults["default"]


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
