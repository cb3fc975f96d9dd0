"""The checks of notebook 05 accept right answers in any form, and refuse the ones that one might give."""

import numpy as np
import pytest
import torch

from helpers.exercises import notebook_05 as exercises
from helpers.theory import population


def half_time(r, N, d_x, sigma, *, rate=2.0, noise=1, start=None, minus=1):
    p_end, p_start = N / (N + d_x + 1 + noise * sigma**2), r**2 / d_x**0.5 if start is None else start(r)
    return float(np.log(p_end / p_start - minus)) / (rate * d_x**0.5)


def beta_fix(layer, *, fix=True):
    beta = (layer.W_K.T @ layer.W_Q)[:-1, :-1].diagonal().mean() if fix else 1.0
    return beta * (layer.P @ layer.W_V)[-1, -1]


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def test_right_answers_are_accepted(capsys):
    assert said(capsys, exercises.check_half_time, half_time).startswith("✔ Right")
    assert said(capsys, exercises.check_half_time, lambda *a: torch.tensor(half_time(*a))).startswith("✔ Right")
    assert said(capsys, exercises.check_minus_eta_over_N, beta_fix).startswith("✔ Right")
    by_trace = lambda layer: -population.learned_step(layer, 1)  # noqa: E731  eta/N for N = 1
    assert said(capsys, exercises.check_minus_eta_over_N, by_trace).startswith("✔ Right")
    assert said(capsys, exercises.check_beta_of_no_use, 5.828).startswith("✔ Right")


@pytest.mark.parametrize(
    "check, answer",
    [
        (exercises.check_half_time, lambda *a: half_time(*a, rate=1.0)),
        (exercises.check_half_time, lambda *a: half_time(*a, noise=0)),
        (exercises.check_half_time, lambda *a: half_time(*a, minus=0)),
        (exercises.check_half_time, lambda *a: half_time(*a, start=lambda r: r**2)),
        (exercises.check_half_time, lambda *a: half_time(*a, start=lambda r: r)),
        (exercises.check_half_time, lambda *a: "soon"),
        (exercises.check_half_time, lambda r: r),
        (exercises.check_minus_eta_over_N, lambda layer: beta_fix(layer, fix=False)),
        (exercises.check_minus_eta_over_N, lambda layer: -beta_fix(layer)),
        (exercises.check_minus_eta_over_N, lambda layer: layer.W_V[-1, -1]),
        (exercises.check_minus_eta_over_N, lambda layer: -0.606),
        (exercises.check_minus_eta_over_N, lambda layer: layer.W_V),
        (exercises.check_minus_eta_over_N, lambda layer: float("nan")),
        (exercises.check_beta_of_no_use, 3 - 2 * 2**0.5),
        (exercises.check_beta_of_no_use, 5),
        (exercises.check_beta_of_no_use, "a lot"),
        (exercises.check_beta_of_no_use, None),
    ],
)
def test_wrong_answers_are_refused_in_words(capsys, check, answer):
    assert said(capsys, check, answer).startswith("Not yet")
