"""Shared by all tests: one torch thread, random prompts for property tests, each notebook executed once."""

from __future__ import annotations

import re
from pathlib import Path

import executed
import matplotlib
import nbval.plugin
import pytest
import torch
from hypothesis import HealthCheck, settings

matplotlib.use("agg")
torch.set_num_threads(1)
settings.register_profile("icl", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("icl")
nbval.plugin.IPyNbFile.setup = executed.setup  # nbval compares; the cells run here, once for all tests

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def _the_global_random_state_is_left_alone():
    before = executed.random_states()
    yield
    assert executed.random_states() == before, "something drew from torch's or numpy's global random state"


@pytest.fixture(scope="session")
def ran():
    """`ran(path)` is a notebook after all its cells ran: its variables, its widgets, its cells."""

    def run(path: Path) -> executed.Executed:
        done = executed.execute(path)
        failed = [cell.id for cell in done.cells if cell.error()]
        assert not failed, f"{path.stem}: cells {', '.join(failed)} failed; nbval says how"
        return done

    return run


# --- several processes ----------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """What shares a notebook, a browser or a file goes to one process; what takes longest is begun first."""
    items.sort(key=lambda item: place(group(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
        claims = item.path.parent.name == "claims"
        if group(item) == "browser" or claims or item.path in NOTEBOOKS or "ran" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.runs_notebooks)


def group(item: pytest.Item) -> str:
    """The number of the notebook that the item needs, or "browser", or its file."""
    if "browser" in item.path.parts:
        return "browser"
    given = getattr(item, "callspec", None) and item.callspec.params.get("path")
    for path in (item.path, given):
        if path in NOTEBOOKS:
            return path.stem[:2]
    claims = re.match(r"test_claims_(\d\d)", item.path.stem)
    return claims[1] if claims else item.path.relative_to(ROOT).as_posix()


def place(group: str) -> tuple[int, int]:
    """The browser first, then the notebooks from the last, which computes most, to the first, then the rest."""
    if group.isdigit():
        return 1, -int(group)
    return (0 if group == "browser" else 2), 0
