"""Controls -> compute -> draw -> read-out: one way to make a figure that follows the hand.

    explore(stage, compute, draw, controls)

`stage(figure)` sets up axes and artists once and returns the artists; `compute(**values)` turns the controls'
values into numbers; `draw(artists, numbers)` moves the artists and returns the read-out, a line of HTML. Nothing
else is needed: no callback, no clearing, no drawing commands. `compute` is a plain function, so a test calls it.

Most of the time of a redraw goes into what has not changed: axes, ticks, labels. `Picture` keeps that part and
draws only the artists that `draw` touched, which it finds out by looking (an artist that was changed is `stale`).
"""

from __future__ import annotations

import base64
import html
import inspect
import io
import itertools
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

import ipywidgets
import numpy as np
import PIL.Image
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.spines import Spine
from matplotlib.text import Text

from helpers import plotting

MAX_CONTROLS = 4
PIXELS = 1.5  # pixels of the picture for each pixel of the page: sharp on most screens, quick on all


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


# --- the picture ----------------------------------------------------------------------------------------------


class Picture:
    """A figure that is made once and redraws only what moves.

    The background holds everything that lies under the lowest artist that moves, and titles beside the axes, which
    nothing covers. That artist and all else above it are drawn on top each time, in matplotlib's order, so the pixels
    are those of a full redraw. When something else changes (limits, ticks, a new artist), matplotlib marks the figure
    stale and all is drawn anew; and always so where axes overlap.

    >>> picture = Picture(lambda figure: figure.subplots().plot([0, 1], [0, 1])[0], size=(4, 2))
    >>> before = picture.png()
    >>> picture.artists.set_ydata([1, 0])
    >>> picture.png() == before
    False
    """

    def __init__(self, stage: Callable[[Figure], Any], size: tuple[float, float]):
        with rc_context(plotting.STYLE):
            self.figure = Figure(figsize=size, dpi=100 * PIXELS, layout="constrained")
            self.canvas = FigureCanvasAgg(self.figure)
            self.artists = stage(self.figure)
            self.canvas.draw()
        self.figure.set_layout_engine("none")  # the layout is settled: from now on nothing jumps
        self._moving, self._front, self._zorders, self._background = WeakSet(), [], [], None

    def png(self) -> bytes:
        """The figure as it is now."""
        return _png(np.asarray(PIL.Image.fromarray(self.pixels()).convert("RGB")))

    def pixels(self) -> np.ndarray:
        """The figure as it is now, (height, width, 4)."""
        if self.figure.stale or self._background is None or self._frame_changed():
            self._learn_what_moves()
            self.canvas.draw()
            self._background = self.canvas.copy_from_bbox(self.figure.bbox)
        else:
            self.canvas.restore_region(self._background)
        for artist in self._front:
            artist.axes.draw_artist(artist)
        for part in (*self._front, *self.figure.axes, self.figure):
            part.stale = False  # painting ticks marks the axes they belong to
        return np.asarray(self.canvas.buffer_rgba())

    def _frame_changed(self) -> bool:
        """New limits, new ticks, another order: what the front is told does not reach the figure."""
        new_frame = any(a.stale for a in self._front if isinstance(a, (Axis, Spine)))
        return new_frame or self._zorders != [a.zorder for a in self._front]

    def _learn_what_moves(self) -> None:
        """What is stale was touched by `draw`: it moves. It and all above it make up the front."""
        self._front, entangled = [], _things_overlap(self.figure)
        for axes in self.figure.axes:
            painted = _in_painting_order(axes)
            self._moving.update(a for a in painted if a.stale and _can_move(a))
            front = [] if entangled else self._front_of(axes, painted)
            for artist in painted:
                artist.set_animated(artist in front)  # matplotlib leaves animated artists out of a normal draw
            self._front += front
        self._zorders = [a.zorder for a in self._front]

    def _front_of(self, axes: Axes, painted: list[Artist]) -> list[Artist]:
        first = next((i for i, a in enumerate(painted) if a in self._moving), len(painted))
        front = painted[first:]
        if all(a.get_clip_on() for a in front if a in self._moving):  # what moves stays inside the axes
            front = [a for a in front if a in self._moving or not _lies_outside(a, axes)]
        return front if axes.get_visible() else []


def _things_overlap(figure: Figure) -> bool:
    """Axes over axes (`twinx`), or the figure's own texts over axes: what is above what is then left to matplotlib."""
    boxes = [axes.bbox for axes in figure.axes]
    own = [a.get_window_extent() for a in (*figure.texts, *figure.lines, *figure.patches)]
    crossing = any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    return crossing or any(a.overlaps(b) for a in own for b in boxes)


def _png(rgb: np.ndarray) -> bytes:
    """Pixels (height, width, 3) as a PNG. Pillow tries five filters on each row, which takes as long as all the rest
    of a redraw; this takes none."""
    height, width, _ = rgb.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a row begins with the number of its filter: 0, none
    rows[:, 1:] = rgb.reshape(height, -1)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),  # 8 bits a channel, 2: RGB
        b"IDAT": zlib.compress(rows, level=1),
        b"IEND": b"",
    }
    sealed = (
        struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def _can_move(artist: Artist) -> bool:
    """No frame, and no text without letters: that is never drawn, so it stays stale."""
    return not isinstance(artist, (Axis, Spine, Axes)) and not (isinstance(artist, Text) and not artist.get_text())


def _lies_outside(artist: Artist, axes: Axes) -> bool:
    """A title, say. Letters take a good part of the time of a redraw."""
    return isinstance(artist, Text) and not artist.get_window_extent().overlaps(axes.bbox)


def _in_painting_order(axes: Axes) -> list:
    """What `Axes.draw` draws on top of its background patch, in its order."""
    artists = [a for a in axes.get_children() if a is not axes.patch]
    if not (axes.axison and axes.get_frame_on()):
        artists = [a for a in artists if not isinstance(a, Spine)]
    if not axes.axison:
        artists = [a for a in artists if not isinstance(a, Axis)]
    return sorted(artists, key=lambda a: a.zorder)


# --- the widget -----------------------------------------------------------------------------------------------


class Explorer:
    """What `explore` returns: shown as a live widget in JupyterLab and as a still picture everywhere else."""

    def __init__(self, stage, compute, draw, controls, *, caption, size, live):
        self.compute, self.draw, self.controls, self.caption, self.live = compute, draw, dict(controls), caption, live
        self.defaults = self.values()
        self.picture = Picture(stage, size)
        self._lock, self._paused, self._shown = threading.RLock(), False, None
        width, height = (round(100 * inches) for inches in size)
        picture, readout = self._render()
        self.image = ipywidgets.Image(value=picture, format="png", width=width, height=height)
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
                picture, readout = self._render()
            except Exception as error:
                self.readout.value = self._alert(error)
                raise
            self.image.value, self.readout.value = picture, readout  # in this order: the eye waits for the picture

    def _render(self) -> tuple[bytes, str]:
        values = self.values()
        readout = self.draw(self.picture.artists, self.compute(**values))
        if not isinstance(readout, str):
            raise TypeError(f"draw: expected it to return the read-out, a str, got {readout!r}: is a return missing?")
        picture = self.picture.png()
        self._shown = values
        return picture, f'<div role="status">{readout}</div>'

    def _alert(self, error: Exception) -> str:
        shown = ", ".join(f"{name} = {value}" for name, value in self._shown.items())
        return (
            '<div role="alert"><b>This setting did not work.</b> '
            f"{type(error).__name__}: {html.escape(str(error))} "
            f"The picture still shows {html.escape(shown)}. Move a control, or press Reset.</div>"
        )

    def _lay_out(self) -> ipywidgets.VBox:
        for control in self.controls.values():
            control.style.description_width = "initial"
            control.layout = ipywidgets.Layout(width="auto", min_width="290px", max_width="100%", flex="1 1 290px")
            if hasattr(control, "continuous_update"):
                control.continuous_update = self.live
            control.observe(self.update, names="value")
        button = ipywidgets.Button(description="Reset", tooltip="All controls back to where they opened")
        button.layout.width = "70px"
        button.on_click(self.reset)
        row = ipywidgets.HBox([*self.controls.values(), button], layout={"flex_flow": "row wrap"})
        self.image.layout = ipywidgets.Layout(max_width="100%", height="auto", margin="0")
        self.readout.layout = ipywidgets.Layout(min_height="3.2em")
        note = ipywidgets.HTML(f"<small>{html.escape(self.caption)}</small>{_STYLE}")
        box = ipywidgets.VBox(
            [row, self.image, self.readout, note], layout={"width": "100%", "max_width": f"{self.image.width}px"}
        )
        box.add_class("icl-explorer")
        return box

    def _repr_mimebundle_(self, **kwargs) -> dict[str, Any]:
        bundle = self.box._repr_mimebundle_(**kwargs)
        still = io.BytesIO()
        picture = PIL.Image.open(io.BytesIO(self.image.value))  # kept in the file with 256 colours: a third of the size
        picture.quantize(256, dither=PIL.Image.Dither.NONE).save(still, "png", compress_level=9)
        return bundle | {
            "image/png": base64.b64encode(still.getvalue()).decode(),
            "text/plain": f"Interactive figure. {self.caption}",
        }


_STYLE = """<style>
.icl-explorer [role], .icl-explorer small { display: block; line-height: 1.4; }
.icl-explorer [role=alert], .icl-explorer::after { color: var(--jp-error-color1, #B00020); }
.icl-explorer:has(.jupyter-widgets-disconnected)::after
  { content: "The kernel behind this figure is gone: run the cell again."; }
</style>"""


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
    ...     return figure.subplots().plot([0, 1], [0, 1], **plotting.GD)[0]
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
    return Explorer(stage, compute, draw, controls, caption=caption, size=size, live=live)
