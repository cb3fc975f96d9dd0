"""Widgets in a real JupyterLab, moved by the keyboard as a student would: those of every notebook, and the engine."""

import pytest
from conftest import NOTEBOOKS
from syntax import cells_of, explore_calls, slice_for_widgets

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
""".strip()

FAILING = WIDGET.replace("return slope,", "assert slope < 0.6, 'too <b>steep</b>'\n    return slope,")

# Only the first key may find the control at its end already. In a drop-down list JupyterLab takes the arrow keys for
# itself (they go to the next cell), so it is moved by Home and End.
KEYS = {"slider": ["End", "ArrowLeft", "Home"], "checkbox": ["Space"], "select-one": ["End", "Home"]}


def check_control(control, before):
    """Each key moves the value, each move is seen, and at least one of them in the picture."""
    pictures = {before["pixels"]}
    for i, key in enumerate(KEYS[control.kind]):
        after = control.press(key)
        value, moved = after["values"][control.i], after["values"][control.i] != before["values"][control.i]
        where = f"{control.label!r} at {value} after {key}"
        assert not after["alert"], f"{where}: {after['alert']}"
        assert moved or (i == 0 and len(KEYS[control.kind]) > 1), f"{where}: the key moves nothing"
        changed = (after["pixels"], after["readout"]) != (before["pixels"], before["readout"])
        assert changed or not moved, f"{where}: nothing to be seen"
        pictures.add(after["pixels"])
        before = after
    assert len(pictures) > 1, f"{control.label!r} does not move the picture"


def check_notebook(notebook, explorers=1):
    """Each control of each widget works and can be taken back, without a jump and without an error anywhere."""
    assert notebook.problems() == []
    assert len(notebook.widgets()) == explorers, "a widget is missing"
    for widget in notebook.widgets():
        assert widget.sticking_out() == []
        opening = widget.seen()
        widget.watch_for_jumps()
        for control in widget.controls():
            check_control(control, opening)
            assert widget.reset() == opening, f"Reset after {control.label!r} does not bring back the opening"
        assert widget.jumps() == []
    assert notebook.problems() == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_control_moves_its_picture_by_keyboard(open_notebook, path):
    """Of each notebook only the cells that its widgets need are run; the whole is run elsewhere."""
    cells = cells_of(path)
    notebook = open_notebook(slice_for_widgets(cells)).run_all_cells()
    check_notebook(notebook, explorers=sum(len(explore_calls(cell)) for cell in cells))


def test_a_widget_that_fails_is_seen_to_fail(open_notebook):
    failing = open_notebook([FAILING]).run_all_cells()
    with pytest.raises(AssertionError, match="'slope' at 1 after End: This setting did not work"):
        check_notebook(failing)
    (widget,) = failing.widgets()
    before, slope = widget.reset(), widget.controls()[0]
    after = slope.press("End")
    assert "AssertionError: too <b>steep</b>" in after["alert"]
    assert after["pixels"] == before["pixels"]
    assert "JupyterLab's log: 2" in failing.problems()
    after = slope.press("Home")
    assert not after["alert"] and after["readout"] == "slope -1.0" and after["pixels"] != before["pixels"]


def test_it_works_in_the_dark_theme_and_a_narrow_window(open_notebook, desk):
    desk.set_theme("JupyterLab Dark")
    desk.resize(480)
    try:
        dark = open_notebook([WIDGET])
        assert desk.page.locator("body[data-jp-theme-light=false]").count() == 1
        check_notebook(dark.run_all_cells())
    finally:
        desk.resize(1280)
        desk.set_theme("JupyterLab Light")


WAIT = """
import time
from pathlib import Path

while not Path("moved").exists():
    time.sleep(0.01)
print("the cell is done")
""".strip()


def test_a_control_moved_while_a_cell_runs_settles_on_the_last_value(open_notebook, desk):
    busy = open_notebook([WIDGET, WAIT])
    busy.start_all_cells()
    busy.panel.locator(".icl-explorer img").wait_for()
    (widget,) = busy.widgets()
    for key in ["Home", "ArrowRight", "End", "ArrowLeft", "ArrowLeft"]:
        widget.controls()[0].part.press(key)
    assert busy.code_cells()[1].outputs == []
    (desk.lab.folder / "moved").touch()
    busy.settle()
    assert widget.seen()["readout"] == "slope 0.8"
    assert busy.code_cells()[1].outputs[0].text == "the cell is done\n"
    assert busy.problems() == []


def test_two_views_and_two_kernels(open_notebook):
    there, here = (open_notebook([WIDGET, "widget"]).run_all_cells() for _ in range(2))
    views, others = here.widgets(), there.widgets()
    opening = views[0].seen()["pixels"]
    for view, key, readout in [(views[0], "End", "slope 1.0"), (views[1], "ArrowLeft", "slope 0.9")]:
        view.controls()[0].press(key)
        seen = [each.seen() for each in views]
        assert [each["readout"] for each in seen] == [readout] * 2
        assert seen[0]["pixels"] == seen[1]["pixels"] != opening
    assert [each.seen()["pixels"] for each in others] == [opening] * 2
    assert here.problems() + there.problems() == []
