"""What a notebook's widgets and cells may rely on: names that mean one thing. Each rule has a twin that breaks it."""

import ast

import pytest
from conftest import NOTEBOOKS
from syntax import Cell, cells_of, explore_calls, uses

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
OF_A_WIDGET = {"stage", "compute", "draw"}  # each widget binds its own, and is given them at once


def misnamed(cells):
    """A widget is `some_widget = widgets.explore(…)`, unique, and shown by the last line of its cell."""
    found, names = [], []
    for cell in cells:
        calls = explore_calls(cell)
        if not calls:
            continue
        bound = [n for n in cell.tree.body if isinstance(n, ast.Assign) and n.value in calls]
        name = ast.unparse(bound[0].targets[0]) if len(bound) == len(calls) == 1 else "?"
        names.append(name)
        if not name.endswith("_widget") or ast.unparse(cell.tree.body[-1]) != name:
            found.append(cell.id)
    return found + [name for name in set(names) if names.count(name) > 1]


def state_of_widgets(cells):
    """Names that some `compute` reads, itself or through the notebook's functions, and that are not bound just once."""
    found = set()
    for i, cell in enumerate(cells):
        for call in explore_calls(cell):
            name = ast.unparse(call.args[1])
            above = [piece for each in cells[: i + 1] for bound, piece in each.bindings if bound == name]
            now, _, later = uses(above[-1] if above else ast.Expr(call.args[1]))
            read = later if above else now | later
            found |= {name for name in reached(read, cells) if not bound_once(name, cells)}
    return found


def reached(names, cells):
    """These names of the notebook, and those that its functions among them read."""
    by_name = {}
    for name, piece in (binding for cell in cells for binding in cell.bindings):
        by_name.setdefault(name, []).append(piece)
    seen, todo = set(), sorted(set(names) & set(by_name))
    while todo:
        seen.add(name := todo.pop())
        read = set().union(*(uses(piece)[2] for piece in by_name[name]))
        todo += sorted(read & set(by_name) - seen)
    return seen


def bound_once(name, cells):
    """And never changed; a module is not changed by `torch.nn.init.zeros_(…)`."""
    bound = [piece for cell in cells for each, piece in cell.bindings if name == each]
    changed = any(name in cell.changes for cell in cells) and not isinstance(bound[0], (ast.Import, ast.ImportFrom))
    return len(bound) == 1 and not changed


def ambiguous(cells):
    """Names that two cells bind to different things and that a cell below, or a function, takes from them."""
    found = set()
    for name in set().union(*(cell.binds for cell in cells)) - OF_A_WIDGET:
        binders = [i for i, cell in enumerate(cells) if name in cell.binds]
        said = {ast.unparse(piece) for cell in cells for each, piece in cell.bindings if each == name}
        if len(binders) > 1 and len(said) > 1:
            below = any(name in cell.needs for cell in cells[binders[1] + 1 :])
            if below or any(name in cell.needs_later for cell in cells):
                found.add(name)
    return found


@each_notebook
def test_every_widget_has_a_name_of_its_own(path):
    assert misnamed(cells_of(path)) == []


@each_notebook
def test_what_compute_reads_never_changes(path):
    assert state_of_widgets(cells_of(path)) == set()


@each_notebook
def test_a_name_means_one_thing(path):
    assert ambiguous(cells_of(path)) == set()


# --- the twins ------------------------------------------------------------------------------------------------

COMPUTE = "def compute(a):\n    return inner(a)\n"
SHOWN = "a_widget = widgets.explore(stage, compute, draw, {})\na_widget"


def notebook(*sources):
    return [Cell(str(i), source) for i, source in enumerate(sources)]


@pytest.mark.parametrize(
    "source",
    [
        "widgets.explore(a, b, c, {})",
        "w = widgets.explore(a, b, c, {})\nw",
        SHOWN + "\nprint()",
        "print(widgets.explore(a, b, c, {}))",
    ],
)
def test_a_widget_without_a_name_is_noticed(source):
    assert misnamed(notebook(SHOWN)) == []
    assert misnamed(notebook(source)) == ["0"] and misnamed(notebook(SHOWN, SHOWN)) == ["a_widget"]


@pytest.mark.parametrize(
    "other, state",
    [
        ("x = 1", set()),
        ("N = 4", {"N"}),
        ("N += 1", {"N"}),
        ("for N in [1]:\n    pass", {"N"}),
        ("N.append(1)", {"N"}),
        ("N['a'] = 1", {"N"}),
        ("def f():\n    global N\n    N['a'] = 1", {"N"}),
        ("def inner(a):\n    return a", {"inner"}),
        ("def f(N):\n    N = 4", set()),
    ],
)
@pytest.mark.parametrize("inner", ["def inner(a):\n    return a * N", "inner = lambda a: a * N"])
def test_a_widget_that_reads_state_is_noticed(other, state, inner):
    """The cell may come before or after; the state may be a number, a list, a dict or a function."""
    widget = COMPUTE + SHOWN
    assert state_of_widgets(notebook("N = 3\n" + inner, widget, other)) == state
    assert state_of_widgets(notebook("N = 3", inner, other, widget)) == state
    assert state_of_widgets(notebook(COMPUTE, "N = 3", inner, other, SHOWN, "def compute(): ...")) == state
    assert state_of_widgets(notebook("N = 3", inner, other, SHOWN.replace("compute", "lambda a: inner(a)"))) == state


@pytest.mark.parametrize(
    "sources, names",
    [
        (["a = 1", "a = 2", "print(a)"], {"a"}),
        (["a = 1", "print(a)", "a = 2"], set()),
        (["a = 1", "def f():\n    return a", "a = 2"], {"a"}),
        (["a = 1\nb = a", "a = 2\nc = a", "print(b, c)"], set()),
        (["import a", "import a", "print(a)"], set()),
        (["def draw(): ...", "def draw(): ...\nf(draw)", "draw"], set()),
    ],
)
def test_a_name_with_two_meanings_is_noticed(sources, names):
    assert ambiguous(notebook(*sources)) == names
