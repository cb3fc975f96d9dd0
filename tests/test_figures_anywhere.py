"""Figures in anybody's house: another style, a cell that runs again, a computation that is stopped, a dead kernel."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

from helpers import picture, plotting, widgets

STYLES = {
    "dark": ["dark_background"],
    "LaTeX": [{"text.usetex": True}],
    "another theme": ["seaborn-v0_8-talk", {"font.family": "monospace", "axes.grid.axis": "x"}],
    "drawn by hand": [{"path.sketch": (1, 100, 2), "path.simplify": False, "text.antialiased": False}],
}


def stage(figure):
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(-1, 1), title="a title", xlabel="x")
    return axes.plot([0, 0.5, 1], [0, 0, 0])[0]


def draw(line, slope):
    line.set_ydata([0, slope / 2, slope])
    return f"slope {slope}"


def make(compute=lambda slope: slope):
    return widgets.explore(stage, compute, draw, {"slope": widgets.slider("s", 0.5, -1.0, 1.0, 0.1)}, caption="A line.")


def moved(slope=0.8):
    widget = make()
    widget.controls["slope"].value = slope
    return widget.image.value


@pytest.mark.parametrize("style", STYLES)
def test_a_widget_looks_the_same_in_every_style(style):
    plain = moved()
    with matplotlib.style.context(STYLES[style]):
        assert moved() == plain


def test_a_style_that_comes_later_does_not_show_through_either():
    plain, widget = moved(), make()
    with matplotlib.style.context(["dark_background", {"text.hinting": "none"}]):
        widget.controls["slope"].value = 0.8
    assert widget.image.value == plain


def inline_figure():
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    axes.set(title="a title")
    figure.canvas.draw()
    pixels = figure.canvas.buffer_rgba().tobytes()
    plt.close(figure)
    return pixels


@pytest.mark.parametrize("style", STYLES)
def test_a_notebooks_figures_look_the_same_in_every_style(style):
    with matplotlib.style.context("default"):
        plotting.use_style()
        plain = inline_figure()
    with matplotlib.style.context(STYLES[style]):
        plotting.use_style()
        assert inline_figure() == plain


def test_without_the_cure_the_dark_style_would_show_through(monkeypatch):
    plain = moved()
    monkeypatch.setattr(picture.plotting, "style", lambda: matplotlib.rc_context(plotting.STYLE))
    with matplotlib.style.context("dark_background"):
        assert moved() != plain


# --- stopped --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_a_computation_that_is_stopped_says_what_the_picture_shows(stop, live):
    def compute(slope):
        if slope == 0.7:
            raise stop
        return slope

    widget = make(compute)
    widget.live, before = live, widget.image.value
    with pytest.raises(stop):
        widget.controls["slope"].value = 0.7
    assert widget.image.value == before
    assert 'role="alert"' in widget.readout.value and "still shows slope = 0.5" in widget.readout.value
    assert ("It was interrupted." in widget.readout.value) == (stop is KeyboardInterrupt)
    widget.controls["slope"].value = 0.2
    assert "slope 0.2" in widget.readout.value and widget.image.value != before


# --- run again, opened again ----------------------------------------------------------------------------------

RERUN = """
import gc, sys
import ipywidgets
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure

sys.path.insert(0, sys.argv[1])
shell = InteractiveShell.instance()
shell.compile.get_code_name = lambda raw, transformed, number: "cell.py"  # as a kernel does: one name for one source
for _ in range(int(sys.argv[2])):
    shell.run_cell('''
from test_figures_anywhere import make
first_widget = make()
second_widget = make()
first_widget
''', store_history=True).raise_error()
figures = sum(isinstance(thing, Figure) for thing in gc.get_objects())
print(figures, len(ipywidgets.widgets.widget._instances), file=sys.stderr)
"""


def test_a_cell_that_runs_again_frees_what_it_made_before():
    """Figures, controls and their styles and layouts: there are as many after twelve runs as after one."""

    def left_after(runs):
        command = [sys.executable, "-c", RERUN, Path(__file__).parent, str(runs)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()[-2:]

    once = left_after(1)
    assert once[0] == "2" and left_after(12) == once


def shown(widget, monkeypatch):
    outputs = []
    monkeypatch.setattr(widgets, "display", lambda bundle, raw: outputs.append(bundle if raw is True else None))
    widget._ipython_display_()
    return outputs


VIEW = "application/vnd.jupyter.widget-view+json"


def test_in_jupyterlab_the_still_picture_is_an_output_of_its_own(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    live, still = shown(make(), monkeypatch)
    assert set(live) == {VIEW} and set(still) == {"image/png", "text/plain"}


def test_elsewhere_it_is_one_output_in_two_forms(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    (both,) = shown(make(), monkeypatch)
    assert set(both) == {VIEW, "image/png", "text/plain"}
    assert both["text/plain"] == "Interactive figure. A line."


def test_controls_and_picture_fit_a_window_of_360_pixels():
    widget = make()
    assert all(control.layout.min_width == "min(290px, 100%)" for control in widget.controls.values())
    assert (widget.image.layout.max_width, widget.image.layout.height) == ("100%", "auto")
    assert (widget.box.layout.width, widget.box.layout.max_width) == ("100%", f"{widget.image.width}px")
