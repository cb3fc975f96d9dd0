"""Checks for the exercises of notebook 06: depth and curvature."""

from __future__ import annotations

import math

from helpers.exercises import number_verdict

PAPERS_STEP = 120 / 19.8  # eta* for N = d_x = 10 and inputs from U(-1/2, 1/2)


def check_degree(answer: int) -> None:
    """Notebook 06, exercise 1: the degree of the error's polynomial after four layers of GD++.

    >>> check_degree(27)
    Not yet: 27 is not it. Hint: a layer takes the degree D to 3 D + 1, and before the first it is 0.
    """
    hint = "a layer takes the degree D to 3 D + 1, and before the first it is 0."
    number_verdict(answer, (3**4 - 1) // 2, hint, tolerance=1e-9)


def check_gamma(answer: float) -> None:
    """Notebook 06, exercise 2: the gamma that leaves the eigenvalues between 0.666 and 10.845 most alike.

    >>> check_gamma(1 / 10.845)                                          # doctest: +ELLIPSIS
    Not yet: 0.0922084 is not it. Hint: ...
    """
    low, high = 0.666, 10.845
    hint = "raise gamma until h (1 - gamma h)^2 is the same at both ends of the range; what is between them is larger."
    number_verdict(answer, 1 / (high + math.sqrt(high * low) + low), hint, tolerance=2e-3)


def check_dampening(answer: tuple[float, float]) -> None:
    """Notebook 06, exercise 3: the dampening beyond which a task whose largest eigenvalue of X X^T is 4.6 diverges,
    and the same for 4.22.

    >>> check_dampening(0.75)
    Not yet: expected two numbers, for 4.6 and for 4.22, got 0.75.
    """
    try:
        said = dict(zip((4.6, 4.22), answer, strict=True))
    except (TypeError, ValueError):
        return print(f"Not yet: expected two numbers, for 4.6 and for 4.22, got {answer!r}.")
    hint = "a repeat multiplies the error by 1 - dampening * eta * h / N; it diverges when this is below -1."
    exact = {h: 2 * 10 / (PAPERS_STEP * h) for h in said}
    wrong = [h for h in said if not _near(said[h], exact[h])]
    number_verdict(said[(wrong or [4.22])[0]], exact[(wrong or [4.22])[0]], hint, tolerance=5e-3)


def _near(answer, expected: float) -> bool:
    try:
        return abs(float(answer) - expected) <= 5e-3 * expected
    except (TypeError, ValueError):
        return False
