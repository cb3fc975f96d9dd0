"""A sheet and a pen for schematic pictures: letters, boxes and arrows that grow and shrink with the sheet."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.text import Text

from helpers import plotting

ATTENTION, GD, QUERY = (style["color"] for style in (plotting.ATTENTION, plotting.GD, plotting.QUERY))
INPUT, LABEL, INK, PALE = "#56B4E9", "#F0C800", "#222222", "#777777"  # x is sky blue, y is yellow


def blank(ax: Axes, width: float, height: float) -> Axes:
    """An empty sheet, width x height, whose upper left corner is (0, 0): y grows downwards, as one writes."""
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.axis("off")
    return ax


def page(figure: Figure) -> Axes:
    """Axes as large as the figure, for a sheet alone on it.

    >>> [round(float(unit(blank(page(Figure(figsize=(w, 3))), 7.2, 3.0))), 3) for w in (7.2, 3.6)]
    [1.0, 0.5]
    """
    figure.set_layout_engine("none")  # there is nothing to be laid out
    return figure.add_axes((0, 0, 1, 1))


def unit(ax: Axes) -> float:
    """How many inches one unit of the sheet has: letters and lines are multiplied by it."""
    frame, (left, right), (bottom, top) = ax.get_window_extent(), ax.get_xlim(), ax.get_ylim()
    return min(frame.width / abs(right - left), frame.height / abs(top - bottom)) / ax.get_figure().dpi


def write(ax: Axes, x: float, y: float, text: str, size: float = 10, **look) -> Text:
    """Text about (x, y), centred unless `ha` and `va` say otherwise; `size` in points when the unit is an inch.

    >>> [write(blank(page(Figure(figsize=(w, 3))), 7.2, 3.0), 1, 1, "a", size=10).get_fontsize() for w in (7.2, 3.6)]
    [10.0, 5.0]
    """
    return ax.text(x, y, text, fontsize=size * unit(ax), **{"ha": "center", "va": "center", "color": INK, **look})


def cell(ax: Axes, x: float, y: float, width: float, height: float, color="white", alpha=0.45, **look) -> Rectangle:
    """A box of a matrix, with (x, y) its upper left corner."""
    look = {"edgecolor": PALE, "linewidth": 0.8 * unit(ax), **look}
    box = Rectangle((x, y), width, height, facecolor=(color, alpha), **look)
    return ax.add_patch(box)


def station(ax: Axes, x: float, y: float, width: float, height: float, lines: Sequence[str], color=INK, **look) -> None:
    """A rounded box with a heading and smaller lines below it."""
    look = {"facecolor": (color, 0.06), "edgecolor": color, "linewidth": 1.6 * unit(ax), **look}
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", **look))
    heading, *rest = lines
    step = height / (len(lines) + 0.6)
    write(ax, x + width / 2, y + 0.8 * step, heading, 10.5, color=color, fontweight="bold")
    for i, line in enumerate(rest):
        write(ax, x + width / 2, y + (1.8 + i) * step, line, 9.5)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color=PALE, style="-|>", **look) -> None:
    """An arrow from point to point."""
    look = {"arrowstyle": style, "mutation_scale": 11 * unit(ax), "linewidth": 1.6 * unit(ax), **look}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, color=color, **look))
