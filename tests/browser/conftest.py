"""A JupyterLab and a Chromium for the tests of this folder, one page of them for all: the real things.

`open_notebook(cells)` opens a notebook in the page and gives back a `Notebook`, which presses keys, waits until the
kernel has answered and notes whatever goes wrong: the tests read like what a student does.
"""

from __future__ import annotations

import os

import lab
import pytest

from browser.driving import Desk, Notebook


@pytest.fixture(scope="package")
def desk():
    """Ends with this folder: as long as Playwright runs, no other test can start an event loop in this thread."""
    if lab.find_chromium() is None:  # only CI must have one
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("no Chromium on the PATH: `apt-get install chromium`, or your system's way, makes these tests run")
    with lab.jupyterlab() as server, lab.chromium() as browser:
        yield Desk(server, browser.new_page())


@pytest.fixture
def open_notebook(desk):
    """`open_notebook(cells)` opens a notebook of these cells, not yet run. Its kernel ends with the test."""

    def open_(cells: list[str]) -> Notebook:
        return desk.open(cells)

    yield open_
    desk.clear()
