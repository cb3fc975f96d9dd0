"""One number, one home: what a notebook prints of a claim is what the shipped table of verdicts says, to the letter.

That a notebook prints what it measures is held by its execution; that the table was measured by the same functions,
here.
"""

import json

import nbformat
import pytest
from conftest import NOTEBOOKS, ROOT

from helpers import verdicts

TABLE = ROOT / "helpers" / "verdicts" / "table.json"
by_number = {path.stem[:2]: path for path in NOTEBOOKS}


def lines_of(notebook):
    """The table's lines for the claims that notebook NN measures."""
    lines = json.loads(TABLE.read_text(encoding="utf-8"))
    return [line for line in lines if line["notebook"] == notebook and line["kind"] != verdicts.REPORTED]


def printed_by(path):
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def not_shown_once(lines, printed):
    """The claims that are not printed exactly once, as `verdicts.show` prints them, with the table's numbers."""
    as_shown = {
        line["name"]: f"{line['kind'][0]} {line['says']}\n  {line['ours']}: {line['verdict']}\n" for line in lines
    }
    return [name for name, text in as_shown.items() if printed.count(text) != 1]


@pytest.mark.parametrize("path", [by_number[number] for number in verdicts.notebooks()], ids=lambda path: path.stem)
def test_the_notebook_shows_each_claim_once_and_the_table_says_the_same(path):
    number = path.stem[:2]
    names = [claim.name for claim in verdicts.claims_of(number) if claim.kind != verdicts.REPORTED]
    assert [line["name"] for line in lines_of(number)] == names
    assert not_shown_once(lines_of(number), printed_by(path)) == []


def test_another_digit_a_missing_claim_and_a_second_one_are_noticed():
    line = {"name": "a", "kind": verdicts.EXACT, "says": "So.", "ours": "0.21", "verdict": verdicts.HOLDS}
    shown = "● So.\n  0.21: holds\n"
    assert not_shown_once([line], shown) == []
    for printed in ("", shown.replace("0.21", "0.22"), shown + shown, shown.replace("holds", "artefact")):
        assert not_shown_once([line], printed) == ["a"]
