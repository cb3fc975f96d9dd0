"""Claims D8, D11 and D12: curved targets, the direction of infinite ridge, and the best step on a sample."""

import math

import numpy as np
import pytest
import torch
from sampling import agree, differ

from helpers import learners, tasks
from helpers.theory import closed_forms

EXACT = 1e-12


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


def test_ridge_is_best_at_the_noise_and_the_step_at_d_plus_1_more():
    """When both shrink by about 1/(N + lambda); d_x = 10, N = 20, noise 0.5."""
    x = tasks.linear_regression(4000, 20, 10, seed=14).x
    eigenvalues = torch.linalg.eigvalsh(x.mT @ x)

    def ridge(lam):
        return ((lam**2 + 0.25 * eigenvalues) / (eigenvalues + lam) ** 2).sum(1).mean()

    def step(lam):
        return closed_forms.gd_excess(20 / (20 + lam), 20, 10, noise=0.5)

    assert ridge(0.25) < min(ridge(0.2), ridge(0.3)) and step(11.25) < min(step(11.2), step(11.3))
    assert math.isclose(20 / (20 + 11.25), closed_forms.best_step(20, 10, noise=0.5), rel_tol=1e-12)
    assert step(0.25) > 1.3 * step(11.25) and ridge(11.25) > 5 * ridge(0.25)
