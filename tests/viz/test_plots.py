"""Heat maps: numbers where they fit, readable on their cell; masked cells look different."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from tfmlib import viz


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_numbers_stand_in_their_cells(ax):
    matrix = torch.tensor([[0.1, 0.9], [-0.0001, 0.5]], requires_grad=True)
    viz.heatmap(ax, matrix, ["a", "b"], ["c", "d"], xlabel="key")
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    assert texts == {(0, 0): "0.10", (1, 0): "0.90", (0, 1): "0.00", (1, 1): "0.50"}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["c", "d"]


def test_text_is_light_on_dark_and_dark_on_light(ax):
    viz.heatmap(ax, [[0.0, 1.0]])
    light, dark = (to_rgb(t.get_color()) for t in ax.texts)
    assert sum(light) < 0.5
    assert dark == (1.0, 1.0, 1.0)


def test_masked_cells_are_hatched_and_carry_no_number(ax):
    viz.heatmap(ax, [[1.0, np.nan], [0.5, 0.5]], mask=[[True, False], [True, True]])
    assert [t.get_text() for t in ax.texts] == ["1.00", "0.50", "0.50"]
    (patch,) = ax.patches
    assert patch.get_xy() == (0.5, -0.5)
    assert patch.get_hatch()


def test_large_matrix_has_no_numbers(ax):
    viz.heatmap(ax, np.eye(11))
    assert not ax.texts


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        ([1.0, 2.0], {}, "2 dimensions"),
        ([[1.0], [1.0, 2.0]], {}, "rectangular"),
        ([[1.0, 2.0]], {"rows": ["a", "b"]}, "expected 1 labels, got 2"),
        ([[1.0, 2.0]], {"columns": ["a"]}, "expected 2 labels, got 1"),
        ([[1.0, 2.0]], {"mask": [[True]]}, "mask"),
        ([[1.0, float("nan")]], {}, "not finite"),
    ],
)
def test_bad_input(ax, matrix, options, message):
    with pytest.raises(ValueError, match=message):
        viz.heatmap(ax, matrix, **options)
