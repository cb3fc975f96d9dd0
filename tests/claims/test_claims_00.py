"""What notebook 00 says: its widget, followed item by item."""

import pytest
from conftest import ROOT
from scenarios import follow

NOTEBOOK = ROOT / "notebooks" / "00_start_here.ipynb"


@pytest.fixture
def widget(ran):
    return ran(NOTEBOOK).namespace["claim_widget"]


def helps_left(now):
    """Whether the last step brought the line nearer to the dots than answering 0 is."""
    x, y, w = now.one.x.flatten(), now.one.y.flatten(), now.lines[0][-1] / now.grid[-1]
    return ((w * x - y) ** 2).mean() < (y**2).mean()


def test_the_items_followed_in_order_show_what_the_text_says(widget):
    follow(widget, k=5, N=20)
    for eta, left, right in [(-0.05, False, False), (0.05, True, True), (0.8, True, True), (0.85, True, False)]:
        said = follow(widget, eta=eta)
        assert ("the steps help" in said) == right and helps_left(widget.compute(eta, 5, 20)) == left, eta
    assert helps_left(widget.compute(2.3, 5, 20)) and not helps_left(widget.compute(2.35, 5, 20))
    follow(widget, eta=0.6, k=8)
    assert "the steps do harm" in follow(widget, N=1)
    now = widget.compute(0.6, 8, 1)
    x, y, w = now.one.x.item(), now.one.y.item(), (now.lines[0][-1] / now.grid[-1]).item()
    assert abs(w * x - y) < 0.15 * abs(y) and now.errors[-1][0] > 2000  # through the dot; above the picture's top
    follow(widget, N=5, k=8)
    assert "the steps help" in follow(widget, eta=0.25) and "the steps do harm" in follow(widget, eta=0.3)


def test_the_dots_set_the_limit_that_the_text_names(widget):
    x = widget.compute(0.6, 5, 20).one.x.flatten()
    assert round((x**2).mean().item(), 2) == 0.87 and round(2 / (x**2).mean().item(), 1) == 2.3


@pytest.mark.parametrize("eta, k, N", [(-1.0, 8, 1), (0.6, 5, 20), (2.0, 8, 200), (4.0, 8, 5)])
def test_the_lines_never_part(widget, eta, k, N):
    assert widget.compute(eta, k, N).gap < 2000  # units of round-off: 13 digits
