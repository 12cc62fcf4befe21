"""Layers that are computed twice give the same loss and gradients, and keep their inputs alone."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tfmlib.training.batching import collate, pair_loss
from tfmlib.training.device import next_token_loss, recompute_layers, saved_for_backward
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig
from tfmlib.transformer.transformer import Transformer, TransformerConfig


def language_model(**changes):
    torch.manual_seed(0)
    size = {"vocab_size": 50, "max_length": 20, "d_model": 16, "n_layers": 3, "n_heads": 2}
    return LanguageModel(LanguageModelConfig(**(size | changes)))


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)  # of the dropout
    value = loss()
    value.backward()
    return value.detach(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradients_are_the_same_bits(dropout):
    model = language_model(dropout=dropout)
    tokens = torch.randint(0, 50, (3, 17))

    def loss():
        return next_token_loss(model, tokens)[0]

    value, expected = gradients(model, loss)
    with recompute_layers(model) as n:
        again, found = gradients(model, loss)
    assert n == 3
    assert torch.equal(again, value)
    assert all(map(torch.equal, found, expected))


def test_encoder_and_decoder_with_their_keywords():
    torch.manual_seed(0)
    model = Transformer(
        TransformerConfig(
            vocab_size=20, d_model=16, n_heads=2, d_ff=32, n_encoder_layers=2, n_decoder_layers=2
        )
    )
    special = {"pad_id": 0, "start_id": 1, "end_id": 2}
    batch = collate([([3, 4, 5], [6, 7]), ([8], [9, 10, 11])], **special)

    def loss():
        return pair_loss(model, batch, pad_id=0)[0]

    _, expected = gradients(model, loss)
    with recompute_layers(model) as n:
        _, found = gradients(model, loss)
    assert n == 4
    assert all(map(torch.equal, found, expected))


def test_only_the_inputs_of_layers_stay():
    model = language_model(positions="none")
    tokens = torch.randint(0, 50, (2, 20))

    def kept():
        with saved_for_backward(without=model.parameters()) as saved:
            hidden = model.hidden(tokens)
        assert hidden.requires_grad
        return saved

    full = kept()
    with recompute_layers(model):
        inputs = kept()
    shapes = [shape for shape, dtype, _ in inputs.tensors if dtype == torch.float32]
    # The inputs of three layers, and of the last norm, whose statistics are the rest.
    assert shapes.count((2, 20, 16)) == 4
    assert inputs.bytes < 0.25 * full.bytes


def test_work_of_the_second_run():
    """All of a layer's forward pass but its last product, whose result nobody needs again."""
    d, time = 16, 20
    model = language_model(core="naive", vocab_size=2)
    tokens = torch.randint(0, 2, (1, time))

    def work():
        with FlopCounterMode(display=False) as counter:
            model.hidden(tokens).sum().backward()
        return counter.get_total_flops()

    once = work()
    with recompute_layers(model):
        twice = work()
    forward = 3 * time * (24 * d * d + 4 * time * d)
    assert once == 3 * forward
    assert twice == 4 * forward - 3 * time * 2 * d * 4 * d


def test_names_stay_and_layers_are_themselves_again():
    model = language_model()
    names = list(model.state_dict())
    forwards = [layer.forward for layer in model.decoder.layers]
    with recompute_layers(model):
        assert list(model.state_dict()) == names
        assert model.decoder.layers[0].forward != forwards[0]
        with recompute_layers(model):
            model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
        assert model.decoder.layers[0].forward != forwards[0]
    assert [layer.forward for layer in model.decoder.layers] == forwards
    assert all("forward" not in vars(layer) for layer in model.decoder.layers)
    with pytest.raises(RuntimeError, match="stop"), recompute_layers(model):
        raise RuntimeError("stop")
    assert all("forward" not in vars(layer) for layer in model.decoder.layers)
    copy.deepcopy(model)


def test_evaluation_is_untouched():
    model = language_model().eval()
    tokens = torch.randint(0, 50, (2, 9))
    with torch.no_grad():
        expected = model(tokens)
        with recompute_layers(model):
            assert torch.equal(model(tokens), expected)


def test_a_model_without_stacks_is_an_error():
    with (
        pytest.raises(ValueError, match="Linear has no stack"),
        recompute_layers(nn.Linear(2, 2)),
    ):
        pass
