"""The embedding: scale, tying and its start."""

import pytest
import torch
from torch import nn

from tfmlib.blocks.embedding import TokenEmbedding


def test_equals_torch_scaled_and_tied(close):
    torch.manual_seed(0)
    embedding = TokenEmbedding(11, 16).double()
    tokens = torch.tensor([[1, 10, 3]])
    theirs = nn.Embedding.from_pretrained(embedding.table.weight.detach())
    close(embedding(tokens), theirs(tokens) * 4.0)
    close(TokenEmbedding(11, 16, scale=False).forward(tokens) * 0 + 1, torch.ones(1, 3, 16))
    hidden = torch.randn(2, 5, 16, dtype=torch.float64)
    close(embedding.logits(hidden), hidden @ embedding.table.weight.T)


def test_one_table_gets_both_gradients():
    embedding = TokenEmbedding(5, 4)
    assert len(list(embedding.parameters())) == 1
    out = embedding.logits(embedding(torch.tensor([[2]])))
    out.sum().backward()
    gradient = embedding.table.weight.grad
    assert (gradient.abs().sum(1) > 0).all()  # the output reads every row, not only row 2


def test_start():
    torch.manual_seed(0)
    table = TokenEmbedding(4000, 64, pad_id=7).table.weight
    assert (table[7] == 0).all()
    assert table[8:].std().item() == pytest.approx(64**-0.5, rel=0.01)


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [((0, 4), {}, "must be positive; got 0 and 4"), ((5, 4), {"pad_id": 5}, r"0\.\.4; got 5")],
)
def test_bad_input_is_named(args, options, words):
    with pytest.raises(ValueError, match=words):
        TokenEmbedding(*args, **options)
