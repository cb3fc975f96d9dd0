"""Widgets in plain Python: the engine by itself, and every control of every widget of every notebook."""

import base64
import dis
import io
import random
import threading

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import NOTEBOOKS
from ipywidgets import Button, Checkbox, Dropdown
from matplotlib.figure import Figure

from helpers import picture as pictures
from helpers import plotting, widgets

# --- the engine -----------------------------------------------------------------------------------------------


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


def full_redraw(picture: pictures.Picture) -> np.ndarray:
    """The same figure drawn by matplotlib alone, from nothing."""
    animated = [a for axes in picture.figure.axes for a in axes.get_children() if a.get_animated()]
    for artist in animated:
        artist.set_animated(False)
    picture.canvas.draw()
    pixels = np.asarray(picture.canvas.buffer_rgba()).copy()
    for artist in animated:
        artist.set_animated(True)
    return pixels


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


def test_read_out_and_picture_follow_the_control():
    widget = make()
    before = widget.image.value
    widget.controls["slope"].value = 0.9
    assert "slope 0.90" in widget.readout.value and 'role="status"' in widget.readout.value
    assert widget.image.value != before


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


def test_an_error_is_said_in_words_raised_and_forgotten_at_the_next_good_value():
    widget = make()
    widget.controls["slope"].value = 0.4
    good = widget.image.value
    with pytest.raises(ZeroDivisionError):
        widget.controls["slope"].value = 13.0
    alert = widget.readout.value
    assert 'role="alert"' in alert and "ZeroDivisionError: thirteen &lt;brings&gt; bad luck" in alert
    assert "still shows slope = 0.4" in alert
    assert widget.image.value == good
    still = base64.b64decode(widget._forms()[1]["image/png"])
    assert distance(still, good) < 1 < distance(make().image.value, good)
    widget.controls["slope"].value = 0.6
    assert "slope 0.60" in widget.readout.value and "alert" not in widget.readout.value
    assert np.array_equal(widget.picture.pixels().copy(), full_redraw(widget.picture))


def test_reset_brings_everything_back_with_one_redraw():
    calls = []
    widget = make(compute=lambda slope: calls.append(slope) or slope)
    opening = widget.image.value
    widget.controls["slope"].value = 0.9
    calls.clear()
    (button,) = [part for part in widget.box.children[0].children if isinstance(part, Button)]
    button.click()
    assert widget.image.value == opening and widget.values() == {"slope": 0.5} and calls == [0.5]


def test_reset_is_exact_after_the_browser_sent_its_own_multiple_of_the_step():
    """A slider in the page counts its steps in floats, and sends 0.6000000000000001 for 0.6."""
    widget = make()
    widget.controls["slope"].value = 0.6
    picture, readout = widget.image.value, widget.readout.value
    widget.controls["slope"].value = 0.6000000000000001
    assert widget.values() == {"slope": 0.6}
    assert (widget.image.value, widget.readout.value) == (picture, readout)


def test_slow_figures_wait_for_the_hand_to_let_go_and_say_that_they_compute():
    said = []
    slow = make(compute=lambda slope: said.append(slow.readout.value if said else "") or slope, live=False)
    said.append("made")
    slow.controls["slope"].value = 0.9
    assert said[-1] == "computing …"
    assert slow.controls["slope"].continuous_update is False
    assert make().controls["slope"].continuous_update is True


def test_two_threads_moving_at_once_leave_a_whole_picture():
    widget = make()
    moves = [
        threading.Thread(target=setattr, args=(widget.controls["slope"], "value", v)) for v in (0.1, 0.2, 0.3, 0.4)
    ]
    for move in moves:
        move.start()
    for move in moves:
        move.join()
    widget.update()
    assert np.array_equal(widget.picture.pixels().copy(), full_redraw(widget.picture))


def test_live_figures_do_not_flash_computing():
    said = []
    widget = make(compute=lambda slope: said.append(widget.readout.value if said else "") or slope)
    said.append("made")
    widget.controls["slope"].value = 0.9
    assert "computing" not in said[-1]


@pytest.mark.parametrize(
    "controls, message",
    [
        ({}, "controls: expected 1 to 4, got 0"),
        (dict.fromkeys("abcde"), "controls: expected 1 to 4, got 5"),
        ({"slop": None}, r"controls: expected the names that compute takes, \['slope'\], got \['slop'\]"),
    ],
)
def test_controls_that_do_not_fit_are_refused(controls, message):
    controls = {name: widgets.switch(name, False) for name in controls}
    with pytest.raises(ValueError, match=message):
        widgets.explore(stage, lambda slope: slope, draw, controls, caption="")


def test_a_draw_without_a_read_out_is_refused():
    with pytest.raises(TypeError, match="draw: expected it to return the read-out, a str, got None"):
        make(draw=lambda artists, slope: None)


def test_the_figure_has_the_looks_and_the_size_of_the_series():
    widget = make(size=(5, 3))
    assert (widget.image.width, widget.image.height) == ("500", "300")
    assert widget.picture.artists["axes"].spines["top"].get_visible() is False
    picture = PIL.Image.open(io.BytesIO(widget.image.value))
    assert picture.size == (500 * pictures.PIXELS, 300 * pictures.PIXELS)


def test_the_png_is_read_by_others_as_the_same_pixels():
    picture = make().picture
    there = np.asarray(PIL.Image.open(io.BytesIO(picture.png())))
    assert np.array_equal(there, picture.pixels()[..., :3])


def test_the_caption_is_text():
    widget = widgets.explore(
        stage, lambda slope: slope, draw, {"slope": widgets.slider("s", 0, 0, 1, 1)}, caption="a < b"
    )
    assert "a &lt; b" in widget.box.children[-1].value


def distance(*pictures):
    """Mean difference of two PNGs, in levels of 0 to 255; the still picture has 256 colours only."""
    a, b = (np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), dtype=float) for png in pictures)
    return np.abs(a - b).mean()


# --- every widget of every notebook ---------------------------------------------------------------------------


def some_values(control) -> list:
    """The ends, and what lies between."""
    if isinstance(control, Checkbox):
        return [not control.value, control.value]
    if isinstance(control, Dropdown):
        return list(control.options)
    span = control.max - control.min
    between = [type(control.value)(control.min + span * part) for part in (0.33, 0.71)]
    return [control.min, control.max, *between]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_control_of_every_widget_works(ran, path):
    for explorer in ran(path).explorers:
        for name, control in explorer.controls.items():
            explorer.reset()
            pictures, readouts = {explorer.image.value}, {explorer.readout.value}
            for value in some_values(control):
                control.value = value
                pictures.add(explorer.image.value)
                readouts.add(explorer.readout.value)
                assert "alert" not in explorer.readout.value
            assert len(pictures) > 1, f"{path.stem}: the picture does not follow {name}"
            assert len(readouts) > 1, f"{path.stem}: the read-out does not follow {name}"
        explorer.reset()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_any_order_of_moves_leaves_the_right_picture(ran, path):
    dice = random.Random(0)
    for explorer in ran(path).explorers:
        for _ in range(15):
            control = dice.choice(list(explorer.controls.values()))
            control.value = dice.choice(some_values(control))
        assert np.array_equal(explorer.picture.pixels().copy(), full_redraw(explorer.picture))
        explorer.reset()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_compute_is_a_function_of_its_arguments_only(ran, path):
    for explorer in ran(path).explorers:
        before = torch.random.get_rng_state()
        draws = [explorer.draw(explorer.picture.artists, explorer.compute(**explorer.defaults)) for _ in range(2)]
        assert draws[0] == draws[1]
        assert torch.equal(before, torch.random.get_rng_state())


def globals_read(code) -> set[str]:
    """Global names read in a function and in the functions inside it."""
    read = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return read.union(*(globals_read(const) for const in code.co_consts if hasattr(const, "co_names")))


def state_read(function, namespace) -> set[str]:
    """Numbers, tensors and the like that a notebook's function, or one that it calls, reads from the notebook."""
    found = set()
    for name in globals_read(function.__code__) & set(namespace):
        value = namespace[name]
        if getattr(value, "__globals__", None) is namespace:
            found |= state_read(value, namespace)
        elif isinstance(value, (int, float, list, tuple, torch.Tensor, np.ndarray)):
            found.add(name)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_compute_does_not_read_the_notebooks_variables(ran, path):
    for explorer in ran(path).explorers:
        assert not state_read(explorer.compute, ran(path).namespace)


def test_reading_the_notebooks_variables_would_be_noticed():
    namespace = {"N": 3, "torch": torch}
    exec("def inner():\n    return N\ndef compute(a):\n    return torch.tensor(a) * inner()", namespace)
    assert state_read(namespace["compute"], namespace) == {"N"}
