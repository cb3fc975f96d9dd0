"""Diagrams: nothing overlaps or is cut at any size, the words say what the picture shows, the numbers are computed."""

import base64
import io
import re

import PIL.Image
import pytest
from conftest import NOTEBOOKS
from IPython.core.formatters import DisplayFormatter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from overlaps import unreadable

from helpers import diagrams, pen, plotting

DIAGRAMS = [
    (diagrams.the_map, {}),
    (diagrams.token_matrix, {}),
    (diagrams.two_roads, {"y_attn": 2.25, "y_gd": 2.25}),
    (diagrams.two_roads, {"y_attn": -12.34, "y_gd": 0.5}),
]
each_diagram = pytest.mark.parametrize("diagram, values", DIAGRAMS, ids=lambda given: getattr(given, "__name__", None))


def drawn(diagram, scale=1.0, **values):
    with plotting.style():
        figure = Figure(figsize=[scale * side for side in diagram.size], dpi=150)
        assert diagram(ax := pen.page(figure), **values) is ax
        return figure


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@each_diagram
def test_every_text_can_be_read_at_any_size(diagram, values, scale):
    assert unreadable(drawn(diagram, scale, **values)) == []


@each_diagram
def test_a_larger_sheet_is_the_same_picture(diagram, values):
    """Letters and lines grow with the sheet."""

    def pixels(scale):
        FigureCanvasAgg(drawn(diagram, scale, **values)).print_png(png := io.BytesIO())
        return PIL.Image.open(png).convert("L").resize((180, 80))

    small, large = pixels(1.0), pixels(2.0)
    gaps = [abs(a - b) for a, b in zip(small.tobytes(), large.tobytes(), strict=True)]
    assert sum(gaps) / len(gaps) < 2  # grey levels out of 255
    other = pixels(1.0).transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    assert sum(abs(a - b) for a, b in zip(other.tobytes(), large.tobytes(), strict=True)) / len(gaps) > 5


@pytest.mark.parametrize(
    "spoil, fault",
    [
        (lambda ax: pen.write(ax, 0.72, 1.3, "another title"), "overlaps"),
        (lambda ax: pen.write(ax, 7.0, 0.2, "too far right"), "is cut"),
        (lambda ax: pen.station(ax, 0.1, 2.6, 0.5, 0.4, ["too long a title"]), "leaves its box"),
        (lambda ax: pen.cell(ax, 0.5, 1.2, 0.5, 0.3), "leaves its box"),
        (lambda ax: pen.arrow(ax, (0.1, 1.1), (1.3, 2.2)), "a line runs through"),
        (lambda ax: ax.plot([0, 7], [1.82, 1.82]), "a line runs through"),
    ],
)
def test_a_spoilt_diagram_is_noticed(spoil, fault):
    figure = drawn(diagrams.the_map)
    spoil(figure.axes[0])
    assert any(fault in problem for problem in unreadable(figure))


def numbers_of_notebooks(text):
    return re.findall(r"\b(?:0\d|1[0-2])\b", text)


def test_the_map_has_each_notebook_once_and_its_words_say_the_same():
    series = [path.stem[:2] for path in NOTEBOOKS]
    (ax,) = drawn(diagrams.the_map).axes
    shown = [text.get_text() for text in ax.texts]
    assert sorted(numbers_of_notebooks(" ".join(shown))) == series
    words = " ".join(diagrams.in_words(diagrams.the_map).split())
    assert sorted(numbers_of_notebooks(words)) == series
    for label in {part.strip() for text in shown for part in text.split("·")} - {"the same?", "00 start here"}:
        assert label.lower() in words.lower(), label


@pytest.mark.parametrize("gap, word", [(0.0, "equal"), (1e-15, "equal"), (1e-3, "not equal")])
def test_the_two_roads_say_whether_their_ends_are_equal(gap, word):
    (ax,) = drawn(diagrams.two_roads, y_attn=2.25 + gap, y_gd=2.25).axes
    assert word in [text.get_text() for text in ax.texts]


def test_a_notebook_gets_the_picture_and_its_words():
    bundle, metadata = DisplayFormatter().format(diagrams.show(diagrams.two_roads, y_attn=1.0, y_gd=1.0))
    width, height = PIL.Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).size
    page = metadata["image/png"]
    assert (width, height) == (1.5 * page["width"], 1.5 * page["height"])  # sharp on a laptop's screen
    assert bundle["text/plain"].startswith("Diagram. Two roads from one prompt") and ">>>" not in bundle["text/plain"]
