"""Claims D1 to D3, D6, D7, A5 and A6: the best single step, and what is frozen with it.

The closed forms of `helpers.closed_forms` alone are held in test_closed_forms.py.
"""

import math

import pytest
import torch
from sampling import NODES, agree, all_contexts, average_excess, differ, mean_and_error

from helpers import learners, tasks
from helpers.theory import closed_forms

EXACT = 1e-12


@pytest.mark.parametrize("inputs", NODES)
@pytest.mark.parametrize("N, d_x", [(1, 1), (3, 1), (1, 3), (2, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_parabola_is_exact(inputs, N, d_x, noise):
    """D1, to round-off, with the wrong kurtosis as the twin."""
    x, weights = all_contexts(N, d_x, inputs)
    s2, k4 = tasks.MOMENTS[inputs]
    I = torch.eye(d_x).double()
    for eta in (-0.5, 0.3 / s2, 2.0):
        exact = average_excess(eta * I, x, weights, s2 * I, I, noise)
        assert math.isclose(closed_forms.gd_excess(eta, N, d_x, inputs=inputs, noise=noise), exact, rel_tol=EXACT)
        other = next(law for law in NODES if law != inputs)  # its kurtosis, at this variance
        step, c = eta * s2, d_x + tasks.MOMENTS[other][1] - 2 + noise**2 / s2
        assert not math.isclose(s2 * d_x * (1 - 2 * step + step**2 * (N + c) / N), exact, rel_tol=1e-4)


# --- D1: numbers of the ledger, variances of inputs and tasks other than 1 -----------------------------------------

LEDGER = {  # N, d_x, inputs, factor of x, factor of w, noise^2: excess
    (10, 5, "gaussian", 1.0, 1.0, 0.0): 1.8750,
    (10, 5, "gaussian", 1.0, 1.0, 0.5): 1.9697,
    (10, 10, "gaussian", 1.0, 1.0, 0.0): 5.2381,
    (20, 5, "gaussian", 2.0**0.5, 0.5**0.5, 0.3): 1.1977,
    (10, 10, "uniform", 2.0, 1.0, 0.0): 1.6498,
    (25, 10, "uniform", 2.0, 1.0, 0.1): 0.9592,
}


@pytest.mark.parametrize("setting", LEDGER)
def test_factors_of_inputs_and_tasks_scale_out(setting):
    """x -> a x, w -> b w: noise is worth noise/(ab), eta* becomes eta*/a^2, the excess (ab)^2 times as large."""
    N, d_x, inputs, a, b, noise2 = setting
    law = {"inputs": inputs, "noise": noise2**0.5 / (a * b)}
    best = closed_forms.best_step(N, d_x, **law)
    formula = (a * b) ** 2 * closed_forms.gd_excess(best, N, d_x, **law)
    assert abs(formula - LEDGER[setting]) < 6e-5
    p = tasks.linear_regression(20_000, N, d_x, inputs=inputs, seed=60)
    e = tasks.linear_regression(20_000, N, 1, seed=61).x
    x, y, x_query, truth = a * p.x, a * b * p.y + noise2**0.5 * e, a * p.x_query, a * b * p.y_query
    assert agree(formula, (learners.gd(x, y, x_query, best / a**2) - truth).square())
    assert differ(formula, (learners.gd(x, y, x_query, 1.5 * best / a**2) - truth).square())


def test_the_best_step_can_lie_beyond_the_limit_of_repeated_steps():
    x = tasks.linear_regression(20_000, 10, 10, seed=62).x
    limit = 2 / torch.linalg.eigvalsh(x.mT @ x / 10)[:, -1]
    share = (closed_forms.best_step(10, 10) > limit).double().mean()
    assert abs(share - 0.066) < 4 * (0.066 / 20_000) ** 0.5


def test_one_step_is_far_from_the_bayes_optimal_ridge():
    """A5, at d_x = 10 and noise^2 = 0.25: exact (Monte Carlo over contexts), large-d form, one step."""
    for N, exact, large, step in [(5, 5.266, 5.228, 6.923), (10, 1.632, 1.461, 5.294), (20, 0.261, 0.238, 3.600)]:
        x = tasks.linear_regression(20_000, N, 10, seed=63).x
        traces = (0.25 / (torch.linalg.eigvalsh(x.mT @ x).clamp_min(0) + 0.25)).sum(1)
        mean, error = mean_and_error(traces)
        assert abs(mean - exact) < 4 * error + 5e-4
        assert abs(closed_forms.ridge_excess(N, 10, noise=0.5) - large) < 6e-4
        best = closed_forms.best_step(N, 10, noise=0.5)
        assert abs(closed_forms.gd_excess(best, N, 10, noise=0.5) - step) < 6e-4
    assert step / mean > 13


# --- D3, D6, D7: what is frozen ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha, half_loss", [(0.5, 0.0812), (1.0, 0.2062), (1.5, 1.204), (2.0, 8.40)])
def test_the_error_is_a_polynomial_in_the_scale_of_the_inputs(alpha, half_loss):
    """D3, inputs uniform on (-alpha/2, alpha/2), a step made for alpha = 1."""
    eta = 120 / 19.8
    s2 = alpha**2 / 12
    polynomial = 10 * s2 / 2 * (1 - 2 * eta * s2 + eta**2 * s2**2 * (10 + 10 - 0.2) / 10)
    assert abs(polynomial / half_loss - 1) < 1e-3
    by_closed_form = alpha**2 * closed_forms.gd_excess(eta * alpha**2, 10, 10, inputs="uniform") / 2
    assert math.isclose(by_closed_form, polynomial, rel_tol=EXACT)
    p = tasks.linear_regression(40_000, 10, 10, inputs="uniform", seed=64)
    x, y, x_query, truth = (alpha * part for part in p[:4])
    errors = (learners.gd(x, y, x_query, eta) - truth).square() / 2
    assert agree(polynomial, errors)
    assert alpha == 1 or differ(alpha**2 * 0.206229, errors)  # the twin: as if the step adapted


def test_scaling_the_targets_scales_the_error_by_the_square_and_nothing_else():
    p = tasks.linear_regression(50, 10, 10, inputs="uniform", seed=65)
    error = learners.gd(*p.shown, 6.06) - p.y_query
    for alpha in (0.5, 3.0):
        scaled = learners.gd(p.x, alpha * p.y, p.x_query, 6.06) - alpha * p.y_query
        assert torch.allclose(scaled, alpha * error, rtol=0, atol=EXACT)
    by_inputs = learners.gd(2 * p.x, 2 * p.y, 2 * p.x_query, 6.06) - 2 * p.y_query
    assert not torch.allclose(by_inputs, 2 * error, rtol=0, atol=1e-3)


@pytest.mark.parametrize("M, expected", [(5, 3.817), (20, 1.154), (100, 0.4438), (400, None), (1000, 0.2840)])
def test_a_step_made_for_20_examples_meets_a_floor(M, expected):
    """D6."""
    g = 20 / 26
    formula = 5 * ((1 - g) ** 2 + g**2 * 6 / M)
    assert expected is None or abs(formula - expected) < 6e-4
    assert math.isclose(formula, closed_forms.gd_excess(closed_forms.best_step(20, 5), M, 5), rel_tol=EXACT)
    p = tasks.linear_regression(max(1000, 80_000 // M), M, 5, seed=66)
    errors = (learners.gd(*p.shown, g) - p.y_query).square()
    assert agree(formula, errors)
    made_for_M = closed_forms.gd_excess(closed_forms.best_step(M, 5), M, 5)
    assert M == 20 or abs(made_for_M / formula - 1) > 0.2
    assert abs(5 * (1 - g) ** 2 - 0.2663) < 1e-4


@pytest.mark.parametrize("c", [0.25, 0.5, 1.0, 2.0, 3.0])
def test_a_step_does_not_follow_the_scale_and_least_squares_does(c):
    """D7, d_x = 5, N = M = 20."""
    g = 20 / 26
    formula = c**2 * 5 * ((1 - g * c**2) ** 2 + g**2 * c**4 * 6 / 20)
    assert c != 2 or abs(formula - 143.1) < 0.05
    assert math.isclose(formula, c**2 * closed_forms.gd_excess(g * c**2, 20, 5), rel_tol=1e-11)
    p = tasks.linear_regression(20_000, 20, 5, seed=67)
    x, y, x_query, truth = (c * part for part in p[:4])
    assert agree(formula, (learners.gd(x, y, x_query, g) - truth).square())
    by_least_squares = (torch.linalg.lstsq(x, y).solution * x_query[..., None]).sum(1)
    assert (by_least_squares - truth).abs().max() < 1e-10


def test_more_examples_make_the_wrong_scale_worse():
    at = [closed_forms.gd_excess(4 * closed_forms.best_step(N, 5), N, 5) for N in (20, 100, 10_000)]
    assert at[0] < at[1] < at[2] < 9 * 5
