"""Which names a notebook's cells bind, read and change, from their source alone.

Python's own `symtable` says what a statement does to names; here statements are put into the order in which they are
executed, so that a name that a cell binds before it reads it is not taken for one from another cell.
"""

from __future__ import annotations

import ast
import functools
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

IN_PLACE = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault",
    "sort", "update",
}  # fmt: skip
TRAINING, HARMLESS = {"train", "fit"}, {"print", "display"}


@dataclass(frozen=True)
class Cell:
    """A code cell. Names of a notebook only: what a function keeps to itself is left out."""

    id: str
    source: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @functools.cached_property
    def bindings(self) -> list[tuple[str, ast.stmt]]:
        """Each name that the cell binds, with the statement that does it, as often as it does."""
        return [(name, piece) for piece in pieces(self.tree.body) for name in sorted(uses(piece)[1])]

    @functools.cached_property
    def binds(self) -> set[str]:
        return {name for name, _ in self.bindings}

    @functools.cached_property
    def needs(self) -> set[str]:
        """What must have been bound elsewhere: read at once before it is bound, or in a function and not bound here."""
        bound, needed = set(), set()
        for piece in pieces(self.tree.body):
            now, binds, later = uses(piece)
            needed |= (now - bound) | (later - self.binds)
            bound |= binds
        return needed

    @functools.cached_property
    def needs_later(self) -> set[str]:
        """What its functions read from elsewhere, at whatever time they are called."""
        return set().union(*(uses(piece)[2] for piece in pieces(self.tree.body))) - self.binds

    @functools.cached_property
    def changes(self) -> set[str]:
        """Names whose things are changed: by `+=`, `del`, `x[0] = …`, `x.y = …`, `x.append(…)`, `x.zero_()`."""
        return changed(self.tree, set())

    @functools.cached_property
    def may_change(self) -> set[str]:
        """And what it hands to a function that trains it, or to one whose answer it does not use (but to print it)."""
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        unused = [
            n.value
            for n in self.tree.body
            if isinstance(n, ast.Expr) and isinstance(getattr(n.value, "func", 0), ast.Name)
        ]
        to_whom = [(ast.unparse(call.func).split(".")[-1], call) for call in calls]
        changing = [call for name, call in to_whom if name in TRAINING or (call in unused and name not in HARMLESS)]
        return self.changes | {arg.id for call in changing for arg in call.args if isinstance(arg, ast.Name)}


def cells_of(path: Path) -> list[Cell]:
    """A notebook's code cells."""
    return [Cell(c.id, c.source) for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def pieces(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements in the order in which they are executed, with loops and conditions taken apart."""
    for node in body:
        match node:
            case ast.For():
                yield from (ast.Assign([node.target], node.iter), *pieces(node.body + node.orelse))
            case ast.If() | ast.While():
                yield from (ast.Expr(node.test), *pieces(node.body + node.orelse))
            case ast.With():
                for item in node.items:
                    bound = [item.optional_vars] if item.optional_vars else []
                    yield ast.Assign(bound, item.context_expr) if bound else ast.Expr(item.context_expr)
                yield from pieces(node.body)
            case ast.Try():
                handlers = [statement for handler in node.handlers for statement in handler.body]
                yield from pieces(node.body + handlers + node.orelse + node.finalbody)
            case ast.AugAssign(target=ast.Name()):
                yield from (ast.Expr(ast.Name(node.target.id, ast.Load())), node)
            case _:
                yield node


@functools.cache
def uses(piece: ast.stmt) -> tuple[set[str], set[str], set[str]]:
    """The names that a statement reads at once, that it binds, and that its functions read when they are called."""
    module = ast.fix_missing_locations(ast.Module([piece], []))
    table = symtable.symtable(ast.unparse(module), "cell", "exec")
    now = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    later = set()
    for inner in inner_tables(table):
        read = {s.get_name() for s in inner.get_symbols() if s.is_global() and s.is_referenced()}
        at_once = inner.get_name() in ("listcomp", "setcomp", "dictcomp", "genexpr") or inner.get_type() == "class"
        now, later = (now | read, later) if at_once else (now, later | read)
    return now, binds, later


def inner_tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from inner_tables(child)


def changed(node: ast.AST, local: set[str]) -> set[str]:
    """The names below a node that are changed in place, without those that are local to a function."""
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        inside = [n for n in ast.walk(node) if isinstance(n, (ast.Name, ast.arg))]
        local = local | {n.arg for n in inside if isinstance(n, ast.arg)}
        local = local | {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    found = set()
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            found = {root(t) for t in targets if isinstance(node, ast.Delete) or not isinstance(t, ast.Name)}
        case ast.AugAssign(target=target):
            found = {root(target)}
        case ast.Call(func=ast.Attribute(attr=name, value=thing)):
            if name in IN_PLACE or re.fullmatch(r"[a-z]\w*[a-z0-9]_", name):
                found = {root(thing)}
    return (found - local - {None}).union(*(changed(child, local) for child in ast.iter_child_nodes(node)))


def root(node: ast.expr) -> str | None:
    """`x` of `x.y[0].z`; None if there is no name at the bottom, as in a tuple, or a call."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


# --- widgets --------------------------------------------------------------------------------------------------


def explore_calls(cell: Cell) -> list[ast.Call]:
    """The calls of `widgets.explore` in a cell."""
    calls = (node for node in ast.walk(cell.tree) if isinstance(node, ast.Call))
    return [call for call in calls if ast.unparse(call.func) == "widgets.explore"]


def statements(cell: Cell) -> list[Cell]:
    """Each statement of a cell as a cell of its own."""
    return [Cell(f"{cell.id}, line {node.lineno}", ast.unparse(node)) for node in cell.tree.body]


def needed_for(cells: list[Cell], wanted: set[str]) -> list[Cell]:
    """The cells that must run so that those with the ids `wanted` do: whatever binds or changes a name they need."""
    place, found, todo = {cell.id: i for i, cell in enumerate(cells)}, set(), sorted(wanted)
    while todo:
        reader = todo.pop()
        found.add(reader)
        before = cells[: place[reader]]
        for name in cells[place[reader]].needs:
            binders = [c for c in before if name in c.binds] or [c for c in cells if name in c.binds]
            for last in binders[-1:]:  # what was bound earlier is overwritten
                changers = [c for c in before if name in c.may_change and place[c.id] > place[last.id]]
                todo += [c.id for c in (last, *changers) if c.id not in found]
    return [cell for cell in cells if cell.id in found]


def slice_for_widgets(cells: list[Cell]) -> list[str]:
    """The sources of a notebook that is just enough for its widgets: what they need, statement by statement."""
    shows = {cell.id for cell in cells if explore_calls(cell)}
    parts = {cell.id: statements(cell) for cell in cells}
    kept = needed_for(sum(parts.values(), []), {part.id for id in shows for part in parts[id]})
    sources = {id: [part.source for part in parts if part in kept] for id, parts in parts.items()}
    return [cell.source if cell.id in shows else "\n".join(sources[cell.id]) for cell in cells if sources[cell.id]]
