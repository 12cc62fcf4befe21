"""Text in pieces: every frame is in the page, one is shown, nothing of the text is lost."""

import re
from html import unescape

import pytest

from tfmlib.viz.frames import chips, pieces

CUTS = [["t", "h", "e", " "], ["th", "e", " "], ["the", " "]]


def make(**changes):
    given = {
        "slider": "merges",
        "positions": [0, 1, 2],
        "caption": "A & B",
        "alt": "An alt",
        "marked": [(), {"th"}, {"the"}],
        "notes": ["4 tokens", "3 tokens", "2 tokens"],
    }
    return pieces(CUTS, **(given | changes))


def texts(html):
    return [unescape(text) for text in re.findall(r"<span style=[^>]*border[^>]*>([^<]*)<", html)]


def test_chips_are_the_pieces_with_visible_spaces_and_line_ends():
    assert texts(chips(["a b", "<&>", "\n"])) == ["a␣b", "<&>", "⏎"]
    row = chips(["a", "bc", "de"], marked={"de"})
    fills = re.findall(r"background:(#\w+)", row)
    assert len(set(fills)) == 3
    assert row.count("font-weight:700") == 1


def test_every_frame_is_there_and_one_is_shown():
    html = make(start=1).html
    frames = html.split('<div class="tfm-frame"')[1:]
    assert [texts(frame) for frame in frames] == [[*"the␣"], ["th", "e", "␣"], ["the", "␣"]]
    assert [frame.split(">")[0].endswith(" hidden") for frame in frames] == [True, False, True]
    assert 'value="1"' in html
    assert "<output" in html


def test_html_is_deterministic_self_contained_and_labelled():
    html = make().html
    assert html == make().html
    assert html != make(caption="other").html
    assert not re.search(r"https?:|src=|href=|@import", html)
    assert 'role="group" aria-label="An alt"' in html
    assert 'aria-label="merges"' in html
    assert "A &amp; B" in html
    assert "<noscript>" in html
    assert "\n\n" not in html
    assert repr(make()) == "<pieces figure, 3 frames over merges>"
    assert make(notes=["</script>"] * 3).html.count("</script>") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": [0, 1]}, "positions"),
        ({"notes": ["a"]}, "notes"),
        ({"marked": [()]}, "marked: expected one for each of 3 frames, got 1"),
        ({"alt": " "}, "alt must not be empty"),
        ({"start": 3}, "start must be a frame from 0 to 2"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_frame_without_pieces():
    with pytest.raises(ValueError, match="no pieces"):
        pieces([["a"], []], slider="s", positions=[0, 1], caption="c", alt="a")
