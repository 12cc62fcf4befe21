"""Figures with a slider that work in a static page: rounded numbers and a little JavaScript.

A figure is an ordinary range input over precomputed frames. Python draws the first frame as SVG
and puts the rounded numbers of all frames beside it; the script only moves what is already there.
So the page shows something before the script runs, needs nothing from the network and no kernel,
and its HTML is the same on every machine.
"""

from tfmlib.viz.frames.charts import bars, lines
from tfmlib.viz.frames.drawings import drawings
from tfmlib.viz.frames.matrix import heatmap
from tfmlib.viz.frames.pieces import chips, pieces

__all__ = ["bars", "chips", "drawings", "heatmap", "lines", "pieces"]
