"""One palette, one grid of figure sizes and one matplotlib style for the whole book.

The hues are those of Okabe and Ito, "Color Universal Design" (2008), without the yellow, which is
too light for lines on white; they stay apart under the common forms of colour blindness.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

#: Names of the colours, in the order in which a figure's series take them.
PALETTE: Mapping[str, str] = MappingProxyType(
    {
        "blue": "#0072B2",
        "vermilion": "#D55E00",
        "green": "#009E73",
        "purple": "#CC79A7",
        "sky": "#56B4E9",
        "orange": "#E69F00",
        "ink": "#1A1A1A",
        "grey": "#6B6B6B",
    }
)

#: Figure sizes in inches: (width, height).
SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "small": (3.2, 2.6),
        "single": (4.8, 3.2),
        "square": (4.4, 4.2),
        "wide": (6.8, 2.8),
        "tall": (6.8, 4.6),
        "full": (6.8, 6.4),
    }
)

#: Dark end of the sequential colour scale; the light end is white.
DEEP = (0, 62, 116)

SEQUENTIAL = LinearSegmentedColormap.from_list(
    "tfm_sequential", [(1.0, 1.0, 1.0), tuple(c / 255 for c in DEEP)]
)
DIVERGING = LinearSegmentedColormap.from_list("tfm_diverging", ["#8A3D00", "#FFFFFF", "#003E74"])

_STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "figure.figsize": SIZES["single"],
    "savefig.facecolor": "white",
    "savefig.edgecolor": "white",
    "savefig.transparent": False,
    "svg.hashsalt": "tfmlib",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "axes.facecolor": "white",
    "axes.edgecolor": "#6B6B6B",
    "axes.labelcolor": "#1A1A1A",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=list(PALETTE.values())),
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "text.color": "#1A1A1A",
    "xtick.color": "#1A1A1A",
    "ytick.color": "#1A1A1A",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "image.cmap": "viridis",
}


def use_style() -> None:
    """Apply the book's style to matplotlib; call once at the top of a notebook."""
    mpl.rcParams.update(mpl.rcParamsDefault | {"backend": mpl.rcParams["backend"]} | _STYLE)


def figure(
    size: str = "single", rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Return `(figure, axes)` of one of the book's sizes, laid out so that nothing overlaps.

    Args:
        size: a name in `SIZES`.
        rows: rows of axes.
        columns: columns of axes; one axes object comes back bare, several as an array.
        options: handed on to `plt.subplots`.

    Raises:
        ValueError: if the size is not in the grid.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}; got {size!r}")
    return plt.subplots(rows, columns, figsize=SIZES[size], layout="constrained", **options)
