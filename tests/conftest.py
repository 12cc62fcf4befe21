"""Shared set-up: shape annotations of the package are checked at run time in every test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

if os.environ.get("TFMLIB_SHAPE_CHECKS", "1") != "0":
    install_import_hook("tfmlib", "beartype.beartype")


@pytest.fixture
def close():
    """A check that two tensors agree, relative to the largest value expected of them."""

    def check(actual, expected, *, fp32: float = 1e-5, fp64: float = 1e-10) -> None:
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        bound = {torch.float32: fp32, torch.float64: fp64}[expected.dtype]
        error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
        assert error <= bound, f"relative error {error:.2e}, allowed {bound:.0e}"

    return check


@pytest.fixture
def own_errors():
    """Switch the shape checking off, so that a test reaches the package's own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
