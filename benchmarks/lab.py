"""One JupyterLab in a temporary folder, with nothing of the user's, and one headless Chromium that looks at it.

The benchmarks and the tests in tests/browser/ start both from here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from playwright.sync_api import BrowserContext, Page, sync_playwright

ROOT = Path(__file__).parents[1]
TOKEN = "only-for-this-run"
PATIENCE = 600_000  # milliseconds until a wait counts as failed: a busy machine is slow, not wrong
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # all cells are in the page, seen or not
}
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
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
    with jupyterlab() as lab, chromium() as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": 1400, "height": 1000})
        page.goto(lab.page_of(lab.write(cells, "bench.ipynb")))
        page.wait_for_function(KERNEL_READY, timeout=PATIENCE)  # else running the cells asks which kernel
        page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(ALL_RAN, timeout=PATIENCE)
        yield page


@dataclass
class Lab:
    """A running JupyterLab: the folder of its files and its address, with a slash at the end."""

    folder: Path
    url: str

    def write(self, cells: list[str], path: str) -> str:
        """A notebook of these cells, not yet run; returns its path."""
        written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        written.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}  # without, JupyterLab asks
        nbformat.write(written, self.folder / path)
        return path

    def page_of(self, path: str = "") -> str:
        """Where the browser finds a notebook, or JupyterLab with nothing open."""
        return f"{self.url}lab{f'/tree/{path}' if path else ''}?reset&token={TOKEN}"

    def api(self, method: str, path: str):
        request = Request(self.url + path, headers={"Authorization": f"token {TOKEN}"}, method=method)
        with urlopen(request, timeout=PATIENCE / 1000) as answer:
            return json.loads(answer.read() or "null")

    def shut_down_kernels(self) -> None:
        for kernel in self.api("GET", "api/kernels"):
            self.api("DELETE", f"api/kernels/{kernel['id']}")


@contextlib.contextmanager
def jupyterlab() -> Iterator[Lab]:
    """On this Python, with folders of its own for everything it reads or writes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home, files = Path(folder), Path(folder, "files")
        overrides = home / "config" / "labconfig" / "default_setting_overrides.json"
        for needed in (files, overrides.parent):
            needed.mkdir(parents=True)
        overrides.write_text(json.dumps(SETTINGS))
        write_kernel_spec(home / "data" / "kernels" / "python3")
        with open(home / "log.txt", "w") as log:
            server = subprocess.Popen(_command(files), env=_environment(home), stdout=log, stderr=log)
        try:
            yield Lab(files, _address(server, home))
        finally:
            server.terminate()  # it ends its kernels first
            server.wait(timeout=PATIENCE / 1000)


def find_chromium() -> str | None:
    """The path of the system's Chromium, if there is one."""
    return next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)


@contextlib.contextmanager
def chromium() -> Iterator[BrowserContext]:
    path = find_chromium()
    if path is None:
        raise SystemExit("No Chromium found: install chromium or google-chrome.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        context = browser.new_context()
        context.set_default_timeout(PATIENCE)
        yield context
        browser.close()


def _command(files: Path) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,  # any free one
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.root_dir": files,
        "IdentityProvider.token": TOKEN,
        "LabApp.expose_app_in_browser": True,
    }
    return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]


def _environment(home: Path) -> dict[str, str]:
    own = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    return os.environ | {name: str(home / folder) for name, folder in own.items()} | {"PYTHONPATH": path}


def _address(server: subprocess.Popen, home: Path) -> str:
    """The server's address, from the file it writes when it is ready."""
    ready, deadline = home / "runtime" / f"jpserver-{server.pid}.json", time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(ready.read_text())["url"]
        time.sleep(0.1)  # between looks
    server.kill()
    raise RuntimeError("JupyterLab did not start:\n" + (home / "log.txt").read_text()[-3000:])
