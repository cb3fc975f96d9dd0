"""The notebooks as files: what breaks them on GitHub, in nbval or when opened again is kept out here."""

import re
import runpy
from unittest.mock import MagicMock

import nbformat
import pytest
from conftest import NOTEBOOKS, ROOT

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
    assert all(set(cell.metadata) <= {"tags", "jupyter", "slideshow"} for cell in nb.cells)
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
    prose = [cell.source for cell in nb.cells if cell.cell_type == "markdown"]
    number = path.stem[:2]
    assert prose[0].startswith(f"# {number} · ") and "**The question" in prose[0]
    headings = re.findall(r"^(#+) ", "\n".join(prose), flags=re.M)
    assert headings.count("#") == 1 and all(len(h) <= 3 for h in headings)
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
            assert not re.search(r"0x[0-9a-f]{6}|[1-9]\.\d{4}|\b0\.0*[1-9]\d{3}|/tmp/|/home/", text), (
                f"{cell.id}: {text}"
            )


def test_the_series_is_numbered_as_the_readme_lists_it():
    stems = [path.stem for path in NOTEBOOKS]
    assert "00_start_here" in stems and all(re.fullmatch(r"\d\d_[a-z0-9_]+", stem) for stem in stems)
    listed = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", (ROOT / "README.md").read_text())
    assert sorted(set(listed)) == stems
