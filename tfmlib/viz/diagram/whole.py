"""The architecture in one drawing: encoder, decoder, and one head of attention.

After the description in Vaswani et al. 2017, section 3 (the drawing is our own).
"""

from collections.abc import Sequence

from tfmlib.viz.diagram.drawing import Diagram, Drawing, Number

WIDTH, HEIGHT = 400, 826

TITLE = "The encoder-decoder Transformer"
DESCRIPTION = (
    "The source tokens are embedded, positions are added, and L encoder layers, each of "
    "self-attention and a feed-forward network inside residual connections with layer "
    "normalization, turn them into the memory. The target tokens so far take the same way through "
    "L decoder layers, whose self-attention is causal and whose cross-attention takes its keys and "
    "values from the memory. The embedding table then gives the logits and the softmax the "
    "probabilities of the next token. Beside it, one head of attention: scores from queries and "
    "keys, row-wise softmax, and the output as weights times values."
)


def architecture() -> Diagram:
    """Return the SVG of the encoder-decoder Transformer, with the shapes on its arrows.

    Sublayers stand in the original order, with the norm after the residual addition.
    """
    d = Drawing(WIDTH, HEIGHT)
    left, right = 12.0, 206.0  # left edges of the columns of encoder and decoder
    encoder = [
        ("attention", "encoder self-attention", ("Self-attention", "h heads")),
        ("feedforward", "encoder feed-forward", ("Feed-forward", "d_model → d_ff → d_model")),
    ]
    decoder = [
        ("attention", "decoder self-attention", ("Self-attention", "causal, h heads")),
        ("cross", "cross-attention", ("Cross-attention", "h heads")),
        ("feedforward", "decoder feed-forward", ("Feed-forward", "d_model → d_ff → d_model")),
    ]
    d.text(right + 91, 34, "base model", size=12.5, bold=True)
    d.text(right + 91, 54, "L = 6, h = 8, d_k = d_v = 64", size=12)
    d.text(right + 91, 73, "d_model = 512, d_ff = 2048", size=12)

    _inputs(d, left, 24, "source", "source", "n_k", ("ein", "Hund", "bellt"))
    end = _stack(d, left, 186, "encoder", "encoder layer, L times", encoder, mirrored=True)
    memory = end + 24
    d.line([(left + 91, end), (left + 91, memory)])
    d.box(left + 31, memory, 120, 40, "memory", "memory", "Memory", "n_k × d_model")

    top = memory + 20 - _middle(1)  # puts cross-attention beside the memory
    _inputs(d, right, top - 162, "target so far", "target", "n_q", ("<s>", "a", "dog"))
    end = _stack(d, right, top, "decoder", "decoder layer, L times", decoder)
    d.line([(left + 151, memory + 20), (right + 8, memory + 20)], colour="vermilion")
    d.text(left + 171, memory + 14, "K, V", size=12)
    _outputs(d, right, end, ("a", "dog", "barks"))
    _one_head(d, left, HEIGHT - 12 - 280)
    return d.svg(TITLE, DESCRIPTION)


def _tokens(d: Drawing, x: Number, y: Number, name: str, tokens: Sequence[str]) -> None:
    """Three tokens side by side, over the width of a column."""
    for i, token in enumerate(tokens):
        d.box(x + 2 + 61 * i, y, 56, 26, "token", f"{name} token {i + 1}", token)


def _inputs(
    d: Drawing, x: Number, y: Number, title: str, name: str, length: str, tokens: Sequence[str]
) -> None:
    """Tokens, their embedding and the positions: 162 units high, with the arrow that leads on."""
    centre = x + 91
    d.text(centre, y, title, size=12.5, bold=True)
    _tokens(d, x, y + 8, name, tokens)
    d.line([(centre, y + 34), (centre, y + 54)])
    d.text(centre + 7, y + 47, length, size=11.5, anchor="start")
    d.box(x + 17, y + 54, 148, 30, "embedding", f"{name} embedding", "Embedding × √d_model")
    d.line([(centre, y + 84), (centre, y + 98)])
    d.box(x + 17, y + 98, 148, 28, "embedding", f"{name} positions", "+ positions")
    d.line([(centre, y + 126), (centre, y + 162)])
    d.text(centre + 7, y + 147, f"{length} × d_model", size=11.5, anchor="start")


def _middle(sublayer: int) -> Number:
    """Height of a sub-layer's middle below the upper edge of its stack."""
    return 38 + 96 * sublayer + 19


def _stack(
    d: Drawing,
    x: Number,
    y: Number,
    name: str,
    title: str,
    sublayers: Sequence[tuple[str, str, tuple[str, ...]]],
    *,
    mirrored: bool = False,
) -> Number:
    """Sub-layers with their residual connections; returns the lower edge."""
    height = 30 + 96 * len(sublayers)
    d.frame(x, y, 182, height, title)
    start = x + 26 if mirrored else x + 8
    centre, outside = x + 91, (x + 12 if mirrored else x + 170)
    edge = start if mirrored else start + 148
    previous = y + 22
    for number, (kind, block, lines) in enumerate(sublayers):
        at = y + _middle(number) - 19
        d.line([(centre, previous), (centre, at)])
        d.box(start, at, 148, 38, kind, block, *lines)
        norm = at + 50
        d.line([(centre, at + 38), (centre, norm)])
        d.box(start, norm, 148, 26, "norm", f"{name} add and norm {number + 1}", "Add, LayerNorm")
        fork = at - 11
        path = [(centre, fork), (outside, fork), (outside, norm + 13), (edge, norm + 13)]
        d.line(path, colour="grey")
        previous = norm + 26
    d.line([(centre, previous), (centre, y + height)], arrow=False)
    return y + height


def _outputs(d: Drawing, x: Number, y: Number, tokens: Sequence[str]) -> None:
    """From the last hidden states to the next tokens."""
    centre = x + 91
    d.line([(centre, y), (centre, y + 26)])
    d.text(centre + 7, y + 16, "n_q × d_model", size=11.5, anchor="start")
    d.box(x + 17, y + 26, 148, 38, "embedding", "logits", "Logits", "× embedding table^T")
    d.line([(centre, y + 64), (centre, y + 88)])
    d.text(centre + 7, y + 79, "n_q × vocab", size=11.5, anchor="start")
    d.box(x + 17, y + 88, 148, 26, "norm", "softmax", "Softmax")
    d.line([(centre, y + 114), (centre, y + 130)])
    _tokens(d, x, y + 130, "next", tokens)
    d.text(centre, y + 172, "next token at each position", size=12)


def _one_head(d: Drawing, x: Number, y: Number) -> None:
    """One head of attention, from queries, keys and values to the output."""
    d.frame(x, y, 182, 280, "one head of attention")
    centre = x + 66
    shapes = {"Q": "n_q × d_k", "K": "n_k × d_k", "V": "n_k × d_v"}
    for i, (symbol, shape) in enumerate(shapes.items()):
        d.box(x + 7 + 57 * i, y + 28, 54, 40, "attention", symbol, symbol, shape)
    d.line([(x + 34, y + 68), (x + 34, y + 90)])
    d.line([(x + 91, y + 68), (x + 91, y + 90)])
    d.box(x + 7, y + 90, 111, 30, "attention", "scores", "S = QK^T / √d_k")
    d.line([(centre, y + 120), (centre, y + 146)])
    d.text(centre + 7, y + 137, "n_q × n_k", size=11.5, anchor="start")
    d.box(x + 7, y + 146, 111, 30, "attention", "weights", "A = softmax S")
    d.line([(centre, y + 176), (centre, y + 202)])
    d.text(centre + 7, y + 193, "n_q × n_k", size=11.5, anchor="start")
    d.line([(x + 148, y + 68), (x + 148, y + 217), (x + 118, y + 217)])
    d.box(x + 7, y + 202, 111, 30, "attention", "head output", "Y = AV")
    d.text(x + 91, y + 250, "n_q × d_v", size=11.5)
    d.text(x + 91, y + 267, "h of them side by side, × W_O", size=11.5)
