"""One layer of the encoder and of the decoder, token by token, and one block of either order.

Layers: Vaswani et al. 2017, section 3.1. The two places of the norm: Xiong et al. 2020, figure 1.
"""

from collections.abc import Sequence

from tfmlib.viz.diagram.drawing import Diagram, Drawing, Number

WIDTH = 400
COLUMNS = (168, 255, 342)

ENCODER_LAYER = (
    "Three tokens stand side by side, each with a column of its own. In self-attention every "
    "column receives lines from all three. The feed-forward network is drawn three times, once in "
    "each column, with no line between the columns. Around both a residual connection leads past "
    "and is added, and the sum is normalised."
)
DECODER_LAYER = (
    "Three target tokens stand side by side, each with a column of its own. In self-attention a "
    "column receives lines from itself and from the columns to its left only. {cross}The "
    "feed-forward network is drawn three times, once in each column. Around each of them a "
    "residual connection leads past and is added, and the sum is normalised."
)
CROSS = (
    "In cross-attention every column receives lines from the memory, which comes from the encoder. "
)
BLOCK = {
    "pre": (
        "A straight vertical line carries x. Twice a branch leaves it, passes through LayerNorm "
        "and then through self-attention or the feed-forward network, and is added to the line "
        "again. Nothing else stands on the line; one LayerNorm follows the last block."
    ),
    "post": (
        "A straight vertical line carries x. Twice a branch leaves it, passes through "
        "self-attention or the feed-forward network, and is added to the line again. After each "
        "addition LayerNorm stands on the line itself."
    ),
}


def encoder_layer() -> Diagram:
    """Return the SVG of an encoder layer with three tokens: what moves between them, what not."""
    d = Drawing(WIDTH, 392)
    y = _tokens(d, "source", ("ein", "Hund", "bellt"))
    y = _attention(d, y, "self-attention", ("Self-attention", "between tokens"))
    y = _feed_forward(d, y)
    _ends(d, y)
    return d.svg("An encoder layer, token by token", ENCODER_LAYER)


def decoder_layer(*, cross_attention: bool = True) -> Diagram:
    """Return the SVG of a decoder layer with three tokens.

    Args:
        cross_attention: Draw the sub-layer that reads the encoder's output; without it, the layer
            is that of a language model.
    """
    d = Drawing(WIDTH, 546 if cross_attention else 392)
    y = _tokens(d, "target", ("<s>", "a", "dog"))
    y = _attention(d, y, "self-attention", ("Self-attention", "never to the right"), causal=True)
    title = "A layer of a language model, token by token"
    if cross_attention:
        y = _attention(d, y, "cross-attention", ("Cross-attention", "to the source"), memory=True)
        title = "A decoder layer, token by token"
    y = _feed_forward(d, y)
    _ends(d, y)
    return d.svg(title, DECODER_LAYER.format(cross=CROSS if cross_attention else ""))


def block(*, place: str = "post") -> Diagram:
    """Return the SVG of a layer as one stream with two branches.

    Args:
        place: Where the norm stands, "pre" or "post" (the original).

    Raises:
        ValueError: if the place is neither.
    """
    if place not in BLOCK:
        raise ValueError(f'place must be "pre" or "post"; got {place!r}')
    pre = place == "pre"
    d = Drawing(360, 520 if pre else 434)
    stream, branch = 96, 248
    sublayers = (("attention", "Self-attention"), ("feedforward", "Feed-forward"))
    d.text(180, 28, f"{place}-norm: {'x + f(LN(x))' if pre else 'LN(x + f(x))'}", bold=True)
    d.text(stream, 52, "x", size=14)
    d.text(stream + 12, 52, "n × d_model", size=12, anchor="start")
    y, start = 84, 60
    for number, (kind, name) in enumerate(sublayers, start=1):
        d.line([(stream, y), (branch, y), (branch, y + 18)])
        at = y + 18
        if pre:
            d.box(branch - 68, at, 136, 28, "norm", f"norm {number}", "LayerNorm")
            d.line([(branch, at + 28), (branch, at + 46)])
            at += 46
        d.box(branch - 68, at, 136, 38, kind, name.lower(), name)
        add = at + 62
        d.line([(branch, at + 38), (branch, add), (stream + 11, add)])
        d.line([(stream, start), (stream, add - 11)], width=3)
        d.plus(stream, add)
        start = add + 11
        if not pre:
            d.line([(stream, start), (stream, start + 18)], width=3)
            d.box(stream - 68, start + 18, 136, 28, "norm", f"norm {number}", "LayerNorm")
            start += 46
        y = start + 22
    if pre:
        d.line([(stream, start), (stream, start + 66)], width=3)
        d.box(stream - 68, start + 66, 136, 28, "norm", "last norm", "LayerNorm")
        d.text(stream + 12, start + 22, "more blocks, then, once,", size=12, anchor="start")
        d.text(stream + 12, start + 40, "at the end of the stack:", size=12, anchor="start")
        start += 94
    d.line([(stream, start), (stream, start + 32)], width=3)
    d.text(stream + 12, start + 22, "n × d_model", size=12, anchor="start")
    return d.svg(f"One block, {place}-norm", BLOCK[place])


def _tokens(d: Drawing, name: str, tokens: Sequence[str]) -> Number:
    """Name the columns by their tokens; return the lower edge."""
    for i, (x, token) in enumerate(zip(COLUMNS, tokens, strict=True), start=1):
        d.text(x, 26, token, bold=True)
        d.box(x - 28, 34, 56, 26, "token", f"{name} {i}", f"x_{i}")
    return 60


def _frame(d: Drawing, y: Number, height: Number, label: tuple[str, str]) -> None:
    """Draw the frame of a sub-layer over all columns, with its label at the left."""
    d.frame(8, y, WIDTH - 16, height)
    d.text(18, y + 24, label[0], size=12.5, bold=True, anchor="start")
    d.text(18, y + 41, label[1], size=12, anchor="start")


def _attention(
    d: Drawing,
    y: Number,
    name: str,
    label: tuple[str, str],
    *,
    causal: bool = False,
    memory: bool = False,
) -> Number:
    """Draw lines between the columns, or from the memory; return the lower edge of the norm."""
    top, low = y + 38, y + 100
    _frame(d, y + 20, 92, label)
    for j, source in enumerate(COLUMNS):
        d.line([(source, y), (source, low if memory else top)], arrow=memory)
        if memory:
            start = y + 98 - 12 * j
            d.line([(100, start), (source - 3, low - 3)], colour="vermilion")
            continue
        for i, target in enumerate(COLUMNS):
            if not (causal and j > i):
                d.line([(source, top), (target, low)], colour="blue")
    if memory:
        d.box(18, y + 68, 82, 38, "memory", "memory", "Memory", "n_k × d_model")
    return _add_and_norm(d, y, low, name)


def _feed_forward(d: Drawing, y: Number) -> Number:
    """Draw one network in every column; return the lower edge of the norm."""
    _frame(d, y + 20, 58, ("Feed-forward", "each token alone"))
    for i, x in enumerate(COLUMNS, start=1):
        d.line([(x, y), (x, y + 32)])
        d.box(x - 28, y + 32, 56, 34, "feedforward", f"feed-forward {i}", "FFN")
    return _add_and_norm(d, y, y + 66, "feed-forward")


def _add_and_norm(d: Drawing, y: Number, low: Number, name: str) -> Number:
    """Draw the connections past a sub-layer that ends at low, and the norms; return their edge."""
    at = low + 28
    for i, x in enumerate(COLUMNS, start=1):
        d.line([(x, low), (x, at)])
        d.line([(x, y + 10), (x + 38, y + 10), (x + 38, at + 13), (x + 28, at + 13)], colour="grey")
        d.box(x - 28, at, 56, 26, "norm", f"{name} add and norm {i}", "+, LN")
    return at + 26


def _ends(d: Drawing, y: Number) -> None:
    """Draw the arrows that lead out of the layer."""
    for i, x in enumerate(COLUMNS, start=1):
        d.line([(x, y), (x, y + 22)])
        d.text(x, y + 38, f"h_{i}")
