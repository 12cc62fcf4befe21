"""Bars and curves that move with a slider."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from tfmlib.viz.frames.player import Frames, assemble, check_frames
from tfmlib.viz.plots import to_array
from tfmlib.viz.style import PALETTE

_SERIES = ("blue", "vermilion", "green", "purple", "ink")


def bars(
    series: Mapping[str, Any],
    *,
    labels: Sequence[str],
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    ylabel: str = "",
    decimals: int = 2,
    ylim: tuple[float, float] | None = None,
    notes: Sequence[str] | None = None,
    start: int = 0,
) -> Frames:
    """Bars that move with a slider.

    Args:
        series: name -> [frames, labels] numbers; up to five series stand side by side.
        labels: names of the categories.
        slider: what the slider sets, as its visible label.
        positions: the value of the slider in each frame.
        caption: sentence under the figure.
        alt: description for readers who do not see the figure.
        ylabel: what the height means, with its unit.
        decimals: digits that are carried and shown.
        ylim: range of the vertical axis; by default from 0 (or the least value) to the largest.
        notes: one line of text per frame, shown under the figure.
        start: the frame shown first.

    Raises:
        ValueError: if frames are ragged, not finite, or do not fit labels, positions or notes.
    """
    data = _series(series, decimals)
    first = next(iter(data.values()))
    check_frames(len(first), start, positions, notes)
    if first.shape[1] != len(labels):
        raise ValueError(f"labels: expected {first.shape[1]}, got {len(labels)}")
    low, high = _limits(data.values(), ylim, zero=True)
    width, top, bottom = 460, 34, 236
    svg = [_legend(list(data)), _axis(low, high, top, bottom, width, ylabel)]
    slot = (width - 60) / len(labels)
    thick = min(46.0, slot * 0.82 / len(data))

    def height(value: float) -> float:
        return top + (bottom - top) * (high - value) / (high - low)

    for number, values in enumerate(data.values()):
        colour = PALETTE[_SERIES[number]]
        for j, value in enumerate(values[start]):
            x = 56 + slot * (j + 0.5) + thick * (number - len(data) / 2)
            upper, lower = sorted((height(value), height(0.0)))
            svg.append(
                f'<rect class="m" x="{x:.1f}" y="{upper:.1f}" width="{thick - 2:.1f}" '
                f'height="{lower - upper:.1f}" fill="{colour}"/>'
                f'<text class="v" x="{x + thick / 2 - 1:.1f}" y="{upper - 4:.1f}" font-size="12" '
                f'text-anchor="middle">{value:.{decimals}f}</text>'
            )
    for j, label in enumerate(labels):
        svg.append(
            f'<text x="{56 + slot * (j + 0.5):.1f}" y="{bottom + 18}" font-size="13" '
            f'text-anchor="middle">{escape(label)}</text>'
        )
    frames = [[v for values in data.values() for v in values[i]] for i in range(len(first))]
    payload = {"kind": "bars", "low": low, "high": high, "top": top, "bottom": bottom}
    return assemble(
        payload | {"frames": frames, "decimals": decimals},
        "".join(svg),
        (width, bottom + 30),
        slider=slider,
        positions=positions,
        caption=caption,
        alt=alt,
        notes=notes,
        start=start,
    )


def lines(
    x: Any,
    series: Mapping[str, Any],
    *,
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    xlabel: str,
    ylabel: str,
    decimals: int = 3,
    ylim: tuple[float, float] | None = None,
    notes: Sequence[str] | None = None,
    start: int = 0,
) -> Frames:
    """Curves over a common x that move with a slider.

    Args:
        x: [points] increasing numbers.
        series: name -> [frames, points] numbers; up to five.
        slider: what the slider sets, as its visible label.
        positions: the value of the slider in each frame.
        caption: sentence under the figure.
        alt: description for readers who do not see the figure.
        xlabel: what x means, with its unit.
        ylabel: what y means, with its unit.
        decimals: digits that are carried.
        ylim: range of the vertical axis.
        notes: one line of text per frame, shown under the figure.
        start: the frame shown first.

    Raises:
        ValueError: if frames are ragged, not finite, or do not fit x, positions or notes.
    """
    data = _series(series, decimals)
    first = next(iter(data.values()))
    check_frames(len(first), start, positions, notes)
    places = to_array(x, 1, "x")
    if len(places) != first.shape[1] or len(places) < 2 or not (np.diff(places) > 0).all():
        raise ValueError(f"x: expected {first.shape[1]} (at least 2) increasing numbers")
    low, high = _limits(data.values(), ylim, zero=False)
    width, top, bottom = 460, 34, 236
    span = places[-1] - places[0]
    pixels = [round(60 + (width - 74) * float((p - places[0]) / span), 1) for p in places]
    svg = [_legend(list(data)), _axis(low, high, top, bottom, width, ylabel)]
    for p in (places[0], (places[0] + places[-1]) / 2, places[-1]):
        at = 60 + (width - 74) * float((p - places[0]) / span)
        svg.append(
            f'<text x="{at:.1f}" y="{bottom + 17}" font-size="12" text-anchor="middle">{p:g}</text>'
        )
    svg.append(
        f'<text x="{width / 2 + 20:.1f}" y="{bottom + 34}" font-size="13" '
        f'text-anchor="middle">{escape(xlabel)}</text>'
    )
    for number, values in enumerate(data.values()):
        points = " ".join(
            f"{px:.1f},{top + (bottom - top) * (high - v) / (high - low):.1f}"
            for px, v in zip(pixels, values[start], strict=True)
        )
        svg.append(
            f'<polyline class="m" points="{points}" fill="none" stroke-width="2.2" '
            f'stroke="{PALETTE[_SERIES[number]]}"/>'
        )
    frames = [[values[i].tolist() for values in data.values()] for i in range(len(first))]
    payload = {"kind": "lines", "low": low, "high": high, "top": top, "bottom": bottom, "x": pixels}
    return assemble(
        payload | {"frames": frames, "decimals": decimals},
        "".join(svg),
        (width, bottom + 44),
        slider=slider,
        positions=positions,
        caption=caption,
        alt=alt,
        notes=notes,
        start=start,
    )


def _series(series: Mapping[str, Any], decimals: int) -> dict[str, np.ndarray]:
    """Return the series rounded, after checking that they are finite and equal in shape."""
    if not 1 <= len(series) <= len(_SERIES):
        raise ValueError(f"one to {len(_SERIES)} series expected, got {len(series)}")
    data = {name: to_array(v, 2, f"series {name!r}") for name, v in series.items()}
    shapes = {v.shape for v in data.values()}
    if len(shapes) > 1:
        raise ValueError(f"all series need one shape; got {sorted(shapes)}")
    for name, values in data.items():
        if values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"series {name!r}: empty, or a value is not finite")
    return {name: v.round(decimals) + 0.0 for name, v in data.items()}  # + 0.0: no minus zero


def _limits(
    arrays: Iterable[np.ndarray], ylim: tuple[float, float] | None, *, zero: bool
) -> tuple[float, float]:
    both = np.concatenate([a.ravel() for a in arrays])
    low, high = ylim or (float(both.min()), float(both.max()))
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if not low < high:
        low, high = low - 1.0, high + 1.0
    return float(low), float(high)


def _legend(names: list[str]) -> str:
    if len(names) == 1:
        return ""
    parts, x = [], 56.0
    for name, colour in zip(names, _SERIES, strict=False):
        parts.append(
            f'<rect x="{x:.1f}" y="6" width="12" height="12" fill="{PALETTE[colour]}"/>'
            f'<text x="{x + 17:.1f}" y="16.5" font-size="13">{escape(name)}</text>'
        )
        x += 34 + 7.6 * len(name)
    return "".join(parts)


def _axis(low: float, high: float, top: int, bottom: int, width: int, ylabel: str) -> str:
    parts = []
    for step in range(5):
        value = low + (high - low) * step / 4
        y = top + (bottom - top) * (high - value) / (high - low)
        parts.append(
            f'<line x1="54" x2="{width - 4}" y1="{y:.1f}" y2="{y:.1f}" stroke="#DDDDDD"/>'
            f'<text x="49" y="{y + 4:.1f}" font-size="12" text-anchor="end">{value:.3g}</text>'
        )
    zero = top + (bottom - top) * (high - max(low, min(0.0, high))) / (high - low)
    parts.append(
        f'<line x1="54" x2="{width - 4}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#6B6B6B"/>'
    )
    if ylabel:
        parts.append(
            f'<text transform="translate(11 {(top + bottom) / 2:.1f}) rotate(-90)" font-size="13" '
            f'text-anchor="middle">{escape(ylabel)}</text>'
        )
    return "".join(parts)
