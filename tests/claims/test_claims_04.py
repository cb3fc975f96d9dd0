"""Claims D1 to D12, A5 and A6: the best single step. Monte Carlo at 4 standard errors, exact where a quadrature is.

The closed forms of `helpers.closed_forms` alone are held in test_closed_forms.py.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import ROOT

from helpers import learners, tasks
from helpers.theory import closed_forms

EXACT = 1e-12
PATH = ROOT / "notebooks" / "04_the_best_single_step.ipynb"


@pytest.fixture(scope="module")
def notebook(ran):
    """What the notebook defined: best_matrix(Sigma, Omega, N, noise) and excess(A, Sigma, Omega, N, noise)."""
    return ran(PATH).namespace


def mean_and_error(samples):
    return samples.mean().item(), samples.std().item() / len(samples) ** 0.5


def agree(formula, samples):
    mean, error = mean_and_error(samples)
    return abs(formula - mean) < 4 * error


def differ(formula, samples):
    mean, error = mean_and_error(samples)
    return abs(formula - mean) > 8 * error


def diagonal(*sizes):
    return torch.diag(torch.tensor(sizes, dtype=torch.float64))


def rotated(sizes, seed):
    random = torch.randn(len(sizes), len(sizes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    Q = torch.linalg.qr(random).Q
    return Q @ diagonal(*sizes) @ Q.T


# --- exact averages: three nodes a coordinate are exact for polynomials of degree 5, and the error has degree 4 ----

NODES = {
    "gaussian": (np.polynomial.hermite_e.hermegauss(3), 1.0),
    "uniform": (np.polynomial.legendre.leggauss(3), 0.5),
    "rademacher": ((np.array([-1.0, 1.0]), np.ones(2)), 1.0),
}


def all_contexts(N, d_x, inputs):
    """Every context (…, N, d_x) on the quadrature's grid, and its weight."""
    (nodes, weights), scale = NODES[inputs]
    pick = torch.tensor(list(itertools.product(range(len(nodes)), repeat=N * d_x)))
    x = torch.tensor(scale * nodes)[pick].reshape(-1, N, d_x)
    return x, torch.tensor(weights / weights.sum())[pick].prod(1)


def average_excess(A, x, weights, Sigma, Omega, noise):
    """E (x_q^T A m - w^T x_q)^2 over the contexts on the grid; w, noise and x_q averaged by their covariances."""
    S = x.mT @ x / x.shape[1]
    rest = torch.eye(len(A)).double() - A @ S
    cov = rest @ Omega @ rest.mT + noise**2 / x.shape[1] * A @ S @ A.mT
    return (weights * torch.einsum("ij,bji->b", Sigma, cov)).sum().item()


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


@pytest.mark.parametrize("N", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_the_matrix_formula_is_exact_for_any_inputs_tasks_and_matrix(notebook, N, noise):
    """D4, D5, D9 and D10 are one formula; the twin leaves E S Omega S at its limit for long contexts."""
    z, weights = all_contexts(N, 2, "gaussian")
    for seed in range(4):
        Sigma, Omega = rotated([2.0, 0.3], seed), rotated([0.5, 1.5], seed + 10)
        root = torch.linalg.cholesky(Sigma)
        best = notebook["best_matrix"](Sigma, Omega, N, noise)
        other = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for A in (best, other):
            exact = average_excess(A, z @ root.T, weights, Sigma, Omega, noise)
            assert math.isclose(notebook["excess"](A, Sigma, Omega, N, noise), exact, rel_tol=1e-11, abs_tol=EXACT)
            assert not math.isclose(notebook["excess"](A, Sigma, Omega, 1000, noise), exact, rel_tol=1e-3)

        def loss(A, x=z @ root.T, Sigma=Sigma, Omega=Omega):  # the gradient at the best matrix, by autograd
            S = x.mT @ x / N
            rest = torch.eye(2).double() - A @ S
            cov = rest @ Omega @ rest.mT + noise**2 / N * A @ S @ A.mT
            return (weights * torch.einsum("ij,bji->b", Sigma, cov)).sum()

        assert torch.func.grad(loss)(best).abs().max() < EXACT * 10
        assert torch.func.grad(loss)(1.1 * best).abs().max() > 1e-3


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


# --- D4, D5: a matrix ----------------------------------------------------------------------------------------------


def scaled_prompts(Sigma, Omega, N, noise, seed, B=20_000):
    """x ~ N(0, Sigma), w ~ N(0, Omega): inputs, (1/N) sum_i y_i x_i, tasks."""
    p = tasks.linear_regression(B, N, len(Sigma), seed=seed)
    e = tasks.linear_regression(B, N, 1, seed=seed + 1).x
    x = p.x @ torch.linalg.cholesky(Sigma).T
    w = p.W[:, 0] @ torch.linalg.cholesky(Omega).T
    return (x * (x @ w[..., None] + noise * e)).mean(1), w


def errors_of(A, moment, w, Sigma):
    """Squared errors, averaged over all queries by hand."""
    rest = moment @ A.T - w
    return torch.einsum("bi,ij,bj->b", rest, Sigma, rest)


PRIORS = {  # Sigma, Omega, N, noise
    "D4": (diagonal(3.0, 1.5, 1.0, 0.5, 0.1), torch.eye(5).double(), 12, 0.3**0.5),
    "D4, turned": (rotated([4.0, 1.0, 0.1], 0), torch.eye(3).double(), 6, 0.0),
    "D5": (diagonal(3.0, 1.5, 1.0, 0.5, 0.1), torch.linalg.inv(diagonal(3.0, 1.5, 1.0, 0.5, 0.1)), 12, 0.5),
    "D5, condition 100": (diagonal(10.0, 1.0, 0.1), torch.linalg.inv(diagonal(10.0, 1.0, 0.1)), 40, 0.0),
    "D9": (torch.eye(4).double(), torch.eye(4).double() + diagonal(4.0, 0.0, 0.0, 0.0), 20, 0.0),
    "neither": (rotated([2.0, 1.0, 0.3], 1), rotated([1.0, 0.2, 3.0], 2), 9, 0.4),
}


@pytest.mark.parametrize("prior", PRIORS)
def test_the_best_matrix_leaves_what_the_formula_says(notebook, prior):
    Sigma, Omega, N, noise = PRIORS[prior]
    A = notebook["best_matrix"](Sigma, Omega, N, noise)
    moment, w = scaled_prompts(Sigma, Omega, N, noise, seed=70)
    formula = notebook["excess"](A, Sigma, Omega, N, noise)
    at_best = errors_of(A, moment, w, Sigma)
    assert agree(formula, at_best)
    for wrong in (0.9 * A, 1.1 * A):  # worse on the same prompts
        mean, error = mean_and_error(errors_of(wrong, moment, w, Sigma) - at_best)
        assert mean > 2 * error
        assert notebook["excess"](wrong, Sigma, Omega, N, noise) > formula
    no_query_left = torch.einsum("bi,bj->ij", w, moment) @ torch.linalg.inv(moment.T @ moment)  # regression, D4
    assert (no_query_left - A).norm() < 0.05 * A.norm()


def test_the_plain_formulas_are_special_cases(notebook):
    Sigma = rotated([3.0, 1.0, 0.2], 3)
    I = torch.eye(3).double()
    A = notebook["best_matrix"](Sigma, I, 7, 0.4)
    assert torch.allclose(A, closed_forms.preconditioner(Sigma, 7, noise=0.4), rtol=0, atol=EXACT)
    for matrix in (A, I, 0.3 * Sigma):
        by_helper = closed_forms.preconditioned_excess(matrix, Sigma, 7, noise=0.4)
        assert math.isclose(notebook["excess"](matrix, Sigma, I, 7, 0.4), by_helper, rel_tol=1e-11)
    eigenvalues, Q = torch.linalg.eigh(Sigma)  # Ahn et al., eigenvalue by eigenvalue, without noise
    ahn = Q @ torch.diag(1 / (8 / 7 * eigenvalues + eigenvalues.sum() / 7)) @ Q.T
    assert torch.allclose(notebook["best_matrix"](Sigma, I, 7), ahn, rtol=0, atol=EXACT)
    assert not torch.allclose(notebook["best_matrix"](Sigma, I, 7), torch.linalg.inv(Sigma), rtol=0, atol=1e-2)


@pytest.mark.parametrize("sizes", [[1.0] * 4, [4.0, 1.0, 0.5, 0.1], [1000.0, 10.0, 1.0, 1.0]])
@pytest.mark.parametrize("noise", [0.0, 0.6])
def test_tasks_of_inverse_covariance_make_the_error_independent_of_the_covariance(notebook, sizes, noise):
    """D5."""
    Sigma = rotated(sizes, 4)
    Omega = torch.linalg.inv(Sigma)
    A = notebook["best_matrix"](Sigma, Omega, 15, noise)
    best = closed_forms.best_step(15, 4, noise=noise)
    assert torch.allclose(A @ Sigma, best * torch.eye(4).double(), rtol=0, atol=1e-9)
    expected = 4 * (5 + noise**2) / (20 + noise**2)
    assert math.isclose(notebook["excess"](A, Sigma, Omega, 15, noise), expected, rel_tol=1e-9)
    plain = notebook["excess"](
        notebook["best_matrix"](Sigma, torch.eye(4).double(), 15, noise), Sigma, Omega, 15, noise
    )
    assert plain > expected * (1.01 if len(set(sizes)) > 1 else 1 - 1e-12)


def test_condition_100_costs_the_plain_step_three_times_as_much(notebook):
    """D5, d_x = 10, N = 40."""
    sizes = torch.logspace(0, 2, 10, dtype=torch.float64)
    Sigma, Omega = torch.diag(sizes), torch.diag(1 / sizes)
    second = notebook["second_moment"](Sigma, Omega, 40, 0.0)
    eta = torch.trace(Sigma @ Omega @ Sigma) / torch.trace(Sigma @ second)
    plain = notebook["excess"](eta * torch.eye(10).double(), Sigma, Omega, 40)
    best = notebook["excess"](notebook["best_matrix"](Sigma, Omega, 40), Sigma, Omega, 40)
    assert abs(plain - 6.91) < 0.01 and abs(best - 2.157) < 0.001
    for off in (0.9, 1.1):
        assert notebook["excess"](off * eta * torch.eye(10).double(), Sigma, Omega, 40) > plain


# --- D8: curved targets --------------------------------------------------------------------------------------------


def curved(N, d_x, f, seed, B=20_000):
    """Numerator and denominator of the best step, prompt by prompt: y_q u and u^2, queries averaged over 20 draws."""
    p = tasks.linear_regression(B, N + 20, d_x, seed=seed)
    y = f(p.y)
    moment = (p.x[:, :N] * y[:, :N]).mean(1)
    target = (p.x[:, N:] * y[:, N:]).mean(1)
    return (moment * target).sum(1), moment.square().sum(1), moment, target


@pytest.mark.parametrize("N, d_x", [(20, 5), (5, 5), (2, 3), (40, 8), (10, 1), (7, 12)])
def test_a_relu_target_has_its_own_best_step(N, d_x):
    top, bottom, _, _ = curved(N, d_x, torch.relu, seed=71)
    formula = N / (N + 2 * d_x + 3)
    residuals = top - formula * bottom  # its mean is 0 at the minimum
    assert agree(0.0, residuals)
    assert differ(0.0, top - N / (N + d_x + 1) * bottom)  # a straight target's step
    assert not agree(0.0, top - 1.2 * formula * bottom)


def test_the_moments_behind_the_relu_step():
    """E y x = w/2, and half of all x count in E y^2 x x^T = (|w|^2 I + 2 w w^T)/2; for one w, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    w = np.array([1.2, -0.5])
    x = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    p = np.outer(weights, weights).ravel() / weights.sum() ** 2
    y = np.maximum(x @ w, 0)
    assert np.allclose((p * y) @ x, w / 2, atol=1e-3)
    assert np.allclose(x.T @ (x * (p * y**2)[:, None]), (w @ w * np.eye(2) + 2 * np.outer(w, w)) / 2, atol=1e-2)


@pytest.mark.parametrize("f", [torch.relu, torch.tanh, torch.abs, torch.sin])
def test_without_a_preferred_direction_the_best_matrix_is_a_multiple_of_one(f):
    _, _, moment, target = curved(20, 5, f, seed=72, B=50_000)
    A = target.T @ moment @ torch.linalg.inv(moment.T @ moment)
    spread = 5 * A.diagonal().std().clamp_min(0.004)
    assert (A - A.diagonal().mean() * torch.eye(5).double()).abs().max() < spread < 0.05
    sizes = torch.tensor([2.0, 1.0, 1.0, 1.0, 0.2]).double()  # the twin: tasks that prefer a direction
    p = tasks.linear_regression(20_000, 40, 5, seed=73)
    y = f(p.x @ (p.W[:, 0] * sizes)[..., None])
    moment, target = (p.x[:, :20] * y[:, :20]).mean(1), (p.x[:, 20:] * y[:, 20:]).mean(1)
    A = target.T @ moment @ torch.linalg.inv(moment.T @ moment)
    assert f is torch.abs or A[0, 0] - A[4, 4] > 0.15


def test_an_even_target_gives_nothing_and_tanh_a_little_more_than_a_line():
    top, bottom, _, _ = curved(20, 5, torch.abs, seed=74)
    assert agree(0.0, top)
    top, bottom, _, _ = curved(20, 5, torch.tanh, seed=74, B=40_000)
    assert agree(0.0, top - 0.7813 * bottom) and 0.7813 > 20 / 26
    top, bottom, _, _ = curved(20, 5, lambda t: t, seed=74)
    assert agree(0.0, top - 20 / 26 * bottom)


# --- D9, D10: means and finite sets of tasks -----------------------------------------------------------------------


@pytest.mark.parametrize("length, expected", [(0, 1.154), (1, 1.370), (2, 1.947), (3, None), (4, 3.804)])
def test_a_mean_costs_the_layer_that_starts_from_zero_and_not_the_one_that_starts_from_it(notebook, length, expected):
    """D9."""
    mu = torch.zeros(1, 5).double()
    mu[0, 2] = length
    I = torch.eye(5).double()
    Omega = I + mu.T @ mu
    A = notebook["best_matrix"](I, Omega, 20)
    formula = notebook["excess"](A, I, Omega, 20)
    assert expected is None or abs(formula - expected) < 6e-4
    assert math.isclose(formula, torch.trace(Omega - Omega @ A).item(), rel_tol=1e-11)
    p = tasks.linear_regression(20_000, 20, 5, seed=75)
    p = p._replace(y=p.y + p.x @ mu.T, y_query=p.y_query + p.x_query @ mu.T)
    moment = (p.x * p.y).mean(1)
    from_zero = (moment @ A.T * p.x_query).sum(1, keepdim=True) - p.y_query
    from_mu = learners.gd(*p.shown, 20 / 26, W_0=mu) - p.y_query
    assert agree(formula, from_zero.square()) and agree(30 / 26, from_mu.square())
    assert length < 2 or differ(30 / 26, from_zero.square())


def test_the_errors_from_the_mean_are_those_of_tasks_without_a_mean():
    """D9, exactly: prompt by prompt, whatever mu is."""
    p = tasks.linear_regression(100, 20, 5, noise=0.4, seed=75)
    mu = torch.tensor([[0.0, 4.0, -1.0, 2.0, 0.0]], dtype=torch.float64)
    y, y_query = p.y + p.x @ mu.T, p.y_query + p.x_query @ mu.T
    centred = learners.gd(*p.shown, 20 / 26) - p.y_query
    assert torch.allclose(learners.gd(p.x, y, p.x_query, 20 / 26, W_0=mu) - y_query, centred, rtol=0, atol=EXACT)
    assert not torch.allclose(learners.gd(p.x, y, p.x_query, 20 / 26) - y_query, centred, rtol=0, atol=1e-2)


def set_of_tasks(M_t, seed):
    w = torch.randn(M_t, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return w, w.T @ w / M_t


@pytest.mark.parametrize("M_t", [1, 8, 64, 1024])
def test_a_layer_for_a_finite_set_errs_on_it_and_on_new_tasks_as_the_formulas_say(notebook, M_t):
    """D10, d_x = 8, N = 16, noise^2 = 0.25."""
    I = torch.eye(8).double()
    w, Omega = set_of_tasks(M_t, seed=76)
    A = notebook["best_matrix"](I, Omega, 16, 0.5)
    on_old, on_new = notebook["excess"](A, I, Omega, 16, 0.5), notebook["excess"](A, I, I, 16, 0.5)
    assert math.isclose(on_old, torch.trace(Omega - Omega @ A).item(), rel_tol=1e-9)
    assert math.isclose(on_new, torch.trace(I - 2 * A + A @ A * (1 + 9.25 / 16)).item(), rel_tol=1e-9)
    p = tasks.linear_regression(20_000, 16, 8, seed=77)
    e = tasks.linear_regression(20_000, 16, 1, seed=78).x
    pick = torch.randint(0, M_t, (20_000,), generator=torch.Generator().manual_seed(79))
    for tasks_drawn, formula in [(w[pick], on_old), (p.W[:, 0], on_new)]:
        moment = (p.x * (p.x @ tasks_drawn[..., None] + 0.5 * e)).mean(1)
        assert agree(formula, errors_of(A, moment, tasks_drawn, I))


def test_a_few_times_d_x_tasks_are_enough(notebook):
    """D10: means over 50 draws of the set; the ledger's values are single draws."""
    ideal = 8 * 9.25 / 25.25
    I = torch.eye(8).double()

    def mean(M_t):
        both = []
        for seed in range(50):
            _, Omega = set_of_tasks(M_t, seed)
            A = notebook["best_matrix"](I, Omega, 16, 0.5)
            both.append([notebook["excess"](A, I, O, 16, 0.5) for O in (Omega, I)])
        return np.mean(both, axis=0)

    (one_old, one_new), (_, eight), (old, new), (_, many) = (mean(M_t) for M_t in (1, 8, 64, 1024))
    assert abs(ideal - 2.931) < 1e-3
    assert abs(one_new - 7.47) < 0.01 and one_old < 1.2
    assert abs(eight - 4.27) < 0.15 and abs(new - 3.03) < 0.05 and abs(many - 2.94) < 0.01
    assert old < ideal < new < 1.05 * ideal < eight


# --- D11, D12 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("N, d_x, noise, seed", [(20, 10, 0.5, 80), (20, 5, 0.0, 81), (6, 12, 0.3, 82)])
def test_one_step_is_the_direction_of_infinite_ridge(N, d_x, noise, seed):
    """D11: 1 - cos falls like 1/lambda^2."""
    p = tasks.linear_regression(1, N, d_x, noise=noise, seed=seed)
    gram, moment = p.x[0].T @ p.x[0], (p.x[0].T @ p.y[0])[:, 0]
    apart = []
    for lam in (1e1, 1e2, 1e3, 1e4, 1e5):
        w = torch.linalg.solve(gram + lam * torch.eye(d_x).double(), moment)
        apart.append((w / w.norm() - moment / moment.norm()).square().sum().item() / 2)
    slopes = np.diff(np.log10(apart))
    assert np.all(np.diff(apart) < 0) and abs(slopes[-1] + 2) < 0.05 and abs(slopes[0] + 2) > 0.2
    step = learners.gd_weights(p.x, p.y, N / 1e5)[0, 0]  # eta/N = 1/lambda: same length, too
    assert (step - w).norm() < 2e-3 * w.norm() < (1.1 * step - w).norm()


@pytest.mark.parametrize(
    "N, d_x, inputs, noise",
    [
        (10, 10, "uniform", 0.0),
        (10, 10, "gaussian", 0.5),
        (20, 5, "gaussian", 0.0),
        (12, 6, "rademacher", 0.7),
        (3, 8, "uniform", 0.2),
    ],
)
def test_one_division_on_a_sample_finds_the_best_step(N, d_x, inputs, noise):
    """D12, and it is the exact minimum on that sample."""
    p = tasks.linear_regression(40_000, N, d_x, inputs=inputs, noise=noise, seed=83)
    unit = learners.gd(*p.shown, 1.0)
    best = closed_forms.best_step(N, d_x, inputs=inputs, noise=noise)
    found = ((unit * p.y_query).sum() / unit.square().sum()).item()
    residuals = unit * p.y_query - found * unit.square()
    error = residuals.std().item() / 200 / unit.square().mean().item()  # of a ratio of means; 200 = 40,000^(1/2)
    assert abs(found - best) < 4 * error
    assert abs(found - 1.3 * best) > 4 * error
    here, *beside = ((eta * unit - p.y_query).square().mean() for eta in (found, 0.99 * found, 1.01 * found))
    assert all(other > here for other in beside)


def test_the_sample_formula_narrows_like_one_over_the_root_of_the_number_of_prompts():
    def spread(n):
        found = []
        for seed in range(40):
            p = tasks.linear_regression(n, 10, 10, inputs="uniform", seed=seed)
            unit = learners.gd(*p.shown, 1.0)
            found.append(((unit * p.y_query).sum() / unit.square().sum()).item())
        return np.std(found, ddof=1)

    few, more = spread(100), spread(1600)
    assert 2.4 < few / more < 6.5  # 4, with 40 seeds each
    assert 0.10 < more * 4 < 1.2  # around 0.7 at 100 prompts
