"""Kernel learners against plain loops, direct solves and automatic differentiation; claims H2 to H5. With twins."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import learners, metrics
from helpers.theory import kernels

EXACT = 1e-12
WRONG = 1e-3


def data(B=3, N=8, d_x=2, d_y=1, M=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = [(B, N, d_x), (B, N, d_y), (B, M, d_x)]
    return [torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]


KERNELS = {"linear": kernels.linear, "exp": kernels.exponential(2.0), "rbf": kernels.rbf(0.8)}


def largest(kernel, x):
    return torch.linalg.eigvalsh(kernel(x, x)).max().item()


# --- the kernels ----------------------------------------------------------------------------------------------


def test_kernels_are_their_formulas():
    a, _, b = data()
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            u, v = a[0, i], b[0, j]
            dot = (u * v).sum()
            assert torch.isclose(kernels.linear(a, b)[0, i, j], dot, rtol=0, atol=EXACT)
            assert torch.isclose(kernels.exponential(0.7)(a, b)[0, i, j], torch.exp(dot / 0.7), rtol=EXACT)
            rbf = torch.exp(-((u - v).norm() ** 2) / (2 * 1.3**2))
            assert torch.isclose(kernels.rbf(1.3)(a, b)[0, i, j], rbf, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_matrices_are_symmetric_and_positive(name):
    x = data(N=12)[0]
    K = KERNELS[name](x, x)
    assert metrics.max_gap(K, K.mT) < EXACT
    assert (torch.linalg.eigvalsh(K) > -1e-9 * K.abs().max()).all()


def test_on_the_unit_sphere_exp_is_e_times_the_gaussian_kernel():
    """H5, with its twin: elsewhere it is not."""
    x = data(N=30, d_x=4)[0]
    on_sphere = x / x.norm(dim=-1, keepdim=True)

    def off(x):
        return metrics.max_gap(kernels.exponential()(x, x), torch.e * kernels.rbf(1.0)(x, x))

    assert off(on_sphere) <= EXACT
    assert off(x) > WRONG and off(1.1 * on_sphere) > WRONG
    assert metrics.max_gap(kernels.exponential()(on_sphere, on_sphere), torch.e * kernels.rbf(1.1)(x, x)) > WRONG


# --- functional gradient descent ------------------------------------------------------------------------------


@given(
    st.sampled_from(list(KERNELS)), st.integers(0, 30), st.floats(0.05, 1.9), st.integers(1, 9), st.integers(0, 1000)
)
def test_functional_descent_is_the_spectral_filter_and_the_loop_on_coefficients(name, steps, step, N, seed):
    """H2: three programs."""
    kernel, (x, y, x_query) = KERNELS[name], data(B=1, N=N, seed=seed)
    eta = step / max(largest(kernel, x), 1e-9)
    f, residuals = kernels.functional_gd(x, y, x_query, kernel, eta, steps)
    alpha = torch.zeros_like(y)
    for _ in range(steps):
        alpha = alpha + eta * (y - kernel(x, x) @ alpha)
    scale = max(1.0, (kernel(x_query, x).abs() @ alpha.abs()).max().item())
    assert metrics.max_gap(f, kernel(x_query, x) @ alpha) <= EXACT * scale
    assert metrics.max_gap(residuals, y - kernel(x, x) @ alpha) <= EXACT * max(scale, eta * largest(kernel, x))
    assert metrics.max_gap(f, kernels.filtered(x, y, x_query, kernel, eta, steps)) <= 100 * EXACT * scale


def test_the_twins_fail():
    x, y, x_query = data(N=6)
    right = kernels.filtered(x, y, x_query, kernels.rbf(0.8), 0.3, 20)
    assert metrics.max_gap(kernels.functional_gd(x, y, x_query, kernels.rbf(0.8), 0.3, 20)[0], right) <= EXACT
    for kernel, eta, steps in [(kernels.rbf(0.9), 0.3, 20), (kernels.rbf(0.8), 0.33, 20), (kernels.rbf(0.8), 0.3, 21)]:
        assert metrics.max_gap(kernels.functional_gd(x, y, x_query, kernel, eta, steps)[0], right) > WRONG


def test_normalised_scores_are_another_iteration():
    """The twin for softmax: rows of scores that add up to 1."""
    x, y, x_query = data(N=6)
    kernel = kernels.rbf(0.8)
    f, residuals = torch.zeros_like(kernel(x_query, x) @ y), y
    for _ in range(20):
        norm, norm_q = kernel(x, x).sum(-1, keepdim=True), kernel(x_query, x).sum(-1, keepdim=True)
        f, residuals = (
            f + 0.3 * kernel(x_query, x) @ residuals / norm_q,
            residuals - 0.3 * kernel(x, x) @ residuals / norm,
        )
    assert metrics.max_gap(f, kernels.functional_gd(x, y, x_query, kernel, 0.3, 20)[0]) > WRONG


def test_with_the_linear_kernel_it_is_gradient_descent_with_eta_over_N():
    x, y, x_query = data(N=7, d_y=2)
    f, _ = kernels.functional_gd(x, y, x_query, kernels.linear, 0.05, 9)
    for j in range(x_query.shape[1]):
        by_weights = learners.gd(x, y, x_query[:, j], eta=0.05 * 7, steps=9)
        assert metrics.max_gap(f[:, j], by_weights) <= EXACT


def test_each_step_goes_down_the_functional_gradient():
    """The gradient of 1/2 sum (f(x_i) - y_i)^2 in the kernel's norm, held against autograd."""
    x, y, _ = data(B=1, N=6)
    kernel = kernels.rbf(0.5)
    K = kernel(x, x)[0]
    alpha = torch.randn(6, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = torch.func.grad(lambda a: (K @ a - y[0]).square().sum() / 2)(alpha)
    assert torch.allclose(torch.linalg.solve(K, gradient), K @ alpha - y[0], rtol=0, atol=1e-10)


# --- the filter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.1, 0.9, 1.7])
def test_the_filter_is_a_geometric_sum(eta):
    lam = torch.tensor([0.0, 1e-300, 1e-15, 1e-6, 0.01, 0.49, 0.5, 0.51, 1.0, 1.1], dtype=torch.float64)
    for steps in (0, 1, 2, 7, 300):
        by_sum = sum((eta * (1 - eta * lam) ** t for t in range(steps)), torch.zeros_like(lam))
        assert torch.allclose(kernels.spectral_filter(lam, eta, steps), by_sum, rtol=1e-11, atol=0)


def test_the_filter_of_exercise_1_and_its_limit():
    half = torch.tensor([0.5], dtype=torch.float64)
    assert kernels.spectral_filter(half, 1.0, 3).item() == 1.75
    assert kernels.spectral_filter(half, 1.0, 10**6).item() == 2
    assert kernels.spectral_filter(-half * 1e-16, 1.0, 100).item() == pytest.approx(100)


def test_stopping_early_is_close_to_ridge_with_penalty_one_over_eta_T():
    """H3: between half of ridge's share and that plus a half, and equal to first order at both ends."""
    lam = torch.logspace(-8, 0, 300, dtype=torch.float64)
    for steps in (1, 10, 100, 1000):
        share, ridge = lam * kernels.spectral_filter(lam, 0.9, steps), lam / (lam + 1 / (0.9 * steps))
        assert ((share - ridge).abs() < 0.43).all() and (share >= ridge - EXACT).all()
        if steps > 1:
            assert ((share - ridge).abs() < 0.25).all()
    tail = lam < 1e-7
    assert torch.allclose(share[tail], ridge[tail], rtol=1e-3)
    assert not torch.allclose(share[tail], lam[tail] / (lam[tail] + 1 / 900 / 2), rtol=1e-1)


# --- the Gaussian process -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 1e-3, 0.5])
def test_posterior_is_the_direct_solve(lam):
    x, y, x_query = data(N=6, d_y=2)
    kernel = kernels.rbf(0.5)
    mean, variance = kernels.gp(x, y, x_query, kernel, lam)
    K = kernel(x, x) + lam * torch.eye(6, dtype=torch.float64)
    k_q = kernel(x_query, x)
    assert torch.allclose(mean, k_q @ torch.linalg.solve(K, y), rtol=0, atol=1e-10)
    assert torch.allclose(variance, 1 - (k_q @ torch.linalg.inv(K) * k_q).sum(-1), rtol=0, atol=1e-10)


def test_posterior_is_the_conditional_of_a_joint_normal():
    """The mean is the regression of f(x_q) on y over many draws of functions; the variance what is left."""
    x, _, x_query = data(B=1, N=3, M=1, seed=4)
    draws = 40_000
    points = torch.cat([x, x_query], 1).expand(draws, 4, 2)
    f = kernels.draw(points, kernels.rbf(1.0), lam=0.0, seed=5)[..., 0]
    mean, variance = kernels.gp(points[:, :3], f[:, :3, None], points[:, 3:], kernels.rbf(1.0))
    error = f[:, 3] - mean[:, 0, 0]
    assert abs(error.mean()) < 4 * error.std() / draws**0.5
    assert abs(error.square().mean() / variance[0, 0] - 1) < 4 * (2 / draws) ** 0.5
    assert abs((error[:, None] * f[:, :3]).mean(0)).max() < 4 * error.std() / draws**0.5 * f[:, :3].std()


def test_the_limit_of_many_steps_is_the_posterior_mean():
    """H3, and its twin: too few steps."""
    x, y, x_query = data(N=6)
    kernel = kernels.rbf(0.4)
    eta = 1 / largest(kernel, x)
    limit = kernels.gp(x, y, x_query, kernel)[0]
    assert metrics.max_gap(kernels.filtered(x, y, x_query, kernel, eta, 10**7), limit) < 1e-9
    assert metrics.max_gap(kernels.filtered(x, y, x_query, kernel, eta, 10), limit) > WRONG


def test_the_linear_kernel_makes_ridge_regression():
    x, y, x_query = data(N=9, M=1)
    mean, _ = kernels.gp(x, y, x_query, kernels.linear, lam=0.3)
    assert metrics.max_gap(mean[:, 0], learners.ridge(x, y, x_query[:, 0], lam=0.3)) <= EXACT


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_kernel_of_the_data_wins_in_every_row(seed):
    """H4: 600 draws a row."""
    g = torch.Generator().manual_seed(seed)
    points = 2 * torch.rand(600, 21, 2, generator=g, dtype=torch.float64) - 1
    four = [kernels.linear, *(kernels.rbf(h) for h in (0.3, 1.0, 3.0))]
    x, x_query = points[:, :-1], points[:, -1:]
    for i, of_data in enumerate(four):
        f = kernels.draw(points, of_data, lam=1e-6, seed=seed)
        means = [kernels.gp(x, f[:, :-1], x_query, kernel, lam=1e-6)[0] for kernel in four]
        errors = torch.stack([(mean - f[:, -1:]).square().mean() for mean in means])
        assert errors.argmin() == i


def test_drawn_functions_have_the_kernel_for_covariance():
    points = data(B=1, N=4)[0].expand(50_000, 4, 2)
    f = kernels.draw(points, kernels.rbf(1.0), lam=0.0, seed=1)[..., 0]
    K, S = kernels.rbf(1.0)(points[0], points[0]), f.T @ f / len(f)
    assert ((S - K).abs() < 4 * ((1 + K**2) / len(f)).sqrt()).all()


# --- bad input ------------------------------------------------------------------------------------------------


def test_bad_input():
    x, y, x_query = data()
    with pytest.raises(ValueError, match="bandwidth: expected a number above 0, got 0"):
        kernels.rbf(0)
    with pytest.raises(ValueError, match="tau: expected a number above 0, got -1"):
        kernels.exponential(-1)
    with pytest.raises(ValueError, match="x_query: expected .* 2 dimensions instead of 3"):
        kernels.functional_gd(x, y, x_query[:, 0], kernels.linear, 0.1)
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 0, got -1"):
        kernels.filtered(x, y, x_query, kernels.linear, 0.1, -1)
    with pytest.raises(ValueError, match="lam: expected a variance of at least 0, got -1"):
        kernels.gp(x, y, x_query, kernels.linear, lam=-1)
    with pytest.raises(ValueError, match="K: expected a kernel matrix that can be inverted.*equal inputs"):
        kernels.gp(x[:, [0, 0]], y[:, :2], x_query, kernels.rbf(1.0))
    with pytest.raises(TypeError, match="expected one dtype"):
        kernels.gp(x, y, x_query.float(), kernels.linear)
    with pytest.raises(ValueError, match="eta: expected one finite number"):
        kernels.spectral_filter(torch.ones(2), None, 3)
