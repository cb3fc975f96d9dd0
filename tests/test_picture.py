"""The picture in a widget: whatever moves, its pixels are those that matplotlib alone would draw."""

import io

import numpy as np
import PIL.Image
import pytest
from sample_widget import draw, full_redraw, make, stage

from helpers import picture, widgets


def test_pixels_are_those_of_a_full_redraw_after_any_moves():
    widget = make()
    for slope in [0.5, -1.0, 0.3, 1.0, 0.2, -0.4, 1.0, -1.0, 0.9]:
        widget.controls["slope"].value = slope
        quick = widget.picture.pixels().copy()
        assert np.array_equal(quick, full_redraw(widget.picture)), f"at {slope}"


def test_a_picture_that_forgot_what_moves_would_be_noticed(monkeypatch):
    """The twin: with the front left out, pixels differ from a full redraw."""
    widget = make()
    monkeypatch.setattr(widget.picture, "_front", [])
    monkeypatch.setattr(widget.picture, "_zorders", [])
    widget.controls["slope"].value = 0.3
    assert not np.array_equal(widget.picture.pixels().copy(), full_redraw(widget.picture))


def test_only_what_moves_is_redrawn(monkeypatch):
    widget = make()
    widget.controls["slope"].value = 0.3
    redraws = []
    monkeypatch.setattr(widget.picture.canvas, "draw", lambda: redraws.append(1))
    widget.controls["slope"].value = 0.7
    assert not redraws
    widget.picture.artists["axes"].set_ylim(-2, 2)
    widget.picture.pixels()
    assert redraws


SCENES = {
    "axes over axes": lambda figure, axes: axes.twinx().plot([-1, 1], [1, -1]),
    "the figure's own text": lambda figure, axes: figure.text(0.4, 0.5, "over the line"),
    "axes that are hidden": lambda figure, axes: figure.axes[1].set_visible(False),
    "no frame": lambda figure, axes: figure.axes[1].axis("off"),
    "an inset": lambda figure, axes: axes.inset_axes([0.6, 0.6, 0.3, 0.3]).plot([0, 1]),
    "log axis": lambda figure, axes: axes.set_yscale("symlog"),
    "another order": lambda figure, axes: axes.lines[0].set_zorder(9),
    "a new line": lambda figure, axes: axes.plot([-1, 1], [1, -1]),
    "a line less": lambda figure, axes: axes.plot([-1, 1], [1, -1])[0].remove(),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("when", ["in the stage", "later"])
def test_pixels_are_those_of_a_full_redraw_in_other_scenes(scene, when):
    def other_stage(figure):
        artists = stage(figure)
        if when == "in the stage":
            SCENES[scene](figure, artists["axes"])
        return artists

    controls = {"slope": widgets.slider("slope", 0.5, -1.0, 13.0, 0.1)}
    widget = widgets.explore(other_stage, lambda slope: slope, draw, controls, caption="A test.")
    for i, slope in enumerate([0.3, -0.6, 0.8, 0.1]):
        if i == 1 and when == "later":
            SCENES[scene](widget.picture.figure, widget.picture.artists["axes"])
        widget.controls["slope"].value = slope
        assert np.array_equal(widget.picture.pixels().copy(), full_redraw(widget.picture)), f"at {slope}"


def test_what_moved_once_is_remembered(monkeypatch):
    def draw_one(artists, now):
        artists["line" if now[0] else "bar"].set_visible(True)
        artists["line"].set_ydata([0, now[1]]) if now[0] else artists["bar"].set_height(now[1])
        return ""

    controls = {"first": widgets.switch("first", True), "size": widgets.slider("size", 0.5, 0.0, 1.0, 0.1)}
    widget = widgets.explore(stage, lambda first, size: (first, size), draw_one, controls, caption="")
    widget.controls["first"].value = False
    redraws = []
    monkeypatch.setattr(widget.picture.canvas, "draw", lambda: redraws.append(1))
    for first in (True, False, True):
        widget.controls["first"].value = first
    assert not redraws


def test_the_figure_has_the_looks_and_the_size_of_the_series():
    widget = make(size=(5, 3))
    assert (widget.image.width, widget.image.height) == ("500", "300")
    assert widget.picture.artists["axes"].spines["top"].get_visible() is False
    drawn = PIL.Image.open(io.BytesIO(widget.image.value))
    assert drawn.size == (500 * picture.PIXELS, 300 * picture.PIXELS)


def test_the_png_is_read_by_others_as_the_same_pixels():
    drawn = make().picture
    there = np.asarray(PIL.Image.open(io.BytesIO(drawn.png())))
    assert np.array_equal(there, drawn.pixels()[..., :3])
