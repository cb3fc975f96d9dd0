"""Gradient flow against automatic differentiation of the loss as written, known laws, and its own order in dt."""

import numpy as np
import pytest
import torch

from helpers.theory import closed_forms, flow

LAM = [3.0, 1.5, 1.0, 0.5, 0.1]


def random_start(parts, d_x, seed=0, scale=0.4):
    g = np.random.default_rng(seed)
    return (0.5, *(scale * g.standard_normal((d_x, d_x)) for _ in range(parts - 1)))


def matrix(c, *Ws):
    return c * (Ws[0] if len(Ws) == 1 else Ws[0].T @ Ws[1])


@pytest.mark.parametrize("parts", [2, 3])
def test_the_slope_is_the_automatic_one(parts):
    """Of half the mean squared error, written out from S = X^T X / N and the fourth moment of a Gaussian."""
    lam, N = torch.tensor(LAM, dtype=torch.float64), 7
    Sigma, I = torch.diag(lam), torch.eye(5).double()

    def loss(*at):
        A = matrix(*at)
        SS = (1 + 1 / N) * Sigma @ Sigma + lam.sum() / N * Sigma  # E S^2
        return torch.trace(Sigma @ (I - A @ Sigma - Sigma @ A.T + A @ SS @ A.T)) / 2

    start = random_start(parts, 5)
    wanted = torch.func.grad(loss, argnums=tuple(range(parts)))(*(torch.tensor(part).double() for part in start))
    Gamma = (1 + 1 / N) * np.array(LAM) + sum(LAM) / N
    ours = flow._slope([np.asarray(part) for part in start], np.array(LAM), Gamma)
    for slope, gradient in zip(ours, wanted, strict=True):
        assert np.allclose(slope, -gradient.numpy(), rtol=0, atol=1e-12)
    twin = flow._slope([np.asarray(part) for part in start], np.array(LAM), 1.1 * Gamma)
    assert not np.allclose(twin[0], -wanted[0].numpy(), rtol=0, atol=1e-3)


def test_the_excess_on_the_way_is_the_closed_form():
    path = flow.follow(LAM, 12, random_start(3, 5), until=1.0, dt=0.05, noise=0.5)
    Sigma = torch.diag(torch.tensor(LAM, dtype=torch.float64))
    for A, excess in zip(path.A[::5], path.excess[::5], strict=True):
        known = closed_forms.preconditioned_excess(torch.tensor(A), Sigma, 12, noise=0.5)
        assert excess == pytest.approx(known, rel=1e-12)
        assert excess != pytest.approx(closed_forms.preconditioned_excess(torch.tensor(A), Sigma, 12), rel=1e-6)


@pytest.mark.parametrize("parts", [2, 3])
def test_a_half_as_long_step_has_a_sixteenth_of_the_error(parts):
    start = random_start(parts, 5)
    ends = [flow.follow(LAM, 20, start, until=2.0, dt=dt).A[-1] for dt in (0.02, 0.01, 0.005)]
    coarse, fine = (abs(one - other).max() for one, other in zip(ends, ends[1:], strict=False))
    assert 12 < coarse / fine < 20


@pytest.mark.parametrize("parts", [2, 3])
def test_the_loss_only_falls_and_a_balance_is_conserved(parts):
    """c^2 - |M|^2, or c^2 - |W_K|^2; c itself, from the matrices that came out, is not conserved."""
    start = random_start(parts, 5)
    path = flow.follow(LAM, 20, start, until=5.0)
    assert (np.diff(path.excess) < 1e-12).all() and path.excess[-1] < path.excess[0] / 2
    assert path.balance[0] == pytest.approx(start[0] ** 2 - (start[1] ** 2).sum())
    assert abs(path.balance - path.balance[0]).max() < 1e-4
    if parts == 2:
        c_M = path.balance + np.sqrt(path.balance**2 + 4 * (path.A**2).sum((1, 2)))  # 2 c^2, from |A|^2 = c^2 |M|^2
        assert abs(c_M - c_M[0]).max() > 0.1


@pytest.mark.parametrize("scale, N, d_x, noise", [(0.01, 10, 10, 0.0), (0.3, 10, 4, 0.0), (0.1, 5, 2, 1.0)])
def test_the_step_grows_by_the_logistic_law(scale, N, d_x, noise):
    path = flow.follow([1.0] * d_x, N, flow.balanced(scale, d_x), until=4.0, dt=0.01, noise=noise)
    law = flow.logistic(scale, N, d_x, path.t, noise=noise)
    assert np.allclose(path.A[:, 0, 0], law, rtol=0, atol=1e-6)
    assert not np.allclose(path.A[:, 0, 0], flow.logistic(scale, N, d_x + 1, path.t, noise=noise), rtol=0, atol=1e-3)
    assert path.half_time() == pytest.approx(flow.half_time(scale, N, d_x, noise=noise), rel=1e-4)
    assert law[-1] == pytest.approx(closed_forms.best_step(N, d_x, noise=noise), rel=1e-2)


def test_half_time_where_there_is_none():
    assert flow.half_time(1.0, 10, 10) == 0.0 == flow.follow([1.0], 10, (1.0, np.eye(1)), until=1.0).half_time()
    assert flow.follow([1.0], 10, flow.balanced(0.001, 1), until=1.0).half_time() == np.inf
    sampling = {"lr": 0.01, "batch": 8, "runs": 2, "rng": np.random.default_rng(0)}
    assert flow.sampled_half_times(1.0, 10, 4, **sampling).tolist() == [0.0, 0.0]  # it starts beyond
    assert (flow.sampled_half_times(0.7, 10, 4, **sampling) > 0).all() and flow.half_time(0.7, 10, 4) > 0


def test_the_end_of_a_balanced_start_is_known():
    """c = tr(Gamma^-2)^(1/4), M = Gamma^-1 / c (Zhang, Frei and Bartlett 2023)."""
    lam, N = np.array(LAM[:3]), 20
    path = flow.follow(lam, N, flow.balanced(0.01, 3), until=30.0)
    Gamma = (1 + 1 / N) * lam + lam.sum() / N
    assert np.allclose(path.A[-1].diagonal(), 1 / Gamma, rtol=1e-3) and np.allclose(path.learned[-1], 1, rtol=1e-3)
    c2 = path.balance[-1] + (path.A[-1] ** 2).sum() / np.sum(Gamma**-2.0) ** 0.5  # |M|^2 = |A|^2 / c^2
    assert c2 == pytest.approx(np.sum(Gamma**-2.0) ** 0.5, rel=1e-3)
    assert c2 != pytest.approx(np.sum(Gamma**-2.0), rel=0.02)  # twin: another exponent


@pytest.mark.parametrize("lam, pauses", [((3.0, 1.5, 1.0, 0.5, 0.1), 0), ((3.0, 0.3), 1), ((4.0, 0.5), 1)])
def test_merged_weights_pause_where_two_sizes_lie_far_apart(lam, pauses):
    for dt in (0.02, 0.01):
        assert flow.follow(lam, 20, flow.balanced(0.01, len(lam)), until=80.0, dt=dt).plateaus() == pauses


def test_merged_weights_drop_in_one_go_and_separate_ones_stop_at_saddles():
    """The heights at which separate weights stand still are those of m directions learned, in order of size."""
    lam, N, g = np.array([4.0, 1.5, 0.6]), 20, np.random.default_rng(0)
    W_K, W_Q = 1e-3 * g.standard_normal((2, 3, 3))
    c = (W_K**2).sum() ** 0.5
    separate = flow.follow(lam, N, (c, W_K, W_Q), until=120, dt=0.02, keep=5)
    merged = flow.follow(lam, N, flow.balanced(1e-3, 3), until=20, dt=0.02)
    gain = lam**2 / ((1 + 1 / N) * lam + lam.sum() / N)
    saddles = lam.sum() - np.cumsum(gain)[:2]
    for saddle in saddles:
        near = [(abs(path.excess - saddle) < 0.02 * gain.sum()).sum() * path.t[1] for path in (separate, merged)]
        assert near[0] > 4 * near[1]
    half = [np.argmax(path.learned > 0.5, axis=0) * path.t[1] for path in (separate, merged)]
    assert all(np.diff(half[0]) > 1) and all(np.diff(half[1]) > 0)


def test_bad_input():
    with pytest.raises(ValueError, match="lam: expected variances above 0"):
        flow.follow([1.0, 0.0], 10, flow.balanced(0.1, 2), until=1.0)
    with pytest.raises(ValueError, match="start: expected"):
        flow.follow([1.0], 10, (1.0,), until=1.0)
    with pytest.raises(ValueError, match="N: expected a whole number"):
        flow.follow([1.0], 0, flow.balanced(0.1, 1), until=1.0)
