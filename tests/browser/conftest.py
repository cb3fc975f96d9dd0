"""A JupyterLab and a Chromium for the tests of this folder: the real things, apart from the user's own.

`open_notebook(notebook)` opens a notebook in a page of its own and gives back a `Notebook`, which presses keys, waits
until the kernel has answered and notes whatever goes wrong: the tests read like what a student does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).parents[2]
TOKEN = "only-for-this-test"
SECONDS = 1000  # Playwright counts in milliseconds
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # all cells are in the page, seen or not
}


# --- the programs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium. Only CI must have one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    stop = pytest.fail if os.environ.get("CI") else pytest.skip
    stop("no Chromium on the PATH: `apt-get install chromium`, or your system's way, makes these tests run")


@pytest.fixture(scope="module")
def browser(chromium):
    """Ends with the module: as long as Playwright runs, no other test can start an event loop in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser.new_context()  # one for all pages: its cache makes the next JupyterLab open sooner
        browser.close()


@dataclass
class Lab:
    """A running JupyterLab: its folder and its address, with a slash at the end."""

    folder: Path
    url: str

    def api(self, method: str, path: str, body: dict | None = None):
        data = json.dumps(body).encode() if body else None
        request = Request(self.url + path, data, {"Authorization": f"token {TOKEN}"}, method=method)
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def set_theme(self, theme: str) -> None:
        setting = {"raw": json.dumps({"theme": theme})}
        self.api("PUT", "lab/api/settings/@jupyterlab/apputils-extension:themes", setting)

    def shut_down_kernels(self) -> None:
        for kernel in self.api("GET", "api/kernels"):
            self.api("DELETE", f"api/kernels/{kernel['id']}")


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """One JupyterLab for all tests, on this Python, with folders of its own for everything it reads or writes."""
    home = tmp_path_factory.mktemp("lab")
    files, overrides = home / "files", home / "config" / "labconfig" / "default_setting_overrides.json"
    for folder in (files / "notebooks", overrides.parent):
        folder.mkdir(parents=True)
    overrides.write_text(json.dumps(SETTINGS))
    shutil.copy(ROOT / "requirements.txt", files)
    write_kernel_spec(home / "data" / "kernels" / "python3")
    with open(home / "log.txt", "w") as log:
        server = subprocess.Popen(command(files), env=environment(home), stdout=log, stderr=log)
    try:
        yield Lab(files, address(server, home))
    finally:
        server.terminate()  # it ends its kernels first
        server.wait(timeout=30)


def command(files: Path) -> list[str]:
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


def environment(home: Path) -> dict[str, str]:
    own = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    return os.environ | {name: str(home / folder) for name, folder in own.items()}


def address(server: subprocess.Popen, home: Path) -> str:
    """The server's address, from the file it writes when it is ready."""
    ready, deadline = home / "runtime" / f"jpserver-{server.pid}.json", time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return json.loads(ready.read_text())["url"]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.1)
    server.kill()
    pytest.fail("JupyterLab did not start:\n" + (home / "log.txt").read_text()[-3000:])


# --- a notebook -----------------------------------------------------------------------------------------------


@pytest.fixture
def open_notebook(browser, lab):
    """`open_notebook(notebook, width=1280)` opens it, not yet run. Its kernel ends with the test."""
    pages = []

    def open_(notebook: nbformat.NotebookNode, width: int = 1280) -> Notebook:
        path = f"notebooks/{len(pages)}.ipynb"
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}  # without, JupyterLab asks
        nbformat.write(notebook, lab.folder / path)
        pages.append(browser.new_page())
        pages[-1].set_viewport_size({"width": width, "height": 1000})
        return Notebook(pages[-1], f"{lab.url}lab/workspaces/{len(pages)}/tree/{path}?reset&token={TOKEN}")

    yield open_
    for page in pages:
        page.close()
    lab.shut_down_kernels()


KERNEL_IS_READY = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"

# A message is answered when the kernel is idle after it; the page has then taken in all that came before.
COUNT_UNANSWERED = """() => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    window.unanswered = new Set();
    kernel.anyMessage.connect((_, { direction, msg }) => {
        if (direction === 'send' && msg.channel === 'shell') unanswered.add(msg.header.msg_id);
    });
    kernel.iopubMessage.connect((_, msg) => {
        if (msg.content.execution_state === 'idle') unanswered.delete(msg.parent_header.msg_id);
    });
    jupyterapp.shell.collapseLeft();
}"""

SETTLED = """() => window.finished && !unanswered.size
    && jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus === 'idle'"""

RUN_ALL = """() => {
    window.finished = false;
    jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.finished = true; });
}"""

CODE_CELLS = """() => [...jupyterapp.shell.currentWidget.model.cells]
    .filter(cell => cell.type === 'code').map(cell => cell.toJSON()).filter(cell => cell.source.trim())"""


class Notebook:
    """A notebook in JupyterLab, in a page of its own."""

    def __init__(self, page: Page, url: str):
        self.page, self._errors = page, []
        page.on("request", lambda request: self._note_address(request.url))
        page.on("websocket", lambda socket: self._note_address(socket.url))
        page.on("pageerror", lambda error: self._errors.append(f"page error: {error}"))
        page.on("console", lambda line: line.type == "error" and self._errors.append(f"console: {line.text}"))
        page.goto(url)
        page.wait_for_function(KERNEL_IS_READY, timeout=60 * SECONDS)
        page.evaluate(COUNT_UNANSWERED)

    def _note_address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname not in ("127.0.0.1", "localhost"):
            self._errors.append(f"request to another machine: {url}")

    def start_all_cells(self) -> None:
        self.page.evaluate(RUN_ALL)

    def settle(self) -> None:
        """Wait until all cells have run and the kernel has answered everything, controls' moves included."""
        self.page.wait_for_function(SETTLED, timeout=120 * SECONDS)

    def run_all_cells(self) -> Notebook:
        self.start_all_cells()
        self.settle()
        return self

    def code_cells(self) -> list[nbformat.NotebookNode]:
        return [nbformat.from_dict(cell) for cell in self.page.evaluate(CODE_CELLS)]

    def widgets(self) -> list[Widget]:
        return [Widget(self, box) for box in self.page.locator(".icl-explorer").all()]

    def log(self) -> str:
        """The status bar's note on the log: how many entries, or nothing. What a widget raises ends up there."""
        return self.page.locator(".jp-LogConsoleStatusItem").inner_text()

    def problems(self) -> list[str]:
        """All that went wrong so far, in the page, in the cells and in the kernel's answers to the widgets."""
        found = list(self._errors)
        for cell in self.code_cells():
            name = f"cell {cell.source.strip().splitlines()[0]!r}"
            if cell.execution_count is None:
                found.append(f"{name} did not run")
            for output in cell.outputs:
                if output.output_type == "error":
                    found.append(f"{name} raised {output.ename}: {output.evalue}")
                if output.get("name") == "stderr":
                    found.append(f"{name} complained: {output.text}")
        return found + ([f"JupyterLab's log: {self.log()}"] if self.log() else [])


# --- a widget -------------------------------------------------------------------------------------------------

HASH_PIXELS = """async (image) => {
    await image.decode();
    const paper = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
    paper.drawImage(image, 0, 0);
    const { data } = paper.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
    return new Uint8Array(await crypto.subtle.digest('SHA-1', data)).join();
}"""

WATCH_FOR_JUMPS = """async (box) => {
    const page = box.closest('.jp-WindowedPanel-outer'), height = box.offsetHeight;
    box.scrollIntoView();
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    box.jumps = [];
    new ResizeObserver(() => {
        if (box.offsetHeight !== height) box.jumps.push(`${height} pixels high, then ${box.offsetHeight}`);
    }).observe(box);
    page.addEventListener('scroll', () => box.jumps.push(`scrolled to ${page.scrollTop}`));
}"""

STICKING_OUT = """(box) => {
    const { right } = box.getBoundingClientRect(), parts = [box, ...box.querySelectorAll('*')];
    const edge = Math.min(right, box.closest('.jp-OutputArea-output').getBoundingClientRect().right);
    return parts.filter(part => part.getBoundingClientRect().right > edge + 0.5).map(part => part.className);
}"""


class Widget:
    """One view of an Explorer."""

    def __init__(self, notebook: Notebook, box: Locator):
        self.notebook, self.box = notebook, box

    def controls(self) -> list[Control]:
        return [Control(box) for box in self.box.locator(":scope > .widget-hbox > :not(button)").all()]

    def reset(self) -> None:
        self.box.get_by_role("button", name="Reset").press("Space")
        self.notebook.settle()

    def pixels(self) -> str:
        """A hash of the picture."""
        return self.box.locator("img").evaluate(HASH_PIXELS)

    def readout(self) -> str:
        return " ".join(self.box.locator("[role=status], [role=alert]").all_inner_texts())

    def seen(self) -> tuple[str, str]:
        return self.pixels(), self.readout()

    def alert(self) -> str:
        return " ".join(self.box.get_by_role("alert").all_inner_texts())

    def watch_for_jumps(self) -> None:
        self.box.evaluate(WATCH_FOR_JUMPS)

    def jumps(self) -> list[str]:
        """How the widget's height and the page's scroll position changed since `watch_for_jumps`."""
        return self.box.evaluate("box => box.jumps")

    def sticking_out(self) -> list[str]:
        """The parts that reach beyond the right edge of the widget or of the cell's output."""
        return self.box.evaluate(STICKING_OUT)


class Control:
    """A slider, a check box or a drop-down list: its label, and the part that takes the keys."""

    def __init__(self, box: Locator):
        self.label = box.inner_text().splitlines()[0]
        self.part = box.locator(".noUi-handle, [type=checkbox], select")
        self.kind = self.part.evaluate("part => part.role ?? part.type")

    def value(self) -> str:
        return self.part.evaluate(
            "part => part.ariaValueText ?? (part.type === 'checkbox' ? part.checked : part.value)"
        )

    def press(self, key: str) -> None:
        self.part.press(key)
