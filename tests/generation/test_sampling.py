"""Greedy decoding against transformers' generate, and how it ends."""

import pytest
import torch

from tfmlib.generation.sampling import greedy, log_probabilities


def test_stops_per_row_and_pads():
    """Row 0 says 5, 6, then the end; row 1 counts on without ever ending."""
    script = {0: [5, 6, 2, 9], 1: [4, 4, 4, 4]}

    def next_logits(tokens):
        step = tokens.shape[1] - 1
        return torch.stack([torch.eye(10)[script[row][step]] for row in (0, 1)])

    start = torch.ones(2, 1, dtype=torch.long)
    out = greedy(next_logits, start, max_new=4, end_id=2)
    assert out.tolist() == [[1, 5, 6, 2, 0], [1, 4, 4, 4, 4]]
    only_first = greedy(lambda t: next_logits(t)[:1], start[:1], max_new=4, end_id=2)
    assert only_first.tolist() == [[1, 5, 6, 2]]  # stops as soon as all rows are finished
    with pytest.raises(ValueError, match="max_new must be positive; got 0"):
        greedy(next_logits, start, max_new=0)


def test_log_probabilities(close):
    logits = torch.randn(3, 7, dtype=torch.float64)
    close(log_probabilities(logits).exp(), logits.exp() / logits.exp().sum(-1, keepdim=True))
    assert log_probabilities(logits.half()).dtype == torch.float32
