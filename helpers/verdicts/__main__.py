"""Measures the claims and writes the table that notebook 12 shows.

    python -m helpers.verdicts [--notebook 06] [--draws 9] [--processes 2]

measures all claims, or those of one notebook, each for several draws of its prompts. What was measured is kept after
each claim, beside the table: a call that was stopped goes on where it was, and the table itself changes at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from helpers import checks, progress, shell, verdicts
from helpers.verdicts.shipped import TABLE, Line, load_table, save_table

COMMAND = "python -m helpers.verdicts"


def measure_all(notebooks: Iterable[str], draws: int, processes: int, file: Path = TABLE) -> None:
    """Measures the claims of some notebooks, and puts their lines into the table in the file."""
    checks.count("draws", draws)
    checks.count("processes", processes)
    wanted = [(notebook, claim.name) for notebook in notebooks for claim in verdicts.claims_of(notebook)]
    keep = file.with_suffix(f".{draws}_draws.part")
    before, done = (_lines(each, f"delete it, and `{COMMAND}` makes it anew.") for each in (file, keep))
    todo = [who for who in wanted if who not in done]
    if done:
        print(f"Measured before: {len(wanted) - len(todo)} claims. Without {keep} all are measured anew.")
    save_table(done.values(), keep)  # tried before the work begins
    with shell.workers(processes) as pool:
        waiting = [pool.submit(verdicts.line, *who, draws) for who in todo]
        for each in progress.through(as_completed(waiting), "claims", total=len(waiting)):
            done[each.result()[:2]] = each.result()
            save_table(done.values(), keep)
    lines = before | {who: done[who] for who in wanted}
    order = [(claim.notebook, claim.name) for claim in verdicts.all_claims()]
    save_table([lines[who] for who in order if who in lines], file)
    keep.unlink(missing_ok=True)


def _lines(file: Path, remedy: str) -> dict[tuple[str, str], Line]:
    return {line[:2]: line for line in (load_table(file, remedy) if file.exists() else [])}


def main(arguments: Sequence[str] | None = None, file: Path = TABLE) -> None:
    with shell.command(COMMAND, lambda: "What is done is kept, and the same command goes on from there."):
        ask = shell.Parser(prog=COMMAND, description=__doc__.splitlines()[0])
        ask.add_argument("--notebook", choices=verdicts.notebooks(), help="only this one")
        ask.add_argument("--draws", type=int, default=9, help="draws of the prompts, for `robust` (9)")
        ask.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at a time (one a core)")
        said = ask.parse_args(arguments)
        measure_all([said.notebook] if said.notebook else verdicts.notebooks(), said.draws, said.processes, file)


if __name__ == "__main__":
    main()
