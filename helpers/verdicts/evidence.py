"""What a claim rests on: numbers with intervals, the bounds they must keep, the control that must not do as well."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

HOLDS = "holds"
RESTATED = "not as stated; another form holds"
FAILS = "does not reproduce here"
ARTEFACT = "artefact"
UNDECIDED = "undecided by its control"
UNCHECKED = "not checkable here"
VERDICTS = (HOLDS, RESTATED, ARTEFACT, UNDECIDED, FAILS, UNCHECKED)

ROUNDOFF = 1e-12  # an identity must hold to this, in float64


# --- numbers ----------------------------------------------------------------------------------------------------


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


def _short(value: float) -> str:
    """Two digits that count, and no more."""
    if value == 0 or 9.95 <= abs(value) < 1e6:
        said = f"{value:,.0f}"
    else:
        said = f"{value:#.2g}"
    return said.replace("-", "−").removeprefix("−" if value == 0 else "")


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
    if len(values) < 2:
        raise ValueError(f"values: expected at least two, got {len(values)}: one prompt has no interval.")
    mean, error = values.mean().item(), values.std().item() / len(values) ** 0.5
    return Number(mean, mean - 2 * error, mean + 2 * error, f"n = {len(values):,}")


def over_seeds(values: Iterable[float]) -> Number:
    """The mean over seeds, from the smallest to the largest.

    >>> print(over_seeds([0.1, 0.2, 0.3]))
    0.20 [0.10, 0.30], 3 seeds
    """
    values = [float(value) for value in values]
    return Number(sum(values) / len(values), min(values), max(values), f"{len(values)} seeds")


def over_models_and_prompts(values: Tensor, over: Tensor | None = None) -> Number:
    """The mean of values (M, B), one for each model and prompt, with a two-way bootstrap interval of 95 %.

    Models and prompts are drawn independently of each other, with replacement, 1,000 times (seed 0), since all models
    answer the same prompts: neither the values of one model nor those of one prompt are independent (the "pigeonhole
    bootstrap", Owen 2007). With `over`, the mean of the values over the mean of those, drawn alike: a ratio of two mean
    errors. Either of the two may be (1, B), for a learner that is no trained model.

    Of three models the lowest is drawn three times in one of 27 cases, so the interval goes from the lowest model to
    the highest, and further by what the prompts add. Where models differ more than prompts, it covers as a range of
    three does: 3 times in 4, not 95 in 100.

    >>> print(over_models_and_prompts(torch.ones(3, 5)), "|", over_models_and_prompts(torch.ones(1, 5), torch.ones(5)))
    1.0, 3 models x 5 prompts | 1.0, n = 5
    """
    M, B = torch.broadcast_shapes(values.shape, (1, 1) if over is None else over.shape)
    g = torch.Generator().manual_seed(0)
    models, prompts = (_times_drawn(n, g) for n in (M, B))

    def means(each: Tensor) -> Tensor:
        """The mean of every draw, and last that of all there is."""
        each = each.double().expand(M, B)
        return torch.cat([((models @ each) * prompts).sum(1) / (M * B), each.mean()[None]])

    drawn = means(values) if over is None else means(values) / means(over)
    low, high = (torch.quantile(drawn[:-1], end).item() for end in (0.025, 0.975))
    how = f"{M} models x {B:,} prompts" if M > 1 else f"n = {B:,}"
    return Number(drawn[-1].item(), low, high, how)


def _times_drawn(n: int, g: torch.Generator, draws: int = 1000) -> Tensor:
    """How often each of n things comes up when n are drawn with replacement (draws, n)."""
    drawn = torch.randint(n, (draws, n), generator=g)
    return torch.zeros(draws, n, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(draws, n, dtype=torch.float64))


# --- evidence ---------------------------------------------------------------------------------------------------


class Bounds(NamedTuple):
    """A number, and the bounds between which all of its interval must lie."""

    ours: Number
    at_least: float = -math.inf
    at_most: float = math.inf

    def passes(self) -> bool:
        """All of the interval lies within the bounds; NaN never does.

        >>> Bounds(number(0.5), at_least=0.3).passes(), Bounds(number(math.nan), at_least=0.3).passes()
        (True, False)
        """
        return self.at_least <= self.ours.low and self.ours.high <= self.at_most

    def excludes(self) -> bool:
        """All of the interval lies outside the bounds; NaN never does.

        >>> Bounds(Number(0.3, 0.2, 0.4), at_least=0.3).excludes()
        False
        """
        return self.ours.high < self.at_least or self.at_most < self.ours.low


class Evidence(NamedTuple):
    """What a claim rests on.

    - `stated`: the number of the claim as it is stated, and its bounds.
    - `restated`: the same for another form of the sentence, if the claim names one. It may be weaker, or the opposite.
    - `control`: the stated (or restated) number for something that must *not* do as well: an identity with a step size
      off by 10 %, an untrained network, a chance level, other demonstrations of the same task.
    - `beyond`: the paired difference to the control, ours minus its, prompt by prompt and model by model, and what it
      must at least (or at most) be: usually `Bounds(difference, at_least=0)`. With it the control may lie anywhere.
    """

    stated: Bounds
    restated: Bounds | None = None
    control: Number | None = None
    beyond: Bounds | None = None


def identity(gap: float, broken: float) -> Evidence:
    """Evidence for an identity: the gap is round-off, and that of a twin, broken on purpose, is not.

    >>> judge(identity(2e-16, broken=0.1)), judge(identity(0.1, broken=0.1)), judge(identity(2e-16, broken=0.0))
    ('holds', 'does not reproduce here', 'artefact')
    """
    return Evidence(Bounds(number(abs(gap)), at_most=ROUNDOFF), control=number(broken))


def judge(evidence: Evidence | None) -> str:
    """The verdict on a claim. As stated, if that passes; else in another form; and only if the control does worse.

    An artefact does no better than its control: the paired difference to it includes 0 (or, without pairs, the control
    keeps the bounds, too). Where the control's interval lies across a bound, or is NaN, nothing is decided.

    >>> low, high = number(1.0), number(2.0)
    >>> judge(None), judge(Evidence(Bounds(high, at_most=1.5), restated=Bounds(low, at_most=1.5)))
    ('not checkable here', 'not as stated; another form holds')
    >>> judge(Evidence(Bounds(low, at_most=1.5), control=Number(2.0, 1.0, 3.0)))
    'undecided by its control'
    >>> judge(Evidence(Bounds(high, at_least=1.5), control=high, beyond=Bounds(Number(0.0, -0.1, 0.1), at_least=0)))
    'artefact'
    """
    if evidence is None:
        return UNCHECKED
    for bounds, verdict in ((evidence.stated, HOLDS), (evidence.restated, RESTATED)):
        if bounds is not None and bounds.passes():
            return _against_control(bounds, evidence) or verdict
    return FAILS


def _against_control(bounds: Bounds, evidence: Evidence) -> str | None:
    """What is wrong with the control, if anything."""
    if evidence.beyond is not None:
        if math.isnan(evidence.beyond.ours.low + evidence.beyond.ours.high):
            return UNDECIDED
        return None if evidence.beyond.passes() else ARTEFACT
    if evidence.control is None:
        return None
    control = bounds._replace(ours=evidence.control)
    if control.passes():
        return ARTEFACT
    return None if control.excludes() else UNDECIDED
