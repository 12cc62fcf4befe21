"""Figures with live controls: what is drawn, what the controls do, what a stored page keeps."""

import base64

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from tfmlib import viz

WIDGET = "application/vnd.jupyter.widget-view+json"


def line(height, name):
    if not name:
        raise ValueError("name must not be empty")
    fig, ax = viz.figure("small")
    ax.plot([0, 1], [0, height])
    ax.set_title(name)
    return fig


def words(count, name):
    return f"<p>{name * count}</p>"


def made(**options):
    controls = {"height": viz.Slider(0.0, 2.0, 1.0), "name": viz.Text("a")}
    return viz.explore(line, controls, alt="A line.", **options)


def control(explorer, name):
    return next(w for w in explorer.box().children if getattr(w, "description", "") == name)


def texts(explorer):
    return [w.value for w in explorer.box().children if type(w) is ipywidgets.HTML]


def test_bundle_has_live_controls_and_a_picture_for_pages_without_a_kernel():
    bundle = made()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png", WIDGET}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == "<explorer of height, name>"


def test_html_figures_keep_their_html():
    explorer = viz.explore(
        words, {"count": viz.Slider(1, 3, 2), "name": viz.Choice(["x", "y"])}, alt="Letters."
    )
    assert explorer._repr_mimebundle_()["text/html"] == "<p>xx</p>"


def test_moving_a_control_draws_again():
    explorer = viz.explore(
        words, {"count": viz.Slider(1, 3, 2), "name": viz.Choice(["x", "y"])}, alt="Letters."
    )
    control(explorer, "count").value = 3
    assert "<p>xxx</p>" in texts(explorer)
    control(explorer, "name").value = "y"
    assert "<p>yyy</p>" in texts(explorer)
    assert explorer.values == {"count": 3, "name": "y"}


def test_a_picture_carries_its_alternative_text_and_changes():
    explorer = made(caption="What it shows & why.")
    before = texts(explorer)
    assert any('alt="A line."' in text for text in before)
    assert any("What it shows &amp; why." in text for text in before)
    control(explorer, "height").value = 2.0
    assert texts(explorer) != before


def test_refused_values_are_explained_and_the_figure_stays():
    explorer = made()
    picture = explorer._picture
    control(explorer, "name").value = ""
    assert explorer.problem == "name must not be empty"
    assert any("name must not be empty" in text for text in texts(explorer))
    assert explorer._picture == picture
    control(explorer, "name").value = "b"
    assert explorer.problem == ""
    assert explorer._picture != picture


def test_other_errors_of_the_drawing_are_not_hidden():
    def broken(height):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        viz.explore(broken, {"height": viz.Slider(0, 2, 1)}, alt="Nothing.")


def test_figures_are_closed():
    before = plt.get_fignums()
    made().set(height=0.5)
    assert plt.get_fignums() == before


def test_whole_sliders_stay_whole_and_names_are_readable():
    explorer = viz.explore(
        lambda number_of_heads: str(type(number_of_heads)),
        {"number_of_heads": viz.Slider(1, 8, 4)},
        alt="A type.",
    )
    widget = control(explorer, "number of heads")
    assert type(widget) is ipywidgets.IntSlider
    assert (widget.min, widget.max, widget.step, widget.value) == (1, 8, 1, 4)
    smooth = viz.Slider(0.0, 2.0, 1.0).widget()
    assert smooth.step == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: viz.Slider(0, 1, 2), "low <= start <= high"),
        (lambda: viz.Slider(1, 1, 1), "low < high"),
        (lambda: viz.Slider(0, 1, 1, step=0), "positive"),
        (lambda: viz.Choice(["one"]), "at least two"),
        (lambda: viz.Choice([1, 2], 3), "one of"),
        (lambda: viz.explore(line, {}, alt="x"), "at least one control"),
        (lambda: viz.explore(words, {"count": viz.Slider(0, 1, 1)}, alt=" "), "alt"),
        (lambda: made().set(depth=3), "no control"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: viz.explore(lambda n: 3, {"n": viz.Slider(0, 1, 1)}, alt="x"),
    ],
)
def test_wrong_kinds_are_named(make):
    with pytest.raises(TypeError, match="must return"):
        make()
