"""Checks for the exercises of notebook 01: what in-context learning is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from helpers import learners, tasks
from helpers.exercises import ask, fits, number_verdict, verdict
from helpers.theory import closed_forms


def check_averaging(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 01, exercise 1: averaging is one gradient step of size 1.

    >>> check_averaging(lambda x, y, x_query: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    p = tasks.linear_regression(B=8, N=11, d_x=4, noise=0.3, seed=21)
    said = ask(answer, p.x, p.y, p.x_query)
    if said is not None and fits(said, p.y_query.shape):
        hint = "the mean over the examples of y_i x_i, then its product with x_query; nothing else."
        verdict(said, learners.gd(*p.shown, eta=1.0), hint)


def check_smallest_N(answer: int) -> None:
    """Notebook 01, exercise 2: from this N on averaging beats answering 0, for d = 20 without noise.

    >>> check_smallest_N(20)
    Not yet: 20 is not it. Hint: (d + 1)/N must be below 1, and N is a whole number.
    """
    better = (N for N in range(1, 100) if closed_forms.gd_excess(1.0, N, 20) < 20)
    number_verdict(answer, next(better), "(d + 1)/N must be below 1, and N is a whole number.")


def check_excess_without_noise(answer: float) -> None:
    """Notebook 01, exercise 3: least squares with d = 20, N = 10 and no noise.

    >>> check_excess_without_noise(0.5)
    Not yet: 0.5 is not it. Hint: count the directions that no input points to; not over d.
    """
    hint = "count the directions that no input points to; not over d."
    number_verdict(answer, closed_forms.least_squares_excess(10, 20), hint)


def check_excess_with_noise(answer: float) -> None:
    """Notebook 01, exercise 4: least squares with d = 20, N = 40 and noise^2 = 0.25.

    >>> check_excess_with_noise(0.5 * 20 / 19)
    Not yet: 0.526316 is not it. Hint: noise^2 d/(N - d - 1), where 0.25 is the square already.
    """
    hint = "noise^2 d/(N - d - 1), where 0.25 is the square already."
    number_verdict(answer, closed_forms.least_squares_excess(40, 20, noise=0.5), hint)
