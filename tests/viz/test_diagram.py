"""The drawing of the architecture: complete, opaque, legible, and the same every time."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tfmlib.viz import diagram
from tfmlib.viz.diagram import HEIGHT, WIDTH, Drawing, architecture, main

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


@pytest.fixture(scope="module")
def root() -> ET.Element:
    return ET.fromstring(architecture())


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


def test_the_card_is_opaque_and_comes_first(root: ET.Element) -> None:
    card = next(root.iter(f"{SVG}rect"))
    assert "data-card" in card.attrib
    assert card.attrib["fill"] == "#FFFFFF"
    assert float(card.attrib["width"]) == WIDTH - 1
    assert float(card.attrib["height"]) == HEIGHT - 1


def test_blocks_lie_on_the_card_and_do_not_overlap(root: ET.Element) -> None:
    placed = blocks(root)
    for name, (x, y, width, height) in placed.items():
        assert min(x, y, WIDTH - x - width, HEIGHT - y - height) >= 6, name
    items = list(placed.items())
    for i, (name, (x, y, w, h)) in enumerate(items):
        for other, (x2, y2, w2, h2) in items[i + 1 :]:
            apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
            assert apart, f"{name} overlaps {other}"


def test_text_stays_on_the_card_and_is_large_enough_for_a_phone(root: ET.Element) -> None:
    on_a_phone = 350 / WIDTH  # the text column of a screen 390 pixels wide
    for text in root.iter(f"{SVG}text"):
        x, size = float(text.attrib["x"]), float(text.attrib["font-size"])
        assert size * on_a_phone >= 10, ET.tostring(text)
        width = 0.62 * size * len("".join(text.itertext()))  # generous for a sans-serif face
        left = {"start": x, "middle": x - width / 2}[text.attrib["text-anchor"]]
        assert 0 <= left <= WIDTH - width, ET.tostring(text)


def test_text_contrasts_with_every_fill(root: ET.Element) -> None:
    texts = {text.attrib["fill"] for text in root.iter(f"{SVG}text")}
    fills = {rect.attrib["fill"] for rect in root.iter(f"{SVG}rect")}
    assert len(fills) > 5
    assert min(contrast(text, fill) for text in texts for fill in fills) >= 7


def test_cross_attention_takes_the_memory_from_straight_beside_it(root: ET.Element) -> None:
    placed = blocks(root)
    x, y, width, height = placed["memory"]
    cross = placed["cross-attention"]
    arrow = f"M{x + width:g} {y + height / 2:g} L{cross[0]:g} {y + height / 2:g}"
    assert arrow in {path.attrib["d"] for path in root.iter(f"{SVG}path")}
    assert abs(y + height / 2 - (cross[1] + cross[3] / 2)) < 2


def test_every_sublayer_has_a_residual_connection(root: ET.Element) -> None:
    grey = diagram.PALETTE["grey"]
    residuals = [path for path in root.iter(f"{SVG}path") if path.attrib.get("stroke") == grey]
    assert len(residuals) == 5


def test_it_has_a_title_and_a_description(root: ET.Element) -> None:
    named = {element.attrib.get("id"): element for element in root.iter()}
    for name in root.attrib["aria-labelledby"].split():
        assert len("".join(named[name].itertext())) > 20


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
