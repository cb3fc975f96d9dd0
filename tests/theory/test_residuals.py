"""What steps leave of the error: polynomials against learners, identities with twins that fail."""

import math

import numpy as np
import pytest
import torch

from helpers import learners, metrics, tasks
from helpers.theory import residuals

EXACT, WRONG = 1e-12, 1e-3


@pytest.mark.parametrize("etas", [[0.5], [0.4, 1.9, 0.7], [0.3] * 8])
def test_a_run_of_gradient_descent_is_its_polynomial(etas):
    prompt = tasks.linear_regression(B=8, N=20, d_x=7, d_y=2, seed=1)
    lam, V = torch.linalg.eigh(prompt.x.mT @ prompt.x / 20)

    def left_over(etas):
        return prompt.W @ (V * residuals.gd(lam, etas)[:, None]) @ V.mT

    error = prompt.W - learners.gd_weights(prompt.x, prompt.y, etas, len(etas))
    assert metrics.max_gap(error, left_over(etas)) <= EXACT
    assert metrics.max_gap(error, left_over([1.1 * eta for eta in etas])) > WRONG
    assert metrics.max_gap(error, left_over([*etas, 0.1])) > WRONG


def test_gd_pp_along_an_eigenvector_is_two_numbers():
    prompt = tasks.linear_regression(B=8, N=20, d_x=7, d_y=2, seed=2)
    h, V = torch.linalg.eigh(prompt.x.mT @ prompt.x)
    etas, gammas = [0.9, 1.1, 0.7], [0.012, 0.02, 0.015]

    def spectral(a, gammas):
        return prompt.W @ (V * (1 - residuals.gd_pp(h, a, gammas))[:, None]) @ V.mT

    W = learners.gd_pp_weights(prompt.x, prompt.y, etas, gammas, 3)
    assert metrics.max_gap(W, spectral([eta / 20 for eta in etas], gammas)) <= EXACT
    assert metrics.max_gap(W, spectral([1.1 * eta / 20 for eta in etas], gammas)) > WRONG
    assert metrics.max_gap(W, spectral([eta / 20 for eta in etas], [1.1 * gamma for gamma in gammas])) > WRONG
    assert metrics.max_gap(W, spectral([eta / 20 for eta in etas], [gamma / 20 for gamma in gammas])) > WRONG


def test_the_degree_of_gd_pp_grows_like_three_to_the_depth():
    h = np.polynomial.Polynomial([0, 1])
    assert [residuals.gd_pp(h, [0.5] * K, [0.1] * K).degree() for K in range(1, 6)] == [1, 4, 13, 40, 121]
    assert [residuals.gd_pp(h, [0.5] * K, [0.0] * K).trim().degree() for K in range(1, 6)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("K", [1, 2, 3, 5])
def test_nine_times_the_gamma_triples_the_angle(K):
    theta, L = np.linspace(1e-3, np.pi / 2, 4001), 5.0
    h = L * np.sin(theta) ** 2

    def stack(L, growth=9):
        gammas = residuals.tripling(L, K) if growth == 9 else [4 * growth**k / (3 * L) for k in range(K)]
        return residuals.gd_pp(h, gammas, gammas)

    formula = np.sin(3**K * theta) / (3**K * np.sin(theta))
    assert np.allclose(stack(L), formula, rtol=0, atol=EXACT)
    assert all(np.abs(stack(L)) <= np.sqrt(L / h) / 3**K + EXACT)
    assert np.abs(stack(1.1 * L) - formula).max() > WRONG
    assert K == 1 or np.abs(stack(L, growth=8) - formula).max() > WRONG


@pytest.mark.parametrize(
    "low, high, told",
    [(1e-10, 4.6, 0.217), (0.097, 7.712, 0.115), (0.666, 10.845, 0.070), (2.87, 17.196, 0.037)],
)
def test_this_gamma_leaves_the_least_condition_number(low, high, told):
    gamma, h = residuals.roundest_gamma(low, high), np.geomspace(low, high, 20_001)

    def kappa(gamma):
        image = h * (1 - gamma * h) ** 2
        return math.inf if low < 1 / gamma < high else image.max() / image.min()  # 1/gamma goes to 0

    assert gamma == pytest.approx(told, abs=5e-4)
    assert all(kappa(off * gamma) > kappa(gamma) for off in (0.9, 0.97, 1.03, 1.1))
    if low > 1e-3:
        assert low * (1 - gamma * low) ** 2 == pytest.approx(high * (1 - gamma * high) ** 2, rel=1e-12)


# --- Newton -----------------------------------------------------------------------------------------------------


def test_newton_squares_the_residual_whatever_it_starts_from():
    prompt = tasks.linear_regression(B=4, N=20, d_x=5, seed=8)
    H, I = prompt.x.mT @ prompt.x, torch.eye(5).double().expand(4, 5, 5)
    a = 1.0 / torch.linalg.matrix_norm(H, ord=2)[:, None, None]
    for M_0 in (a * I, a**2 * H):
        for k in range(7):
            left = I - residuals.newton(H, M_0, k) @ H
            assert metrics.max_gap(left, torch.linalg.matrix_power(I - M_0 @ H, 2**k)) < 1e-11
            assert k not in (1, 2) or metrics.max_gap(left, torch.linalg.matrix_power(I - 1.1 * M_0 @ H, 2**k)) > WRONG


def test_from_h_it_is_the_learner_of_the_road():
    prompt = tasks.linear_regression(B=4, N=20, d_x=5, seed=8)
    H = prompt.x.mT @ prompt.x
    M = residuals.newton(H, 1.98 * H / torch.linalg.matrix_norm(H, ord=2)[:, None, None] ** 2, 4)
    assert metrics.max_gap(prompt.y.mT @ prompt.x @ M, learners.newton_weights(prompt.x, prompt.y, 4)) <= EXACT


@pytest.mark.parametrize(
    "kappa, told", [(5, (35, 6, 8)), (10, (69, 7, 10)), (100, (691, 10, 17)), (1000, (6908, 13, 23))]
)
def test_the_rounds_are_those_of_running_it_on_the_two_ends_of_the_spectrum(kappa, told):
    h, goal, left, steps = np.array([1.0, kappa]), 1e-6, np.ones(2), 0
    while np.abs(left).max() > goal:
        left, steps = left * (1 - 2 / (1 + kappa) * h), steps + 1
    run = []
    for M in (2 / (1 + kappa) * np.ones(2), 2 / (1 + kappa**2) * h):
        rounds = 0
        while np.abs(1 - M * h).max() > goal:
            M, rounds = 2 * M - M * h * M, rounds + 1
        run.append(rounds)
    names = ("GD, equal steps", "Newton from aI", "Newton from aH")
    assert (steps, *run) == told == tuple(residuals.rounds(kappa, goal)[name] for name in names)


@pytest.mark.parametrize("kappa, K", [(10, 4), (100, 7)])
def test_untied_steps_at_the_roots_of_chebyshev_leave_what_is_said(kappa, K):
    lam, nodes = np.linspace(1, kappa, 5001), np.cos((2 * np.arange(K) + 1) * np.pi / (2 * K))
    roots = (1 + kappa) / 2 + (kappa - 1) / 2 * nodes
    largest = np.abs(residuals.gd(lam, 1 / roots)).max()
    assert largest == pytest.approx(residuals.worst(kappa, K)["GD, untied steps"], rel=1e-6)
    assert np.abs(residuals.gd(lam, 1.05 / roots)).max() > 1.05 * largest


def test_the_expansion_of_newtons_first_rounds():
    """P9: M_1 = 2 a h - a^2 h^3 and M_2 = 4 a h - 6 a^2 h^3 + 4 a^3 h^5 - a^4 h^7."""
    a, h = 0.3, np.polynomial.Polynomial([0, 1])
    M_1 = 2 * a * h - a * h * h * a * h
    M_2 = 2 * M_1 - M_1 * h * M_1
    assert np.allclose(M_1.coef, [0, 2 * a, 0, -(a**2)])
    assert np.allclose(M_2.coef, [0, 4 * a, 0, -6 * a**2, 0, 4 * a**3, 0, -(a**4)])
    assert not np.allclose(M_1.coef, [0, 2 * a, 0, -4 * a**2])  # as printed
