"""Drives a widget as a reader does who follows the "Try this" items, and holds what the text says against it."""

from __future__ import annotations

import re

import nbformat


def follow(widget, **controls) -> str:
    """Sets some controls, in this order and as a hand would, without Reset; returns the read-out without its markup."""
    for name, value in controls.items():
        widget.controls[name].value = value
    return re.sub(r"<[^>]+>", "", widget.readout.value)


def said(widget, values: dict) -> str:
    """The read-out at these controls; each one is named, so what came before does not matter."""
    assert sorted(values) == sorted(widget.controls), "an item has to say the value of every control"
    return follow(widget, **values)


def in_order(explorers, items) -> None:
    """Each item: a widget's number, the controls it moves (others stay as they are), what the read-out then says."""
    now = {number: dict(explorer.defaults) for number, explorer in enumerate(explorers)}
    for number, settings, numbers in items:
        explorer, now[number] = explorers[number], now[number] | settings
        readout = re.sub(r"<[^>]+>", "", explorer.draw(explorer.picture.artists, explorer.compute(**now[number])))
        assert all(each in readout for each in numbers), (settings, readout)


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


def prose(path) -> str:
    """All that a notebook says in words."""
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def folded(path) -> str:
    """The text of all its "What you should have seen"."""
    return "\n".join(
        re.findall(r"<details><summary><b>What you should have seen</b>.*?</details>", prose(path), flags=re.S)
    )
