"""Controls -> compute -> draw -> read-out: one way to make a figure that follows the hand.

    explore(stage, compute, draw, controls)

`stage(figure)` sets up axes and artists once and returns the artists; `compute(**values)` turns the controls'
values into numbers; `draw(artists, numbers)` moves the artists and returns the read-out, a line of HTML. Nothing
else is needed: no callback, no clearing, no drawing commands. `compute` is a plain function, so a test calls it.
"""

from __future__ import annotations

import base64
import gc
import html
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from helpers import picture

MAX_CONTROLS = 4


# --- controls -------------------------------------------------------------------------------------------------


def slider(label: str, value: float, low: float, high: float, step: float) -> ipywidgets.Widget:
    """A slider from low to high; for whole numbers where value, low, high and step are whole numbers.

    >>> slider("η step size", 1.0, -1, 4, 0.05).value, slider("N context length", 20, 1, 200, 1).value
    (1.0, 20)
    """
    whole = all(isinstance(n, int) for n in (value, low, high, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, description=label)


def switch(label: str, value: bool) -> ipywidgets.Widget:
    """A box to tick.

    >>> switch("the query is read, too", False).value
    False
    """
    return ipywidgets.Checkbox(value=value, description=label, indent=False)


def choice(label: str, value: str, options: list[str]) -> ipywidgets.Widget:
    """One out of a few named things.

    >>> choice("inputs", "gaussian", ["gaussian", "uniform"]).value
    'gaussian'
    """
    return ipywidgets.Dropdown(value=value, options=options, description=label)


# --- the widget -----------------------------------------------------------------------------------------------


class Explorer:
    """What `explore` returns: shown as a live widget in JupyterLab and as a still picture everywhere else."""

    def __init__(self, stage, compute, draw, controls, *, caption, size, live):
        self.compute, self.draw, self.controls, self.caption, self.live = compute, draw, dict(controls), caption, live
        self.defaults = self.values()
        self.picture = picture.Picture(stage, size)
        self._lock, self._paused, self._shown = threading.RLock(), False, None
        width, height = (round(100 * inches) for inches in size)
        png, readout = self._render()
        self.image = ipywidgets.Image(value=png, format="png", width=width, height=height)
        self.readout = ipywidgets.HTML(readout)
        self.box = self._lay_out()

    def values(self) -> dict[str, Any]:
        """The value of each control, by name; a slider in the page sends 0.6000000000000001 for 0.6."""
        values = {name: control.value for name, control in self.controls.items()}
        return {name: round(value, 9) if isinstance(value, float) else value for name, value in values.items()}

    def reset(self, _button=None) -> None:
        """All controls back to where they opened, with one redraw."""
        self._paused = True
        try:
            for name, value in self.defaults.items():
                self.controls[name].value = value
        finally:
            self._paused = False
        self.update()

    def update(self, _change=None) -> None:
        """Compute and draw for the controls' values. What goes wrong is said under the picture and raised again."""
        if self._paused:
            return
        with self._lock:
            if not self.live:
                self.readout.value = "computing …"
            try:
                png, readout = self._render()
            except BaseException as error:  # an interruption, too: nothing may be left at "computing …"
                self.readout.value = self._alert(error)
                raise
            self.image.value, self.readout.value = png, readout  # in this order: the eye waits for the picture

    def _render(self) -> tuple[bytes, str]:
        values = self.values()
        readout = self.draw(self.picture.artists, self.compute(**values))
        if not isinstance(readout, str):
            raise TypeError(f"draw: expected it to return the read-out, a str, got {readout!r}: is a return missing?")
        png = self.picture.png()
        self._shown = values
        return png, f'<div role="status">{readout}</div>'

    def _alert(self, error: BaseException) -> str:
        shown = ", ".join(f"{name} = {value}" for name, value in self._shown.items())
        stopped = isinstance(error, KeyboardInterrupt)
        what = "It was interrupted." if stopped else "This setting did not work."
        why = "" if stopped else f" {type(error).__name__}: {html.escape(str(error))}"
        return (
            f'<div role="alert"><b>{what}</b>{why} '
            f"The picture still shows {html.escape(shown)}. Move a control, or press Reset.</div>"
        )

    def _lay_out(self) -> ipywidgets.VBox:
        for control in self.controls.values():
            control.style.description_width = "initial"
            _lay(control, width="auto", min_width="min(290px, 100%)", max_width="100%", flex="1 1 290px")
            if hasattr(control, "continuous_update"):
                control.continuous_update = self.live
            control.observe(self.update, names="value")
        button = ipywidgets.Button(description="Reset", tooltip="All controls back to where they opened")
        _lay(button, width="70px")
        button.on_click(self.reset)
        row = ipywidgets.HBox([*self.controls.values(), button])
        _lay(row, flex_flow="row wrap")
        _lay(self.image, max_width="100%", height="auto", margin="0")
        _lay(self.readout, min_height="3.2em")
        note = ipywidgets.HTML(f"<small>{html.escape(self.caption)}</small>{_STYLE}")
        box = ipywidgets.VBox([row, self.image, self.readout, note])
        _lay(box, width="100%", max_width=f"{self.image.width}px")
        box.add_class("icl-explorer")
        return box

    def close(self) -> None:
        """Free the controls, here and in the page, and the picture. IPython may keep the empty shell as `Out[n]`."""
        for part in _parts(self.box):
            part.unobserve_all()
            part.close()
        self.picture.figure.clear()  # its parts hold each other: else they would wait for the garbage collector
        vars(self).clear()

    def _ipython_display_(self) -> None:
        """Live view and still picture. JupyterLab gets two outputs, of which it shows the still one when a saved
        notebook is opened again and the live one has no kernel; elsewhere they are two forms of one output."""
        live, still = self._forms()
        if "JPY_SESSION_NAME" in os.environ:  # set by the server that JupyterLab runs on
            display(live, raw=True)
            display(still, raw=True)
        else:
            display(live | still, raw=True)

    def _forms(self) -> tuple[dict[str, Any], dict[str, Any]]:
        live = {_VIEW: self.box._repr_mimebundle_()[_VIEW]}
        png = base64.b64encode(picture.of_256_colours(self.image.value)).decode()
        return live, {"image/png": png, "text/plain": f"Interactive figure. {self.caption}"}


def _lay(widget: ipywidgets.Widget, **layout: str) -> None:
    """Set the layout that a widget has; with one put in its place, the old one would never be freed."""
    for name, value in layout.items():
        setattr(widget.layout, name, value)


def _parts(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """A widget and all that it holds."""
    for child in getattr(widget, "children", ()):
        yield from _parts(child)
    yield from (part for part in (widget, widget.layout, getattr(widget, "style", None)) if part is not None)


_VIEW = "application/vnd.jupyter.widget-view+json"
_STYLE = """<style>
.icl-explorer [role], .icl-explorer small { display: block; line-height: 1.4; }
.icl-explorer [role=alert], .icl-explorer::after { color: var(--jp-error-color1, #B00020); }
.icl-explorer:has(.jupyter-widgets-disconnected)::after
  { content: "The kernel behind this figure is gone: run the cell again."; }
.jp-OutputArea-child:has(.icl-explorer) + .jp-OutputArea-child { display: none; }
</style>"""

_MADE: dict[str, tuple[int, list[Explorer]]] = {}  # by cell: how often the kernel had run one, and its figures then


def _instead_of_earlier(explorer: Explorer) -> Explorer:
    """When a cell runs again, what it made before is freed: kernel and page would keep it for ever."""
    if shell := get_ipython():
        cell, count = sys._getframe(2).f_code.co_filename, shell.execution_count  # a file of its own for each cell
        before, made = _MADE.get(cell, (count, []))
        if before != count:
            while made:
                made.pop().close()
            gc.collect()  # figures are full of circles
        _MADE[cell] = count, [*made, explorer]
    return explorer


def explore(
    stage: Callable[[Figure], Any],
    compute: Callable[..., Any],
    draw: Callable[[Any, Any], str],
    controls: Mapping[str, ipywidgets.Widget],
    *,
    caption: str,
    size: tuple[float, float] = (7.2, 3.2),
    live: bool = True,
) -> Explorer:
    """A figure with controls. Leave it as the last line of a cell to show it.

    - `stage(figure) -> artists`: axes and artists, made once, with fixed limits.
    - `compute(**values) -> numbers`: pure; its argument names are the names in `controls`. It touches neither the
      notebook's variables nor the global random state.
    - `draw(artists, numbers) -> str`: moves the artists; returns the read-out (HTML, one line).
    - `controls`: 1 to 4, by name, from `slider`, `switch` and `choice`.
    - `caption`: a sentence that says how to read the figure. It stands under it, and in its place where pictures
      cannot be seen.
    - `size` in inches of 100 page pixels; `live=False` for a slow `compute`: it then runs when the hand lets go.

    A failing `compute` or `draw` is reported under the picture, in words, and raised to the log; the widget stays
    usable.

    >>> def stage(figure):
    ...     return figure.subplots().plot([0, 1], [0, 1])[0]
    >>> def draw(line, slope):
    ...     line.set_ydata([0, slope])
    ...     return f"slope {slope:.1f}"
    >>> widget = explore(stage, lambda a: 2 * a, draw, {"a": slider("a half slope", 0.5, 0, 1, 0.1)}, caption="A line.")
    >>> widget.controls["a"].value = 0.3
    >>> widget.readout.value
    '<div role="status">slope 0.6</div>'
    """
    if not 1 <= len(controls) <= MAX_CONTROLS:
        raise ValueError(f"controls: expected 1 to {MAX_CONTROLS}, got {len(controls)}: too many? make two figures.")
    takes = list(inspect.signature(compute).parameters)
    if sorted(takes) != sorted(controls):
        raise ValueError(f"controls: expected the names that compute takes, {takes}, got {list(controls)}.")
    return _instead_of_earlier(Explorer(stage, compute, draw, controls, caption=caption, size=size, live=live))
