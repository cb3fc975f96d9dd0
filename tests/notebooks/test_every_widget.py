"""Every control of every widget of every notebook, moved in plain Python."""

import random

import numpy as np
import pytest
from conftest import NOTEBOOKS
from executed import random_states
from ipywidgets import Checkbox, Dropdown
from sample_widget import full_redraw
from syntax import cells_of, slice_for_widgets

from helpers import widgets

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def some_values(control) -> list:
    """The ends, and a place between; all of few."""
    if isinstance(control, Checkbox):
        return [not control.value, control.value]
    if isinstance(control, Dropdown):
        return list(control.options)
    between = control.min + 0.37 * (control.max - control.min)
    return [control.min, type(control.value)(between), control.max]


@each_notebook
def test_every_control_of_every_widget_works(ran, path):
    """Picture and read-out follow each control, and Reset brings both back."""
    for explorer in ran(path).explorers:
        explorer.reset()
        opening = explorer.image.value, explorer.readout.value
        for name, control in explorer.controls.items():
            pictures, readouts = {opening[0]}, {opening[1]}
            for value in some_values(control):
                control.value = value
                pictures.add(explorer.image.value)
                readouts.add(explorer.readout.value)
                assert "alert" not in explorer.readout.value
            assert len(pictures) > 1, f"{path.stem}: the picture does not follow {name}"
            assert len(readouts) > 1, f"{path.stem}: the read-out does not follow {name}"
            explorer.reset()
            assert (explorer.image.value, explorer.readout.value) == opening, f"{path.stem}: {name} leaves a trace"


@each_notebook
def test_any_order_of_moves_leaves_the_right_picture(ran, path):
    dice = random.Random(0)
    for explorer in ran(path).explorers:
        for _ in range(12 if explorer.live else 4):
            control = dice.choice(list(explorer.controls.values()))
            control.value = dice.choice(some_values(control))
        assert np.array_equal(explorer.picture.pixels().copy(), full_redraw(explorer.picture))
        explorer.reset()


@each_notebook
def test_the_slice_that_the_browser_runs_has_the_same_widgets(ran, path, monkeypatch):
    """Just the statements that the widgets need give the pictures and read-outs that the whole notebook gives."""
    whole, made, make, namespace = ran(path).explorers, [], widgets.Explorer, {}
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(widgets, "Explorer", lambda *args, **kwargs: made.append(make(*args, **kwargs)) or made[-1])
    for source in slice_for_widgets(cells_of(path)):
        exec(compile(source, f"a slice of {path.stem}", "exec"), namespace)
    for explorer in whole:
        explorer.reset()
    assert [(each.readout.value, each.image.value) for each in made] == [
        (each.readout.value, each.image.value) for each in whole
    ]


@each_notebook
def test_compute_leaves_the_global_random_state_alone(ran, path):
    for explorer in ran(path).explorers:
        before = random_states()
        explorer.compute(**explorer.defaults)
        assert random_states() == before
