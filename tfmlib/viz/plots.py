"""Static figures that more than one chapter needs: matrices with their numbers in the cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from tfmlib.viz.style import DIVERGING, SEQUENTIAL


def to_array(values: Any, dimensions: int, what: str = "values") -> np.ndarray:
    """Return `values` (tensor, array or nested lists) as a float64 array of so many dimensions.

    Raises:
        ValueError: if it is ragged or has another number of dimensions.
    """
    if hasattr(values, "detach"):  # a tensor, also one that carries gradients
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: not a rectangular array of numbers ({error})") from None
    if array.ndim != dimensions:
        raise ValueError(f"{what}: expected {dimensions} dimensions, got shape {array.shape}")
    return array


def text_colour(red: float, green: float, blue: float) -> str:
    """Return the readable text colour on a background (components 0..1): "white" or "#1A1A1A"."""

    def linear(c: float) -> float:
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    # WCAG 2 relative luminance; 0.18 is where the contrast with white equals that with ink.
    luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    return "white" if luminance < 0.18 else "#1A1A1A"


def heatmap(
    ax: Axes,
    matrix: Any,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    mask: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    diverging: bool = False,
    numbers: bool | None = None,
    decimals: int = 2,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
) -> AxesImage:
    """Draw a matrix with row and column labels, and its numbers in the cells where it is small.

    Args:
        ax: axes to draw on.
        matrix: [rows, columns] numbers (tensor, array or lists).
        rows: labels of the rows, top to bottom.
        columns: labels of the columns, left to right.
        mask: [rows, columns] booleans, True = may attend; other cells are hatched grey.
        vmin: value of the light end (default: 0, or -vmax when diverging).
        vmax: value of the dark end (default: the largest absolute value shown).
        diverging: use a two-sided scale around 0.
        numbers: write values into the cells; by default where there are at most 100 of them.
        decimals: digits after the point of these numbers.
        xlabel: label of the horizontal axis.
        ylabel: label of the vertical axis.
        title: title of the axes.

    Returns:
        The image, for a colour bar.

    Raises:
        ValueError: if labels or mask do not fit, or a cell that is shown is not finite.
    """
    values = to_array(matrix, 2, "matrix")
    allowed = np.ones(values.shape, dtype=bool)
    if mask is not None:
        allowed = to_array(mask, 2, "mask").astype(bool)
        if allowed.shape != values.shape:
            raise ValueError(f"mask: expected shape {values.shape}, got {allowed.shape}")
    for name, labels, size in (
        ("rows", rows, values.shape[0]),
        ("columns", columns, values.shape[1]),
    ):
        if labels is not None and len(labels) != size:
            raise ValueError(f"{name}: expected {size} labels, got {len(labels)}")
    if not np.isfinite(values[allowed]).all():
        raise ValueError("matrix: a cell that is shown is not finite")

    peak = float(np.abs(values[allowed]).max()) if allowed.any() else 1.0
    vmax = (peak or 1.0) if vmax is None else vmax
    vmin = (-vmax if diverging else 0.0) if vmin is None else vmin
    colours: Colormap = DIVERGING if diverging else SEQUENTIAL
    norm = Normalize(vmin, vmax)
    image = ax.imshow(np.where(allowed, values, vmin), cmap=colours, norm=norm, aspect="equal")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)

    small = values.size <= 100
    for (r, c), value in np.ndenumerate(values):
        if not allowed[r, c]:
            box = Rectangle(
                (c - 0.5, r - 0.5), 1, 1, facecolor="#E3E3E3", edgecolor="#9A9A9A", linewidth=0
            )
            box.set_hatch("////" if small else "")
            ax.add_patch(box)
        elif small if numbers is None else numbers:
            red, green, blue, _ = colours(norm(value))
            ax.text(
                c,
                r,
                f"{round(float(value), decimals) + 0.0:.{decimals}f}",
                ha="center",
                va="center",
                color=text_colour(red, green, blue),
                fontsize=8.5,
            )
    ax.set_xticks(range(values.shape[1]) if columns is not None else [], labels=columns)
    ax.set_yticks(range(values.shape[0]) if rows is not None else [], labels=rows)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return image
