"""Figures, interactive frames and source listings shared by all chapters.

from tfmlib import viz
viz.use_style()
fig, ax = viz.figure("wide")
viz.heatmap(ax, weights, rows=tokens, columns=tokens)
viz.frames.bars(...), viz.frames.lines(...), viz.frames.heatmap(...)
viz.explore(draw, {"temperature": viz.Slider(0.1, 4.0, 1.0)}, alt="...")
viz.show_source(function)
"""

from tfmlib.viz import frames
from tfmlib.viz.explorer import Choice, Explorer, Slider, Text, explore
from tfmlib.viz.frames.player import Frames
from tfmlib.viz.plots import heatmap, text_colour
from tfmlib.viz.source import show_source, source_of
from tfmlib.viz.style import DIVERGING, PALETTE, SEQUENTIAL, SIZES, figure, use_style

__all__ = [
    "DIVERGING",
    "PALETTE",
    "SEQUENTIAL",
    "SIZES",
    "Choice",
    "Explorer",
    "Frames",
    "Slider",
    "Text",
    "explore",
    "figure",
    "frames",
    "heatmap",
    "show_source",
    "source_of",
    "text_colour",
    "use_style",
]
