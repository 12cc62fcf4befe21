"""Drawings of the architecture made by code, and the shapes that they are made of.

    from tfmlib.viz import diagram
    diagram.block(place="pre")     # shown by the notebook, text and description included

Plain SVG on an opaque white card, so that it reads the same in a light and in a dark page; narrow,
so that its text stays legible on a phone. `python -m tfmlib.viz.diagram OUT.svg` writes the first.
"""

from tfmlib.viz.diagram.drawing import Diagram, Drawing
from tfmlib.viz.diagram.layers import block, decoder_layer, encoder_layer
from tfmlib.viz.diagram.whole import architecture

__all__ = ["Diagram", "Drawing", "architecture", "block", "decoder_layer", "encoder_layer"]
