"""Shared by all tests: one torch thread, random prompts for property tests, notebooks run in this process."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from helpers import widgets

matplotlib.use("agg")
torch.set_num_threads(1)
settings.register_profile("icl", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("icl")


@pytest.fixture(autouse=True)
def _the_global_random_state_is_left_alone():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.random.get_rng_state()), "something drew from torch's global random state"
    after = np.random.get_state()[1]  # noqa: NPY002
    assert np.array_equal(before[1], after), "something drew from numpy's global random state"


ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@dataclass
class Ran:
    """A notebook after all its code cells ran in this process: its variables and its widgets."""

    path: Path
    namespace: dict
    explorers: list[widgets.Explorer]


def no_network(self, address):
    host = address[0] if isinstance(address, tuple) else "local"
    if host not in ("127.0.0.1", "localhost", "::1", "local"):
        raise ConnectionError(f"a notebook reached for the network: {host}")


@pytest.fixture(scope="session")
def ran():
    """`ran(path)` runs a notebook once a session, cell by cell, offline, and keeps what it made."""
    done = {}

    def run(path: Path) -> Ran:
        if path not in done:
            with pytest.MonkeyPatch.context() as patch:
                done[path] = _run(path, patch)
        return done[path]

    return run


def _run(path: Path, patch: pytest.MonkeyPatch) -> Ran:
    ran, make = Ran(path, {"__name__": path.stem}, []), widgets.Explorer

    def recorded(*args, **kwargs):
        ran.explorers.append(make(*args, **kwargs))
        return ran.explorers[-1]

    patch.setattr(widgets, "Explorer", recorded)
    patch.setattr("matplotlib.pyplot.show", lambda: None)
    patch.setattr(socket.socket, "connect", no_network)
    patch.chdir(path.parent)
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{path.name}:{cell.id}", "exec"), ran.namespace)
            plt.close("all")  # as a kernel does after each cell
    return ran
