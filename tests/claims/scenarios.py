"""The "Try this" items of a notebook as scenarios: what the read-out says at given controls, and what the text says."""

import re

import nbformat


def said(widget, values):
    """The read-out at these controls, as plain text; each control is named, so what came before does not matter."""
    assert sorted(values) == sorted(widget.controls)
    for name, value in values.items():
        widget.controls[name].value = value
    return re.sub("<.*?>", "", widget.readout.value)


def folded(path):
    """The text of all "What you should have seen"."""
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    return "\n".join(re.findall(r"<details><summary><b>What you should have seen</b>.*?</details>", text, flags=re.S))
