"""Checks for the exercises of notebook 06: depth and curvature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from helpers import checks, constructions, tasks
from helpers.exercises import ask, number_verdict, verdict

ETAS, GAMMAS = [0.9, 0.4, 1.3], [0.1, 0.25, 0.05]  # of the three layers that the check builds


def check_step(answer: Callable, degree: int) -> None:
    """Notebook 06, exercise 1: `answer(rho, s, a, gamma)` is one layer of GD++ on polynomials in h, and `degree` that
    of rho after four layers. Three layers are held against attention layers, on prompts with one input coordinate.

    >>> check_step(lambda rho, s, a, gamma: None, 40)
    Not yet: the function returns nothing. Replace the dots.
    """
    rho = s = np.polynomial.Polynomial([1.0])
    for eta, gamma in zip(ETAS, GAMMAS, strict=True):
        pair = ask(answer, rho, s, eta / 4, gamma)
        if pair is None:
            return
        if not (isinstance(pair, tuple) and all(isinstance(each, np.polynomial.Polynomial) for each in pair)):
            return print(f"Not yet: expected a pair of polynomials, got {type(pair).__name__}.")
        if len(pair) != 2:
            return print(f"Not yet: expected two polynomials, rho and s, got {len(pair)}.")
        rho, s = pair
    prompt = tasks.linear_regression(B=16, N=4, d_x=1, inputs="uniform", seed=61)
    layers = [constructions.gd_pp_step(eta, gamma, N=4, d_x=1) for eta, gamma in zip(ETAS, GAMMAS, strict=True)]
    wanted = constructions.learner(layers)(*prompt.shown)
    left = torch.tensor(rho(prompt.x.square().sum(dim=(1, 2)).numpy()))
    said = (1 - left)[:, None] * prompt.y_query  # the true label, less what is left of the error
    if (said - wanted).abs().max() > 1e-9:
        return verdict(said, wanted, "the layer sees h s^2, with s as it was before the layer, in both lines.")
    number_verdict(degree, (3**4 - 1) // 2, "run your function four times, and ask rho for its degree().", tolerance=0)


def check_roundest(answer: Callable[[float, float], float]) -> None:
    """Notebook 06, exercise 2: `answer(low, high)` is the gamma that makes the eigenvalues h (1 - gamma h)^2 most
    alike, for h from low to high. Held against a search over gammas.

    >>> check_roundest(lambda low, high: 1 / (low + high))
    Not yet: for the range 0.666 to 10.845 another gamma leaves rounder data. Hint: look at the images of both ends.
    """
    for low, high in [(0.666, 10.845), (0.1, 7.7), (2.0, 3.0), (1.0, 50.0)]:
        gamma = _number(answer, low, high)
        if gamma is None:
            return
        h = np.geomspace(low, high, 2001)

        def kappa(gamma, low=low, high=high, h=h):
            image = h * (1 - gamma * h) ** 2
            return np.inf if low <= 1 / gamma <= high else image.max() / image.min()

        others = np.linspace(0.02 / high, 0.999 / high, 4000)
        if gamma <= 0 or kappa(gamma) > 1.0001 * min(kappa(other) for other in others):
            where = f"for the range {low:g} to {high:g} another gamma leaves rounder data."
            return print(f"Not yet: {where} Hint: look at the images of both ends.")
    print("✔ Right, on each of the four ranges that the check tried.")


def check_critical(answer: Callable[[float, int, float], float]) -> None:
    """Notebook 06, exercise 3: `answer(h_max, N, eta)` is the dampening beyond which a prompt diverges.

    >>> check_critical(lambda h_max, N, eta: N / (eta * h_max))
    Not yet: the largest difference is 0.67. Hint: the error of a repeat may turn its sign, as long as it does not grow.
    """
    cases = [(4.6, 10, 200 / 33), (4.22, 10, 200 / 33), (9.0, 25, 8.0), (3.0, 40, 20.0)]
    said = [_number(answer, *case) for case in cases]
    if None not in said:
        wanted = torch.tensor([2 * N / (eta * h) for h, N, eta in cases], dtype=torch.float64)
        hint = "the error of a repeat may turn its sign, as long as it does not grow."
        verdict(torch.tensor(said, dtype=torch.float64), wanted, hint, digits=6)


def _number(answer, *arguments) -> float | None:
    said = ask(answer, *arguments)
    if said is None:
        return None
    try:
        return float(checks.number("answer", said))
    except (TypeError, ValueError):
        print(f"Not yet: expected one finite number, got {said!r}.")
        return None
