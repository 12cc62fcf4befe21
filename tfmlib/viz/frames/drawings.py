"""Drawings, one per frame, of which a slider shows one: for pictures that no other kind covers."""

from collections.abc import Sequence

from tfmlib.viz.frames.pieces import switch
from tfmlib.viz.frames.player import Frames, check_frames

_STYLE = "display:block;width:100%;height:auto;font-family:DejaVu Sans,Verdana,sans-serif"


def drawings(
    contents: Sequence[str],
    size: tuple[int, int],
    *,
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    notes: Sequence[str] | None = None,
    start: int = 0,
) -> Frames:
    """Pictures that change with a slider.

    Args:
        contents: what stands inside the SVG element of each frame: shapes and texts, with rounded
            numbers, so that they are the same on every machine.
        size: width and height of the drawing, in the units of its coordinates.
        slider: what the slider sets, as its visible label.
        positions: the value of the slider in each frame.
        caption: sentence under the figure.
        alt: description for readers who do not see the figure.
        notes: one line of text per frame, shown under the drawing.
        start: the frame shown first.

    Raises:
        ValueError: if a drawing is empty, or positions or notes do not fit the frames.
    """
    check_frames(len(contents), start, positions, notes)
    if not all(content.strip() for content in contents):
        raise ValueError("a drawing is empty")
    frames = [
        f'<svg viewBox="0 0 {size[0]} {size[1]}" aria-hidden="true" style="{_STYLE}" '
        f'fill="#1A1A1A">{content}</svg>'
        for content in contents
    ]
    return switch(
        frames,
        kind="drawings",
        slider=slider,
        positions=positions,
        caption=caption,
        alt=alt,
        notes=notes,
        start=start,
    )
