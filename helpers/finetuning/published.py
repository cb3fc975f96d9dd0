"""What the papers report: Dai et al. 2023 (arXiv 2212.10559) and Deutch et al. 2023 (arXiv 2311.07772).

`load()` returns the tables as data/published.json holds them; lists run along `tasks`.

- `dai`: accuracies (table 1), Rec2FTP, SimAOU, SimAM and Kendall's tau for the models of 1.3 and 2.7 billion weights;
  accuracies and Rec2FTP in per cent. `chance` for Rec2FTP is derived here: of the errors of zero-shot learning
  (table 1) the share that ICL corrects (counts in the history of the second paper's code).
- `deutch`: their table 2, the mean of three runs, for GD and for layer-causal GD. `untrained`: their table 1.
- `lcgd_corrections`: errors of zero-shot learning that ICL, layer-causal GD and both correct; same history, 1.3B, never
  published.
- `layers`: by the 24 layers, a list for each task; from the notebook in the second paper's repository, 1.3B.
"""

from __future__ import annotations

from pathlib import Path

from helpers import kept

FILE = Path(__file__).parent / "data" / "published.json"
REMEDY = "`git checkout helpers/finetuning/data/published.json` brings it back."


def load(file: str | Path = FILE) -> dict:
    """
    >>> tables = load()
    >>> tables["dai"]["1.3B"]["Rec2FTP"][0], tables["dai"]["1.3B"]["chance"][0]
    (91.84, 88.7)
    >>> len(tables["layers"]["SimAOU, normalised"]["GD"]), len(tables["layers"]["SimAM Δ"]["LCGD"][0])
    (6, 24)
    """
    tables = kept.read_json(file, REMEDY)
    if not (isinstance(tables, dict) and {"dai", "deutch"} <= set(tables)):
        raise ValueError(f"file: {file} holds something else, not the papers' tables: {REMEDY}")
    return tables
