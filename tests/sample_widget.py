"""One widget with one of each kind of artist, for the tests of widgets and of the picture in them."""

import numpy as np
from matplotlib.figure import Figure

from helpers import picture, plotting, widgets


def stage(figure: Figure):
    """One of each: a line under a legend, a heat-map under its ticks, a patch, a title, a text."""
    left, right = figure.subplots(1, 2)
    left.set(xlim=(-1, 1), ylim=(-1, 1))
    line = left.plot([-1, 1], [0, 0], label="line", **plotting.GD)[0]
    left.legend()
    image = right.imshow(np.zeros((3, 3)), vmin=-1, vmax=1)
    return {"line": line, "image": image, "bar": left.bar([0], [0.1])[0], "text": left.text(0, -0.5, ""), "axes": left}


def draw(artists, slope):
    if slope == 13:
        raise ZeroDivisionError("thirteen <brings> bad luck")
    artists["line"].set_ydata([-slope, slope])
    artists["image"].set_data(np.full((3, 3), slope))
    artists["bar"].set_height(slope)
    artists["text"].set_text(f"{slope:.1f}" if slope > 0 else "")
    artists["axes"].set_title(f"slope {slope:.1f}")
    if (slope == 1) != (artists["axes"].get_xlim()[1] == 2):
        artists["axes"].set_xlim(-1, 2 if slope == 1 else 1)
    return f"slope {slope:.2f}"


def make(compute=lambda slope: slope, draw=draw, **kwargs):
    controls = {"slope": widgets.slider("slope", 0.5, -1.0, 13.0, 0.1)}
    return widgets.explore(stage, compute, draw, controls, caption="A test.", **kwargs)


def full_redraw(drawn: picture.Picture) -> np.ndarray:
    """The same figure drawn by matplotlib alone, from nothing."""
    animated = [a for axes in drawn.figure.axes for a in axes.get_children() if a.get_animated()]
    for artist in animated:
        artist.set_animated(False)
    drawn.canvas.draw()
    pixels = np.asarray(drawn.canvas.buffer_rgba()).copy()
    for artist in animated:
        artist.set_animated(True)
    return pixels
