"""Holds the numbers of "What you should have seen" against the widgets: the settings of an item, and what it states."""

from __future__ import annotations

import nbformat


def prose(path) -> str:
    """All that a notebook says in words."""
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def holds(ran, path, widget: str, settings: dict, number, stated: str, style: str = ".3g") -> None:
    """`number` of what the widget computes at these settings prints as stated, and the notebook states it."""
    explorer = ran(path).namespace[widget]
    assert set(settings) == set(explorer.controls), "an item has to say the value of every control"
    for name, value in settings.items():
        control = explorer.controls[name]
        if hasattr(control, "max"):
            assert control.min <= value <= control.max, f"{name} = {value} is off the slider"
        if hasattr(control, "options"):
            assert value in control.options
    found = format(float(number(explorer.compute(**settings))), style)
    assert found == stated.replace(",", ""), f"{widget} at {settings}: stated {stated}, found {found}"
    assert stated in prose(path), f"{stated} is not in the text"
