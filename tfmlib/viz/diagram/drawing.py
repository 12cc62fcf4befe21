"""What the book's diagrams are made of: boxes, lines and text on an opaque white card, as SVG."""

import re
from collections.abc import Sequence
from html import escape

from tfmlib.viz.style import PALETTE

Number = int | float

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"

#: Kind of block -> name of its hue in the palette; the fill is a tint of it.
KINDS = {
    "attention": "blue",
    "cross": "vermilion",
    "feedforward": "green",
    "embedding": "purple",
    "memory": "orange",
    "norm": "grey",
    "token": "grey",
}


class Diagram(str):
    """The text of an SVG file; a notebook shows it as the drawing, within its page."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return one line, without the file."""
        return f"<Diagram of {len(self)} characters>"

    def _repr_html_(self) -> str:
        return str(self)


class Drawing:
    """A list of SVG elements with the few shapes that the book's diagrams are made of.

    Coordinates and sizes are in user units, y downwards. A text may hold subscripts, written as in
    `n_k` or `d_model`.
    """

    def __init__(self, width: int, height: int) -> None:
        """Start with an empty white card of that size."""
        self.width, self.height = width, height
        self.elements: list[str] = []

    def text(
        self,
        x: Number,
        y: Number,
        text: str,
        *,
        size: Number = 13,
        anchor: str = "middle",
        colour: str = "ink",
        bold: bool = False,
    ) -> None:
        """Write a line of text whose baseline is at y."""
        weight = ' font-weight="600"' if bold else ""
        self.elements.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{PALETTE[colour]}"{weight}>{_subscripts(text, size)}</text>'
        )

    def box(
        self, x: Number, y: Number, width: Number, height: Number, kind: str, name: str, *lines: str
    ) -> None:
        """Draw a block with one or two lines of text; `name` identifies it in the file."""
        hue = PALETTE[KINDS[kind]]
        self.elements.append(
            f'<g data-block="{escape(name)}"><rect x="{x:g}" y="{y:g}" width="{width:g}" '
            f'height="{height:g}" rx="5" fill="{_tint(hue)}" stroke="{hue}" stroke-width="1.4"/>'
        )
        middle, centre = y + height / 2, x + width / 2
        if len(lines) == 1:
            self.text(centre, middle + 4.5, lines[0])
        else:
            self.text(centre, middle - 2.5, lines[0])
            self.text(centre, middle + 13, lines[1], size=11.5)
        self.elements.append("</g>")

    def frame(self, x: Number, y: Number, width: Number, height: Number, title: str = "") -> None:
        """Draw a frame around several blocks, with its title, if any, inside at the top."""
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" '
            f'fill="#FAFAFA" stroke="{PALETTE["grey"]}" stroke-dasharray="4 3"/>'
        )
        if title:
            self.text(x + width / 2, y + 17, title, size=12.5, bold=True)

    def line(
        self,
        points: Sequence[tuple[Number, Number]],
        *,
        arrow: bool = True,
        colour: str = "ink",
        dashed: bool = False,
        width: Number = 1.4,
    ) -> None:
        """Draw a line through the points, with an arrow head at the last one."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        head = f' marker-end="url(#head-{colour})"' if arrow else ""
        dash = ' stroke-dasharray="3 2.5"' if dashed else ""
        self.elements.append(
            f'<path d="{path}" fill="none" stroke="{PALETTE[colour]}" '
            f'stroke-width="{width:g}"{head}{dash}/>'
        )

    def plus(self, x: Number, y: Number) -> None:
        """Draw a circle of radius 11 with a plus sign: an addition."""
        self.elements.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="11" fill="#FFFFFF" stroke="{PALETTE["ink"]}" '
            'stroke-width="1.4"/>'
        )
        self.text(x, y + 5, "+", size=16)

    def svg(self, title: str, description: str) -> Diagram:
        """Return the whole file, with title and description for those who do not see it."""
        name = re.sub("[^a-z]+", "-", title.lower())  # ids are shared by all drawings of a page
        heads = "".join(
            f'<marker id="{name}-{colour}" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerUnits="userSpaceOnUse" markerWidth="8.4" markerHeight="8.4" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{PALETTE[colour]}"/></marker>'
            for colour in ("ink", "grey", "blue", "vermilion")
        )
        return Diagram(
            "\n".join(
                [
                    '<svg xmlns="http://www.w3.org/2000/svg" '
                    f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
                    f'height="{self.height}" role="img" font-family="{FONT}" '
                    'style="display:block;max-width:100%;height:auto" '
                    f'aria-labelledby="{name}-title {name}-description">',
                    f'<title id="{name}-title">{escape(title)}</title>',
                    f'<desc id="{name}-description">{escape(description)}</desc>',
                    f"<defs>{heads}</defs>",
                    f'<rect data-card="" x="0.5" y="0.5" width="{self.width - 1}" '
                    f'height="{self.height - 1}" rx="10" fill="#FFFFFF" stroke="#C4C4C4"/>',
                    *(element.replace("url(#head-", f"url(#{name}-") for element in self.elements),
                    "</svg>",
                    "",
                ]
            )
        )


def _subscripts(text: str, size: Number) -> str:
    """Escape a text, with _name lowered and ^T raised."""
    pieces = re.split(r"([_^][A-Za-z0-9]+)", text)
    out, shift = [], 0.0
    for piece in pieces:
        if piece[:1] in ("_", "^") and len(piece) > 1:
            move = 0.22 * size if piece[0] == "_" else -0.35 * size
            out.append(f'<tspan dy="{move - shift:.3g}" font-size="{0.76 * size:.3g}">')
            out.append(f"{escape(piece[1:])}</tspan>")
            shift = move
        elif piece:
            back = f'<tspan dy="{-shift:.3g}">{escape(piece)}</tspan>' if shift else escape(piece)
            out.append(back)
            shift = 0.0
    return "".join(out)


def _tint(hue: str, share: Number = 0.16) -> str:
    """Mix a colour into white."""
    mixed = (round(255 - share * (255 - int(hue[i : i + 2], 16))) for i in (1, 3, 5))
    return "#" + "".join(f"{channel:02X}" for channel in mixed)
