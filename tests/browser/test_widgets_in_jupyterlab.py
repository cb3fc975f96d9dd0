"""Every widget of every notebook, in a real JupyterLab, moved by the keyboard as a student would."""

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

WIDGET = """
from helpers import widgets

def stage(figure):
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(-1, 1))
    return axes.plot([0, 0.5, 1], [0, 0, 0], lw=3)[0]

def compute(slope, bent, colour):
    return slope, slope / 3 if bent else slope / 2, colour

def draw(line, now):
    slope, middle, colour = now
    line.set(ydata=[0, middle, slope], color=colour)
    return f"slope {slope}"

widget = widgets.explore(stage, compute, draw, {
    "slope": widgets.slider("slope", 0.5, -1.0, 1.0, 0.1),
    "bent": widgets.switch("bent in the middle", False),
    "colour": widgets.choice("colour", "black", ["black", "grey", "red"]),
}, caption="A line.")
widget
"""

FAILING = WIDGET.replace("return slope,", "assert slope < 0.6, 'too <b>steep</b>'\n    return slope,")


def notebook(*sources: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in sources])


# Only the first key may find the control at its end already. In a drop-down list JupyterLab takes the arrow keys for
# itself (they go to the next cell), so it is moved by Home and End.
KEYS = {
    "slider": ["Home", "ArrowRight", "End", "ArrowLeft"],
    "checkbox": ["Space", "Space"],
    "select-one": ["End", "Home", "End"],
}


def check_control(widget, control):
    """Each key moves the value, each move is seen, and at least one of them in the picture."""
    pictures = {widget.pixels()}
    for i, key in enumerate(KEYS[control.kind]):
        value, seen = control.value(), widget.seen()
        control.press(key)
        widget.notebook.settle()
        where = f"{control.label!r} at {control.value()} after {key}"
        moved = control.value() != value
        assert not widget.alert(), f"{where}: {widget.alert()}"
        assert moved or i == 0, f"{where}: the key moves nothing"
        assert widget.seen() != seen or not moved, f"{where}: nothing to be seen"
        pictures.add(widget.pixels())
    assert len(pictures) > 1, f"{control.label!r} does not move the picture"


def check_notebook(notebook):
    """Each control of each widget works and can be taken back, without a jump and without an error anywhere."""
    assert notebook.problems() == []
    explorers = sum("widgets.explore(" in cell.source for cell in notebook.code_cells())
    assert len(notebook.widgets()) == explorers, "a widget is missing"
    for widget in notebook.widgets():
        assert widget.sticking_out() == []
        opening = widget.seen()
        widget.watch_for_jumps()
        for control in widget.controls():
            check_control(widget, control)
            widget.reset()
            assert widget.seen() == opening, f"Reset after {control.label!r} does not bring back the opening"
        assert widget.jumps() == []
    assert notebook.problems() == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_control_moves_its_picture_by_keyboard(open_notebook, path):
    check_notebook(open_notebook(nbformat.read(path, as_version=4)).run_all_cells())


def test_a_widget_that_fails_is_seen_to_fail(open_notebook):
    failing = open_notebook(notebook(FAILING)).run_all_cells()
    with pytest.raises(AssertionError, match="'slope' at 1 after End: This setting did not work"):
        check_notebook(failing)
    (widget,) = failing.widgets()
    widget.reset()
    slope, before = widget.controls()[0], widget.pixels()
    slope.press("End")
    failing.settle()
    assert "AssertionError: too <b>steep</b>" in widget.alert()
    assert widget.pixels() == before
    assert "JupyterLab's log: 2" in failing.problems()
    slope.press("Home")
    failing.settle()
    assert not widget.alert() and widget.readout() == "slope -1.0" and widget.pixels() != before


def test_it_works_in_the_dark_theme_and_a_narrow_window(open_notebook, lab):
    lab.set_theme("JupyterLab Dark")
    try:
        dark = open_notebook(notebook(WIDGET), width=480)
    finally:
        lab.set_theme("JupyterLab Light")
    assert dark.page.locator("body[data-jp-theme-light=false]").count() == 1
    check_notebook(dark.run_all_cells())


WAIT = """
import time
from pathlib import Path

while not Path("moved").exists():
    time.sleep(0.01)
print("the cell is done")
"""


def test_a_control_moved_while_a_cell_runs_settles_on_the_last_value(open_notebook, lab):
    busy = open_notebook(notebook(WIDGET, WAIT))
    busy.start_all_cells()
    busy.page.locator(".icl-explorer img").wait_for()
    (widget,) = busy.widgets()
    for key in ["Home", "ArrowRight", "End", "ArrowLeft", "ArrowLeft"]:
        widget.controls()[0].press(key)
    assert busy.code_cells()[1].outputs == []
    (lab.folder / "notebooks" / "moved").touch()
    busy.settle()
    assert widget.readout() == "slope 0.8"
    assert busy.code_cells()[1].outputs[0].text == "the cell is done\n"
    assert busy.problems() == []


def test_two_views_and_two_kernels(open_notebook):
    here, there = (open_notebook(notebook(WIDGET, "widget")).run_all_cells() for _ in range(2))
    views, others = here.widgets(), there.widgets()
    opening = views[0].pixels()
    for view, key, readout in [(views[0], "End", "slope 1.0"), (views[1], "ArrowLeft", "slope 0.9")]:
        view.controls()[0].press(key)
        here.settle()
        assert [each.readout() for each in views] == [readout] * 2
        assert views[0].pixels() == views[1].pixels() != opening
    assert [each.pixels() for each in others] == [opening] * 2
    assert here.problems() + there.problems() == []
