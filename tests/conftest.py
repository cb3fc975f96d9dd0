"""Shared by all tests: one torch thread, random prompts for property tests, each notebook executed once."""

from __future__ import annotations

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
