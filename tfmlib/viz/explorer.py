"""Figures with live controls: sliders, choices and texts that call a function of the chapter again.

In JupyterLab the controls are ipywidgets and need the running kernel. In a stored notebook, and in
the built page, there is no kernel: there the picture drawn from the starting values stands alone.
For figures that respond in a static page as well, see `tfmlib.viz.frames`.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Slider:
    """A number between `low` and `high`; whole numbers if all four values are.

    Args:
        low: least value.
        high: largest value.
        start: the value shown first.
        step: distance between two values; by default 1, or a hundredth of the range.
    """

    low: float | int
    high: float | int
    start: float | int
    step: float | int | None = None

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.low <= self.start <= self.high or not self.low < self.high:
            raise ValueError(
                "a slider needs low <= start <= high and low < high; got "
                f"low={self.low}, start={self.start}, high={self.high}"
            )
        if self.step is not None and not self.step > 0:
            raise ValueError(f"the step of a slider must be positive, got {self.step}")

    def widget(self) -> Any:
        """Return the control; the figure follows when it is let go, not on the way."""
        import ipywidgets as widgets

        given = [self.low, self.high, self.start, *([] if self.step is None else [self.step])]
        whole = all(isinstance(value, int) for value in given)
        step = self.step if self.step is not None else 1 if whole else (self.high - self.low) / 100
        kind = widgets.IntSlider if whole else widgets.FloatSlider
        return kind(
            value=self.start, min=self.low, max=self.high, step=step, continuous_update=False
        )


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        options: the values, in order.
        start: the value shown first; by default the first.
    """

    options: Sequence[Any]
    start: Any = None

    def __post_init__(self) -> None:
        """Check that there is a choice, and take the first value where none is named."""
        if len(self.options) < 2:
            raise ValueError(f"a choice needs at least two options, got {list(self.options)}")
        if self.start is None:
            object.__setattr__(self, "start", self.options[0])
        if self.start not in self.options:
            raise ValueError(f"start must be one of {list(self.options)}, got {self.start!r}")

    def widget(self) -> Any:
        """Return the control."""
        import ipywidgets as widgets

        named = [(str(option), option) for option in self.options]
        return widgets.Dropdown(options=named, value=self.start)


@dataclass(frozen=True)
class Text:
    """A line of text; the figure follows on Enter.

    Args:
        start: the text shown first.
    """

    start: str

    def widget(self) -> Any:
        """Return the control."""
        import ipywidgets as widgets

        return widgets.Text(value=self.start, continuous_update=False)


Control = Slider | Choice | Text


class Explorer:
    """A figure and its controls, as `explore` makes them.

    Attributes:
        values: the present value of every control.
        problem: what the drawing function said against these values; "" if nothing.
    """

    def __init__(
        self,
        draw: Callable[..., Figure | str],
        controls: Mapping[str, Control],
        *,
        alt: str,
        caption: str = "",
    ) -> None:
        """Draw the figure from the starting values; see `explore`."""
        if not controls:
            raise ValueError("an explorer needs at least one control")
        if not alt.strip():
            raise ValueError("alt must not be empty")
        for name, control in controls.items():
            if not isinstance(control, Control):
                raise TypeError(f"{name}: expected a Slider, Choice or Text, got {control!r}")
        self.draw, self.controls, self.alt, self.caption = draw, dict(controls), alt, caption
        self.values = {name: control.start for name, control in controls.items()}
        self.problem = ""
        self._picture = self._drawn()
        self._box: Any = None

    def set(self, **values: Any) -> None:
        """Draw again from other values; a `ValueError` of the drawing keeps the old figure.

        Raises:
            ValueError: if there is no control of a name.
        """
        if unknown := set(values) - set(self.values):
            raise ValueError(f"no control {sorted(unknown)}; there are {sorted(self.values)}")
        self.values |= values
        try:
            self._picture, self.problem = self._drawn(), ""
        except ValueError as error:
            self.problem = str(error)
        if self._box is not None:
            self._show()

    def box(self) -> Any:
        """Return the ipywidgets box of controls and figure, the same at every call."""
        if self._box is None:
            import ipywidgets as widgets

            rows = []
            for name, control in self.controls.items():
                widget = control.widget()
                widget.description = name.replace("_", " ")
                widget.style.description_width = "initial"
                widget.layout.width = "min(480px, 95%)"
                widget.observe(
                    lambda change, name=name: self.set(**{name: change["new"]}), names="value"
                )
                rows.append(widget)
            self._figure, self._message = widgets.HTML(), widgets.HTML()
            self._box = widgets.VBox([*rows, self._message, self._figure])
            if self.caption:
                caption = widgets.HTML(f"<p>{escape(self.caption)}</p>")
                self._box.children = (*self._box.children, caption)
            self._show()
        return self._box

    def _show(self) -> None:
        shown = self._picture
        if isinstance(shown, bytes):
            data = base64.b64encode(shown).decode()
            shown = (
                f'<img alt="{escape(self.alt)}" src="data:image/png;base64,{data}" '
                'style="max-width:100%;background:#fff">'
            )
        self._figure.value = shown
        message = f'<span role="alert">{escape(self.problem)}</span>' if self.problem else ""
        self._message.value = message

    def _drawn(self) -> bytes | str:
        """Return a PNG of the figure, or the HTML, drawn from the present values."""
        drawn = self.draw(**self.values)
        if isinstance(drawn, str):
            return drawn
        if not isinstance(drawn, Figure):
            raise TypeError(f"the function must return a Figure or HTML, got {type(drawn)}")
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=150)
        plt.close(drawn)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the live controls, and beside them the picture for where there is no kernel."""
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if isinstance(self._picture, bytes):
            bundle["image/png"] = base64.b64encode(self._picture).decode()
        else:
            bundle["text/html"] = self._picture
        live = self.box()._repr_mimebundle_() or {}
        kind = "application/vnd.jupyter.widget-view+json"
        return bundle | {key: value for key, value in live.items() if key == kind}

    def __repr__(self) -> str:
        """Return a short text that is the same on every machine."""
        return f"<explorer of {', '.join(self.values)}>"


def explore(
    draw: Callable[..., Figure | str],
    controls: Mapping[str, Control],
    *,
    alt: str,
    caption: str = "",
) -> Explorer:
    """Let the reader change what a figure is drawn from, in JupyterLab.

        def softened(temperature, sentence):
            fig, ax = viz.figure("single")
            ...
            return fig

        viz.explore(softened, {"temperature": viz.Slider(0.1, 4.0, 1.0),
                               "sentence": viz.Text("the cat sat")}, alt="Bars of ...")

    A built page shows the figure at the starting values; give the cell the same alternative text in
    its metadata (`mystnb.image.alt`) where the function returns a figure.

    Args:
        draw: called with one keyword per control; returns a matplotlib figure or a piece of HTML.
            It may refuse values with a `ValueError`, whose message the reader then sees.
        controls: name of a keyword -> its control. Underscores in names are shown as spaces.
        alt: description for readers who do not see the figure.
        caption: sentence under the live figure.

    Raises:
        ValueError: no controls, an empty alt, or the starting values are refused by `draw`.
        TypeError: something else than a control, or `draw` returns neither figure nor text.
    """
    return Explorer(draw, controls, alt=alt, caption=caption)
