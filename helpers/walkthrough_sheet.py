"""How `walkthrough` is drawn: two tables of cells that fill step by step, one for each road."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from helpers import pen, walkthrough
from helpers.pen import ATTENTION, GD, INPUT, LABEL, PALE, QUERY

SIZE = (7.2, 5.15)
COLOURS = dict(zip(walkthrough.SOURCES, (INPUT, LABEL, QUERY, "#8C8C8C", "#000000"), strict=True))


class Grid(NamedTuple):
    """Where the rows of a matrix stand, and the steps at which each appears: one for all, or one for each row."""

    name: str
    x: float
    y: float
    appears: int | tuple[int, ...]
    rows: tuple[int, ...] = (0,)  # RUNNING: the sum as far as it has come
    columns: int = 1
    used: tuple[int, ...] = ()  # steps at which it is framed, beside the one at which it appears
    wide: float = 0.44
    high: float = 0.26


RUNNING = -1
ALL, UP, DOWN, HALF = (0, 1, 2), 0.82, 3.45, 2.86  # rows; where columns begin on either road; the line between
SMALL = {"rows": ALL, "columns": 3, "wide": 0.34, "high": 0.24}
GRIDS = [
    Grid("z", 0.55, UP, 0, ALL, 3), Grid("z", 0.55, 1.66, 0, (3,), 3, used=(9,)),
    Grid("k", 2.05, UP, 2, ALL, 3), Grid("q", 2.05, 1.66, 1, columns=3),
    Grid("v", 3.55, UP, 3, ALL, 3), Grid("score", 5.05, UP, 4, ALL),
    Grid("product", 5.72, UP, (5, 6, 7), ALL, 3), Grid("sums", 5.72, 1.66, 5, (RUNNING,), 3, used=(6, 7)),
    Grid("update", 5.72, 1.92, 8, columns=3), Grid("after", 5.72, 2.18, 9, columns=3), Grid("y_attn", 6.6, 2.5, 9),
    Grid("W_Q", 0.55, 3.36, 0, used=(1,), **SMALL), Grid("W_K", 1.95, 3.36, 0, used=(2,), **SMALL),
    Grid("W_V", 0.55, 4.36, 0, used=(3,), **SMALL), Grid("P", 1.95, 4.36, 0, used=(8,), **SMALL),
    Grid("x", 3.8, DOWN, 2, ALL, 2), Grid("error", 4.85, DOWN, 3, ALL),
    Grid("outer", 5.5, DOWN, (5, 6, 7), ALL, 2), Grid("gradient", 5.5, 4.29, 5, (RUNNING,), 2, used=(6, 7)),
    Grid("gradient_seen", 6.6, 4.29, 5, (RUNNING,), used=(6, 7)), Grid("delta_W", 5.5, 4.55, 8, columns=2),
    Grid("delta_seen", 6.6, 4.55, 8), Grid("W", 5.5, 4.81, 9, columns=2), Grid("y_gd", 6.6, 4.81, 9),
]  # fmt: skip
HEADS = [  # x, y, text
    (1.21, 0.46, "token"), (1.21, 0.66, "$(x,\\ y)$"), (2.71, 0.46, "key; query"),
    (2.71, 0.66, "$W_K z$; $W_Q z$"), (4.21, 0.46, "value"), (4.21, 0.66, "$W_V z$"), (5.27, 0.46, "score"),
    (5.27, 0.66, "$k^{\\top} q$"), (6.38, 0.56, "score × value"), (1.06, 3.24, "$W_Q$"), (2.46, 3.24, "$W_K$"),
    (1.06, 4.24, "$W_V$"), (2.46, 4.24, "$P$"), (4.24, 3.3, "input $x$"), (5.07, 3.3, "error $e$"),
    (5.94, 3.3, "$e \\times x$"), (6.82, 3.3, "at $x_q$"),
]  # fmt: skip
NAMES = [  # right end, y, text
    (0.47, 0.95, "1"), (0.47, 1.21, "2"), (0.47, 1.47, "3"), (0.47, 1.79, "query"), (5.64, 1.79, "sum"),
    (5.64, 2.05, "times $P$: the update"), (5.64, 2.31, "query's token + update"), (6.5, 2.63, "prediction = −slot"),
    (3.72, 3.58, "1"), (3.72, 3.84, "2"), (3.72, 4.1, "3"), (5.42, 4.42, "sum"),
    (5.42, 4.68, "$\\Delta W = -\\frac{\\eta}{N} \\times$ sum"), (5.42, 4.94, "$W_0 + \\Delta W$"),
]  # fmt: skip


class Cell(NamedTuple):
    """One number in the picture: its place in `numbers`, and the steps at which it appears and is framed."""

    name: str
    row: int
    column: int
    appears: int
    framed: tuple[int, ...]
    road: str
    frame: Rectangle
    text: Text


def stage(figure: Figure) -> SimpleNamespace:
    """Headings and empty cells, and under each cell five strokes: what its number is made of."""
    ax = pen.blank(pen.page(figure), *SIZE)
    for x, text, color in [(0.1, "attention layer", ATTENTION), (3.4, "gradient descent", GD)]:
        y = 0.17 if color == ATTENTION else 3.02
        pen.write(ax, x, y, text, 10.5, ha="left", color=color, fontweight="bold")
    pen.write(ax, 0.1, 3.02, "the four matrices", 10.5, ha="left", color=ATTENTION, fontweight="bold")
    for x, y, text in HEADS:
        pen.write(ax, x, y, text, 9.5)
    for x, y, text in NAMES:
        pen.write(ax, x, y, text, 9.5, ha="right")
    ax.plot([0.1, 7.1], [HALF, HALF], color=PALE, linewidth=0.6 * pen.unit(ax))
    cells = [cell for grid in GRIDS for cell in _cells(ax, grid)]
    strokes = PolyCollection([stroke for cell in cells for stroke in _strokes(cell.frame)], zorder=2.5)
    ax.add_collection(strokes, autolim=False)
    _legend(ax)
    return SimpleNamespace(cells=cells, strokes=strokes, unit=pen.unit(ax))


def _cells(ax: Axes, grid: Grid) -> Iterator[Cell]:
    for i, row in enumerate(grid.rows):
        appears = grid.appears[i] if isinstance(grid.appears, tuple) else grid.appears
        for column in range(grid.columns):
            x, y = grid.x + column * grid.wide, grid.y + i * grid.high
            frame = pen.cell(ax, x, y, grid.wide, grid.high, zorder=2)
            text = pen.write(ax, x + grid.wide / 2, y + 0.105, "", 9.5, zorder=3)
            framed, road = (*grid.used, *[appears] * (appears > 0)), GD if x > 3.4 and y > HALF else ATTENTION
            yield Cell(grid.name, row, column, appears, framed, road, frame, text)


def _strokes(frame: Rectangle) -> list[list[tuple[float, float]]]:
    """Five short strokes side by side along the lower edge: a place for each source, whatever its colour."""
    x, y, width = frame.get_x(), frame.get_y() + frame.get_height() - 0.015, frame.get_width() / len(COLOURS)
    ends = [(x + width * (i + 0.03), x + width * (i + 0.97)) for i in range(len(COLOURS))]
    return [[(a, y - 0.055), (b, y - 0.055), (b, y), (a, y)] for a, b in ends]


def _legend(ax: Axes) -> None:
    pen.write(ax, 3.16, 0.17, "made of:", 9.5, ha="right")
    for i, (name, color) in enumerate(COLOURS.items()):
        x = 3.3 + 0.78 * i
        pen.cell(ax, x, 0.145, 0.16, 0.06, color, 1.0, linewidth=0)
        pen.write(ax, x + 0.21, 0.17, name, 9.5, ha="left")


def draw(artists: SimpleNamespace, now: SimpleNamespace) -> str:
    """Fills the cells up to the step that is shown, and frames what is new."""
    colours = []
    for cell in artists.cells:
        row = max(now.added - 1, 0) if cell.row == RUNNING else cell.row
        shown, framed = cell.appears <= now.step, now.step in cell.framed
        cell.text.set_text(walkthrough.written(now.numbers[cell.name][row, cell.column].item()) if shown else "")
        cell.frame.set_edgecolor(cell.road if framed else PALE if shown else "#DDDDDD")
        cell.frame.set(linewidth=(2.0 if framed else 0.8) * artists.unit, zorder=2.2 if framed else 2)
        made_of = now.origins[cell.name][:, row, cell.column]
        colours += [to_rgba(c, float(shown and here)) for c, here in zip(COLOURS.values(), made_of, strict=True)]
    artists.strokes.set_facecolor(colours)
    return walkthrough.in_words(now)
