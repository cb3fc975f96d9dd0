"""The progress bar: where a run that goes on begins, and what a notebook gets of it."""

import IPython.display
import pytest

from helpers import progress


@pytest.fixture
def shown(monkeypatch):
    """In a notebook: what is displayed there, and how."""
    displayed = []
    monkeypatch.setattr(progress, "_in_a_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: displayed.append((bundle, raw)))
    return displayed


def test_a_bar_begins_where_the_run_does(shown):
    with progress.bar(10, "training", start=4) as bar:
        assert (bar.n, bar.total, bar.initial) == (4, 10, 4)
    with progress.bar(10) as bar:
        assert bar.n == 0


def test_in_a_notebook_it_goes_when_it_is_done_and_leaves_a_plain_line(shown):
    with progress.bar(10) as bar:
        assert bar.leave is False
    ((bundle, raw),) = shown
    assert raw is True and bundle["text/plain"] == "(a progress bar: 10 iterations)"


def test_outside_a_notebook_nothing_is_displayed(shown, monkeypatch):
    monkeypatch.setattr(progress, "_in_a_notebook", lambda: False)
    assert list(progress.through([1, 2])) == [1, 2] and shown == []
