"""Recurrent sequence-to-sequence models, held against torch.nn.LSTM cells run by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tfmlib.sequences.fit import fit
from tfmlib.sequences.recurrent import RecurrentSeq2Seq

KINDS = [
    {"attention": False},
    {"attention": True},
    {"attention": False, "bidirectional": True, "n_layers": 2},
    {"attention": True, "bidirectional": True, "n_layers": 2},
    {"attention": True, "n_layers": 3},
]


def make(seed=0, **arguments):
    torch.manual_seed(seed)
    return RecurrentSeq2Seq(11, **{"d_model": 6, **arguments}).double().eval()


def batch():
    """Three sources of lengths 5, 2 and 1, and three targets, all ids above 0."""
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(1, 11, (3, 5), generator=generator)
    mask = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    target = torch.randint(1, 11, (3, 4), generator=generator)
    return source.masked_fill(~mask, 0), mask, target


def cells(lstm, layer, suffix=""):
    """The weights of one layer of an nn.LSTM as an nn.LSTMCell, which makes one step."""
    cell = nn.LSTMCell(
        getattr(lstm, f"weight_ih_l{layer}{suffix}").shape[1], lstm.hidden_size
    ).double()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).copy_(getattr(lstm, f"{name}_l{layer}{suffix}"))
    return cell


def run(cell, inputs, state):
    """The states of one layer at each step, and the last hidden and cell state."""
    outputs = []
    for x in inputs:
        state = cell(x[None], state)
        outputs.append(state[0][0])
    return outputs, state


def by_hand(model, source, target):
    """The logits of one unpadded pair, step by step, from the equations of the papers."""
    d_model = model.embedding.embedding_dim
    xs, finals = list(model.embedding(source)), []
    for layer in range(model.n_layers):
        zero = torch.zeros(1, model.encoder.hidden_size, dtype=torch.double)
        forwards, last = run(cells(model.encoder, layer), xs, (zero, zero))
        if model.bidirectional:
            backwards, last_back = run(
                cells(model.encoder, layer, "_reverse"), xs[::-1], (zero, zero)
            )
            xs = [torch.cat(pair) for pair in zip(forwards, backwards[::-1], strict=True)]
            last = tuple(torch.cat(pair, dim=1) for pair in zip(last, last_back, strict=True))
        else:
            xs = forwards
        finals.append(last)
    ys = list(model.embedding(target))
    for layer in range(model.n_layers):
        ys, _ = run(cells(model.decoder, layer), ys, finals[layer])
    logits = []
    for y in ys:
        if model.attention is not None:
            scores = [model.attention.query.weight @ y @ x / d_model**0.5 for x in xs]
            exponentials = [score.exp() for score in scores]
            context = sum(e * x for e, x in zip(exponentials, xs, strict=True)) / sum(exponentials)
            combine = model.attention.combine
            y = torch.tanh(combine.weight @ torch.cat([context, y]) + combine.bias)
        logits.append(model.output.weight @ y + model.output.bias)
    return torch.stack(logits)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_cells_run_by_hand(kind):
    model = make(**kind)
    source, mask, target = batch()
    logits = model(source, target, mask)
    assert logits.shape == (3, 4, 11)
    for row in range(3):
        expected = by_hand(model, source[row][mask[row]], target[row])
        torch.testing.assert_close(logits[row], expected, rtol=1e-10, atol=1e-12)


def gradients(model, source, mask, target):
    model.zero_grad()
    loss = F.cross_entropy(model(source, target, mask).transpose(1, 2), target)
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_influence(kind):
    """More padding, and other tokens under it: the same logits and the same gradients."""
    model = make(**kind)
    source, mask, target = batch()
    more, more_mask = F.pad(source, (0, 3)), F.pad(mask, (0, 3))
    more = torch.where(more_mask, more, torch.randint(1, 11, more.shape))
    expected, logits = model(source, target, mask), model(more, target, more_mask)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-14)
    expected = gradients(model, source, mask, target)
    torch.testing.assert_close(
        gradients(model, more, more_mask, target), expected, rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_token_has_an_influence(kind):
    model = make(**kind)
    source, mask, target = batch()
    before = model(source, target, mask)
    for row in range(3):
        for position in range(int(mask[row].sum())):
            changed = source.clone()
            changed[row, position] = source[row, position] % 10 + 1
            difference = (model(changed, target, mask) - before).abs().amax(dim=(1, 2))
            assert difference[row] > 1e-8
            assert difference.sum() == difference[row], "and only on its own row"


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_of_the_target_has_no_influence(kind):
    model = make(**kind)
    source, mask, target = batch()
    before = model(source, target, mask)
    changed = target.clone()
    changed[:, 2] = target[:, 2] % 10 + 1
    difference = (model(source, changed, mask) - before).abs().amax(dim=(0, 2))
    assert (difference[:2] == 0).all()
    assert (difference[2:] > 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_a_prefix_gives_the_same_logits(kind):
    model = make(**kind)
    source, mask, target = batch()
    memory = model.encode(source, mask)
    expected = model(source, target, mask)
    for length in range(1, 5):
        logits = model.decode(target[:, :length], memory, mask)
        torch.testing.assert_close(logits, expected[:, :length], rtol=1e-12, atol=1e-14)


def test_without_a_mask_every_token_is_read():
    source, _, target = batch()
    source[source == 0] = 7
    for kind in KINDS:
        model = make(**kind)
        everything = torch.ones(3, 5, dtype=torch.bool)
        assert torch.equal(model(source, target), model(source, target, everything))


def test_without_attention_only_the_last_state_is_passed_on():
    source, mask, target = batch()
    model = make(attention=False, n_layers=2)
    memory = model.encode(source, mask)
    assert memory.states is None
    assert memory.hidden.shape == memory.cell.shape == (2, 3, 6)
    assert torch.equal(model.decode(target, memory), model(source, target, mask))


def test_attention_weights_sum_to_one_over_real_positions():
    source, mask, target = batch()
    model = make(attention=True)
    memory = model.encode(source, mask)
    weights = model.attention.weights(model.embedding(target), memory.states, mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, dtype=torch.double))
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()
    assert (weights[mask[:, None].expand_as(weights)] > 0).all()


def test_a_row_with_nothing_to_attend_to_gets_zero():
    source, mask, target = batch()
    model = make(attention=True)
    states = model.encode(source, mask).states.detach().requires_grad_()
    nothing = mask.clone()
    nothing[1] = False
    queries = model.embedding(target).detach()
    context = model.attention.weights(queries, states, nothing) @ states
    assert (context[1] == 0).all()
    (gradient,) = torch.autograd.grad(context.square().sum(), states)
    assert (gradient[1] == 0).all()
    assert gradient.isfinite().all()
    assert (gradient[0] != 0).all()


def test_dropout_follows_the_mode():
    source, mask, target = batch()
    for kind in KINDS:
        model = make(**kind, dropout=0.5)
        assert torch.equal(model(source, target, mask), model(source, target, mask))
        model.train()
        assert not torch.equal(model(source, target, mask), model(source, target, mask))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_stands_at_both_embeddings_and_the_output(kind):
    source, mask, target = batch()
    model = make(**kind, dropout=0.25)
    seen = []
    model.dropout.register_forward_hook(lambda module, inputs, _: seen.append(inputs[0]))
    logits = model(source, target, mask)
    assert len(seen) == 3
    assert torch.equal(seen[0], model.embedding(source))
    assert torch.equal(seen[1], model.embedding(target))
    assert torch.equal(model.output(seen[2]), logits)
    between = 0.25 if model.n_layers > 1 else 0.0
    assert model.dropout.p == 0.25
    assert model.encoder.dropout == model.decoder.dropout == between


@pytest.mark.parametrize("kind", KINDS[:2])
def test_it_learns_to_reverse(kind):
    """A task of a second: reverse three tokens. Chance is 1/8 a token."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(3, 11, (400, 3), generator=generator)
    target_in = torch.cat([torch.ones(400, 1, dtype=torch.long), source.flip(1)[:, :2]], dim=1)
    torch.manual_seed(0)
    model = RecurrentSeq2Seq(11, d_model=32, **kind)
    batches = [
        (source[i : i + 50], target_in[i : i + 50], source.flip(1)[i : i + 50])
        for i in range(0, 350, 50)
    ]

    def loss(model, batch):
        return F.cross_entropy(model(batch[0], batch[1]).transpose(1, 2), batch[2])

    losses = fit(model, batches, loss, steps=150, lr=1e-2)
    assert losses[-1] < 0.1 * losses[0]
    predicted = model.eval()(source[350:], target_in[350:]).argmax(-1)
    assert (predicted == source[350:].flip(1)).double().mean() > 0.9


def test_padding_is_not_trained():
    model = make(attention=True)
    source, mask, target = batch()
    assert (model.embedding.weight[0] == 0).all()
    target[0, -1] = 0
    assert (gradients(model, source, mask, target)["embedding.weight"][0] == 0).all()


def test_a_copy_is_equal_and_the_state_dict_is_strict():
    model = make(**KINDS[3])
    other = make(seed=5, **KINDS[3])
    source, mask, target = batch()
    assert not torch.equal(other(source, target, mask), model(source, target, mask))
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(other(source, target, mask), model(source, target, mask))


@pytest.mark.parametrize(
    "mask", [[[True, False, True]], [[False, True, True]], [[False, False, False]]]
)
def test_bad_masks(mask):
    for kind in KINDS[:2]:
        with pytest.raises(ValueError, match="at least one token with the padding at the end"):
            make(**kind).encode(torch.tensor([[3, 4, 5]]), torch.tensor(mask))


def test_empty_sources():
    with pytest.raises(ValueError, match="at least one token"):
        make(attention=True).encode(torch.zeros(2, 0, dtype=torch.long))


def test_a_cache_is_refused():
    model = make(attention=True)
    source, mask, target = batch()
    with pytest.raises(ValueError, match="has no cache"):
        model.decode(target, model.encode(source, mask), mask, cache=object())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 0}, "d_model=0"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"pad_id": 11}, "pad_id=11"),
        ({"pad_id": -1}, "pad_id=-1"),
        ({"dropout": 1.0}, "0 <= dropout < 1, got 1.0"),
        ({"dropout": -0.1}, "got -0.1"),
        ({"d_model": 5, "bidirectional": True}, "even d_model with bidirectional=True, got 5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
