"""Least squares and ridge in closed form, against Monte Carlo and their own learners. Claims A3 to A5."""

import itertools
import math

import numpy as np
import pytest
import torch

from helpers import tasks
from helpers.theory import closed_forms


def monte_carlo(y_hat, prompt):
    """Mean squared error against the true label, and its standard error."""
    errors = (y_hat - prompt.y_query).square()
    return errors.mean().item(), errors.std().item() / len(errors) ** 0.5


def least_squares(x, y, x_query):
    return (torch.linalg.pinv(x) @ y * x_query[..., None]).sum(1)


@pytest.mark.parametrize(
    "N, d_x, noise",
    [(3, 8, 0.0), (12, 8, 0.0), (4, 12, 0.5), (15, 20, 0.5), (24, 20, 0.5), (30, 20, 0.5), (16, 5, 1.0)],
)
def test_least_squares_errs_as_the_formula_says(N, d_x, noise):
    """A3 and A4."""
    prompt = tasks.linear_regression(8000, N, d_x, noise=noise, seed=44)
    mean, error = monte_carlo(least_squares(*prompt.shown), prompt)
    formula = closed_forms.least_squares_excess(N, d_x, noise=noise)
    assert abs(formula - mean) <= 4 * error + 1e-12


@pytest.mark.parametrize("N, d_x", [(4, 12), (12, 20), (30, 20), (16, 5)])
def test_the_noise_of_least_squares_has_its_own_pole(N, d_x):
    """tr (X^T X)^+, with everything but X averaged out by hand; a pole shifted by one is noticed."""
    x = tasks.linear_regression(8000, N, d_x, seed=49).x
    gram = x.mT @ x if N > d_x else x @ x.mT
    traces = (1 / torch.linalg.eigvalsh(gram)).sum(1)
    mean, error = traces.mean().item(), traces.std().item() / 8000**0.5
    formula = closed_forms.least_squares_excess(N, d_x, noise=1.0) - max(d_x - N, 0)
    gap = abs(N - d_x)
    assert abs(formula - mean) < 4 * error
    assert all(abs(formula * (gap - 1) / pole - mean) > 4 * error for pole in (gap, gap - 2))


def test_least_squares_has_the_ledgers_numbers_and_its_pole():
    values = [closed_forms.least_squares_excess(N, 20, noise=0.5) for N in (10, 15, 24, 30, 40)]
    assert np.allclose(values, [10.2778, 5.9375, 1.6667, 0.5556, 0.2632], rtol=0, atol=5e-5)
    assert all(closed_forms.least_squares_excess(N, 20, noise=0.5) == math.inf for N in (19, 20, 21))
    assert [closed_forms.least_squares_excess(N, 20) for N in (1, 19, 20, 21)] == [19, 1, 0, 0]


def exact_ridge(N, d_x, noise, n):
    """E tr (X^T X / noise^2 + I)^-1: w, noise and query averaged out by hand, X by Monte Carlo."""
    x = tasks.linear_regression(n, N, d_x, seed=45).x
    eigenvalues = torch.linalg.eigvalsh(x.mT @ x).clamp_min(0)
    traces = (noise**2 / (eigenvalues + noise**2)).sum(1)
    return traces.mean().item(), traces.std().item() / n**0.5


@pytest.mark.parametrize("noise, worst", [(0.5, {5: 0.20, 10: 0.155, 50: 0.09}), (1.0, {5: 0.10, 10: 0.08, 50: 0.045})])
def test_ridge_is_as_far_off_at_small_sizes_as_its_docstring_says(noise, worst):
    """A5."""
    for d_x, most in worst.items():
        short = []
        for N in (d_x, d_x + 2, 3 * d_x // 2, 2 * d_x):
            exact, _ = exact_ridge(N, d_x, noise, n=6000 if d_x < 20 else 400)
            short.append(1 - closed_forms.ridge_excess(N, d_x, noise=noise) / exact)
        assert 0.5 * most < max(short) < most and min(short) > 0


@pytest.mark.parametrize("N, d_x", [(100, 200), (200, 200), (300, 200), (800, 200)])
def test_ridge_is_right_where_it_is_large(N, d_x):
    exact, _ = exact_ridge(N, d_x, 1.0, n=20)
    assert abs(closed_forms.ridge_excess(N, d_x, noise=1.0) / exact - 1) < 0.02
    assert abs(closed_forms.ridge_excess(11 * N // 10, d_x, noise=1.0) / exact - 1) > 0.05


def test_ridge_is_what_the_learner_does_on_prompts():
    """The oracle of the tests above, against the learner itself."""
    prompt = tasks.linear_regression(8000, 12, 6, noise=0.5, seed=46)
    gram = prompt.x.mT @ prompt.x + 0.25 * torch.eye(6).double()
    w = torch.linalg.solve(gram, prompt.x.mT @ prompt.y)
    mean, error = monte_carlo((w * prompt.x_query[..., None]).sum(1), prompt)
    exact, _ = exact_ridge(12, 6, 0.5, n=8000)
    assert abs(exact - mean) < 4 * error


def test_ridge_without_noise_is_least_squares_and_with_little_noise_close_to_it():
    for N in (5, 10, 20):
        limit = closed_forms.least_squares_excess(N, 10)
        assert closed_forms.ridge_excess(N, 10, noise=0.0) == limit
        assert abs(closed_forms.ridge_excess(N, 10, noise=1e-9) - limit) < 1e-7


def test_ridge_solves_the_marchenko_pastur_equation():
    """In the usual form, noise^2 g m with the Stieltjes transform m of the eigenvalues of S at -l."""
    for N, d, noise in itertools.product((5, 10, 20), (4, 10), (0.3, 1.0)):
        g, l = d / N, noise**2 / N
        b = 1 - g + l
        m = (math.sqrt(b**2 + 4 * g * l) - b) / (2 * g * l)
        assert math.isclose(closed_forms.ridge_excess(N, d, noise=noise), noise**2 * g * m, rel_tol=1e-10)
