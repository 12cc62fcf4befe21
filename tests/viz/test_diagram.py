"""The drawings of the architecture: complete, opaque, legible, and the same every time."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tfmlib.viz.diagram import Drawing, architecture, block, decoder_layer, encoder_layer
from tfmlib.viz.diagram.__main__ import DRAWINGS, main
from tfmlib.viz.style import PALETTE

SVG = "{http://www.w3.org/2000/svg}"
COMMITTED = Path(__file__).parents[2] / "book" / "_figures" / "architecture.svg"
BLOCKS = [
    *(f"source {part}" for part in ("token 1", "token 2", "token 3", "embedding", "positions")),
    "encoder self-attention",
    "encoder add and norm 1",
    "encoder feed-forward",
    "encoder add and norm 2",
    "memory",
    *(f"target {part}" for part in ("token 1", "token 2", "token 3", "embedding", "positions")),
    "decoder self-attention",
    "decoder add and norm 1",
    "cross-attention",
    "decoder add and norm 2",
    "decoder feed-forward",
    "decoder add and norm 3",
    "logits",
    "softmax",
    *(f"next token {i}" for i in (1, 2, 3)),
    *("Q", "K", "V", "scores", "weights", "head output"),
]


COUNTED = {  # blocks and residual connections of the other drawings
    "encoder-layer": (3 + 3 + 3 + 3, 6),
    "decoder-layer": (3 + 3 + 1 + 3 + 3 + 3, 9),
    "pre-norm": (5, 0),
    "post-norm": (4, 0),
}


@pytest.fixture(scope="module")
def root() -> ET.Element:
    return ET.fromstring(architecture())


@pytest.fixture(scope="module", params=DRAWINGS)
def any_root(request: pytest.FixtureRequest) -> ET.Element:
    return ET.fromstring(DRAWINGS[request.param]())


def size(root: ET.Element) -> tuple[float, float]:
    return float(root.attrib["width"]), float(root.attrib["height"])


def grey_paths(root: ET.Element) -> list[str]:
    paths = root.iter(f"{SVG}path")
    return [p.attrib["d"] for p in paths if p.attrib.get("stroke") == PALETTE["grey"]]


def arrows(root: ET.Element, colour: str) -> set[tuple[float, float]]:
    """Horizontal start and end of every line of a colour."""
    paths = [p for p in root.iter(f"{SVG}path") if p.attrib.get("stroke") == PALETTE[colour]]
    points = [re.findall(r"[ML]([\d.]+) ", p.attrib["d"]) for p in paths]
    return {(float(p[0]), float(p[-1])) for p in points}


def blocks(root: ET.Element) -> dict[str, tuple[float, float, float, float]]:
    """Name of each block -> x, y, width, height."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        found[group.attrib["data-block"]] = tuple(
            float(rect.attrib[key]) for key in ("x", "y", "width", "height")
        )
    return found


def luminance(colour: str) -> float:
    """Relative luminance as the Web Content Accessibility Guidelines define it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_block_is_there_once(root: ET.Element) -> None:
    names = [group.attrib["data-block"] for group in root.iter(f"{SVG}g")]
    assert sorted(names) == sorted(BLOCKS)


def test_the_committed_file_is_what_the_code_makes() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == architecture()


def test_it_comes_out_the_same_in_another_process(tmp_path: Path) -> None:
    out = tmp_path / "again.svg"
    subprocess.run(
        [sys.executable, "-m", "tfmlib.viz.diagram", str(out)],
        check=True,
        timeout=120,
    )
    assert out.read_bytes() == architecture().encode("utf-8")


def test_the_card_is_opaque_and_comes_first(any_root: ET.Element) -> None:
    card = next(any_root.iter(f"{SVG}rect"))
    assert "data-card" in card.attrib
    assert card.attrib["fill"] == "#FFFFFF"
    width, height = size(any_root)
    assert float(card.attrib["width"]) == width - 1
    assert float(card.attrib["height"]) == height - 1


def test_blocks_lie_on_the_card_and_do_not_overlap(any_root: ET.Element) -> None:
    placed = blocks(any_root)
    card = size(any_root)
    for name, (x, y, width, height) in placed.items():
        assert min(x, y, card[0] - x - width, card[1] - y - height) >= 6, name
    items = list(placed.items())
    for i, (name, (x, y, w, h)) in enumerate(items):
        for other, (x2, y2, w2, h2) in items[i + 1 :]:
            apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
            assert apart, f"{name} overlaps {other}"


def test_text_stays_on_the_card_and_is_large_enough_for_a_phone(any_root: ET.Element) -> None:
    card = size(any_root)
    on_a_phone = min(1, 350 / card[0])  # the text column of a screen 390 pixels wide
    for text in any_root.iter(f"{SVG}text"):
        x, y, tall = (float(text.attrib[key]) for key in ("x", "y", "font-size"))
        assert tall * on_a_phone >= 10, ET.tostring(text)
        width = 0.62 * tall * len("".join(text.itertext()))  # generous for a sans-serif face
        left = {"start": x, "middle": x - width / 2}[text.attrib["text-anchor"]]
        assert tall <= y <= card[1] - 6
        assert 0 <= left <= card[0] - width, ET.tostring(text)


def test_text_contrasts_with_every_fill(any_root: ET.Element) -> None:
    texts = {text.attrib["fill"] for text in any_root.iter(f"{SVG}text")}
    fills = {rect.attrib["fill"] for rect in any_root.iter(f"{SVG}rect")}
    assert len(fills) > 3
    assert min(contrast(text, fill) for text in texts for fill in fills) >= 7


def test_cross_attention_takes_the_memory_from_straight_beside_it(root: ET.Element) -> None:
    placed = blocks(root)
    x, y, width, height = placed["memory"]
    cross = placed["cross-attention"]
    arrow = f"M{x + width:g} {y + height / 2:g} L{cross[0]:g} {y + height / 2:g}"
    assert arrow in {path.attrib["d"] for path in root.iter(f"{SVG}path")}
    assert abs(y + height / 2 - (cross[1] + cross[3] / 2)) < 2


def test_every_sublayer_has_a_residual_connection(root: ET.Element) -> None:
    assert len(grey_paths(root)) == 5


@pytest.mark.parametrize("name", COUNTED)
def test_blocks_and_residual_connections_of_the_layers(name: str) -> None:
    drawn = ET.fromstring(DRAWINGS[name]())
    assert (len(blocks(drawn)), len(grey_paths(drawn))) == COUNTED[name]


def test_in_the_encoder_every_token_reaches_every_token() -> None:
    drawn = ET.fromstring(encoder_layer())
    x = [blocks(drawn)[f"source {i}"][0] + 28 for i in (1, 2, 3)]
    assert arrows(drawn, "blue") == {(a, b) for a in x for b in x}


@pytest.mark.parametrize("cross_attention", [True, False])
def test_in_the_decoder_no_line_leads_back(cross_attention: bool) -> None:
    drawn = ET.fromstring(decoder_layer(cross_attention=cross_attention))
    x = [blocks(drawn)[f"target {i}"][0] + 28 for i in (1, 2, 3)]
    assert arrows(drawn, "blue") == {(a, b) for a in x for b in x if a <= b}
    from_memory = {end for _, end in arrows(drawn, "vermilion")}
    assert from_memory == ({a - 3 for a in x} if cross_attention else set())
    assert ("memory" in blocks(drawn)) == cross_attention


def test_the_norm_stands_on_the_stream_or_on_the_branch() -> None:
    def norms(place: str) -> list[bool]:
        placed = blocks(ET.fromstring(block(place=place)))
        sublayer = placed["self-attention"][0]
        return [placed[name][0] == sublayer for name in ("norm 1", "norm 2")]

    assert norms("pre") == [True, True]
    assert norms("post") == [False, False]
    with pytest.raises(ValueError, match='"pre" or "post"; got \'middle\''):
        block(place="middle")


def test_it_has_a_title_and_a_description(any_root: ET.Element) -> None:
    named = {element.attrib.get("id"): element for element in any_root.iter()}
    for name in any_root.attrib["aria-labelledby"].split():
        assert len("".join(named[name].itertext())) > 15


def test_drawings_of_one_page_share_no_ids_and_find_their_own_arrow_heads() -> None:
    seen: set[str] = set()
    for draw in DRAWINGS.values():
        svg = draw()
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert not seen & set(ids)
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)
        seen |= set(ids)


def test_a_notebook_shows_the_drawing_itself() -> None:
    drawn = encoder_layer()
    assert drawn._repr_html_() == drawn
    assert len(repr(drawn)) < 40


def test_subscripts_and_superscripts_return_to_the_line() -> None:
    d = Drawing(10, 10)
    d.text(5, 5, "n_k × QK^T / √d_model < 1")
    (text,) = ET.fromstring(d.svg("t", "d")).iter(f"{SVG}text")
    assert "".join(text.itertext()) == "nk × QKT / √dmodel < 1"
    shifts = [float(span.attrib["dy"]) for span in text.iter(f"{SVG}tspan")]
    assert len(shifts) == 6
    assert sum(shifts) == pytest.approx(0, abs=0.02)
    assert shifts[0] > 0 > shifts[2]


def test_the_command_needs_an_existing_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "no" / "a.svg")])
    assert stop.value.code == 2
    assert re.search("there is no folder .*no", capsys.readouterr().err)
