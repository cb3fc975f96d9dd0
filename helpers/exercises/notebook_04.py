"""Checks for the exercises of notebook 04: the best single step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks, constructions, tasks
from helpers.attention import Layer
from helpers.exercises import ask, number_verdict, verdict
from helpers.theory import closed_forms


def check_best_step(eta: float, error: float) -> None:
    """Notebook 04, exercise 1: best step and its excess for Gaussian inputs, d_x = 8, N = 16, noise^2 = 0.25.

    >>> check_best_step(16 / 25, 2.88)
    Not yet: 0.64 is not it. Hint: for eta, what does the noise change in section 1?
    """
    if eta is ... or error is ...:
        return print("Not yet: replace the dots by your two numbers.")
    best = closed_forms.best_step(16, 8, noise=0.5)
    if not _close(eta, best):
        return number_verdict(eta, best, "for eta, what does the noise change in section 1?")
    lowest = closed_forms.gd_excess(best, 16, 8, noise=0.5)
    number_verdict(error, lowest, "eta is right. The excess has no factor 1/2, and the query has no noise.")


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


def check_preconditioned(answer: Callable[[Tensor, int], tuple]) -> None:
    """Notebook 04, exercise 4: `answer(A, N)` is (W_Q, W_K, W_V, P), which answer x_q^T A (1/N) sum_i y_i x_i.

    >>> check_preconditioned(lambda A, N: (...,) * 4)
    Not yet: expected four matrices W_Q, W_K, W_V, P in float64. Replace the dots.
    """
    p = tasks.linear_regression(B=64, N=9, d_x=3, seed=41)
    A = torch.randn(3, 3, generator=torch.Generator().manual_seed(42), dtype=torch.float64)
    said = ask(answer, A.clone(), 9)
    if said is None:
        return
    try:
        layer = Layer(*said)
        y_hat = constructions.learner([layer])(*p.shown)[:, 0]
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        dots = "Replace the dots." if isinstance(said, tuple) and ... in said else f"{type(error).__name__}: {error}"
        return print(f"Not yet: expected four matrices W_Q, W_K, W_V, P in float64. {dots}")
    moment = (p.x * p.y).mean(1)
    right, transposed = ((p.x_query @ matrix * moment).sum(1) for matrix in (A, A.mT))
    hint = "compare with constructions.gd_step(1.0, N, d_x), block by block."
    for wrong, what in _slips(right, transposed):
        if torch.allclose(y_hat, wrong, rtol=0, atol=1e-9):
            hint = what
    verdict(y_hat, right, hint)


def _slips(right: Tensor, transposed: Tensor) -> list[tuple[Tensor, str]]:
    return [
        (transposed, "it answers x_q^T A^T (1/N) sum y_i x_i: through which of the matrices does the query pass?"),
        (-right, "the sign: a prediction is minus the query's label slot."),
        (9 * right, "the scale: where is the mean over the N examples?"),
        (torch.zeros_like(right), "it always answers 0: which row of P W_V writes into the label slot?"),
    ]


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
