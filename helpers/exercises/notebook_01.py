"""Checks for the exercises of notebook 01: what in-context learning is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks, learners, tasks
from helpers.exercises import ask, fits, verdict
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


def check_look_up(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 01, exercise 2: `answer(x, y, x_query, W)` is what the stored task w_m in W (M, d_x) that fits the
    context best says to the query. Shape (B, 1).

    >>> check_look_up(lambda x, y, x_query, W: (W[0] * x_query).sum(1, keepdim=True))    # doctest: +ELLIPSIS
    Not yet: the largest difference is ... Hint: ...
    """
    p = tasks.linear_regression(B=8, N=5, d_x=4, noise=0.6, seed=22)
    W = torch.randn(40, 4, generator=torch.Generator().manual_seed(22), dtype=torch.float64)
    expected = []
    for x, y, x_query in zip(*p.shown, strict=True):
        misfit = [sum((y_i - w @ x_i) ** 2 for x_i, y_i in zip(x, y[:, 0], strict=True)) for w in W]
        expected.append(W[misfit.index(min(misfit))] @ x_query)
    said = ask(answer, *p.shown, W)
    if said is not None and fits(said, p.y_query.shape):
        verdict(said, torch.stack(expected)[:, None], "one stored task a prompt, chosen by all of its examples.")


def check_averaging_pays_from(answer: Callable[[int, float], int]) -> None:
    """Notebook 01, exercise 3: from this N on averaging beats answering 0; for several d and noises.

    >>> check_averaging_pays_from(lambda d, noise: d + 2)
    Not yet: for d = 5, noise = 1.5 the answer 7 is not it. Hint: what does noise add to the excess?
    """

    def excess(N: int, d: int, noise: float) -> float:
        return closed_forms.gd_excess(1.0, N, d, noise=noise)

    _check_from(answer, excess, "what does noise add to the excess?")


def check_least_squares_pays_from(answer: Callable[[int, float], int]) -> None:
    """Notebook 01, exercise 4: from this N > d + 1 on least squares beats answering 0; for several d and noises.

    >>> check_least_squares_pays_from(lambda d, noise: d + 2)
    Not yet: for d = 5, noise = 1.5 the answer 7 is not it. Hint: which side of the peak, and is the noise squared?
    """

    def excess(N: int, d: int, noise: float) -> float:
        return closed_forms.least_squares_excess(N, d, noise=noise) if N > d + 1 else float("inf")

    _check_from(answer, excess, "which side of the peak, and is the noise squared?")


def _check_from(answer, excess, hint: str) -> None:
    """Whether `answer(d, noise)` is the smallest N at which the excess is below d, that of always answering 0."""
    for d, noise in [(5, 0.0), (5, 1.5), (20, 0.5), (12, 2.0), (30, 3.1)]:
        said = ask(answer, d, noise)
        if said is None:
            return
        try:
            said = checks.number("answer", said)
        except (TypeError, ValueError):
            return print(f"Not yet: expected one finite number, got {said!r}.")
        if said != next(N for N in range(1, 200) if excess(N, d, noise) < d - 1e-9):
            return print(f"Not yet: for d = {d}, noise = {noise} the answer {said:g} is not it. Hint: {hint}")
    print("✔ Right, for all five pairs of d and noise that were tried.")
