"""The notebooks as files: what breaks them on GitHub, in nbval or when opened again is kept out here."""

import ast
import base64
import contextlib
import io
import re
import runpy
import statistics
import subprocess
import sys
from unittest.mock import MagicMock

import nbformat
import pytest
from conftest import NOTEBOOKS, ROOT, no_network

WIDGET = "application/vnd.jupyter.widget-view+json"
FORBIDDEN = {
    r"\binteract(ive)?\b\(": "interact hides errors from nbval",
    r"\bOutput\(": "nbval cannot compare Output widgets",
    r"clear_output|display_id": "flickers, and nbval cannot compare it",
    r"^\s*[%!]": "magics do not run outside IPython",
    r";\s*$": "nbval prints what the ; would hide",
    r"sys\.path": "helpers is installed",
    r"https?://": "a notebook needs no network",
}


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def lines(cell):
    return len(cell.source.splitlines())


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_the_file_is_clean(path):
    nb = read(path)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    assert nb.metadata == {
        "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
        "language_info": runpy.run_path(ROOT / "refresh.py", {"get_config": MagicMock})["LANGUAGE"],
    }
    ids = [cell.id for cell in nb.cells]
    assert len(set(ids)) == len(ids)
    assert all(set(cell.metadata) <= {"tags", "jupyter"} for cell in nb.cells)
    assert path.stat().st_size <= 600_000


@each_notebook
def test_it_is_committed_executed_without_errors_or_live_widgets(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error" and output.get("name") != "stderr"
        assert WIDGET not in output.get("data", {})


@each_notebook
def test_it_has_the_shape_that_readers_know(path):
    nb = read(path)
    code, prose = code_cells(nb), [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
    number = path.stem[:2]
    assert prose[0].startswith(f"# {number} · ") and "**The question" in prose[0]
    headings = re.findall(r"^(#+) ", "\n".join(prose), flags=re.M)
    assert headings.count("#") == 1 and all(len(h) <= 3 for h in headings)
    assert len(nb.cells) <= 40
    shown = [lines(cell) for cell in code if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert statistics.median(shown) <= 15 and max(shown) <= 30
    for part in ("*Needs:*", "*Takes:*", "Where this breaks", "## Summary", "**Sources.**", "**Next:**"):
        assert any(part in text for text in prose), f"{path.stem} lacks {part}"


@each_notebook
def test_every_picture_says_how_to_read_it_and_every_widget_what_to_try(path):
    cells = read(path).cells
    for before, cell, after in zip(cells, cells[1:], cells[2:], strict=False):
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "image/png" in data and data["text/plain"].startswith("Interactive figure."):
                assert "**Try this.**" in before.source, cell.id
            elif "image/png" in data:
                assert after.source.startswith("*How to read it.*"), cell.id


@each_notebook
@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_code_that_misbehaves_is_kept_out(path, pattern):
    for cell in code_cells(read(path)):
        assert not re.search(pattern, cell.source, flags=re.M), f"{cell.id}: {FORBIDDEN[pattern]}"


@each_notebook
def test_links_lead_somewhere_and_pictures_are_local(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / target).exists(), target
    assert not re.search(r"<img|!\[", text)


@each_notebook
def test_nothing_is_printed_that_another_machine_would_print_differently(path):
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not re.search(r"0x[0-9a-f]{6}|\d\.\d{4}|/tmp/|/home/", text), f"{cell.id}: {text}"


def test_the_series_is_numbered_as_the_readme_lists_it():
    stems = [path.stem for path in NOTEBOOKS]
    assert "00_start_here" in stems and all(re.fullmatch(r"\d\d_[a-z0-9_]+", stem) for stem in stems)
    listed = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", (ROOT / "README.md").read_text())
    assert sorted(set(listed)) == stems


# --- exercises ------------------------------------------------------------------------------------------------


def printed_by(source, namespace):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(source, namespace)
    return out.getvalue()


@each_notebook
def test_stubs_fail_kindly_and_solutions_pass(ran, path):
    cells = read(path).cells
    stubs = [cell for cell in cells if "exercise" in cell.metadata.get("tags", [])]
    solutions = [cell for cell in cells if "solution" in cell.metadata.get("tags", [])]
    assert len(stubs) == len(solutions) and (len(stubs) >= 3 or path.stem.startswith("00"))
    for stub, solution in zip(stubs, solutions, strict=True):
        namespace = dict(ran(path).namespace)
        assert printed_by(stub.source, namespace).startswith("Not yet")
        (code,) = re.findall(r"```python\n(.*?)```", solution.source, flags=re.S)
        assert printed_by(code, namespace).startswith("✔ Right"), solution.id


# --- the nets catch fish --------------------------------------------------------------------------------------


def nbval(nb, folder):
    """Run one notebook as `make test` does; returns pytest's exit code and output."""
    nbformat.write(nb, folder / "fish.ipynb")
    options = ["--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q", "-c", "/dev/null", "--rootdir", folder]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder / "fish.ipynb"], capture_output=True, text=True
    )
    return done.returncode, done.stdout


def notebook(source, printed):
    cell = nbformat.v4.new_code_cell(source, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    return nbformat.v4.new_notebook(cells=[cell], metadata=kernel)


@pytest.mark.parametrize(
    "source, printed, passes",
    [
        ("print('gap below 1e-12:', True)", "gap below 1e-12: True\n", True),
        ("print('gap below 1e-12:', False)", "gap below 1e-12: True\n", False),
        ("print('ok')\nassert 1.1 * 0.5 == 0.5", "ok\n", False),
    ],
    ids=["a good notebook passes", "another output fails", "a failing assert fails"],
)
def test_the_notebook_test_bites(tmp_path, source, printed, passes):
    code, output = nbval(notebook(source, printed), tmp_path)
    assert code == (0 if passes else 1), output
    assert ("1 passed" if passes else "1 failed") in output


def test_the_network_guard_bites():
    with pytest.raises(ConnectionError, match="reached for the network: 192.0.2.1"):
        no_network(None, ("192.0.2.1", 80))


# --- the README -----------------------------------------------------------------------------------------------


def test_the_readmes_snippet_runs_and_is_the_first_cell_of_the_series():
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    namespace = {}
    assert "True" in printed_by(snippet, namespace)
    assert namespace["metrics"].max_gap(namespace["y_attn"], namespace["y_gd"]) < 1e-12
    first = code_cells(read(ROOT / "notebooks" / "00_start_here.ipynb"))[0]
    assert ast.dump(ast.parse(snippet)) == ast.dump(ast.parse(first.source))


def test_the_readmes_picture_is_the_one_the_first_notebook_draws():
    cells = code_cells(read(ROOT / "notebooks" / "00_start_here.ipynb"))
    (cell,) = [cell for cell in cells if "readme-picture" in cell.metadata.get("tags", [])]
    (name,) = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text(), flags=re.S)
    assert (ROOT / name).read_bytes() == base64.b64decode(cell.outputs[0].data["image/png"])
