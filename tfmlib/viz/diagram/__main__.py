"""`python -m tfmlib.viz.diagram OUT.svg [--draw encoder-layer]` writes a drawing to a file."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tfmlib.viz.diagram import architecture, block, decoder_layer, encoder_layer

DRAWINGS: dict[str, Callable[[], str]] = {
    "architecture": architecture,
    "encoder-layer": encoder_layer,
    "decoder-layer": decoder_layer,
    "pre-norm": partial(block, place="pre"),
    "post-norm": partial(block, place="post"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the drawing to the file named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tfmlib.viz.diagram", description=__doc__)
    parser.add_argument("out", type=Path, help="the SVG file to write")
    parser.add_argument("--draw", choices=DRAWINGS, default="architecture", help="what to draw")
    options = parser.parse_args(arguments)
    out: Path = options.out
    if not out.parent.is_dir():
        parser.error(f"there is no folder {out.parent} to write {out.name} into")
    out.write_text(DRAWINGS[options.draw](), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
