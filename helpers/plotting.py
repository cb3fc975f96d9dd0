"""Style, palette and the recurring pictures. Arrays and `ax` go in, `ax` comes out.

Colour means the same in every notebook, and each line also has a style of its own, for readers who do not see the
colour: `ax.plot(x, y, **plotting.GD)`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

# Okabe and Ito's palette, which stays apart under the common kinds of colour blindness.
GD = {"color": "#0072B2", "linestyle": "-"}
ATTENTION = {"color": "#D55E00", "linestyle": (0, (4, 2.5))}  # attention with weights written by hand
TRAINED = {"color": "#009E73", "linestyle": "-."}
EXACT = {"color": "#000000", "linestyle": "-", "linewidth": 1.0}
BASELINE = {"color": "#777777", "linestyle": ":"}
QUERY = {"color": "#CC79A7", "marker": "D", "linestyle": "none", "markersize": 8}
DATA = {"color": "#444444", "marker": "o", "linestyle": "none", "markersize": 5}

WEIGHTS_MAP = "RdBu"  # diverging, drawn with 0 in the middle
ROUNDOFF = float(np.finfo(np.float64).eps)  # 2.2e-16

STYLE = {
    "figure.figsize": (7.2, 3.2),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "image.cmap": WEIGHTS_MAP,
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """The look of the series, for this notebook or process. Call it once, in the import cell.

    It starts from matplotlib's defaults: a dark style, another font or `text.usetex` of the reader's own would make
    white letters on white, or ask for LaTeX.

    >>> use_style()
    >>> matplotlib.rcParams["figure.facecolor"], matplotlib.rcParams["text.usetex"]
    ('white', False)
    """
    matplotlib.style.use(["default", STYLE])


def style() -> AbstractContextManager:
    """The same within a `with`, whatever the style around it.

    >>> with matplotlib.rc_context({"text.color": "white"}), style():
    ...     matplotlib.rcParams["text.color"]
    'black'
    """
    return matplotlib.style.context(["default", STYLE])


def matrix(ax: Axes, W, title: str = "", *, blocks: tuple[int, ...] = (), limit: float | None = None) -> AxesImage:
    """A weight matrix as a heat-map with 0 in the middle of the colours; returns the image, to be updated in place.

    `blocks` are the rows and columns before which a thin line is drawn; `limit` the value of the darkest colour
    (the largest entry when None).

    >>> from matplotlib.figure import Figure
    >>> image = matrix(Figure().subplots(), np.eye(3), "W_K", blocks=(2,))
    >>> image.get_clim()
    (-1.0, 1.0)
    """
    W = np.asarray(W)
    if W.ndim != 2:
        raise ValueError(f"W: expected a matrix, got an array of shape {W.shape}.")
    limit = float(np.abs(W).max()) or 1.0 if limit is None else limit
    image = ax.imshow(W, cmap=WEIGHTS_MAP, vmin=-limit, vmax=limit)
    for at in blocks:
        ax.axhline(at - 0.5, color="#777777", linewidth=0.8)
        ax.axvline(at - 0.5, color="#777777", linewidth=0.8)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def label_line(ax: Axes, x: float, y: float, text: str, style: dict, **place) -> None:
    """Name a line where it is, in its own colour, instead of in a legend.

    >>> from matplotlib.figure import Figure
    >>> ax = Figure().subplots()
    >>> label_line(ax, 0.5, 0.5, "gradient descent", GD)
    >>> ax.texts[0].get_color()
    '#0072B2'
    """
    ax.text(x, y, text, color=style["color"], **place)


def roundoff_floor(ax: Axes) -> Axes:
    """Gaps on a log axis, with the round-off of float64 drawn as the floor nothing can get under.

    >>> from matplotlib.figure import Figure
    >>> roundoff_floor(Figure().subplots()).get_yscale()
    'log'
    """
    ax.set_yscale("log")
    ax.axhline(ROUNDOFF, **BASELINE)
    outside = {"xycoords": ax.get_yaxis_transform(), "xytext": (4, 0), "textcoords": "offset points"}
    look = {"color": BASELINE["color"], "ha": "left", "va": "center", "fontsize": 8}
    ax.annotate("float64\nround-off", (1, ROUNDOFF), **outside, **look)  # beside the axes: gaps lie on the line
    return ax
