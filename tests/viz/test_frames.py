"""Interactive figures: numbers, first frame and errors; in a browser, the slider itself."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from tfmlib.viz import frames

COMMON = {"slider": "temperature", "positions": [0.5, 1, 2], "caption": "C < D", "alt": "An alt"}
WEIGHTS = {"weight": [[0.7, 0.3], [0.6111111, 0.3888889], [0.5, -1e-9]]}


def make_bars(**changes):
    return frames.bars(WEIGHTS, **({"labels": ["a", "b"]} | COMMON | changes))


def make_heatmap(**changes):
    matrices = torch.tensor([[[1.0, 0.0], [0.4, 0.6]], [[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0]] * 2])
    mask = [[[True, False], [True, True]]] * 3
    given = {"rows": ["q1", "q2"], "columns": ["k1", "k2"], "mask": mask}
    return frames.heatmap(matrices, **(given | COMMON | changes))


def make_lines(**changes):
    values = {"a": [[0, 1, 2], [1, 1, 1], [2, 1, 0]], "b": [[0, 0, 0]] * 3}
    return frames.lines([1, 2, 4], values, xlabel="n", ylabel="loss", **(COMMON | changes))


MAKERS = [make_bars, make_heatmap, make_lines]


def payload(figure):
    return json.loads(re.search(r"\}\)\}\)\((\{.*\})\)</script>", figure.html).group(1))


def test_numbers_are_rounded_and_have_no_minus_zero():
    data = payload(make_bars())
    assert data["frames"] == [[0.7, 0.3], [0.61, 0.39], [0.5, 0.0]]
    assert data["positions"] == ["0.5", "1", "2"]
    assert "-0.0" not in make_bars().html


def test_masked_cells_carry_no_number():
    assert payload(make_heatmap())["frames"][0] == [1.0, None, 0.4, 0.6]


def test_first_frame_is_drawn_without_script():
    svg = make_heatmap().html.split("</svg>")[0]
    assert re.findall(r'class="v"[^>]*>([^<]*)<', svg) == ["1.00", "", "0.40", "0.60"]
    svg = make_bars(start=1).html.split("</svg>")[0]
    assert re.findall(r'class="v"[^>]*>([^<]*)<', svg) == ["0.61", "0.39"]
    assert make_lines().html.count("<polyline") == 2


@pytest.mark.parametrize("make", MAKERS)
def test_html_is_deterministic_self_contained_and_labelled(make):
    html = make().html
    assert html == make().html
    assert html != make(caption="other").html
    assert not re.search(r"https?:|src=|href=|@import", html)
    assert 'role="img" aria-label="An alt"' in html
    assert 'aria-label="temperature"' in html
    assert "C &lt; D" in html
    assert "<noscript>" in html
    assert "\n\n" not in html  # a blank line would end an HTML block of Markdown
    assert repr(make()) == f"<{make().kind} figure, 3 frames over temperature>"
    assert make()._repr_html_() == html


def test_ids_differ_with_content():
    ids = [payload(make())["id"] for make in MAKERS]
    assert len(set(ids)) == 3


def test_no_text_can_end_the_script():
    assert make_bars(notes=["</script>"] * 3).html.count("</script>") == 1


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (make_bars, {"labels": ["a"]}, "labels: expected 2, got 1"),
        (make_bars, {"positions": [1]}, "positions: expected one for each of 3"),
        (make_bars, {"notes": ["x"]}, "notes: expected one for each of 3"),
        (make_bars, {"start": 3}, "start must be"),
        (make_bars, {"alt": " "}, "alt must not be empty"),
        (make_heatmap, {"rows": ["a"]}, "need as many labels"),
        (make_heatmap, {"mask": [[[True]]]}, "mask: expected shape"),
        (make_heatmap, {"vmin": 5.0}, "vmax must be above"),
    ],
)
def test_what_does_not_fit(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({"a": [[1.0, 2.0], [1.0]]}, "rectangular"),
        ({"a": [[1.0, float("nan")], [1.0, 2.0]]}, "not finite"),
        ({"a": [1.0, 2.0]}, "2 dimensions"),
        ({"a": [[1.0, 2.0]] * 2, "b": [[1.0, 2.0]] * 3}, "one shape"),
        ({}, "series expected"),
        ({"a": [[1.0, 2.0]]}, "positions|two frames"),
    ],
)
def test_ragged_or_not_finite(series, message):
    with pytest.raises(ValueError, match=message):
        frames.bars(series, labels=["x", "y"], **COMMON)


def test_heatmap_of_nan():
    with pytest.raises(ValueError, match="not finite"):
        frames.heatmap(np.full((3, 1, 1), np.nan), rows=["a"], columns=["b"], **COMMON)


def test_lines_need_increasing_x():
    with pytest.raises(ValueError, match="increasing"):
        frames.lines([1, 1], {"a": [[1, 2]] * 3}, xlabel="", ylabel="", **COMMON)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, or a skip that says what is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with api.sync_playwright() as p:
        try:
            found = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no browser to be had: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.mark.parametrize("make", MAKERS)
def test_the_slider_draws_what_python_would_draw(browser, make):
    page = browser.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    notes = ["n0", "n1", "n2"]
    page.set_content(make(notes=notes).html * 2)  # twice on one page
    marks = "e => [...e.querySelectorAll('.m')].map(m => m.outerHTML.replace(/h[0-9a-f]{10}/, 'h'))"
    texts = "e => [...e.querySelectorAll('.v')].map(t => t.outerHTML)"
    for place in (1, 2, 0):
        static = browser.new_page(java_script_enabled=False)
        static.set_content(make(notes=notes, start=place).html)
        wanted = static.locator("figure")
        box = page.locator("figure").nth(1)
        slider = box.get_by_role("slider", name="temperature")
        slider.focus()
        page.keyboard.press("Home")
        for _ in range(place):
            page.keyboard.press("ArrowRight")
        assert box.evaluate(marks) == wanted.evaluate(marks)
        assert box.evaluate(texts) == wanted.evaluate(texts)
        assert box.locator("output").inner_text() == ["0.5", "1", "2"][place]
        assert box.locator(".tfm-note").inner_text() == notes[place]
        static.close()
    assert not problems
    page.close()


@pytest.mark.parametrize("make", MAKERS)
def test_a_phone_shows_it_without_sideways_scrolling(browser, make):
    page = browser.new_page(viewport={"width": 375, "height": 700})
    page.set_content(make().html)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.close()


def test_play_is_offered_only_where_motion_is_welcome(browser):
    for motion, shown in (("no-preference", True), ("reduce", False)):
        page = browser.new_page(reduced_motion=motion)
        page.set_content(make_bars().html)
        assert page.get_by_role("button").is_visible() is shown
        if shown:
            page.get_by_role("button", name="Play").click()
            page.wait_for_function("document.querySelector('input').value === '2'", timeout=5000)
            page.get_by_role("button", name="Play").wait_for()
        page.close()
