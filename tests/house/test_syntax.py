"""What the tests believe about a notebook's names, by its source, is so."""

import pytest
from syntax import Cell, needed_for, slice_for_widgets


@pytest.mark.parametrize(
    "source, binds, needs, changes",
    [
        ("a = b", "a", "b", ""),
        ("a = 1\nb = a", "a b", "", ""),
        ("b = a\na = 1", "a b", "a", ""),
        ("a, (b, *c) = d", "a b c", "d", ""),
        ("a += 1", "a", "a", "a"),
        ("a[0].b = c\nd.e += 1\ndel f", "f", "a c d", "a d f"),
        ("a.append(b)\nc.zero_()\nd.sum()", "", "a b c d", "a c"),
        ("for a in b:\n    c = a", "a c", "b", ""),
        ("for a in b:\n    c = c + a", "a c", "b c", ""),
        ("with a as b:\n    c = b", "b c", "a", ""),
        ("if a:\n    b = 1\nelse:\n    b = c", "b", "a c", ""),
        ("try:\n    a = b\nexcept E:\n    c = a", "a c", "b", ""),
        ("import a.b, c as d\nfrom e import f", "a d f", "", ""),
        ("[a for a in b if c]\n{d: e for d in f}", "", "b c e f", ""),
        ("def f(a, b=c):\n    d = a + e\n    return lambda: d + g", "f", "c e g", ""),
        ("def f():\n    return g()\ndef g():\n    return f()", "f g", "", ""),
        ("def f(a):\n    a.append(1)\n    b = []\n    b += [c]\n    e.append(b)", "f", "c e", "e"),
        ("class A:\n    b = c\n    def f(self):\n        return d", "A", "c d", ""),
        ("a = lambda b: b + c", "a", "c", ""),
    ],
)
def test_what_a_cell_binds_needs_and_changes(source, binds, needs, changes):
    cell, builtin = Cell("cell", source), {"E"}
    assert (cell.binds, cell.needs - builtin, cell.changes) == (
        set(binds.split()),
        set(needs.split()),
        set(changes.split()),
    )


def ids(cells):
    return [cell.id for cell in cells]


def test_a_slice_is_what_binds_or_changes_the_names_that_are_needed():
    sources = [
        "import a",
        "b = a.x",
        "unused = b",
        "c = 1",
        "c = b",
        "c.append(1)",
        "losses = a.train(c, 3)",
        "print(c)",
        "d = c",
        "c = 2",
    ]
    cells = [Cell(str(i), source) for i, source in enumerate(sources)]
    assert ids(needed_for(cells, {"8"})) == ["0", "1", "4", "5", "6", "8"]


def test_what_the_widgets_need_is_taken_statement_by_statement():
    first = Cell("1", "import widgets\nslow = compute_all()\nN = 3\nprint(slow)")
    shows = Cell("2", "a_widget = widgets.explore(stage, lambda x: x * N, draw, {})\na_widget")
    assert slice_for_widgets([first, Cell("3", "slow += 1"), shows]) == ["import widgets\nN = 3", shows.source]
