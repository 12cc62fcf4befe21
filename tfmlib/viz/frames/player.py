"""The player of a figure with a slider: drawing, numbers, controls and script as one HTML.

What a kind of figure looks like is `tfmlib.viz.frames`; how it moves is here, once for all kinds.
"""

import hashlib
import json
from collections.abc import Sequence
from html import escape
from typing import Any

from tfmlib.viz.style import PALETTE

_FONT = "font-family:DejaVu Sans,Verdana,sans-serif"

# One script for every kind. d: id, kind, frames, positions, notes, decimals and, where the kind has
# an axis, low, high (data) and top, bottom (pixels). It is wrapped into a function per figure.
_SCRIPT = """(function(d){
document.querySelectorAll('.tfm-'+d.id).forEach(function(box){
if(box.dataset.ready)return;box.dataset.ready='1';
var q=function(s){return box.querySelectorAll(s)},input=q('input')[0],out=q('output')[0],
play=q('button')[0],note=q('.tfm-note')[0],marks=q('.m'),texts=q('.v'),timer=null;
var y=function(v){return d.top+(d.bottom-d.top)*(d.high-v)/(d.high-d.low)};
var mix=function(t){return [0,1,2].map(function(c){return Math.floor(255+(d.deep[c]-255)*t+0.5)})};
var lum=function(c){var l=c.map(function(x){x/=255;
return x<=0.04045?x/12.92:Math.pow((x+0.055)/1.055,2.4)});
return 0.2126*l[0]+0.7152*l[1]+0.0722*l[2]};
var draw={bars:function(v,i){var a=y(v),b=y(0);marks[i].setAttribute('y',Math.min(a,b).toFixed(1));
marks[i].setAttribute('height',Math.abs(a-b).toFixed(1));
texts[i].setAttribute('y',(Math.min(a,b)-4).toFixed(1));texts[i].textContent=v.toFixed(d.decimals)},
heatmap:function(v,i){if(v===null){marks[i].setAttribute('fill','url(#h'+d.id+')');
texts[i].textContent='';return}
var c=mix(Math.min(1,Math.max(0,(v-d.low)/(d.high-d.low))));
marks[i].setAttribute('fill','rgb('+c.join(',')+')');
texts[i].setAttribute('fill',lum(c)<0.18?'white':'#1A1A1A');
texts[i].textContent=v.toFixed(d.decimals)},
lines:function(v,i){marks[i].setAttribute('points',v.map(function(z,j){
return d.x[j].toFixed(1)+','+y(z).toFixed(1)}).join(' '))}}[d.kind];
var show=function(){var i=+input.value;out.textContent=d.positions[i];
input.setAttribute('aria-valuetext',d.positions[i]);
if(note)note.textContent=d.notes[i];d.frames[i].forEach(draw)};
var stop=function(){clearInterval(timer);timer=null;play.textContent='Play';};
input.addEventListener('input',function(){if(timer)stop();show()});
if(!(window.matchMedia&&matchMedia('(prefers-reduced-motion: reduce)').matches))play.hidden=false;
play.addEventListener('click',function(){if(timer)return stop();play.textContent='Pause';
if(+input.value>=+input.max){input.value=0;show()}
timer=setInterval(function(){if(!box.isConnected)return clearInterval(timer);
input.value=+input.value+1;show();
if(+input.value>=+input.max)stop()},700)});
show()})})"""


class Frames:
    """A figure with a slider, as notebooks and the built pages show it.

    `html` is a self-contained piece of HTML. Equal content gives equal HTML on every machine.
    """

    def __init__(self, html: str, *, kind: str, count: int, slider: str) -> None:
        """Keep the HTML and what `repr` says about it."""
        self.html = html
        self.kind = kind
        self.count = count
        self.slider = slider

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """Return a short text that is the same on every machine."""
        return f"<{self.kind} figure, {self.count} frames over {self.slider}>"


def check_frames(
    count: int,
    start: int,
    positions: Sequence[str | int | float],
    notes: Sequence[str] | None,
) -> None:
    """Raise ValueError unless there is one position, and one note if any, for each frame."""
    if count < 2:
        raise ValueError("a slider needs at least two frames")
    if len(positions) != count:
        raise ValueError(
            f"positions: expected one for each of {count} frames, got {len(positions)}"
        )
    if notes is not None and len(notes) != count:
        raise ValueError(f"notes: expected one for each of {count} frames, got {len(notes)}")
    if not 0 <= start < count:
        raise ValueError(f"start must be a frame from 0 to {count - 1}, got {start}")


def assemble(
    payload: dict[str, Any],
    svg: str,
    size: tuple[int, int],
    *,
    slider: str,
    positions: Sequence[str | int | float],
    caption: str,
    alt: str,
    notes: Sequence[str] | None,
    start: int,
) -> Frames:
    """Put drawing, numbers, controls and script together under an id derived from the content."""
    count = len(positions)
    for name, words in (("slider", slider), ("caption", caption), ("alt", alt)):
        if not words.strip():
            raise ValueError(f"{name} must not be empty")
    shown = [p if isinstance(p, str) else f"{p:g}" for p in positions]
    payload = payload | {"positions": shown, "notes": list(notes or [])}
    text = json.dumps(payload, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    digest = hashlib.sha256((text + svg + slider + caption + alt + str(start)).encode())
    ident = digest.hexdigest()[:10]
    text = f'{{"id":"{ident}",{text[1:]}'.replace("</", "<\\/")
    hatch = (
        f'<defs><pattern id="h{ident}" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" fill="#E3E3E3"/>'
        '<line x1="0" y1="0" x2="0" y2="6" stroke="#9A9A9A" stroke-width="1.6"/></pattern></defs>'
        if payload["kind"] == "heatmap"
        else ""
    )
    card = (
        "background:#fff;color:#1A1A1A;border:1px solid #C4C4C4;border-radius:6px;"
        "padding:10px 12px;margin:8px 0;max-width:600px;box-sizing:border-box;font-size:15px"
    )
    note = ""
    if notes:
        note = f'<div class="tfm-note" style="min-height:1.5em">{escape(notes[start])}</div>'
    words = "color:#1A1A1A;margin-top:6px;font-weight:400;text-align:left;font-family:inherit"
    button = "font:inherit;padding:2px 10px;background:#fff;color:#1A1A1A;border:1px solid #6B6B6B"
    html = (
        f'<figure class="tfm-frames tfm-{ident}" style="{card}">'
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(alt)}" '
        f'style="display:block;width:100%;height:auto;{_FONT}" fill="#1A1A1A">'
        f"{hatch}{svg.replace('{id}', ident)}</svg>"
        f"{note}"
        '<div style="display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center;margin-top:4px">'
        f'<label style="display:flex;flex:1 1 230px;gap:8px;align-items:center;color:#1A1A1A">'
        f"<span>{escape(slider)}</span>"
        f'<input type="range" min="0" max="{count - 1}" step="1" value="{start}" '
        f'autocomplete="off" aria-label="{escape(slider)}" aria-valuetext="{escape(shown[start])}" '
        f'style="flex:1;min-width:90px;accent-color:{PALETTE["blue"]}"></label>'
        f'<output style="min-width:3.2em;font-weight:600">{escape(shown[start])}</output>'
        f'<button type="button" hidden style="{button}">Play</button></div>'
        "<noscript><div>Shown is one position of the slider; moving it needs JavaScript."
        "</div></noscript>"
        f'<figcaption style="{words}">{escape(caption)}</figcaption>'
        f"<script>{_SCRIPT}({text})</script></figure>"
    )
    return Frames(html, kind=str(payload["kind"]), count=count, slider=slider)
