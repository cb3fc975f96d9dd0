"""The table of verdicts as it is shipped: a line a claim, measured beforehand by `python -m helpers.verdicts`."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from helpers import kept

TABLE = Path(__file__).with_name("table.json")
REMEDY = "`git checkout helpers/verdicts/table.json` brings it back, and `python -m helpers.verdicts` makes it anew."


class Line(NamedTuple):
    """What the table says of a claim, in words; `robust`: in how many draws of its prompts the verdict is the same."""

    notebook: str
    name: str
    kind: str
    says: str
    paper: str
    ours: str
    verdict: str
    robust: str = "–"


def load_table(file: str | Path = TABLE, remedy: str = REMEDY) -> list[Line]:
    """The shipped table.

    >>> [line.says for line in load_table() if line.name == "one_layer_is_one_step"]
    ['One layer of linear attention is one step of gradient descent.']
    """
    try:
        return [Line(**line) for line in kept.read_json(file, remedy)]
    except TypeError as error:
        raise ValueError(f"file: {file} holds something else, not a table of verdicts: {remedy}") from error


def save_table(lines: Iterable[Line], file: str | Path = TABLE) -> None:
    """Write a table, a line of the file for each claim; whoever is stopped still has the whole file of before."""
    said = ",\n".join(json.dumps(line._asdict(), ensure_ascii=False) for line in lines)
    kept.write_text(file, f"[\n{said}\n]\n")


HEADS = ("kind", "claim", "said by, and its number", "ours", "verdict", "robust")


def as_html(lines: Iterable[Line]) -> str:
    """The lines as a table in HTML, with a heading before each notebook's.

    >>> as_html(load_table()[:1]).count("<tr>")
    3
    """
    parts, notebook = ["<tr>" + "".join(f"<th>{head}</th>" for head in HEADS) + "</tr>"], None
    for line in lines:
        if line.notebook != notebook:
            notebook = line.notebook
            parts.append(f'<tr><th colspan="{len(HEADS)}">Notebook {html.escape(notebook)}</th></tr>')
        cells = [line.kind[0], line.says, line.paper or "this series", line.ours, line.verdict, line.robust]
        parts.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return "<table>\n" + "\n".join(parts) + "\n</table>"
