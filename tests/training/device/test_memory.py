"""Counted bytes against a formula, against the tensors themselves, and against torch's profiler."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tfmlib.training.device import (
    count_memory,
    memory_limit,
    next_token_loss,
    peak_memory,
    recompute_layers,
    saved_for_backward,
)
from tfmlib.training.optimizer import adamw
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig


def language_model(**changes):
    torch.manual_seed(0)
    size = {"vocab_size": 500, "max_length": 32, "d_model": 16, "n_layers": 3, "n_heads": 2}
    return LanguageModel(LanguageModelConfig(**(size | {"positions": "rotary"} | changes)))


def profiled_peak(run):
    """What torch's own profiler says: every allocation of the CPU, scratch memory included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as p:
        run()
    events = [e for e in p.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def test_saved_by_hand():
    x = torch.randn(5, 4)
    w, v = (torch.randn(4, 4, requires_grad=True) for _ in range(2))
    with saved_for_backward(without=[w, v]) as saved:
        y = x @ w  # keeps x
        z = y.relu()  # keeps its result
        loss = (z @ v).sum()  # keeps z again
    assert saved.bytes == 4 * (5 * 4 + 5 * 4)
    assert [shape for shape, _, _ in saved.tensors] == [(5, 4), (5, 4)]
    with saved_for_backward() as all_of_it:
        loss_again = (((x @ w).relu()) @ v).sum()
    assert all_of_it.bytes == saved.bytes + 4 * 4 * 4  # v; w is not needed, as x has no gradient
    for value in (loss, loss_again):  # the hooks do not disturb the backward pass
        gradient = torch.autograd.grad(value, w)[0]
        torch.testing.assert_close(gradient, x.T @ ((y > 0) * v.sum(1)))


def test_memory_behind_a_view_counts_once_and_whole():
    base = torch.randn(10, 6, requires_grad=True).exp()
    with saved_for_backward() as saved:
        (base[:2].square().sum() + base[2:3].square().sum()).backward()
    assert saved.bytes == 10 * 6 * 4


def test_what_is_let_go_before_the_end_does_not_count():
    x = torch.randn(7, 7, requires_grad=True)
    with saved_for_backward(without=[x]) as saved:
        x.exp().sum().backward()
        kept = x.exp()
    assert saved.bytes == kept.numel() * 4


def test_layers_of_the_language_model_follow_the_formula():
    """Per token and layer 16 d_model numbers, 3 n_heads/... of statistics: see the chapter."""
    batch, time, d, heads, vocab = 2, 24, 16, 2, 500
    tokens = torch.randint(0, vocab, (batch, time))
    bytes_of = {}
    for layers in (1, 2, 4):
        model = language_model(n_layers=layers, positions="none")
        with saved_for_backward(without=[*model.parameters(), *model.buffers()]) as saved:
            hidden = model.hidden(tokens)
        bytes_of[layers] = saved.bytes
        del hidden
    per_layer = bytes_of[2] - bytes_of[1]
    assert bytes_of[4] - bytes_of[2] == 2 * per_layer
    statistics = 2 * 2 + heads  # mean and deviation of two norms, one number per head and query
    assert per_layer == 4 * batch * time * (16 * d + statistics)


def test_count_memory_against_the_tensors():
    model = language_model()
    optimizer = adamw(model, lr=1e-3)
    tokens = torch.randint(0, 500, (2, 25))
    before = count_memory(model, optimizer, next_token_loss, tokens, vocab_size=500)
    assert before.moments == 0
    optimizer.step()
    memory = count_memory(
        model, optimizer, lambda m, b: next_token_loss(m, b, chunk=None), tokens, vocab_size=500
    )
    n = sum(p.numel() for p in model.parameters())
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    assert memory.weights == 4 * n + buffers
    assert memory.gradients == 4 * n
    steps = 4 * len(list(model.parameters()))
    assert memory.moments == 8 * n + steps
    assert memory.logits == 4 * 2 * 24 * 500
    assert memory.total == sum(
        (memory.weights, memory.gradients, memory.moments, memory.activations, memory.logits)
    )
    chunked = count_memory(
        model, optimizer, lambda m, b: next_token_loss(m, b, chunk=8)[0], tokens, vocab_size=500
    )
    assert chunked.logits == 0
    with recompute_layers(model):
        less = count_memory(model, optimizer, next_token_loss, tokens, vocab_size=500)
    assert less.activations < 0.5 * chunked.activations


@pytest.mark.parametrize("chunk", [None, 64])
@pytest.mark.parametrize("recompute", [False, True])
def test_peak_is_that_of_the_profiler(chunk, recompute):
    model = language_model(vocab_size=1500)
    tokens = torch.randint(0, 1500, (4, 33))

    def step():
        model.zero_grad(set_to_none=True)
        next_token_loss(model, tokens, chunk=chunk)[0].backward()

    def measured(how):
        model.zero_grad(set_to_none=True)
        if not recompute:
            return how(step)
        with recompute_layers(model):
            return how(step)

    step()
    assert measured(peak_memory) == pytest.approx(measured(profiled_peak), rel=0.03)


def test_peak_by_hand():
    def run():
        a = torch.zeros(1000)  # 4 000 bytes
        b = a.view(10, 100)  # nothing new
        c = b + 1  # 8 000
        del a, b
        return c.exp()  # 8 000 again: the first is gone

    assert peak_memory(run) == 8000
    assert peak_memory(lambda: None) == 0
    kept = torch.zeros(500)
    assert peak_memory(lambda: kept.add_(1)) == 0


def test_a_limit_of_memory():
    before = torch.zeros(1000)
    with memory_limit(8100):
        x = before + 1  # 4 000 bytes
        y = x + 1  # 8 000, as much as there is
        with pytest.raises(torch.OutOfMemoryError, match="4,000 bytes more than the 8,000 in use"):
            y + 1
        del x
        assert (y + 1).sum() == 3000  # what was let go is there again
    assert (y + 1 + y.exp()).isfinite().all()


def test_a_step_fits_into_its_peak_and_not_into_less():
    model = language_model(vocab_size=1500)
    tokens = torch.randint(0, 1500, (4, 33))

    def step():
        model.zero_grad(set_to_none=True)
        next_token_loss(model, tokens, chunk=None)[0].backward()

    step()
    model.zero_grad(set_to_none=True)
    peak = peak_memory(step)
    model.zero_grad(set_to_none=True)
    with memory_limit(peak):
        step()
    model.zero_grad(set_to_none=True)
    with pytest.raises(torch.OutOfMemoryError), memory_limit(peak - 1):
        step()


def test_peak_of_cuda_is_the_allocators(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda d: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 175)
    assert peak_memory(lambda: calls.append("run"), "cuda") == 75
    assert calls == ["wait", "reset", "run", "wait"]


def test_no_peak_elsewhere():
    with pytest.raises(ValueError, match="cpu and cuda, got mps"):
        peak_memory(lambda: None, "mps")


def test_buffers_and_tied_weights_count_once():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("extra", torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory = count_memory(
        model, optimizer, lambda m, ids: m(ids).logsumexp(-1).sum(), torch.arange(5), vocab_size=10
    )
    assert memory.weights == 10 * 4 * 4 + 24
    assert memory.gradients == 10 * 4 * 4
    assert memory.moments == 0
