"""Each notebook is executed once in a run of the tests, in this process; whoever needs what came of it shares it.

`execute(path)` does what a kernel does with Run All, in an IPython shell that ends with it; asked again, it gives back
the first answer. `SharedKernel` hands the outputs to nbval, which compares. (`pytest notebooks/` without the tests does
not come by here: nbval then starts kernels of its own.)
"""

from __future__ import annotations

import contextlib
import functools
import io
import queue
import signal
import socket
import sys
import tempfile
import time
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib_inline import backend_inline
from nbformat import NotebookNode
from nbformat.v4 import new_output
from traitlets.config import Config

from helpers import widgets

LIMIT = 600  # seconds by the clock after which a cell counts as stuck: some ten times the slowest, on a busy machine


@dataclass
class Cell:
    """A code cell after it ran: what it showed, how much of a processor it took, whether it left the dice alone."""

    id: str
    source: str
    outputs: list[NotebookNode]
    seconds: float
    drew: bool

    def error(self) -> NotebookNode | None:
        return next((output for output in self.outputs if output.output_type == "error"), None)


@dataclass
class Executed:
    """A notebook after all its code cells ran: its variables, its widgets, and cell by cell what they showed."""

    path: Path
    namespace: dict = field(default_factory=dict)
    explorers: list[widgets.Explorer] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)


@functools.cache
def execute(path: Path) -> Executed:
    """Runs all cells, offline, in the notebook's folder; a failing cell does not keep the next ones from running."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    done = Executed(path)
    with a_shell(path.stem) as shell, a_place_for_notebooks(path.parent, done.explorers):
        done.namespace = shell.user_ns
        for cell in code:
            before, start = random_states(), time.process_time()
            outputs = run(shell, cell.source)
            seconds = time.process_time() - start
            done.cells.append(Cell(cell.id, cell.source, outputs, seconds, drew=random_states() != before))
    return done


# --- the shell ------------------------------------------------------------------------------------------------


class Shell(InteractiveShell):
    """IPython's shell, which keeps what is shown and what is raised instead of printing it."""

    kernel = "this process"  # a progress bar looks whether there is one
    raised = None

    def enable_gui(self, gui=None):
        """There is no window to wait for."""

    def _showtraceback(self, etype, evalue, stb):
        self.raised = new_output("error", ename=etype.__name__, evalue=str(evalue), traceback=stb)


class KeepTheResult(DisplayHook):
    """The value of a cell's last line goes where all that is displayed goes."""

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        self.shell.display_pub.publish(format_dict, md_dict)

    def finish_displayhook(self):
        pass


class Stuck(BaseException):
    """Not an Exception: no cell catches it by accident."""


@contextlib.contextmanager
def a_shell(name: str):
    """The one shell that `get_ipython()` finds, with figures shown inline and a module of its own for `name`."""
    before = sys.path[:], sys.excepthook, sys.modules.copy()
    with tempfile.TemporaryDirectory() as home:
        shell = Shell.instance(
            user_module=types.ModuleType(name),
            display_pub_class=CapturingDisplayPublisher,
            displayhook_class=KeepTheResult,
            config=Config({"HistoryManager": {"enabled": False}}),
            ipython_dir=home,
            colors="nocolor",
        )
        backend_inline.configure_inline_support.current_backend = "unset"  # else only the first shell gets PNGs
        shell.enable_matplotlib("inline")
        try:
            yield shell
        finally:
            matplotlib.use("agg")
            Shell.clear_instance()
            sys.path[:], sys.excepthook, modules = before
            sys.modules.update({key: value for key, value in modules.items() if sys.modules.get(key) is not value})


@contextlib.contextmanager
def a_place_for_notebooks(folder: Path, explorers: list[widgets.Explorer]):
    """The notebook's folder, no network, warnings where a reader would see them; all as before at the end."""
    make, (torch_state, numpy_state) = widgets.Explorer, (torch.random.get_rng_state(), np.random.get_state())  # noqa: NPY002

    def recorded(*args, **kwargs):
        explorers.append(make(*args, **kwargs))
        return explorers[-1]

    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context(), warnings.catch_warnings():
        patch.setattr(widgets, "Explorer", recorded)
        patch.setattr(socket.socket, "connect", no_network)
        patch.chdir(folder)
        patch.setattr(warnings, "showwarning", _to_stderr)
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        plt.close("all")  # what a test left open would be shown under the first cell
        yield
    plt.close("all")
    torch.random.set_rng_state(torch_state)
    np.random.set_state(numpy_state)  # noqa: NPY002


def _to_stderr(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def no_network(self, address):
    host = address[0] if isinstance(address, tuple) else "local"
    if host not in ("127.0.0.1", "localhost", "::1", "local"):
        raise ConnectionError(f"a notebook reached for the network: {host}")


def random_states() -> tuple[bytes, bytes]:
    """The global ones, which nothing in this project should draw from."""
    return torch.random.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002


def run(shell: Shell, source: str, limit: float = LIMIT) -> list[NotebookNode]:
    """What a cell prints, shows and raises."""
    shell.raised, shell.display_pub.outputs = None, []
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        with at_most(limit):
            shell.run_cell(source, store_history=False)
    streams = [new_output("stream", name=n, text=s.getvalue()) for n, s in [("stdout", out), ("stderr", err)]]
    shown = [
        new_output("display_data", data=output["data"], metadata=output.get("metadata") or {})
        for output in shell.display_pub.outputs
    ]
    return [s for s in streams if s.text] + shown + ([shell.raised] if shell.raised else [])


@contextlib.contextmanager
def at_most(seconds: float):
    """Raises `Stuck` when they are over, where the system has an alarm (Windows has none)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_):
        raise Stuck(f"not done after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- for nbval ------------------------------------------------------------------------------------------------


class SharedKernel:
    """In place of nbval's `RunningKernel`: a cell that nbval sends is answered with what it showed when it ran."""

    def __init__(self, path: Path):
        self.cells, self.next, self.messages = execute(path).cells, 0, queue.SimpleQueue()

    def execute_cell_input(self, source: str, allow_stdin=None) -> str:
        """nbval sends cells in order, some or all of them."""
        self.next = next(i for i in range(self.next, len(self.cells)) if self.cells[i].source == source)
        cell, self.next = self.cells[self.next], self.next + 1
        for output in cell.outputs:
            self.messages.put({"msg_type": output.output_type, "content": output})
        self.messages.put({"msg_type": "status", "content": {"execution_state": "idle"}})
        return cell.id

    def get_message(self, stream: str, timeout=None) -> dict:
        return self.messages.get_nowait() | {"parent_header": {"msg_id": self.cells[self.next - 1].id}}

    def await_reply(self, msg_id: str, timeout=None) -> None:
        pass

    def await_idle(self, msg_id: str, timeout=None) -> None:
        while not self.messages.empty():
            self.messages.get()

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        pass


def setup(file) -> None:
    """In place of `setup` of nbval's `IPyNbFile`."""
    file.kernel = SharedKernel(file.path)
    file.setup_sanitize_files()
