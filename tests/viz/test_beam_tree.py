"""The tree of a beam search: what is drawn, in which state, and that no line crosses another."""

import math
import re

import pytest

from tfmlib.viz.beam_tree import HUES, _rows, beam_tree
from tfmlib.viz.style import PALETTE

HOW = {"beam": 2, "end": ".", "caption": "A search.", "alt": "A tree."}


def history():
    tree = [
        {"a": 0.5, "b": 0.3, ".": 0.15, "c": 0.05},
        {"b x": 0.29, "a x": 0.2, "a .": 0.2, "a y": 0.1},
        {"b x .": 0.28, "a x .": 0.2, "b x y": 0.004, "a x z": 0.002},
    ]
    return [[(tuple(words.split()), math.log(p)) for words, p in row.items()] for row in tree]


def test_states_and_order():
    first, second, third = _rows(history(), 2, ".", math.log(0.01))
    states = {" ".join(words): state for words, (_, state) in first.items()}
    assert states == {"a": "open", "b": "open", ".": "dropped", "c": "dropped"}
    assert [" ".join(words) for words in second] == ["a x", "a .", "a y", "b x"]
    assert [state for _, state in second.values()] == ["open", "dropped", "dropped", "open"]
    assert [state for _, state in third.values()] == ["finished", "open", "finished", "open"]


def test_a_frame_for_each_step():
    frames = beam_tree(history(), **HOW)
    assert frames.count == 3
    texts = re.findall(r">([^<>]+)</text>", frames.html)
    assert texts.count("a") == 3  # in every frame
    assert texts.count("b") == 3
    assert "0.29" in texts
    assert "2 open, 0 finished" in frames.html
    assert "2 open, 2 finished" in frames.html


def test_the_best_is_marked_in_the_last_frame_only():
    frames = beam_tree(history(), **HOW)
    thick = [i for i in re.finditer('stroke-width="3"', frames.html)]
    assert len(thick) == 3  # b, x, the end
    assert all(i.start() > frames.html.index(">.</text>") for i in thick)
    assert f'stroke="{PALETTE["vermilion"]}" stroke-width="3"' in frames.html
    assert HUES["finished"] == "green"


def test_lines_do_not_cross():
    frames = beam_tree(history(), **HOW)
    last = frames.html.rsplit("<svg", 1)[1]
    lines = [
        tuple(map(float, found))
        for found in re.findall(r'd="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)"', last)
    ]
    assert len(lines) == 4 + 4 + 4
    for x0, y0, x1, _ in lines:
        for u0, v0, u1, _ in lines:
            assert y0 != v0 or (x0 - u0) * (x1 - u1) >= 0


def test_what_has_no_parent_is_named():
    broken = history()
    broken[1].append((("c", "x"), -3.0))
    with pytest.raises(ValueError, match="extends nothing that stayed open"):
        beam_tree(broken, **HOW)
