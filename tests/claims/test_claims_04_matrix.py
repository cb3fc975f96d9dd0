"""Claims D4, D5, D9 and D10: a matrix in W_Q, for inputs and tasks of any covariance. With an x block: whole_layers."""

import math

import numpy as np
import pytest
import torch
from conftest import ROOT
from sampling import agree, all_contexts, average_excess, diagonal, differ, mean_and_error, rotated

from helpers import learners, tasks
from helpers.theory import closed_forms

EXACT = 1e-12
PATH = ROOT / "notebooks" / "04_the_best_single_step.ipynb"


@pytest.fixture(scope="module")
def notebook(ran):
    """What the notebook defined: best_matrix(Sigma, Omega, N, noise) and excess(A, Sigma, Omega, N, noise)."""
    return ran(PATH).namespace


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
