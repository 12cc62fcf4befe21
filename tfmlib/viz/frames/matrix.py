"""A matrix with its numbers in the cells, which changes with a slider."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from tfmlib.viz.frames.player import Frames, assemble, check_frames
from tfmlib.viz.plots import text_colour, to_array
from tfmlib.viz.style import DEEP


def heatmap(
    matrices: Any,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    xlabel: str = "",
    ylabel: str = "",
    mask: Any = None,
    decimals: int = 2,
    vmin: float = 0.0,
    vmax: float | None = None,
    notes: Sequence[str] | None = None,
    start: int = 0,
) -> Frames:
    """A matrix with its numbers in the cells, which changes with a slider.

    Args:
        matrices: [frames, rows, columns] numbers.
        rows: labels of the rows, top to bottom.
        columns: labels of the columns, left to right.
        slider: what the slider sets, as its visible label.
        positions: the value of the slider in each frame.
        caption: sentence under the figure.
        alt: description for readers who do not see the figure.
        xlabel: what the columns are.
        ylabel: what the rows are.
        mask: [frames, rows, columns] booleans, True = may attend; other cells are hatched.
        decimals: digits that are carried and shown.
        vmin: value of the white end of the colours.
        vmax: value of the dark end; by default the largest value shown.
        notes: one line of text per frame, shown under the figure.
        start: the frame shown first.

    Raises:
        ValueError: if frames are ragged, not finite, or do not fit labels, mask or positions.
    """
    values = to_array(matrices, 3, "matrices")
    allowed = np.ones(values.shape, bool) if mask is None else to_array(mask, 3, "mask") != 0
    if allowed.shape != values.shape:
        raise ValueError(f"mask: expected shape {values.shape}, got {allowed.shape}")
    if values.size == 0 or not np.isfinite(values[allowed]).all():
        raise ValueError("matrices: empty, or a cell that is shown is not finite")
    if values.shape[1:] != (len(rows), len(columns)):
        raise ValueError(
            f"matrices of {values.shape[1]} x {values.shape[2]} need as many labels; got "
            f"{len(rows)} rows and {len(columns)} columns"
        )
    check_frames(len(values), start, positions, notes)
    values = np.where(allowed, values, 0.0).round(decimals) + 0.0
    high = float(values[allowed].max()) if vmax is None and allowed.any() else float(vmax or 1.0)
    if not high > vmin:
        raise ValueError(f"vmax must be above vmin; got vmin={vmin}, vmax={high}")
    left = 18 + 8 * max(map(len, rows)) + (18 if ylabel else 0)
    cell = min(64.0, (456 - left) / len(columns))
    tall = min(cell, 44.0)
    top = 44 if xlabel else 26
    svg = []
    if xlabel:
        middle = left + cell * len(columns) / 2
        svg.append(
            f'<text x="{middle:.1f}" y="15" font-size="13" text-anchor="middle">'
            f"{escape(xlabel)}</text>"
        )
    if ylabel:
        middle = top + tall * len(rows) / 2
        svg.append(
            f'<text transform="translate(14 {middle:.1f}) rotate(-90)" font-size="13" '
            f'text-anchor="middle">{escape(ylabel)}</text>'
        )
    for j, label in enumerate(columns):
        svg.append(
            f'<text x="{left + cell * (j + 0.5):.1f}" y="{top - 7}" font-size="13" '
            f'text-anchor="middle">{escape(label)}</text>'
        )
    for i, label in enumerate(rows):
        svg.append(
            f'<text x="{left - 7:.1f}" y="{top + tall * (i + 0.5) + 4.5:.1f}" font-size="13" '
            f'text-anchor="end">{escape(label)}</text>'
        )
        for j in range(len(columns)):
            fill, ink, text = "url(#h{id})", "#1A1A1A", ""
            if allowed[start, i, j]:
                value = float(values[start, i, j])
                share = min(1.0, max(0.0, (value - vmin) / (high - vmin)))
                rgb = [int(255 + (deep - 255) * share + 0.5) for deep in DEEP]
                fill = f"rgb({','.join(map(str, rgb))})"
                ink = text_colour(*(c / 255 for c in rgb))
                text = f"{value:.{decimals}f}"
            x, y = left + cell * j, top + tall * i
            svg.append(
                f'<rect class="m" x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" '
                f'height="{tall:.1f}" stroke="#B5B5B5" stroke-width="0.6" fill="{fill}"/>'
                f'<text class="v" x="{x + cell / 2:.1f}" y="{y + tall / 2 + 4.5:.1f}" '
                f'font-size="12.5" text-anchor="middle" fill="{ink}">{text}</text>'
            )
    frames = [
        [v if ok else None for v, ok in zip(frame.ravel().tolist(), may.flat, strict=True)]
        for frame, may in zip(values, allowed, strict=True)
    ]
    payload = {"kind": "heatmap", "low": vmin, "high": high, "deep": list(DEEP)}
    return assemble(
        payload | {"frames": frames, "decimals": decimals},
        "".join(svg),
        (460, int(top + tall * len(rows) + 10)),
        slider=slider,
        positions=positions,
        caption=caption,
        alt=alt,
        notes=notes,
        start=start,
    )
