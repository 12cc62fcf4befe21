"""Causal convolutions, held against torch.nn.Conv1d with padding and against sums by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tfmlib.sequences.convolution import CausalConv1d, ConvolutionalLM, receptive_field
from tfmlib.sequences.fit import fit

SHAPES = [(1, 1), (2, 1), (3, 1), (2, 4), (3, 2), (5, 3)]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def make(kernel, dilation, seed=0):
    torch.manual_seed(seed)
    return CausalConv1d(3, 4, kernel=kernel, dilation=dilation).double()


@pytest.mark.parametrize(("kernel", "dilation"), SHAPES)
def test_equals_torch_with_padding_on_both_sides_cut_off(kernel, dilation):
    """Outputs and gradients of nn.Conv1d that pads both sides, of which the end is dropped."""
    ours = make(kernel, dilation)
    theirs = nn.Conv1d(3, 4, kernel, dilation=dilation, padding=(kernel - 1) * dilation).double()
    theirs.load_state_dict(ours.convolution.state_dict())
    x = draw(2, 9, 3).requires_grad_()
    y = x.detach().clone().requires_grad_()
    out = ours(x)
    expected = theirs(y.transpose(1, 2))[:, :, :9].transpose(1, 2)
    assert out.shape == (2, 9, 4)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-14)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-10, atol=1e-12)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kernel", "dilation"), SHAPES)
def test_equals_the_sum_written_out(kernel, dilation):
    layer, x = make(kernel, dilation), draw(1, 7, 3)
    weight, bias = layer.convolution.weight, layer.convolution.bias  # [d_out d_in kernel]
    for t in range(7):
        expected = bias.clone()
        for j in range(kernel):
            place = t - (kernel - 1 - j) * dilation
            if place >= 0:
                expected = expected + weight[:, :, j] @ x[0, place]
        torch.testing.assert_close(layer(x)[0, t], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("kernel", "dilation"), SHAPES)
def test_an_output_sees_exactly_the_places_it_should(kernel, dilation):
    layer, x = make(kernel, dilation), draw(1, 20, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0, 15].sum(), x)
    seen = (gradient[0] != 0).any(1).nonzero()[:, 0].tolist()
    assert seen == sorted(15 - j * dilation for j in range(kernel) if 15 - j * dilation >= 0)


@pytest.mark.parametrize(("n_layers", "kernel"), [(1, 2), (3, 2), (4, 2), (2, 3), (3, 4), (2, 1)])
def test_the_receptive_field_is_what_the_gradient_says(n_layers, kernel):
    torch.manual_seed(0)
    model = ConvolutionalLM(11, d_model=8, n_layers=n_layers, kernel=kernel).double()
    time = model.receptive_field + 5
    vectors = draw(1, time, 8).requires_grad_()
    x = vectors
    for layer in model.layers:
        x = x + layer(x)  # without relu, which could close a path by chance
    (gradient,) = torch.autograd.grad(x[0, -1].sum(), vectors)
    seen = (gradient[0] != 0).any(1)
    assert int(seen.sum()) == model.receptive_field
    assert seen[-model.receptive_field :].all()
    assert model.receptive_field == 1 + (kernel - 1) * (2**n_layers - 1)


def test_receptive_field_by_hand():
    assert receptive_field(2, [1, 2, 4, 8]) == 16
    assert receptive_field(3, [1, 1]) == 5
    assert receptive_field(1, [1, 5]) == 1
    assert receptive_field(7, []) == 1


def test_the_future_has_no_influence_and_the_past_only_within_the_field():
    torch.manual_seed(0)
    model = ConvolutionalLM(11, d_model=16, n_layers=3).double()  # sees 8 tokens
    tokens = torch.randint(11, (1, 20), generator=torch.Generator().manual_seed(1))
    before = model(tokens)
    assert before.shape == (1, 20, 11)
    changed = tokens.clone()
    changed[0, 9] = (tokens[0, 9] + 1) % 11
    difference = (model(changed) - before).abs().amax(-1)[0]
    assert (difference[:9] == 0).all()
    assert (difference[9:17] > 0).any()
    assert (difference[17:] == 0).all()


def test_equals_layers_of_torch_run_by_hand():
    torch.manual_seed(0)
    model = ConvolutionalLM(11, d_model=6, n_layers=3, kernel=3, dropout=0.5).double().eval()
    tokens = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(1))
    x = model.embedding.weight[tokens].transpose(1, 2)
    for layer, dilation in zip(model.layers, (1, 2, 4), strict=True):
        weight, bias = layer.convolution.weight, layer.convolution.bias
        both = F.conv1d(x, weight, bias, padding=2 * dilation, dilation=dilation)
        x = x + both[:, :, :9].clamp(min=0)
    expected = x.transpose(1, 2) @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(tokens), expected, rtol=1e-12, atol=1e-14)


def test_a_prefix_gives_the_same_logits():
    torch.manual_seed(0)
    model = ConvolutionalLM(11, d_model=6, n_layers=2, kernel=3).double()
    tokens = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(1))
    whole = model(tokens)
    for length in range(1, 10):
        torch.testing.assert_close(model(tokens[:, :length]), whole[:, :length])


def test_dropout_follows_the_mode():
    torch.manual_seed(0)
    model = ConvolutionalLM(11, d_model=6, n_layers=2, dropout=0.5).eval()
    tokens = torch.randint(11, (2, 9))
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))
    seen = []
    model.dropout.register_forward_hook(lambda module, inputs, _: seen.append(inputs[0]))
    model(tokens)
    assert len(seen) == 3
    assert torch.equal(seen[0], model.embedding(tokens))


def test_it_learns_what_lies_within_its_field():
    """Repeat the token of three places before; chance is 1/7."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = ConvolutionalLM(7, d_model=32, n_layers=2)  # sees 4 tokens

    def batches():
        while True:
            yield torch.randint(7, (16, 20), generator=generator)

    def loss(model, tokens):
        return F.cross_entropy(model(tokens)[:, 3:].transpose(1, 2), tokens[:, :-3])

    losses = fit(model, batches(), loss, steps=150, lr=1e-2)
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 0}, "d_model=0"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"kernel": 0}, "kernel=0"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_bad_arguments_of_the_model(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionalLM(**{"vocab_size": 5, "d_model": 4, "n_layers": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"d_in": 0}, "d_in=0"), ({"kernel": 0}, "kernel=0"), ({"dilation": 0}, "dilation=0")],
)
def test_bad_arguments_of_a_layer(arguments, message):
    with pytest.raises(ValueError, match=message):
        CausalConv1d(**{"d_in": 3, "d_out": 3, "kernel": 2, **arguments})


@pytest.mark.parametrize(("kernel", "dilations"), [(0, [1]), (2, [1, 0])])
def test_bad_arguments_of_the_receptive_field(kernel, dilations):
    with pytest.raises(ValueError, match="expected kernel and dilations >= 1"):
        receptive_field(kernel, dilations)
