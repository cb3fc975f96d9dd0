"""A figure that is made once and redraws only what moves: the picture inside a widget.

Most of the time of a redraw goes into what has not changed: axes, ticks, labels. `Picture` keeps that part and draws
only the artists that were touched since, which it finds out by looking (an artist that was changed is `stale`).
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import numpy as np
import PIL.Image
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.spines import Spine
from matplotlib.text import Text

from helpers import plotting

PIXELS = 1.5  # pixels of the picture for each pixel of the page: sharp on most screens, quick on all


class Picture:
    """A figure that is made once and redraws only what moves.

    The background holds everything that lies under the lowest artist that moves, and titles beside the axes, which
    nothing covers. That artist and all else above it are drawn on top each time, in matplotlib's order, so the pixels
    are those of a full redraw. When something else changes (limits, ticks, a new artist), matplotlib marks the figure
    stale and all is drawn anew; and always so where axes overlap.

    >>> picture = Picture(lambda figure: figure.subplots().plot([0, 1], [0, 1])[0], size=(4, 2))
    >>> before = picture.png()
    >>> picture.artists.set_ydata([1, 0])
    >>> picture.png() == before
    False
    """

    def __init__(self, stage: Callable[[Figure], Any], size: tuple[float, float]):
        with plotting.style():
            self.figure = Figure(figsize=size, dpi=100 * PIXELS, layout="constrained")
            self.canvas = FigureCanvasAgg(self.figure)
            self.artists = stage(self.figure)
            self.canvas.draw()
        self.figure.set_layout_engine("none")  # the layout is settled: from now on nothing jumps
        self._moving, self._front, self._zorders, self._background = WeakSet(), [], [], None

    def png(self) -> bytes:
        """The figure as it is now."""
        return _png(np.asarray(PIL.Image.fromarray(self.pixels()).convert("RGB")))

    def pixels(self) -> np.ndarray:
        """The figure as it is now, (height, width, 4), in the series' style whatever the reader's is."""
        with plotting.style():
            return self._drawn()

    def _drawn(self) -> np.ndarray:
        if self.figure.stale or self._background is None or self._frame_changed():
            self._learn_what_moves()
            self.canvas.draw()
            self._background = self.canvas.copy_from_bbox(self.figure.bbox)
        else:
            self.canvas.restore_region(self._background)
        for artist in self._front:
            artist.axes.draw_artist(artist)
        for part in (*self._front, *self.figure.axes, self.figure):
            part.stale = False  # painting ticks marks the axes they belong to
        return np.asarray(self.canvas.buffer_rgba())

    def _frame_changed(self) -> bool:
        """New limits, new ticks, another order: what the front is told does not reach the figure."""
        new_frame = any(a.stale for a in self._front if isinstance(a, (Axis, Spine)))
        return new_frame or self._zorders != [a.zorder for a in self._front]

    def _learn_what_moves(self) -> None:
        """What is stale was touched by `draw`: it moves. It and all above it make up the front."""
        self._front, entangled = [], _things_overlap(self.figure)
        for axes in self.figure.axes:
            painted = _in_painting_order(axes)
            self._moving.update(a for a in painted if a.stale and _can_move(a))
            front = [] if entangled else self._front_of(axes, painted)
            for artist in painted:
                artist.set_animated(artist in front)  # matplotlib leaves animated artists out of a normal draw
            self._front += front
        self._zorders = [a.zorder for a in self._front]

    def _front_of(self, axes: Axes, painted: list[Artist]) -> list[Artist]:
        first = next((i for i, a in enumerate(painted) if a in self._moving), len(painted))
        front = painted[first:]
        if all(a.get_clip_on() for a in front if a in self._moving):  # what moves stays inside the axes
            front = [a for a in front if a in self._moving or not _lies_outside(a, axes)]
        return front if axes.get_visible() else []


def _things_overlap(figure: Figure) -> bool:
    """Axes over axes (`twinx`), or the figure's own texts over axes: what is above what is then left to matplotlib."""
    boxes = [axes.bbox for axes in figure.axes]
    own = [a.get_window_extent() for a in (*figure.texts, *figure.lines, *figure.patches)]
    crossing = any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    return crossing or any(a.overlaps(b) for a in own for b in boxes)


def _png(rgb: np.ndarray) -> bytes:
    """Pixels (height, width, 3) as a PNG. Pillow tries five filters on each row, which takes as long as all the rest
    of a redraw; this takes none."""
    height, width, _ = rgb.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a row begins with the number of its filter: 0, none
    rows[:, 1:] = rgb.reshape(height, -1)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),  # 8 bits a channel, 2: RGB
        b"IDAT": zlib.compress(rows, level=1),
        b"IEND": b"",
    }
    sealed = (
        struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def of_256_colours(png: bytes) -> bytes:
    """The same picture in a third of the bytes, for files that are kept.

    >>> drawn = Picture(lambda figure: figure.subplots().plot([0, 1], [0, 1])[0], size=(4, 2)).png()
    >>> small = of_256_colours(drawn)
    >>> len(small) < len(drawn) / 2, of_256_colours(small) == small
    (True, True)
    """
    image = PIL.Image.open(io.BytesIO(png))
    if image.mode == "P":  # it has no more
        return png
    small = io.BytesIO()
    image.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(small, "png", compress_level=9)
    return small.getvalue()


def _can_move(artist: Artist) -> bool:
    """No frame, and no text without letters: that is never drawn, so it stays stale."""
    return not isinstance(artist, (Axis, Spine, Axes)) and not (isinstance(artist, Text) and not artist.get_text())


def _lies_outside(artist: Artist, axes: Axes) -> bool:
    """A title, say. Letters take a good part of the time of a redraw."""
    return isinstance(artist, Text) and not artist.get_window_extent().overlaps(axes.bbox)


def _in_painting_order(axes: Axes) -> list:
    """What `Axes.draw` draws on top of its background patch, in its order."""
    artists = [a for a in axes.get_children() if a is not axes.patch]
    if not (axes.axison and axes.get_frame_on()):
        artists = [a for a in artists if not isinstance(a, Spine)]
    if not axes.axison:
        artists = [a for a in artists if not isinstance(a, Axis)]
    return sorted(artists, key=lambda a: a.zorder)
