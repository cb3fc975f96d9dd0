"""The preconditioned step in closed form, against Monte Carlo and automatic differentiation. Claims D4, D9 and D10."""

import itertools
import math

import numpy as np
import pytest
import torch

from helpers import tasks
from helpers.theory import closed_forms

B = 40_000  # prompts of a Monte Carlo


def monte_carlo(y_hat, prompt):
    """Mean squared error against the true label, and its standard error."""
    errors = (y_hat - prompt.y_query).square()
    return errors.mean().item(), errors.std().item() / len(errors) ** 0.5


def standard_errors(formula, y_hat, prompt):
    mean, error = monte_carlo(y_hat, prompt)
    return abs(formula - mean) / error


# --- the preconditioner ---------------------------------------------------------------------------------------


def covariance(eigenvalues, seed=0):
    generator = torch.Generator().manual_seed(seed)
    d = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return Q @ torch.diag(torch.tensor(eigenvalues).double()) @ Q.T


def prompts_with(Sigma, N, noise, seed):
    """Prompts with x ~ N(0, Sigma): those of the series, stretched, with the labels that their tasks then give."""
    d_x = len(Sigma)
    p = tasks.linear_regression(B, N, d_x, noise=noise, seed=seed)
    root = torch.linalg.cholesky(Sigma)
    e = p.y - p.x @ p.W.mT
    x, x_query = p.x @ root.T, p.x_query @ root.T
    return p._replace(x=x, y=x @ p.W.mT + e, x_query=x_query, y_query=(p.W @ x_query[..., None]).squeeze(-1))


def one_preconditioned_step(prompt, A):
    moment = (prompt.x.mT @ prompt.y)[..., 0] / prompt.x.shape[1]
    return ((moment @ A.T) * prompt.x_query).sum(1, keepdim=True)


PRECONDITIONED = {  # eigenvalues, N, noise
    "the example": ([3.0, 1.5, 1.0, 0.5, 0.1], 12, 0.3**0.5),
    "without noise": ([3.0, 1.5, 1.0, 0.5, 0.1], 12, 0.0),
    "isotropic": ([1.0] * 4, 10, 0.2),
    "few examples": ([2.0, 1.0, 0.2], 2, 0.5),
    "condition 1000": ([10.0, 1.0, 0.1, 0.01], 40, 0.1),
    "one direction is never seen": ([1.0, 0.5, 1e-12], 8, 0.4),
}


@pytest.mark.parametrize("setting", PRECONDITIONED)
def test_any_linear_step_errs_as_the_formula_says(setting):
    """D4, for the best A and for one that is not even symmetric."""
    eigenvalues, N, noise = PRECONDITIONED[setting]
    Sigma = covariance(eigenvalues)
    prompt = prompts_with(Sigma, N, noise, seed=47)
    best = closed_forms.preconditioner(Sigma, N, noise=noise)
    other = torch.randn(best.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.3
    for A in (best, other):
        formula = closed_forms.preconditioned_excess(A, Sigma, N, noise=noise)
        assert standard_errors(formula, one_preconditioned_step(prompt, A), prompt) < 4


@pytest.mark.parametrize("setting", PRECONDITIONED)
def test_the_preconditioner_is_the_minimum(setting):
    eigenvalues, N, noise = PRECONDITIONED[setting]
    Sigma = covariance(eigenvalues)
    best = closed_forms.preconditioner(Sigma, N, noise=noise)
    lowest = closed_forms.preconditioned_excess(best, Sigma, N, noise=noise)
    I = torch.eye(len(Sigma), dtype=torch.float64)
    assert math.isclose(lowest, torch.trace(Sigma @ (I - best @ Sigma)).item(), rel_tol=1e-9)
    assert closed_forms.preconditioned_excess(1.1 * best, Sigma, N, noise=noise) > lowest
    for seed in range(8):
        step = torch.randn(best.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert closed_forms.preconditioned_excess(best + 0.01 * step, Sigma, N, noise=noise) > lowest


@pytest.mark.parametrize("setting", ["the example", "isotropic", "few examples"])
def test_the_gradient_of_the_loss_vanishes_at_the_preconditioner_and_not_beside_it(setting):
    """Autograd on the loss with w, noise and query averaged out and E S, E S^2 by Monte Carlo."""
    eigenvalues, N, noise = PRECONDITIONED[setting]
    Sigma = covariance(eigenvalues)
    x = prompts_with(Sigma, N, 0.0, seed=48).x
    S = x.mT @ x / N
    I = torch.eye(len(Sigma), dtype=torch.float64)

    def gradients(A, n=20):  # one for each of n parts of the prompts
        def loss(A, S):
            residual = I - A @ S
            return (
                torch.einsum("ij,bjk,bik->b", Sigma, residual, residual).mean()
                + noise**2 / N * torch.einsum("ij,jk,bkl,il->b", Sigma, A, S, A).mean()
            )

        return torch.stack([torch.func.grad(loss)(A, part) for part in S.chunk(n)])

    def in_standard_errors(A):
        each = gradients(A)
        return (each.mean(0).abs() / (each.std(0) / len(each) ** 0.5)).max()

    best = closed_forms.preconditioner(Sigma, N, noise=noise)
    assert in_standard_errors(best) < 5  # the largest of up to 25 entries, 20 parts each
    assert in_standard_errors(1.1 * best) > 8
    assert in_standard_errors(torch.linalg.inv(Sigma)) > 8  # Newton's matrix is another


def test_the_example_of_the_ledger_has_noise_squared_of_three_tenths():
    Sigma = torch.diag(torch.tensor([3.0, 1.5, 1.0, 0.5, 0.1]).double())
    eigenvalues, N = Sigma.diagonal(), 12

    def both(noise):
        Gamma = (1 + 1 / N) * eigenvalues + (eigenvalues.sum() + noise**2) / N
        eta = (eigenvalues**2).sum() / (eigenvalues**2 * Gamma).sum()
        plain = closed_forms.preconditioned_excess(eta * torch.eye(5).double(), Sigma, N, noise=noise)
        best = closed_forms.preconditioner(Sigma, N, noise=noise)
        return plain, closed_forms.preconditioned_excess(best, Sigma, N, noise=noise)

    assert np.allclose(both(0.3**0.5), (2.264, 1.812), rtol=0, atol=5e-4)
    assert np.allclose(both(0.3), (2.243, 1.781), rtol=0, atol=5e-4)


def test_with_the_same_size_in_all_directions_it_is_the_best_step():
    for N, d, noise in itertools.product((3, 20), (1, 5), (0.0, 0.6)):
        A = closed_forms.preconditioner(torch.eye(d).double(), N, noise=noise)
        best = closed_forms.best_step(N, d, noise=noise)
        assert torch.allclose(A, best * torch.eye(d).double(), rtol=0, atol=1e-12)
        excess = closed_forms.preconditioned_excess(0.3 * A, torch.eye(d).double(), N, noise=noise)
        assert math.isclose(excess, closed_forms.gd_excess(0.3 * best, N, d, noise=noise), rel_tol=1e-10)


def test_it_turns_with_the_inputs_and_keeps_their_dtype():
    Sigma, turn = covariance([2.0, 1.0, 0.5]), covariance([1.0, -1.0, 1.0], seed=3)  # orthogonal: eigenvalues +-1
    A = closed_forms.preconditioner(Sigma, 6, noise=0.2)
    turned = closed_forms.preconditioner(turn @ Sigma @ turn.T, 6, noise=0.2)
    assert torch.allclose(turned, turn @ A @ turn.T, rtol=0, atol=1e-12)
    assert closed_forms.preconditioner(Sigma.float(), 6).dtype == torch.float32


# --- tasks that are not N(0, I) -------------------------------------------------------------------------------


def listed_tasks(M=6, d_x=4):
    w = torch.randn(M, d_x, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return w, w.T @ w / M


def test_with_a_prior_the_excess_is_what_a_layer_made_for_a_list_of_tasks_leaves_on_it():
    w, Omega = listed_tasks()
    lengths = torch.tensor([2.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    Sigma, p = torch.diag(lengths**2), tasks.linear_regression(B=60_000, N=6, d_x=4, seed=3)
    e = 0.7 * tasks.linear_regression(B=60_000, N=6, d_x=1, seed=4).x
    W = w[torch.arange(60_000) % 6]
    x, x_query = p.x * lengths, p.x_query * lengths
    moment = (x * (x @ W[..., None] + e)).mean(1)
    A = closed_forms.preconditioner(Sigma, 6, noise=0.7, prior=Omega)
    errors = (((moment @ A.T) * x_query).sum(1) - (W * x_query).sum(1)).square()
    exact = closed_forms.preconditioned_excess(A, Sigma, 6, noise=0.7, prior=Omega)
    assert abs(errors.mean() - exact) < 4 * errors.std() / 60_000**0.5


def test_with_a_prior_no_other_matrix_is_better():
    _, Omega = listed_tasks()
    Sigma = torch.diag(torch.tensor([4.0, 1.0, 0.25, 0.1], dtype=torch.float64))
    A = closed_forms.preconditioner(Sigma, 6, noise=0.7, prior=Omega)
    best = closed_forms.preconditioned_excess(A, Sigma, 6, noise=0.7, prior=Omega)
    generator = torch.Generator().manual_seed(5)
    for _ in range(20):
        other = A + 0.05 * torch.randn(4, 4, generator=generator, dtype=torch.float64)
        assert closed_forms.preconditioned_excess(other, Sigma, 6, noise=0.7, prior=Omega) > best
    for_all = closed_forms.preconditioner(Sigma, 6, noise=0.7)
    assert closed_forms.preconditioned_excess(for_all, Sigma, 6, noise=0.7, prior=Omega) > 1.05 * best


def test_a_prior_of_one_is_no_prior_and_a_bad_one_is_refused():
    Sigma, I = torch.diag(torch.tensor([4.0, 1.0, 0.25, 0.1], dtype=torch.float64)), torch.eye(4).double()
    plain, with_one = (closed_forms.preconditioner(Sigma, 6, prior=prior) for prior in (None, I))
    assert torch.allclose(plain, with_one, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"prior: expected \(d_x, d_x\) with d_x=4, got \(3, 3\)"):
        closed_forms.preconditioner(Sigma, 6, prior=I[:3, :3])
    with pytest.raises(ValueError, match="prior: expected a covariance, got a matrix with a negative eigenvalue"):
        closed_forms.preconditioned_excess(I, Sigma, 6, prior=-I)


def test_the_best_multiple_of_one_is_the_bottom_of_its_parabola():
    _, Omega = listed_tasks()
    Sigma, I = torch.diag(torch.tensor([4.0, 1.0, 0.25, 0.1], dtype=torch.float64)), torch.eye(4).double()
    for prior in (None, Omega):
        law = {"N": 6, "noise": 0.7, "prior": prior}
        eta = closed_forms.best_multiple(Sigma, **law)
        low, *beside = (closed_forms.preconditioned_excess(off * eta * I, Sigma, **law) for off in (1, 0.99, 1.01))
        assert math.isclose(*(each - low for each in beside), rel_tol=1e-6) and min(beside) > low
    assert math.isclose(closed_forms.best_multiple(I, 6), closed_forms.best_step(6, 4), rel_tol=1e-12)
