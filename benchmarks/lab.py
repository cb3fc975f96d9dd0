"""One JupyterLab in a temporary folder, with nothing of the user's, and one headless Chromium that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
TOKEN = "bench"
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # else off-screen cells leave the page
}
KERNEL_READY = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
ALL_RAN = """() => {
  const error = document.querySelector('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]');
  if (error) throw new Error(error.innerText);
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent);
  return prompts.every(p => /\\d/.test(p));
}"""


@contextlib.contextmanager
def notebook(cells: list[str]) -> Iterator[Page]:
    """A page that shows a notebook of these cells in JupyterLab, all of them run."""
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as server, chromium() as page:
        written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        written.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(written, Path(folder, "bench.ipynb"))
        page.goto(f"{server}/lab/tree/bench.ipynb?token={TOKEN}")
        page.wait_for_function(KERNEL_READY, timeout=60_000)  # else running the cells asks which kernel
        page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(ALL_RAN, timeout=60_000)
        yield page


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    for name, setting in SETTINGS.items():
        file = folder / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    own = {
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        "IPYTHONDIR": folder / "ipython",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
    }
    port = _free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--notebook-dir={folder}"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    with (folder / "log").open("w") as log:
        environment = os.environ | {name: str(value) for name, value in own.items()}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    server = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{server}/api", process, folder / "log")
        yield server
    finally:
        process.terminate()  # it shuts its kernels down, too
        process.wait(30)


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    path = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if path is None:
        raise SystemExit("No Chromium found: install chromium or google-chrome.")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path) as browser:
        yield browser.new_page(viewport={"width": 1400, "height": 1000})


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url)
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
