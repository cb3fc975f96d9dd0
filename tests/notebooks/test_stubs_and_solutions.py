"""The exercises of every notebook: an untouched stub is answered kindly, and the solution is right."""

import contextlib
import io
import re

import nbformat
import pytest
from conftest import NOTEBOOKS


def printed_by(source, namespace):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(source, namespace)
    return out.getvalue()


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stubs_fail_kindly_and_solutions_pass(ran, path):
    cells = nbformat.read(path, as_version=4).cells
    stubs, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
    assert len(stubs) == len(solutions) and (len(stubs) >= 3 or path.stem.startswith("00"))
    for stub, solution in zip(stubs, solutions, strict=True):
        namespace = dict(ran(path).namespace)
        assert printed_by(stub.source, namespace).startswith("Not yet")
        (code,) = re.findall(r"```python\n(.*?)```", solution.source, flags=re.S)
        assert printed_by(code, namespace).startswith("✔ Right"), solution.id
