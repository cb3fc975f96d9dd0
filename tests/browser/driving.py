"""How a test drives JupyterLab: a desk, the notebooks on it, their widgets, and the controls of these."""

from __future__ import annotations

from urllib.parse import urlsplit

import nbformat
from lab import Lab
from playwright.sync_api import Locator, Page

# A message is answered when the kernel is idle after it; the page has then taken in all that came before.
OPEN = """async (path) => {
    const panel = await jupyterapp.commands.execute('docmanager:open', { path, factory: 'Notebook' });
    await panel.context.ready;
    await panel.sessionContext.ready;
    const kernel = panel.sessionContext.session.kernel, unanswered = new Set();
    await kernel.info;
    kernel.anyMessage.connect((_, { direction, msg }) => {
        if (direction === 'send' && msg.channel === 'shell') unanswered.add(msg.header.msg_id);
    });
    kernel.iopubMessage.connect((_, msg) => {
        if (msg.content.execution_state === 'idle') unanswered.delete(msg.parent_header.msg_id);
    });
    (window.opened ??= {})[panel.id] = { panel, unanswered, finished: true };
    return panel.id;
}"""

SETTLED = """(id) => opened[id].finished && !opened[id].unanswered.size
    && opened[id].panel.sessionContext.kernelDisplayStatus === 'idle'"""

RUN_ALL = """(id) => {
    opened[id].finished = false;
    jupyterapp.shell.activateById(id);
    jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { opened[id].finished = true; });
}"""

CODE_CELLS = """(id) => [...opened[id].panel.model.cells]
    .filter(cell => cell.type === 'code').map(cell => cell.toJSON()).filter(cell => cell.source.trim())"""

CLOSE_ALL = "() => { for (const { panel } of Object.values(window.opened ?? {})) panel.dispose(); window.opened = {}; }"


class Desk:
    """JupyterLab in one page, in which notebooks are opened and closed."""

    def __init__(self, lab: Lab, page: Page):
        self.lab, self.page, self.errors, self._written = lab, page, [], 0
        page.on("request", lambda request: self._note_address(request.url))
        page.on("websocket", lambda socket: self._note_address(socket.url))
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        page.on("console", lambda line: line.type == "error" and self.errors.append(f"console: {line.text}"))
        self.resize(1280)
        page.goto(lab.page_of())
        page.wait_for_function("window.jupyterapp?.restored.then(() => true)")
        page.evaluate("() => jupyterapp.shell.collapseLeft()")

    def _note_address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.errors.append(f"request to another machine: {url}")

    def open(self, cells: list[str]) -> Notebook:
        self._written += 1
        path = self.lab.write(cells, f"{self._written}.ipynb")
        return Notebook(self, self.page.evaluate(OPEN, path))

    def resize(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 1000})

    def set_theme(self, theme: str) -> None:
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)

    def clear(self) -> None:
        """All notebooks closed, their kernels ended, what went wrong forgotten."""
        self.page.evaluate(CLOSE_ALL)
        self.lab.shut_down_kernels()
        self.errors.clear()


class Notebook:
    """A notebook in JupyterLab, in a panel of its own."""

    def __init__(self, desk: Desk, id: str):
        self.desk, self.id, self.page = desk, id, desk.page
        self.panel = self.page.locator(f"[id='{id}']")

    def start_all_cells(self) -> None:
        self.page.evaluate(RUN_ALL, self.id)

    def settle(self) -> None:
        """Wait until all cells have run and the kernel has answered everything, controls' moves included."""
        self.page.wait_for_function(SETTLED, arg=self.id)

    def run_all_cells(self) -> Notebook:
        self.start_all_cells()
        self.settle()
        return self

    def code_cells(self) -> list[nbformat.NotebookNode]:
        return [nbformat.from_dict(cell) for cell in self.page.evaluate(CODE_CELLS, self.id)]

    def widgets(self) -> list[Widget]:
        return [Widget(self, box) for box in self.panel.locator(".icl-explorer").all()]

    def log(self) -> str:
        """The status bar's note on the log: how many entries, or nothing. What a widget raises ends up there."""
        return self.page.locator(".jp-LogConsoleStatusItem").inner_text()

    def problems(self) -> list[str]:
        """All that went wrong so far, in the page, in the cells and in the kernel's answers to the widgets."""
        found = list(self.desk.errors)
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

SEEN = """async (box) => {
    const image = box.querySelector('img'), texts = (role) => [...box.querySelectorAll(role)].map(t => t.innerText);
    await image.decode();
    const paper = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
    paper.drawImage(image, 0, 0);
    const { data } = paper.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
    return {
        pixels: new Uint8Array(await crypto.subtle.digest('SHA-1', data)).join(),
        alert: texts('[role=alert]').join(' '),
        readout: texts('[role=status], [role=alert]').join(' '),
        values: [...box.querySelectorAll('.noUi-handle, [type=checkbox], select')].map(
            part => String(part.ariaValueText ?? (part.type === 'checkbox' ? part.checked : part.value))),
    };
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
        boxes = self.box.locator(":scope > .widget-hbox > :not(button)").all()
        return [Control(self, i, box) for i, box in enumerate(boxes)]

    def seen(self) -> dict:
        """A hash of the picture's `pixels`, the `readout`, its `alert` if it is one, and the controls' `values`."""
        return self.box.evaluate(SEEN)

    def reset(self) -> dict:
        self.box.get_by_role("button", name="Reset").press("Space")
        self.notebook.settle()
        return self.seen()

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

    def __init__(self, widget: Widget, i: int, box: Locator):
        self.widget, self.i, self.label = widget, i, box.inner_text().splitlines()[0]
        self.part = box.locator(".noUi-handle, [type=checkbox], select")
        self.kind = self.part.evaluate("part => part.role ?? part.type")

    def press(self, key: str) -> dict:
        """Press a key and wait until the kernel has answered; returns what is then to be seen."""
        self.part.press(key)
        self.widget.notebook.settle()
        return self.widget.seen()
