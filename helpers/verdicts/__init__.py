"""Which of the series' claims hold? Each is measured anew, and the verdict is a comparison that code makes.

A claim is a function that measures: `measure() -> Evidence`. There is one module for each notebook, with the claims of
that notebook from first to last; they call the modules and the trained models that the notebook calls. A number that is
wrong changes the verdict, and nothing else does.
"""

from __future__ import annotations

import html
import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor

from helpers import progress

EXACT, MEASURED, REPORTED = "● exact", "◐ measured here", "○ reported"

HOLDS = "holds"
RESTATED = "not as stated; another form holds"
FAILS = "does not reproduce here"
ARTEFACT = "artefact"
UNCHECKED = "not checkable here"
VERDICTS = (HOLDS, RESTATED, ARTEFACT, FAILS, UNCHECKED)

ROUNDOFF = 1e-12  # an identity must hold to this, in float64


# --- what is measured -----------------------------------------------------------------------------------------


class Number(NamedTuple):
    """A number of ours, the interval it lies in, and how that was got, such as "3 seeds"."""

    value: float
    low: float
    high: float
    how: str = ""

    def __str__(self) -> str:
        how = f", {self.how}" if self.how else ""
        if max(abs(self.low), abs(self.high)) < ROUNDOFF and (self.value or not how):
            return "round-off" + how
        interval = f" [{_short(self.low)}, {_short(self.high)}]" if self.low < self.high else ""
        return _short(self.value) + interval + how


def number(value: float, how: str = "") -> Number:
    """One number without an interval: a gap between two computations, a closed form, a rank.

    >>> print(number(0.206229), "|", number(3e-16))
    0.21 | round-off
    """
    return Number(float(value), float(value), float(value), how)


def over_prompts(values: Tensor) -> Number:
    """The mean over prompts, with two standard errors to each side.

    >>> print(over_prompts(Tensor([1.0, 2.0, 3.0, 4.0])))
    2.5 [1.2, 3.8], n = 4
    """
    values = values.flatten().double()
    mean, error = values.mean().item(), values.std().item() / len(values) ** 0.5
    return Number(mean, mean - 2 * error, mean + 2 * error, f"n = {len(values):,}")


def over_seeds(values: Iterable[float]) -> Number:
    """The mean over seeds, from the smallest to the largest.

    >>> print(over_seeds([0.1, 0.2, 0.3]))
    0.20 [0.10, 0.30], 3 seeds
    """
    values = [float(value) for value in values]
    return Number(sum(values) / len(values), min(values), max(values), f"{len(values)} seeds")


class Bounds(NamedTuple):
    """A number, and the bounds between which all of its interval must lie."""

    ours: Number
    at_least: float = -math.inf
    at_most: float = math.inf

    def passes(self) -> bool:
        return self.at_least <= self.ours.low and self.ours.high <= self.at_most  # False for NaN


class Evidence(NamedTuple):
    """What a claim rests on.

    - `stated`: the test of the claim as it is stated.
    - `restated`: the test of another form of the sentence, if the claim names one. It may be weaker, or the opposite.
    - `control`: the same number for something that must *not* pass: an identity with a step size off by 10 %, an
      untrained network, a chance level. If it passes, too, the test shows nothing.
    """

    stated: Bounds
    restated: Bounds | None = None
    control: Number | None = None


def identity(gap: float, broken: float) -> Evidence:
    """Evidence for an identity: the gap is round-off, and that of a twin, broken on purpose, is not.

    >>> judge(identity(2e-16, broken=0.1)), judge(identity(0.1, broken=0.1)), judge(identity(2e-16, broken=0.0))
    ('holds', 'does not reproduce here', 'artefact')
    """
    return Evidence(Bounds(number(gap), at_most=ROUNDOFF), control=number(broken))


# --- what is claimed ------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """A sentence, where it is shown, what its source says, and the function that measures; None if we cannot."""

    name: str
    notebook: str
    kind: str
    says: str
    paper: str
    instead: str
    measure: Callable[[], Evidence] | None


def claim(kind: str, says: str, *, paper: str = "", instead: str = "") -> Callable[[Callable], Claim]:
    """Makes a claim of the function below it. A reported claim is not measured: its function is never called.

    >>> @claim(EXACT, "Twice two is four.", paper="everybody")
    ... def twice_two_is_four():
    ...     return identity(2 * 2 - 4, broken=2 * 2.2 - 4)
    >>> twice_two_is_four.name, judge(twice_two_is_four.measure())
    ('twice_two_is_four', 'holds')
    """
    if kind not in (EXACT, MEASURED, REPORTED):
        raise ValueError(f"kind: expected one of {EXACT}, {MEASURED}, {REPORTED}, got {kind!r}.")

    def make(measure: Callable[[], Evidence]) -> Claim:
        notebook = measure.__module__.rpartition("notebook_")[2]
        return Claim(measure.__name__, notebook, kind, says, paper, instead, None if kind == REPORTED else measure)

    return make


def notebooks() -> list[str]:
    """The numbers of the notebooks with claims.

    >>> "03" in notebooks()
    True
    """
    return sorted(module.name.removeprefix("notebook_") for module in pkgutil.iter_modules(__path__))


def claims_of(notebook: str) -> list[Claim]:
    """The claims of one notebook, in order.

    >>> claims_of("03")[0].says
    'One layer of linear attention is one step of gradient descent.'
    """
    if notebook not in notebooks():
        raise ValueError(f"notebook: expected one of {', '.join(notebooks())}, got {notebook!r}.")
    module = importlib.import_module(f"{__name__}.notebook_{notebook}")
    return [each for each in vars(module).values() if isinstance(each, Claim)]


# --- the verdict ----------------------------------------------------------------------------------------------


def judge(evidence: Evidence | None) -> str:
    """The verdict on a claim. As stated, if that passes; else in another form; an artefact, if the control passes, too.

    >>> low, high = number(1.0), number(2.0)
    >>> judge(None), judge(Evidence(Bounds(high, at_most=1.5), restated=Bounds(low, at_most=1.5)))
    ('not checkable here', 'not as stated; another form holds')
    """
    if evidence is None:
        return UNCHECKED
    for test, verdict in ((evidence.stated, HOLDS), (evidence.restated, RESTATED)):
        if test is not None and test.passes():
            fooled = evidence.control is not None and test._replace(ours=evidence.control).passes()
            return ARTEFACT if fooled else verdict
    return FAILS


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
        elif self.verdict == HOLDS:
            parts.append("no control")
        return "; ".join(parts)


def table(claims: Iterable[Claim]) -> list[Row]:
    """Measures all of the claims, and judges."""
    rows = []
    for each in progress.through(claims, "claims"):
        evidence = each.measure() if each.measure else None
        rows.append(Row(each, evidence, judge(evidence)))
    return rows


def as_html(rows: Iterable[Row]) -> str:
    """The rows as a table in HTML, with a line before each notebook's.

    >>> as_html([Row(claims_of("03")[0], None, UNCHECKED)]).count("<tr>")
    3
    """
    lines, notebook = ["<tr>" + "".join(f"<th>{head}</th>" for head in HEADS) + "</tr>"], None
    for row in rows:
        if row.claim.notebook != notebook:
            notebook = row.claim.notebook
            lines.append(f'<tr><th colspan="{len(HEADS)}">Notebook {html.escape(notebook)}</th></tr>')
        cells = [row.claim.kind[0], row.says(), row.claim.paper or "–", row.ours(), row.verdict]
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


HEADS = ("kind", "claim", "source and its number", "ours", "verdict")


def _short(value: float) -> str:
    """Two digits that count, and no more."""
    if value == 0 or 10 <= abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:#.2g}".replace("-", "−", value < 0)
