"""A progress bar for what takes longer than a reader cares to wait in the dark: one for notebooks and terminals."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from tqdm.std import tqdm


def through(things: Iterable, name: str = "computing", total: int | None = None, *, leave: bool = True) -> Iterator:
    """Go through `things` with a progress bar; with their `total`, as they come. Without `leave` it goes at the end.

    >>> [2 * n for n in through([1, 2, 3])]
    [2, 4, 6]
    """
    things = list(things) if total is None else things
    with bar(len(things) if total is None else total, name, leave=leave) as shown:
        for thing in things:
            yield thing
            shown.update()


def bar(total: int, name: str = "training", *, start: int = 0, leave: bool = True) -> tqdm:
    """A progress bar: in a terminal a line; in a notebook a widget, of which a saved notebook keeps one plain line.

    >>> with bar(10, "training", start=4) as shown:
    ...     shown.update(6)
    """
    if not _in_a_notebook():
        return tqdm(total=total, initial=start, desc=name, leave=leave, disable=None)
    from IPython.display import display
    from tqdm.notebook import tqdm as notebook_tqdm

    shown = notebook_tqdm(total=total, initial=start, desc=name, leave=leave, display=False)
    bundle = shown.container._repr_mimebundle_() | {"text/plain": f"(a progress bar: {total} iterations)"}
    display(bundle, raw=True)
    return shown


def _in_a_notebook() -> bool:
    """A kernel has loaded IPython before; on a cluster there may be none to load."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None
