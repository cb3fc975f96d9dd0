"""The README: its snippet runs and is what the series opens with, and its picture is the one that is drawn there."""

import ast
import base64
import re

import nbformat
from conftest import ROOT

from helpers import metrics


def first_notebooks_code():
    cells = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def test_the_readmes_snippet_runs_and_is_the_first_cell_of_the_series(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    namespace = {}
    exec(snippet, namespace)
    assert "True" in capsys.readouterr().out
    assert metrics.max_gap(namespace["y_attn"], namespace["y_gd"]) < 1e-12
    assert ast.dump(ast.parse(snippet)) == ast.dump(ast.parse(first_notebooks_code()[0].source))


def test_the_readmes_picture_is_the_one_the_first_notebook_draws():
    (cell,) = [cell for cell in first_notebooks_code() if "readme-picture" in cell.metadata.get("tags", [])]
    (name,) = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text(), flags=re.S)
    assert (ROOT / name).read_bytes() == base64.b64decode(cell.outputs[0].data["image/png"])
