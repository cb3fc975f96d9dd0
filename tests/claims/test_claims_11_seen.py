"""Notebook 11: the widgets show what "What you should have seen" says, each item from the control values it names."""

import nbformat
import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "11_icl_versus_finetuning.ipynb"
PER_QUERY = "SimAOU, per query"


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(NOTEBOOK)


def explorer(notebook, name):
    return notebook.namespace[f"{name}_widget"]


def prose(cell_id):
    (cell,) = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.id == cell_id]
    return cell.source


def seen(notebook, *setting):
    (value, _, _), accuracy = explorer(notebook, "prompt").compute(*setting)
    return [f"{x:.2f}" for x in (value[-1], *accuracy[1:])]


def test_the_prompt_widget_shows_what_its_answers_say(notebook):
    text = prose("prompt-widget-answers")
    for setting, stated in {
        ("the same", PER_QUERY, -1.0, 32): ["0.42", None, "0.91"],
        ("others of the task", PER_QUERY, -1.0, 32): ["0.42", None, "0.91"],
        ("labels shuffled", PER_QUERY, -1.0, 32): ["0.09", None, "0.56"],
        ("the same", "SimAOU", -1.0, 32): ["0.54", None, None],
        ("the same", "SimAOU, normalised", -1.0, 32): ["0.84", None, None],
        ("the same", "SimAOU", -1.0, 1): ["0.66", "0.50", "0.52"],
        ("the same", "SimAOU", -1.0, 8): ["0.48", "0.51", "0.78"],
    }.items():
        for found, wanted in zip(seen(notebook, *setting), stated, strict=True):
            assert wanted is None or (abs(float(found) - float(wanted)) < 0.011 and wanted in text), setting
    wild = [seen(notebook, "the same", name, 1.0, 32) for name in ("SimAOU", "SimAOU, normalised")]
    assert float(wild[0][0]) < 0.2 and float(wild[0][1]) > 0.5 and abs(float(wild[1][0]) - 0.6) < 0.06


def test_the_floor_widget_shows_what_its_answers_say(notebook):
    compute, text = explorer(notebook, "floor").compute, prose("gauge-prose")
    for setting, stated in {(1.6, 1.0, 10.0): "0.235", (1.5, 1.0, 10.0): "0.223", (6.0, 3.0, 10.0): "0.444"}.items():
        assert f"{compute(*setting).at:.3f}" == stated and stated in text


def test_the_recall_calculator_shows_what_its_answers_say(notebook):
    compute, text = explorer(notebook, "recall").compute, prose("orders-prose")
    for setting, stated in {
        (0.7, 0.4, 0.85, 0.0): "0.84", (0.7, 0.4, 0.9, 0.0): "0.90",
        (0.4, 0.25, 0.25, 0.55): ".66", (0.4, 0.25, 0.25, 0.6): ".70",
    }.items():  # fmt: skip
        assert f"{compute(*setting).recall:.2f}".endswith(stated) and stated in text
    for icl in (0.5, 0.7, 0.9):
        alone = compute(0.7, 0.4, icl, 0.0)
        assert abs(alone.lift) < 0.1 and abs(alone.recall - icl) < 0.03
        assert compute(0.7, 0.4, icl, 1.0).recall == (1.0 if icl >= 0.4 else icl / 0.4)
