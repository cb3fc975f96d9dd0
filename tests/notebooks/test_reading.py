"""What a reader feels: code before the first picture, long cells, numbers in the prose. Each measure has its twin."""

import re
import statistics

import nbformat
import pytest
from conftest import NOTEBOOKS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path):
    return nbformat.read(path, as_version=4).cells


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def folded(cell):
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def lines(cell):
    """The lines of a cell that are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


# --- code -----------------------------------------------------------------------------------------------------


def lines_before_the_first_picture(cells):
    """Lines of unfolded code from the top, with those of the cell that draws it."""
    read = 0
    for cell in code(cells):
        read += 0 if folded(cell) else lines(cell)
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            return read
    return float("inf")


def too_long(cells):
    """What is wrong with the lengths of code cells: at most 40 lines, 30 where code is shown, 15 in the median."""
    found = [f"{cell.id}: {lines(cell)} lines" for cell in code(cells) if lines(cell) > (40 if folded(cell) else 30)]
    median = statistics.median([lines(cell) for cell in code(cells) if not folded(cell)])
    return found + [f"median {median:g} lines"] * (median > 15)


@each_notebook
def test_the_first_picture_comes_within_twelve_lines(path):
    assert lines_before_the_first_picture(cells_of(path)) <= 12


@each_notebook
def test_no_code_cell_is_long(path):
    assert too_long(cells_of(path)) == []


def a_cell(n, *, fold=False, picture=False):
    outputs = [new_output("display_data", {"image/png": ""})] * picture
    return new_code_cell(
        "a = 1\n\n" * n, metadata={"jupyter": {"source_hidden": True}} if fold else {}, outputs=outputs
    )


def test_a_late_picture_and_long_cells_are_noticed():
    assert lines_before_the_first_picture([a_cell(20, fold=True), a_cell(5), a_cell(8, picture=True)]) == 13
    assert lines_before_the_first_picture([a_cell(1)]) == float("inf")
    assert too_long([a_cell(40, fold=True), a_cell(30), a_cell(15), a_cell(15)]) == []
    found = too_long([a_cell(41, fold=True), a_cell(31), a_cell(16)])
    assert [problem.split()[-2] for problem in found] == ["41", "31", "23.5"]


# --- prose ----------------------------------------------------------------------------------------------------

NOT_PROSE = [
    r"<details.*?</details>",  # folded
    r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$",  # code and formulas
    r"\]\([^)]*\)", r"<[^>]*>",  # where links lead, and HTML
    r"(?i)\barXiv[: ]*\S+", r"(?i)\b(section|theorem|equation|lemma|figure|table|appendix|fig\.|eq\.|§) ?\d+\.\d+",
]  # fmt: skip
DECIMAL = r"(?<![\w.,])\d*\.\d+(?![\w])(?!\.\d)"  # .35, 0.35 and 2.20, and no version or date
WORD = r"[^\W\d_][\w’'-]*"


def prose(cells):
    """The text that is read without unfolding anything."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown" and not folded(cell))
    for pattern in NOT_PROSE:
        text = re.sub(pattern, " ", text, flags=re.S)
    return text


def decimals_per_100_words(cells):
    text = prose(cells)
    return 100 * len(re.findall(DECIMAL, text)) / len(re.findall(WORD, text))


@each_notebook
def test_the_prose_is_not_a_table(path):
    assert decimals_per_100_words(cells_of(path)) <= 1.5


@pytest.mark.parametrize(
    "text, decimals, words",
    [
        ("The gap is .35, then 0.35 or −2.20.", 3, 5),
        ("In 2.20 s, see section 3.1 of arXiv 2501.16265, version 1.2.3, 10,000.", 1, 5),
        ("Here $0.5 x$ and `0.5` and ```\n0.5\n``` and [0.25](0.1.html).", 1, 4),
        ("<details><summary>Answer 0.5</summary>It is 0.5.</details> Then none.", 0, 2),
    ],
)
def test_decimals_and_words_are_counted_as_a_reader_would(text, decimals, words):
    read = prose([new_markdown_cell(text)])
    assert (len(re.findall(DECIMAL, read)), len(re.findall(WORD, read))) == (decimals, words)


def test_prose_full_of_numbers_is_noticed():
    assert decimals_per_100_words([new_markdown_cell("word " * 98 + "0.1 0.2")]) > 1.5
