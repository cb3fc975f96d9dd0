"""Drives a widget as a reader does who follows the "Try this" items: control by control, without Reset."""

import re


def follow(widget, **controls):
    """Sets the controls, in this order and as a hand would, and returns the read-out without its markup."""
    for name, value in controls.items():
        widget.controls[name].value = value
    return re.sub(r"<[^>]+>", "", widget.readout.value)
