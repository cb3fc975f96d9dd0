"""Widgets in plain Python: controls, read-out, Reset, errors, threads."""

import base64
import io
import threading

import numpy as np
import PIL.Image
import pytest
from ipywidgets import Button
from sample_widget import draw, full_redraw, make, stage

from helpers import widgets


def test_read_out_and_picture_follow_the_control():
    widget = make()
    before = widget.image.value
    widget.controls["slope"].value = 0.9
    assert "slope 0.90" in widget.readout.value and 'role="status"' in widget.readout.value
    assert widget.image.value != before


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


def test_the_caption_is_text():
    widget = widgets.explore(
        stage, lambda slope: slope, draw, {"slope": widgets.slider("s", 0, 0, 1, 1)}, caption="a < b"
    )
    assert "a &lt; b" in widget.box.children[-1].value


def distance(*pictures):
    """Mean difference of two PNGs, in levels of 0 to 255; the still picture has 256 colours only."""
    a, b = (np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), dtype=float) for png in pictures)
    return np.abs(a - b).mean()
