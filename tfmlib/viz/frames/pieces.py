"""Text cut into pieces, drawn as chips: alone, or changing with a slider.

The chips are HTML, not SVG, so that a long line wraps on a narrow screen. All frames stand in the
page from the start and the script only shows one of them.
"""

import hashlib
from collections.abc import Collection, Sequence
from html import escape

from tfmlib.viz.frames.player import Frames, check_frames
from tfmlib.viz.style import PALETTE

_CARD = (
    "background:#fff;color:#1A1A1A;border:1px solid #C4C4C4;border-radius:6px;padding:10px 12px;"
    "margin:8px 0;max-width:600px;box-sizing:border-box;font-size:15px"
)
_ROW = (
    "line-height:2.1;font-family:DejaVu Sans Mono,Menlo,Consolas,monospace;overflow-wrap:anywhere"
)
_CHIP = "border:1px solid #6B6B6B;border-radius:4px;padding:2px 3px;margin:0 2px 0 0;color:#1A1A1A"
_FILL = {"single": "#FFFFFF", "longer": "#DCEBF7", "marked": "#FFD9B3"}

_SCRIPT = """(function(id){
document.querySelectorAll('.tfm-'+id).forEach(function(box){
if(box.dataset.ready)return;box.dataset.ready='1';
var q=function(s){return box.querySelectorAll(s)},input=q('input')[0],out=q('output')[0],
play=q('button')[0],frames=q('.tfm-frame'),timer=null;
var show=function(){var i=+input.value;frames.forEach(function(f,j){f.hidden=j!==i});
out.textContent=frames[i].dataset.position;
input.setAttribute('aria-valuetext',frames[i].dataset.position)};
var stop=function(){clearInterval(timer);timer=null;play.textContent='Play'};
input.addEventListener('input',function(){if(timer)stop();show()});
if(!(window.matchMedia&&matchMedia('(prefers-reduced-motion: reduce)').matches))play.hidden=false;
play.addEventListener('click',function(){if(timer)return stop();play.textContent='Pause';
if(+input.value>=+input.max){input.value=0;show()}
timer=setInterval(function(){if(!box.isConnected)return clearInterval(timer);
input.value=+input.value+1;show();
if(+input.value>=+input.max)stop()},700)});
show()})})"""


def chips(pieces: Sequence[str], *, marked: Collection[str] = ()) -> str:
    """Return HTML that shows the pieces of a text as chips in a row, spaces as `␣`.

    Single characters are white, longer pieces blue; a piece in `marked` is orange and bold.
    """
    row = []
    for piece in pieces:
        kind = "marked" if piece in marked else "longer" if len(piece) > 1 else "single"
        weight = ";font-weight:700" if kind == "marked" else ""
        text = escape(piece.replace(" ", "␣").replace("\n", "⏎"))
        row.append(f'<span style="{_CHIP}{weight};background:{_FILL[kind]}">{text}</span>')
    # A space between chips would be one of the text; a line may break all the same.
    return f'<div style="{_ROW}">{"<wbr>".join(row)}</div>'


def pieces(
    frames: Sequence[Sequence[str]],
    *,
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    marked: Sequence[Collection[str]] | None = None,
    notes: Sequence[str] | None = None,
    start: int = 0,
) -> Frames:
    """A text cut into pieces, whose cuts change with a slider.

    Args:
        frames: the pieces of each frame, from left to right.
        slider: what the slider sets, as its visible label.
        positions: the value of the slider in each frame.
        caption: sentence under the figure.
        alt: description for readers who do not see the figure.
        marked: for each frame, the pieces to point out.
        notes: one line of text per frame, shown under the pieces.
        start: the frame shown first.

    Raises:
        ValueError: if a frame has no pieces, or positions, marks or notes do not fit the frames.
    """
    count = len(frames)
    check_frames(count, start, positions, notes)
    if marked is not None and len(marked) != count:
        raise ValueError(f"marked: expected one for each of {count} frames, got {len(marked)}")
    if not all(frames):
        raise ValueError("a frame has no pieces")
    rows = [chips(cut, marked=marked[i] if marked else ()) for i, cut in enumerate(frames)]
    return switch(
        rows,
        kind="pieces",
        slider=slider,
        positions=positions,
        caption=caption,
        alt=alt,
        notes=notes,
        start=start,
    )


def switch(
    contents: Sequence[str],
    *,
    kind: str,
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    notes: Sequence[str] | None,
    start: int,
) -> Frames:
    """Put pieces of HTML, one per frame, into one figure whose slider shows one of them."""
    count = len(contents)
    for name, words in (("slider", slider), ("caption", caption), ("alt", alt)):
        if not words.strip():
            raise ValueError(f"{name} must not be empty")
    shown = [p if isinstance(p, str) else f"{p:g}" for p in positions]
    body = []
    for number, content in enumerate(contents):
        note = f'<div style="min-height:1.5em">{escape(notes[number])}</div>' if notes else ""
        hidden = "" if number == start else " hidden"
        body.append(
            f'<div class="tfm-frame" data-position="{escape(shown[number])}"{hidden}>'
            f"{content}{note}</div>"
        )
    inside = "".join(body)
    text = inside + slider + caption + alt + str(start)
    ident = hashlib.sha256(text.encode()).hexdigest()[:10]
    words = "color:#1A1A1A;margin-top:6px;font-weight:400;text-align:left;font-family:inherit"
    button = "font:inherit;padding:2px 10px;background:#fff;color:#1A1A1A;border:1px solid #6B6B6B"
    html = (
        f'<figure class="tfm-frames tfm-{ident}" style="{_CARD}">'
        f'<div role="group" aria-label="{escape(alt)}">{inside}</div>'
        '<div style="display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center;margin-top:4px">'
        '<label style="display:flex;flex:1 1 230px;gap:8px;align-items:center;color:#1A1A1A">'
        f"<span>{escape(slider)}</span>"
        f'<input type="range" min="0" max="{count - 1}" step="1" value="{start}" '
        f'autocomplete="off" aria-label="{escape(slider)}" aria-valuetext="{escape(shown[start])}" '
        f'style="flex:1;min-width:90px;accent-color:{PALETTE["blue"]}"></label>'
        f'<output style="min-width:3.2em;font-weight:600">{escape(shown[start])}</output>'
        f'<button type="button" hidden style="{button}">Play</button></div>'
        "<noscript><div>Shown is one position of the slider; moving it needs JavaScript."
        "</div></noscript>"
        f'<figcaption style="{words}">{escape(caption)}</figcaption>'
        f'<script>{_SCRIPT}("{ident}")</script></figure>'
    )
    return Frames(html, kind=kind, count=count, slider=slider)
