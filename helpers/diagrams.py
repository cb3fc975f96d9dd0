"""Pictures of ideas, drawn by code: the map of the series, the tokens, the two roads.

A diagram is a function `diagram(ax, …) -> ax`. It draws on a sheet whose unit is an inch when the axes are as large as
`diagram.size`; on larger or smaller axes letters and lines grow or shrink with it. Its docstring says in words what
there is to see, and `show(diagram)` gives a notebook the picture and, for readers who cannot see it, those words.
"""

from __future__ import annotations

import base64
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes

from helpers import picture, plotting
from helpers.pen import ATTENTION, GD, INK, INPUT, LABEL, PALE, QUERY, arrow, blank, cell, page, station, unit, write


def on_a_sheet(width: float, height: float) -> Callable:
    """Makes a diagram out of a function that draws on `ax`: a blank sheet first, and `ax` given back."""

    def diagram_of(draw: Callable) -> Callable:
        @functools.wraps(draw)
        def diagram(ax: Axes, *args, **values) -> Axes:
            draw(blank(ax, width, height), *args, **values)
            return ax

        diagram.size = (width, height)
        return diagram

    return diagram_of


# --- into a notebook ------------------------------------------------------------------------------------------


def in_words(diagram: Callable) -> str:
    """What there is to see in a diagram: its docstring up to the example.

    >>> in_words(the_map).split(":")[0]
    'The map of the series'
    """
    return inspect.cleandoc(diagram.__doc__).split("\n\n>>>")[0]


@dataclass(repr=False)
class Shown:
    """A diagram as Jupyter shows it: sharp on a laptop's screen, and its words where pictures cannot be seen."""

    png: bytes
    words: str
    size: tuple[float, float]

    def __repr__(self) -> str:
        return self.words

    def _repr_png_(self) -> tuple[str, dict]:
        width, height = (round(100 * inches) for inches in self.size)
        return base64.b64encode(self.png).decode(), {"width": width, "height": height}


def show(diagram: Callable, **values) -> Shown:
    """A diagram on a sheet of its own. Leave it as the last line of a cell.

    >>> show(two_roads, y_attn=2.25, y_gd=2.25).words[-32:]
    'Here y_attn = 2.25, y_gd = 2.25.'
    """
    drawn = picture.Picture(lambda figure: diagram(page(figure), **values), diagram.size)
    here = f" Here {', '.join(f'{name} = {value:.3g}' for name, value in values.items())}." if values else ""
    return Shown(drawn.png(), f"Diagram. {in_words(diagram)}{here}", diagram.size)


# --- the diagrams ---------------------------------------------------------------------------------------------


@on_a_sheet(7.2, 3.3)
def the_map(ax: Axes) -> None:
    """The map of the series: boxes from left to right, with the numbers of the notebooks in them.

    Sample a task (00 starts here, 01 in context, 08 curves), lay it out as tokens (10 pairs). From there two roads run
    side by side. The upper one, orange and dashed: an attention layer (02 linear, 09 softmax, 05 trained), which
    gives a prediction. The lower one, blue: gradient descent (04 the best step), which gives another. Between the roads
    a double arrow asks whether they are the same (03 one layer, one step; 06 k layers, k steps; 07 the dual form). Both
    predictions end in one box: compare (11 GPTs, 12 verdicts).

    >>> from matplotlib.figure import Figure
    >>> len(the_map(page(Figure())).texts) > 10
    True
    """
    station(ax, 0.08, 1.0, 1.28, 1.3, ["sample a task", "00 start here", "01 in context", "08 curves"])
    station(ax, 1.7, 1.23, 0.85, 0.84, ["tokens", "10 pairs"])
    dashed = {"linestyle": plotting.ATTENTION["linestyle"]}
    station(ax, 2.95, 0.1, 1.75, 0.95, ["attention layer", "02 linear · 09 softmax", "05 trained"], ATTENTION, **dashed)
    station(ax, 2.95, 2.35, 1.75, 0.75, ["gradient descent", "04 the best step"], GD)
    for y, color in [(0.575, ATTENTION), (2.725, GD)]:
        arrow(ax, (2.55, 1.65), (2.93, y), color)
        station(ax, 5.02, y - 0.22, 0.98, 0.44, ["prediction"], color)
        arrow(ax, (4.72, y), (5.0, y), color)
        inwards = 1 if y < 1.65 else -1
        arrow(ax, (5.75, y + 0.24 * inwards), (6.2, 1.65 - 0.15 * inwards), color)
    arrow(ax, (1.38, 1.65), (1.68, 1.65))
    arrow(ax, (3.2, 1.07), (3.2, 2.33), style="<|-|>")
    questions = ["the same?", "03 one layer, one step", "06 k layers, k steps", "07 the dual form"]
    for i, line in enumerate(questions):
        write(ax, 3.34, 1.34 + 0.24 * i, line, 9.5, ha="left", fontstyle="normal" if i else "italic")
    station(ax, 6.22, 1.15, 0.92, 1.0, ["compare", "11 GPTs", "12 verdicts"])


@on_a_sheet(7.2, 3.0)
def token_matrix(ax: Axes) -> None:
    """The tokens of a prompt, row by row, and the blocks of the four matrices.

    Left, a table. Each row is a token: an input x_i in the left column (sky blue), its label y_i in the right one
    (yellow). N rows are the context; only they become keys and values. The last row is the query (pink): its input
    is x_q, and its label is not known, so there is an empty slot, dashed. There the answer
    appears, with a minus.

    Right, three matrices of 2 by 2 blocks, for the x part and the y part of a token. W_K and W_Q are alike: the
    identity I in the x block, 0 elsewhere, so keys and queries are inputs. W_V has W_0 and -I in its second row: values
    are the errors W_0 x - y. P is eta/N on the diagonal: it scales what is written to the slots.

    >>> from matplotlib.figure import Figure
    >>> len(token_matrix(page(Figure())).patches) > 10
    True
    """
    left, top, x_wide, y_wide, high = 1.2, 0.5, 0.85, 0.85, 0.36
    rows = [("$x_1$", "$y_1$"), ("$x_2$", "$y_2$"), ("…", "…"), ("$x_N$", "$y_N$"), ("$x_q$", "empty slot")]
    write(ax, left + x_wide / 2, top - 0.17, "input")
    write(ax, left + x_wide + y_wide / 2, top - 0.17, "label")
    for i, (x, y) in enumerate(rows):
        last, at = i == len(rows) - 1, top + i * high + (0.1 if i == len(rows) - 1 else 0)
        cell(ax, left, at, x_wide, high, QUERY if last else INPUT)
        cell(ax, left + x_wide, at, y_wide, high, "white" if last else LABEL, linestyle="--" if last else "-")
        write(ax, left + x_wide / 2, at + high / 2, x, 11)
        write(ax, left + x_wide + y_wide / 2, at + high / 2, y, 9.5 if last else 11)
    end = top + 4 * high
    ax.plot([left - 0.08, left - 0.16, left - 0.16, left - 0.08], [top, top, end, end], color=PALE, lw=1.2 * unit(ax))
    write(ax, left - 0.24, (top + end) / 2, "context:\nkeys and\nvalues", ha="right")
    write(ax, left - 0.24, end + 0.1 + high / 2, "query", ha="right", color="#A04A7C")
    arrow(ax, (left + x_wide + y_wide / 2, 2.66), (left + x_wide + y_wide / 2, end + 0.13 + high), ATTENTION)
    write(ax, left + x_wide + y_wide / 2, 2.8, "the answer appears here, with a minus", color=ATTENTION)

    matrices = [
        ("$W_K = W_Q$", ["$I$", "0", "0", "0"], "keys, query:\nthe inputs"),
        ("$W_V$", ["0", "0", "$W_0$", "$-I$"], "values:\nerrors $W_0 x - y$"),
        ("$P$", [r"$\frac{\eta}{N} I$", "0", "0", r"$\frac{\eta}{N} I$"], "scales what\nis written"),
    ]
    for j, (name, blocks, meaning) in enumerate(matrices):
        x0, y0, side = 3.5 + 1.28 * j, 1.0, 0.46
        write(ax, x0 + side, y0 - 0.4, name, 12)
        for b, block in enumerate(blocks):
            x, y = x0 + side * (b % 2), y0 + side * (b // 2)
            cell(ax, x, y, side, side, "white" if block == "0" else LABEL if b % 2 else INPUT)
            write(ax, x + side / 2, y + side / 2, block, 11, color=PALE if block == "0" else INK)
        for part, text in enumerate("xy"):
            write(ax, x0 + side * (part + 0.5), y0 - 0.12, text, 9, color=PALE)
        write(ax, x0 + side, y0 + 2 * side + 0.3, meaning, 9.5)


@on_a_sheet(7.2, 2.9)
def two_roads(ax: Axes, y_attn: float, y_gd: float) -> None:
    """Two roads from one prompt, and a prediction at the end of each.

    Both begin on the left, at the prompt. The upper road, orange and dashed, is the attention layer: keys, values and
    a query; scores, key times query; the sum of values times scores; times P; the slot, with a minus. The lower
    road, blue, is gradient descent: errors; errors times inputs; their sum; times -eta/N, which is Delta W; the answer
    of the line W_0 + Delta W at the query. The attention layer multiplies by the query before it sums, gradient
    descent after. Between the two predictions stands whether they are equal.

    >>> from matplotlib.figure import Figure
    >>> ax = two_roads(page(Figure()), y_attn=2.25, y_gd=2.25)
    >>> [text.get_text() for text in ax.texts if text.get_text() == "2.25"]
    ['2.25', '2.25']
    """
    stops = [1.52, 2.56, 3.6, 4.64, 5.68]
    roads = [
        (0.95, -0.36, ATTENTION, "attention layer", [
            "query,\nkeys, values", "scores\n$k_i^{\\top} q$", "sum\n$\\Sigma\\, v_i (k_i^{\\top} q)$",
            "times\n$P = \\frac{\\eta}{N} I$", "minus\nthe slot",
        ]),
        (1.95, 0.36, GD, "gradient descent", [
            "errors $e_i$\n$W_0 x_i - y_i$", "times inputs\n$e_i\\, x_i^{\\top}$", "sum\n$\\Sigma\\, e_i x_i^{\\top}$",
            "times $-\\frac{\\eta}{N}$\n$= \\Delta W$", "answer\n$(W_0{+}\\Delta W) x_q$",
        ]),
    ]  # fmt: skip
    station(ax, 0.08, 1.15, 0.78, 0.6, ["prompt"])
    for (y, label, color, name, texts), end in zip(roads, (y_attn, y_gd), strict=True):
        style = plotting.ATTENTION["linestyle"] if color == ATTENTION else "-"
        ax.plot([0.86, 1.2, 6.2], [1.45, y, y], color=color, linestyle=style, lw=3 * unit(ax), zorder=1)
        ax.plot(stops, [y] * 5, "o", color="white", mec=color, mew=2 * unit(ax), ms=9 * unit(ax), zorder=2)
        for x, text in zip(stops, texts, strict=True):
            write(ax, x, y + label, text, 9.5)
        write(ax, 0.1, y + 2 * label, name, 10.5, color=color, fontweight="bold", ha="left")
        cell(ax, 6.24, y - 0.2, 0.8, 0.4, color, 0.12, edgecolor=color)
        write(ax, 6.64, y, f"{end:.2f}".replace("-", "−"), 12, color=color, fontweight="bold")
    write(ax, 6.64, 1.45, "equal" if abs(y_attn - y_gd) < 1e-12 else "not equal", 10.5)
