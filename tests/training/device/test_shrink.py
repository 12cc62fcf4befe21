"""Running out of memory, pretended and real: same gradients from pieces, and one message."""

import subprocess
import sys
import warnings
from functools import partial

import pytest
import torch
from toy_training import VOCAB, Toy, ToyBatches, toy_loss

from tfmlib.training.batching import collate, pair_loss
from tfmlib.training.device import ShrinkToFit, is_out_of_memory, shrink
from tfmlib.training.loop import TrainingConfig, add_gradients, train
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.transformer import Transformer, TransformerConfig


def rows_that_fit(rows, loss=toy_loss, error=torch.OutOfMemoryError):
    """A loss on a device whose memory holds so many rows."""

    def limited(model, ids):
        value = loss(model, ids)
        if len(ids) > rows:
            raise error("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return value

    return limited


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


@pytest.fixture
def batch():
    ids = torch.randint(1, VOCAB, (13, 9), generator=torch.Generator().manual_seed(3))
    ids[4:, 6:] = 0
    ids[9:, 3:] = 0
    return ids


@pytest.mark.parametrize(("fit", "pieces"), [(13, 1), (12, 2), (7, 2), (4, 4), (2, 8), (1, 16)])
def test_gradients_are_those_of_the_whole_batch(batch, fit, pieces):
    torch.manual_seed(0)
    model = Toy(dropout=0.0).double()
    total, tokens = add_gradients(model, [batch, batch[:3]], toy_loss)
    expected = gradients(model)
    said = []
    shrinking = ShrinkToFit(say=said.append)
    found = shrinking(model, [batch, batch[:3]], rows_that_fit(fit))
    assert found == (pytest.approx(total, rel=1e-12), tokens)
    for a, b in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert shrinking.pieces == pieces
    assert len(said) == pieces.bit_length() - 1
    if said:
        assert said[0].startswith("Out of memory on cpu with 13 rows at a time")
        assert f"computed in {pieces} pieces and the gradients added up" in said[-1]
    said.clear()
    shrinking(model, [batch], rows_that_fit(fit))  # what was learnt stays, and is not said again
    assert said == []


def test_it_warns_where_nobody_listens(batch):
    model = Toy(dropout=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        ShrinkToFit()(model, [batch], rows_that_fit(7))
    assert [str(w.message)[:20] for w in caught] == ["Out of memory on cpu"]


def test_other_errors_pass(batch):
    shrinking = ShrinkToFit(say=pytest.fail)
    for error in (ValueError, RuntimeError, KeyError):

        def broken(model, ids, error=error):
            raise error("shapes do not fit")

        with pytest.raises(error, match="shapes do not fit"):
            shrinking(Toy(), [batch], broken)


def test_when_one_row_does_not_fit_it_says_what_helps(batch):
    said = []
    model = Toy()
    optimizer = adamw(model, lr=1e-3)
    with pytest.raises(torch.OutOfMemoryError, match=r"on cpu with one row .* recompute_layers"):
        ShrinkToFit(optimizer, say=said.append)(model, [batch], rows_that_fit(0))
    assert len(said) == 4


def test_on_a_gpu_it_goes_to_the_cpu(batch, monkeypatch):
    """No card is needed: the model only says that it is on one until it is moved."""
    model = Toy(dropout=0.0).double()
    optimizer = adamw(model, lr=1e-3)
    add_gradients(model, [batch], toy_loss)
    expected = gradients(model)
    moved, said = [], []
    place = {"now": torch.device("cuda:0")}
    monkeypatch.setattr(shrink, "_place", lambda model: place["now"])

    def move(model, optimizer, device):
        moved.append(device)
        place["now"] = device

    monkeypatch.setattr(shrink, "_move", move)

    def loss(model, ids):
        return (rows_that_fit(0) if place["now"].type == "cuda" else toy_loss)(model, ids)

    shrinking = ShrinkToFit(optimizer, say=said.append)
    shrinking(model, [batch], loss)
    assert all(map(torch.equal, gradients(model), expected))
    assert moved == [torch.device("cpu")]
    assert shrinking.pieces == 1
    assert "on cuda:0 with one row at a time: going on with the CPU" in said[-1]
    place["now"] = torch.device("cuda:0")
    with pytest.raises(torch.OutOfMemoryError):  # without an optimizer to move
        ShrinkToFit(say=said.append)(model, [batch], loss)


def test_moving_takes_the_optimizer_along():
    model = Toy(dropout=0.0)
    optimizer = adamw(model, lr=1e-3)
    toy_loss(model, torch.ones(2, 4, dtype=torch.long))[0].backward()
    optimizer.step()
    parameter = next(model.parameters())
    shrink._move(model, optimizer, torch.device("meta"))
    assert {t.device.type for s in optimizer.state.values() for t in s.values()} == {"meta"}
    assert next(model.parameters()).device.type == "meta"
    assert parameter is next(model.parameters()) or parameter.device.type == "cpu"


def test_the_loop_goes_on_and_arrives_at_the_same_weights():
    def trained(gradients, loss):
        torch.manual_seed(0)
        model = Toy(dropout=0.0).double()
        config = TrainingConfig(steps=12, accumulate=2)
        optimizer = adamw(model, lr=1e-2)
        train(
            model,
            optimizer,
            lambda step: 1e-2,
            ToyBatches(),
            loss,
            config,
            gradients=gradients,
            progress=False,
        )
        return [p.detach() for p in model.parameters()]

    said = []
    expected = trained(add_gradients, toy_loss)
    found = trained(ShrinkToFit(say=said.append), rows_that_fit(2))
    assert said
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_batches_of_pairs_are_cut_too():
    torch.manual_seed(0)
    model = Transformer(
        TransformerConfig(
            vocab_size=20, d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1
        )
    ).eval()
    pairs = [([3 + i] * (i + 1), [4 + i] * (5 - i)) for i in range(5)]
    batch = collate(pairs, pad_id=0, start_id=1, end_id=2)
    loss = partial(pair_loss, pad_id=0)
    add_gradients(model, [batch], loss)
    expected = gradients(model)

    def limited(model, batch):
        if len(batch.source) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return loss(model, batch)

    shrinking = ShrinkToFit(say=lambda text: None)
    shrinking(model, [batch], limited)
    assert shrinking.pieces == 4
    for a, b in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rows", "pieces"), [(7, 1), (7, 2), (7, 3), (2, 5), (1, 4)])
def test_cut(rows, pieces):
    x = torch.arange(rows * 2).view(rows, 2)
    parts = shrink.cut({"x": x, "more": (x[:, 0], [x])}, pieces)
    assert len(parts) == min(rows, pieces)
    assert torch.equal(torch.cat([part["x"] for part in parts]), x)
    assert torch.equal(torch.cat([part["more"][1][0] for part in parts]), x)
    sizes = [len(part["more"][0]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert isinstance(parts[0]["more"], tuple)


def test_cut_says_what_it_cannot_cut():
    with pytest.raises(TypeError, match="found a str"):
        shrink.cut((torch.zeros(2), "two"), 2)
    with pytest.raises(ValueError, match=r"as many rows, got \[2, 3\]"):
        shrink.cut((torch.zeros(2), torch.zeros(3)), 2)


def test_which_errors_mean_that_memory_ran_out():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)  # the CPU's allocator, really
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


REALLY = """
import resource
import torch
from torch import nn
from tfmlib.training.device import ShrinkToFit
from tfmlib.training.loop import add_gradients

torch.manual_seed(0)
model = nn.Linear(1000, 1000)
batch = torch.randn(8_000, 1000)
loss = lambda model, x: (model(x).exp().cos().sum(), len(x))
add_gradients(model, [batch[:10]], loss)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 80 * 2**20, resource.RLIM_INFINITY))
fits = ShrinkToFit(say=print)
fits(model, [batch], loss)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
found = model.weight.grad.clone()
add_gradients(model, [batch], loss)
gap = (found - model.weight.grad).norm() / found.norm()
print("pieces", fits.pieces, "same", bool(gap < 1e-3))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit that Linux enforces")
def test_a_process_that_may_not_have_more_memory():
    lines = subprocess.check_output([sys.executable, "-c", REALLY], text=True).splitlines()
    assert lines[0].startswith("Out of memory on cpu with 8000 rows at a time")
    pieces = int(lines[-1].split()[1])
    assert pieces >= 2
    assert lines[-1].endswith("same True")
