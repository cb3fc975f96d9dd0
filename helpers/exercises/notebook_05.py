"""Checks for the exercises of notebook 05: training finds it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from helpers import checks, constructions
from helpers.attention import Layer
from helpers.exercises import ask, number_verdict
from helpers.theory import closed_forms, flow, population

SETTINGS = [(0.01, 10, 10, 0.0), (0.01, 2, 5, 5.0), (0.5, 4, 20, 0.5)]  # start r, N, d_x, noise; the last is not tiny
HIDDEN = [(10, 10, "uniform", 0.0, -2.5), (20, 5, "gaussian", 0.5, 0.3), (8, 3, "rademacher", 0.0, 4.0)]


def check_half_time(answer: Callable[[float, int, int, float], float]) -> None:
    """Notebook 05, exercise 1: `answer(r, N, d_x, sigma)` is the time at which gradient flow has learned half of its
    step size. The check follows the flow itself, in small steps. One of its starts is not tiny.

    >>> check_half_time(lambda r, N, d_x, sigma: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    hint = "p grows by a logistic law: where does it start, where does it end, what is its rate, and is the start tiny?"
    said, expected = [], []
    for r, N, d_x, sigma in SETTINGS:
        said.append(ask(answer, r, N, d_x, sigma))
        if said[-1] is None:
            return
        start = flow.balanced(r, d_x)
        path = flow.follow([1.0] * d_x, N, start, until=3 * flow.half_time(r, N, d_x, noise=sigma), noise=sigma)
        expected.append(path.half_time())
    _one_verdict(said, expected, hint, tolerance=0.005)


def check_minus_eta_over_N(answer: Callable[[Layer], float]) -> None:
    """Notebook 05, exercise 2: `answer(layer)` is -eta/N of a trained layer that was moved to a random gauge.

    >>> check_minus_eta_over_N(lambda layer: 0.6)                        # doctest: +ELLIPSIS
    Not yet: 0.6 is not it. Hint: ...
    """
    generator, said, expected = torch.Generator().manual_seed(75), [], []
    for N, d_x, inputs, noise, scale in HIDDEN:
        layer = population.train(N, d_x, inputs=inputs, noise=noise, seed=75).layer
        R, R_v = (torch.randn(d_x + 1, d_x + 1, generator=generator, dtype=torch.float64) for _ in range(2))
        said.append(ask(answer, constructions.change_gauge(layer, R, R_v, scale)))
        if said[-1] is None:
            return
        expected.append(-closed_forms.best_step(N, d_x, inputs=inputs, noise=noise) / N)
    _one_verdict(said, expected, "look at W_K^T W_Q and P W_V; the mean of the diagonal of the first fixes beta.", 0.01)


def check_beta_of_no_use(answer: float) -> None:
    """Notebook 05, exercise 3: the gauge factor from which on the average of two equal steps is of no use.

    >>> check_beta_of_no_use(5.0)
    Not yet: 5 is not it. Hint: at which other step size is the parabola as high as at 0?
    """
    if answer is None:
        return print("Not yet: replace None by your number.")
    number_verdict(answer, 3 + 2 * 2**0.5, "at which other step size is the parabola as high as at 0?")


def _one_verdict(said: list, expected: list[float], hint: str, tolerance: float) -> None:
    """A verdict on the first answer that is wrong; on the last one when none is."""
    for number, right in zip(said, expected, strict=True):
        try:
            good = abs(float(checks.number("answer", number)) - right) <= tolerance * abs(right)
        except (TypeError, ValueError):
            good = False
        if not good:
            break
    number_verdict(number, right, hint, tolerance=tolerance)
