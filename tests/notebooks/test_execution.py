"""The notebooks are really run, and compared: each way in which one can be wrong is caught once here."""

import time

import executed
import nbformat
import pytest
from conftest import NOTEBOOKS
from nbval.plugin import IPyNbFile, NbCellError


def a_notebook(folder, *sources, printed=""):
    """One that was saved with `printed` under its first cell."""
    cells = [nbformat.v4.new_code_cell(source, execution_count=i) for i, source in enumerate(sources, 1)]
    cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)] * bool(printed)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "fish.ipynb")
    return folder / "fish.ipynb"


def nbval(session, path):
    """What nbval, as `make test` uses it, has to say about each cell; None if nothing."""
    file, said = IPyNbFile.from_parent(session, path=path), []
    cells = list(file.collect())
    file.setup()
    for cell in cells:
        try:
            said.append(cell.runtest())
        except NbCellError as error:
            said.append(f"{error} {error.inner_traceback}")
    return said


def test_notebooks_are_compared_strictly(request):
    assert request.config.option.nbval and not request.config.option.nbval_lax
    assert isinstance(IPyNbFile.from_parent(request.session, path=NOTEBOOKS[0]), IPyNbFile)


def test_a_good_notebook_passes(request, tmp_path):
    sources = ["print('gap below 1e-12:', True)", "import matplotlib.pyplot as plt", "a = 1", "assert a == 1"]
    path = a_notebook(tmp_path, *sources, printed="gap below 1e-12: True\n")
    assert nbval(request.session, path) == [None] * 4


@pytest.mark.parametrize(
    "source, printed, complaint",
    [
        ("print('gap below 1e-12:', False)", "gap below 1e-12: True\n", "mismatch 'stdout'"),
        ("print('ok')\nassert 1.1 * 0.5 == 0.5", "ok\n", "AssertionError"),
        ("print('ok'", "ok\n", "SyntaxError"),
        ("1 + 1", "", "Unexpected output fields from running code: {'text/plain'}"),
        ("import warnings\nwarnings.warn('old')", "", "{'stderr'}"),
        ("print(end='')", "ok\n", "Missing output fields"),
        ("from IPython.display import display\ndisplay({'text/html': '<b>'}, raw=True)", "", "{'text/html'}"),
        ("import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()", "", "{'text/plain'}"),
        ("import socket\nsocket.socket().connect(('192.0.2.1', 80))", "", "reached for the network: 192.0.2.1"),
    ],
    ids=[
        "another output", "a failing assert", "no Python", "a result", "a warning", "nothing", "HTML", "a picture",
        "network",
    ],
)  # fmt: skip
def test_the_notebook_test_bites(request, tmp_path, source, printed, complaint):
    (said,) = nbval(request.session, a_notebook(tmp_path, source, printed=printed))
    assert complaint in said


def test_a_failing_cell_fails_those_who_need_the_notebook_and_the_next_cells_still_run(request, ran, tmp_path):
    path = a_notebook(tmp_path, "a = 1", "1 / 0", "b = a")
    first, second, third = nbval(request.session, path)
    assert first is third is None and "ZeroDivisionError" in second
    with pytest.raises(AssertionError, match="fish: cells .* failed"):
        ran(path)


def test_a_stuck_cell_ends():
    start = time.monotonic()
    with executed.a_shell("stuck") as shell:
        (error,) = executed.run(shell, "try:\n    while True: pass\nexcept Exception: pass", limit=0.2)
    assert error.ename == "Stuck" and time.monotonic() - start < 60


def test_nothing_is_left_behind(tmp_path):
    """Neither looks nor dice nor folder nor shell nor names, from one notebook to the next or to another test."""
    import os

    import IPython
    import matplotlib

    other = tmp_path / "other"
    other.mkdir()
    before = matplotlib.rcParams.copy(), executed.random_states(), os.getcwd()
    source = "import torch, matplotlib.pyplot as plt\ntorch.randn(1)\nplt.rcParams['lines.linewidth'] = 9\nleft = 1"
    first = executed.execute(a_notebook(tmp_path, source, "print(left)"))
    second = executed.execute(a_notebook(other, "left"))
    assert [cell.drew for cell in first.cells] == [True, False]
    assert not any(cell.error() for cell in first.cells) and second.cells[0].error().ename == "NameError"
    assert (matplotlib.rcParams, executed.random_states(), os.getcwd()) == before
    assert IPython.get_ipython() is None


def test_a_notebook_is_executed_once(tmp_path):
    path = a_notebook(tmp_path, "open('times', 'a').write('x')")
    assert executed.execute(path) is executed.execute(path)
    assert (tmp_path / "times").read_text() == "x"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_draws_from_the_global_random_state(ran, path):
    assert [cell.id for cell in ran(path).cells if cell.drew] == []
