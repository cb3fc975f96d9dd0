"""Which of the series' claims hold? Each is measured, and the verdict is a comparison that code makes.

A claim is a function that measures: `measure(shift) -> Evidence`. There is one module for each notebook, with the
claims of that notebook from first to last; the notebook imports them, and draws and prints what they measure. A number
that is wrong changes the verdict, and nothing else does. `shift` moves every seed that prompts are drawn from: a claim
that holds for one draw only is found out.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from typing import NamedTuple

from helpers import progress
from helpers.verdicts.evidence import (
    ARTEFACT,
    FAILS,
    HOLDS,
    RESTATED,
    ROUNDOFF,
    UNCHECKED,
    UNDECIDED,
    VERDICTS,
    Bounds,
    Evidence,
    Number,
    identity,
    judge,
    number,
    over_models_and_prompts,
    over_prompts,
    over_seeds,
)
from helpers.verdicts.shipped import Line, as_html, load_table

__all__ = [
    "ARTEFACT", "EXACT", "FAILS", "HOLDS", "KINDS", "MEASURED", "PROVED", "REPORTED", "RESTATED", "ROUNDOFF",
    "UNCHECKED", "UNDECIDED", "VERDICTS", "Bounds", "Claim", "Evidence", "Line", "Number", "Row", "all_claims",
    "as_html", "claim", "claims_of", "identity", "judge", "line", "load_table", "notebooks", "number",
    "over_models_and_prompts", "over_prompts", "over_seeds", "row", "show", "table",
]  # fmt: skip

EXACT, PROVED = "● exact", "◆ proved, checked by sampling"
MEASURED, REPORTED = "◐ measured here", "○ reported"
KINDS = (EXACT, PROVED, MEASURED, REPORTED)


# --- what is claimed --------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """A sentence, where it is shown, what its source says, and the function that measures; None if we cannot."""

    name: str
    notebook: str
    kind: str
    says: str
    paper: str
    instead: str
    measure: Callable[..., Evidence] | None


def claim(kind: str, says: str, *, paper: str = "", instead: str = "") -> Callable[[Callable], Claim]:
    """Makes a claim of the function below it. A reported claim is not measured: its function is never called.

    >>> @claim(EXACT, "Twice two is four.", paper="everybody")
    ... def twice_two_is_four():
    ...     return identity(2 * 2 - 4, broken=2 * 2.2 - 4)
    >>> twice_two_is_four.name, judge(twice_two_is_four.measure())
    ('twice_two_is_four', 'holds')
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}.")

    def make(measure: Callable[..., Evidence]) -> Claim:
        notebook = measure.__module__.rpartition("notebook_")[2]
        return Claim(measure.__name__, notebook, kind, says, paper, instead, None if kind == REPORTED else measure)

    return make


def notebooks() -> list[str]:
    """The numbers of the notebooks with claims.

    >>> "03" in notebooks()
    True
    """
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.removeprefix("notebook_") for name in names if name.startswith("notebook_"))


def claims_of(notebook: str) -> list[Claim]:
    """The claims of one notebook, in order.

    >>> claims_of("03")[0].says
    'One layer of linear attention is one step of gradient descent.'
    """
    if notebook not in notebooks():
        raise ValueError(f"notebook: expected one of {', '.join(notebooks())}, got {notebook!r}.")
    module = importlib.import_module(f"{__name__}.notebook_{notebook}")
    return [each for each in vars(module).values() if isinstance(each, Claim)]


def all_claims() -> list[Claim]:
    """The claims of all notebooks, from first to last."""
    return [each for notebook in notebooks() for each in claims_of(notebook)]


# --- what came of it --------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A claim after it was measured."""

    claim: Claim
    evidence: Evidence | None
    verdict: str

    def says(self) -> str:
        """The sentence; and the form that holds, if it does not hold as it is stated."""
        return self.claim.says + (f" Instead: {self.claim.instead}" if self.verdict == RESTATED else "")

    def ours(self) -> str:
        """What was measured, in a few words; a claim that holds without a control is marked."""
        if self.evidence is None:
            return "–"
        parts = [str(self.evidence.stated.ours)]
        if self.verdict == RESTATED:
            parts = [f"as stated {parts[0]}", f"instead {self.evidence.restated.ours}"]
        if self.evidence.control is not None:
            parts.append(f"control {self.evidence.control}")
        elif self.verdict == HOLDS and self.evidence.beyond is None:
            parts.append("no control")
        if self.evidence.beyond is not None:
            parts.append(f"beyond it {self.evidence.beyond.ours}")
        return "; ".join(parts)

    def line(self, robust: str = "–") -> Line:
        """The row in words, as the shipped table has it."""
        c = self.claim
        return Line(c.notebook, c.name, c.kind, self.says(), c.paper, self.ours(), self.verdict, robust)


def row(claim: Claim, *, shift: int = 0) -> Row:
    """Measures a claim, and judges; `shift` moves the seeds of its prompts, if it has any."""
    evidence = claim.measure(**({"shift": shift} if _can_shift(claim) else {})) if claim.measure else None
    return Row(claim, evidence, judge(evidence))


def _can_shift(claim: Claim) -> bool:
    return claim.measure is not None and "shift" in inspect.signature(claim.measure).parameters


def line(notebook: str, name: str, draws: int = 1) -> Line:
    """The line of the table for one claim, by its names: so a pool of processes can be asked for it. It is measured for
    several draws of its prompts, if it has any, and `robust` says in how many of them the verdict is that of the first.

    >>> line("03", "one_layer_is_one_step").verdict
    'holds'
    """
    (claim,) = [each for each in claims_of(notebook) if each.name == name]
    first = row(claim)
    if not _can_shift(claim):
        return first.line()
    same = sum(row(claim, shift=shift).verdict == first.verdict for shift in range(1, draws))
    return first.line(f"{1 + same} of {draws}")


def table(claims: Iterable[Claim]) -> list[Row]:
    """Measures all of the claims, and judges."""
    return [row(each) for each in progress.through(claims, "claims")]


def show(*claims: Claim) -> None:
    """Measures the claims where a notebook speaks of them, and prints the sentence, the numbers and the verdict.

    >>> from helpers.verdicts import notebook_03
    >>> show(notebook_03.one_layer_is_one_step)
    ● One layer of linear attention is one step of gradient descent.
      round-off; control 0.99: holds
    """
    for each in claims:
        found = row(each)
        print(f"{each.kind[0]} {found.says()}\n  {found.ours()}: {found.verdict}")
