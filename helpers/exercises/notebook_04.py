"""Checks for the exercises of notebook 04: the best single step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from helpers import checks
from helpers.exercises import ask, number_verdict, verdict
from helpers.theory import closed_forms


def check_best_step(eta: float, error: float) -> None:
    """Notebook 04, exercise 1: best step and its excess for Gaussian inputs, d_x = 8, N = 16, noise^2 = 0.25.

    >>> check_best_step(16 / 25, 2.88)
    Not yet: 0.64 is not it. Hint: for eta, the noise counts in c as well.
    """
    best = closed_forms.best_step(16, 8, noise=0.5)
    if not _close(eta, best):
        return number_verdict(eta, best, "for eta, the noise counts in c as well.")
    lowest = closed_forms.gd_excess(best, 16, 8, noise=0.5)
    number_verdict(error, lowest, "eta is right. The excess is d_x c/(N + c), with no factor 1/2.")


def check_half_loss(answer: Callable[[float, int, int], float]) -> None:
    """Notebook 04, exercise 2: `answer(a, N, d_x)` is half the excess of the best step for inputs uniform on (-a, a).

    >>> check_half_loss(lambda a, N, d_x: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    settings = [(0.5, 10, 10), (1.0, 10, 10), (0.5, 25, 10), (2.0, 3, 7), (0.1, 40, 1)]
    expected = []
    for a, N, d_x in settings:  # U(-1/2, 1/2) is the law of the series; stretching it by 2a gives (2a)^2 the error
        best = closed_forms.best_step(N, d_x, inputs="uniform")
        expected.append((2 * a) ** 2 * closed_forms.gd_excess(best, N, d_x, inputs="uniform") / 2)
    _check_numbers(answer, settings, expected, "variance a^2/3, kurtosis 9/5, no noise; and half of the squared error.")


def check_relu_step(answer: Callable[[int, int], float]) -> None:
    """Notebook 04, exercise 3: `answer(N, d_x)` is the best step when y = ReLU(w^T x).

    >>> check_relu_step(lambda N, d_x: N / (N + d_x + 1))        # doctest: +ELLIPSIS
    Not yet: the largest difference is ... Hint: ...
    """
    settings = [(20, 5), (1, 1), (7, 3), (100, 30)]
    expected = []
    for N, d_x in settings:
        same, other = (d_x + 2) / 2 / N, (1 - 1 / N) / 4  # E u^2 / d_x: pairs i = j, and the others
        expected.append(1 / 4 / (same + other))
    _check_numbers(answer, settings, expected, "E[y_q u] = d_x/4; in E[u^2] there are N terms with i = j.")


def _check_numbers(answer: Callable, settings: list[tuple], expected: list[float], hint: str) -> None:
    said = []
    for setting in settings:
        number = ask(answer, *setting)
        if number is None:
            return
        if not _is_number(number):
            return print(f"Not yet: expected one finite number, got {number!r}. Hint: {hint}")
        said.append(float(number))
    verdict(torch.tensor(said, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), hint)


def _close(answer, expected: float) -> bool:
    return _is_number(answer) and abs(float(answer) - expected) <= 1e-3 * expected


def _is_number(answer) -> bool:
    try:
        checks.number("answer", answer)
    except ValueError:
        return False
    return True
