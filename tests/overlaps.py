"""Looks at a figure as drawn: texts that overlap, that are cut, that leave their box or that a line runs through."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SLACK = 0.5  # pixels: boxes of letters are rounded up


def unreadable(figure: Figure) -> list[str]:
    """What is wrong with the texts of a figure, each fault in words."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and drawn(text)]
    boxes = [(text.get_text(), text.get_window_extent().padded(-SLACK)) for text in texts]
    found = [f"{a!r} overlaps {b!r}" for (a, p), (b, q) in itertools.combinations(boxes, 2) if p.overlaps(q)]
    found += [f"{name!r} is cut" for name, box in boxes if not within(box, figure.bbox)]
    for frame in (patch.get_window_extent() for patch in figure.findobj(Rectangle) if patch.axes and patch.get_width()):
        found += [f"{name!r} leaves its box" for name, box in boxes if leaves(box, frame)]
    for frame in (patch.get_window_extent() for patch in figure.findobj(FancyBboxPatch) if patch.axes):
        found += [f"{name!r} leaves its box" for name, box in boxes if leaves(box, frame)]
    lines = [points(line) for line in figure.findobj(is_a_line)]
    return found + [f"a line runs through {name!r}" for name, box in boxes for line in lines if runs_through(line, box)]


def drawn(text: Text) -> bool:
    """Labels of axes that are switched off are not."""
    return text.axes is None or text.axes.axison or text in text.axes.texts


def within(box: Bbox, frame: Bbox) -> bool:
    return frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def leaves(box: Bbox, frame: Bbox) -> bool:
    """Crosses the edge of the frame: neither within it nor outside."""
    return box.overlaps(frame) and not within(box, frame)


def is_a_line(artist) -> bool:
    return isinstance(artist, FancyArrowPatch) or (isinstance(artist, Line2D) and artist.get_linestyle() != "None")


def points(line) -> np.ndarray:
    """A fine row of points (n, 2) along a line or an arrow, in pixels."""
    strokes = line.get_transform().transform_path(line.get_path()).to_polygons(closed_only=False)
    along = np.linspace(0, 1, 200)[:, None]
    pieces = [a + along * (b - a) for stroke in strokes for a, b in itertools.pairwise(stroke)]
    return np.concatenate([np.empty((0, 2)), *pieces])


def runs_through(line: np.ndarray, box: Bbox) -> bool:
    x, y = line.T
    return bool(((box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)).any())
