"""The palette stays legible and apart, also for colour-blind readers; figures are opaque."""

import io
import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tfmlib import viz

# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB.
DICHROMACY = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip


def linear_rgb(colour):
    c = np.array(mpl.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(linear):
    m = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = np.clip(m @ linear, 0, None) / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", DICHROMACY)
def test_first_four_colours_stay_apart(sight):
    colours = [
        lab(np.clip(DICHROMACY[sight] @ linear_rgb(c), 0, 1))
        for c in list(viz.PALETTE.values())[:4]
    ]
    for a, b in itertools.combinations(colours, 2):
        assert np.linalg.norm(a - b) > 15


def test_text_colour_has_contrast_on_every_grey():
    for level in np.linspace(0, 1, 101):
        luminance = float(linear_rgb((level,) * 3)[0])
        white = viz.text_colour(level, level, level) == "white"
        text = 1.0 if white else float(linear_rgb("#1A1A1A")[0])
        high, low = max(luminance, text), min(luminance, text)
        assert (high + 0.05) / (low + 0.05) >= 3.8


def test_style_makes_opaque_white_figures():
    with mpl.rc_context():
        viz.use_style()
        figure, ax = viz.figure("small")
        ax.plot([1, 2])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        buffer.seek(0)
        image = plt.imread(buffer)
        assert image.shape[2] == 3 or (image[..., 3] == 1).all()
        assert (image[0, 0, :3] == 1).all()


def test_unknown_size():
    with pytest.raises(ValueError, match="wide"):
        viz.figure("huge")
