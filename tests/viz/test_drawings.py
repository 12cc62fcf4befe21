"""Drawings with a slider: every frame is in the page, one is shown, the picture has a name."""

import re

import pytest

from tfmlib.viz.frames import drawings

PICTURES = ['<circle r="1"/>', '<circle r="2"/>', '<rect width="3"/>']


def make(contents=PICTURES, **changes):
    given = {
        "slider": "position",
        "positions": [0, 1, "end"],
        "caption": "A & B",
        "alt": "An alt",
    }
    return drawings(contents, (300, 80), **(given | changes))


def test_every_drawing_is_there_and_one_is_shown():
    html = make(start=2, notes=["a", "b", "c"]).html
    frames = html.split('<div class="tfm-frame"')[1:]
    for frame, picture, note, place in zip(frames, PICTURES, "abc", ("0", "1", "end"), strict=True):
        assert picture in frame
        assert f">{note}</div>" in frame
        assert f'data-position="{place}"' in frame
    assert [frame.split(">")[0].endswith(" hidden") for frame in frames] == [True, True, False]
    assert html.count('viewBox="0 0 300 80"') == 3


def test_html_is_deterministic_self_contained_and_labelled():
    html = make().html
    assert html == make().html
    assert html != make(caption="other").html
    assert not re.search(r"https?:|src=|href=|@import", html)
    assert 'role="group" aria-label="An alt"' in html
    assert html.count('aria-hidden="true"') == 3
    assert "A &amp; B" in html
    assert repr(make()) == "<drawings figure, 3 frames over position>"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contents": PICTURES[:1], "positions": [0]}, "at least two frames"),
        ({"contents": ["<g/>", " ", "<g/>"]}, "a drawing is empty"),
        ({"positions": [0, 1]}, "positions: expected one for each of 3 frames"),
        ({"notes": ["a"]}, "notes: expected one for each of 3 frames"),
        ({"alt": " "}, "alt must not be empty"),
    ],
)
def test_bad_input_is_named(changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)
