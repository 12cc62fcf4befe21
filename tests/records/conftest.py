"""Pieces of a record are run again as they were recorded: on one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Compute with one thread, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
