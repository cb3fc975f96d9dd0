"""Learners with a prior, against posteriors summed and integrated by other means."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import learners, metrics, tasks
from helpers.theory import bayes

EXACT, WRONG = 1e-12, 1e-3


def listed(M, d_x, seed=0):
    return torch.randn(M, d_x, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior_mean(x, y, x_query, W, noise):
    """One task and one example at a time, by the densities of the labels."""
    answers = []
    for b in range(len(x)):
        likelihoods = []
        for w in W:
            density = 1.0
            for x_i, y_i in zip(x[b], y[b, :, 0], strict=True):
                density *= math.exp(-((y_i - w @ x_i) ** 2) / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi))
            likelihoods.append(density)
        w_hat = sum(density * w for density, w in zip(likelihoods, W, strict=True)) / sum(likelihoods)
        answers.append(w_hat @ x_query[b])
    return torch.stack(answers)[:, None]


def test_dmmse_is_the_posterior_mean_over_the_list():
    p, W = tasks.linear_regression(B=6, N=5, d_x=3, noise=0.5, seed=1), listed(7, 3)
    expected = posterior_mean(*p.shown, W, noise=0.8)
    assert metrics.max_gap(bayes.dmmse(*p.shown, W, noise=0.8), expected) < EXACT
    assert metrics.max_gap(bayes.dmmse(*p.shown, W, noise=0.88), expected) > WRONG


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 4), st.floats(0.2, 3), st.integers(0, 999))
def test_dmmse_is_softmax_attention_over_tasks(N, M, d_x, noise, seed):
    p, W = tasks.linear_regression(B=5, N=N, d_x=d_x, noise=0.5, seed=seed), listed(M, d_x, seed)
    assert metrics.max_gap(bayes.dmmse(*p.shown, W, noise), bayes.dmmse_by_attention(*p.shown, W, noise)) < 1e-10


def test_the_attention_needs_the_curvature_in_its_keys():
    p, W = tasks.linear_regression(B=5, N=6, d_x=3, noise=0.5, seed=2), listed(8, 3)
    without = bayes.dmmse_by_attention(p.x * 1e-6, 1e6 * p.y, p.x_query, W, 0.5)  # X^T y kept, X^T X gone
    assert metrics.max_gap(bayes.dmmse(*p.shown, W, 0.5), without) > WRONG


def test_on_its_list_nobody_beats_it_and_off_it_ridge_does():
    W, p = listed(32, 8), tasks.linear_regression(B=2000, N=16, d_x=8, noise=0.5, seed=5)
    own = W[torch.randint(32, (2000,), generator=torch.Generator().manual_seed(1))]
    on = p._replace(y=p.y - p.x @ p.W.mT + p.x @ own[..., None], y_query=(own * p.x_query).sum(1, keepdim=True))

    def error(learner, prompt):
        return (learner(*prompt.shown) - prompt.y_query).square().mean()

    dmmse, ridge = (lambda *q: bayes.dmmse(*q, W, 0.5)), (lambda *q: learners.ridge(*q, lam=0.25))
    assert error(dmmse, on) < 0.2 * error(ridge, on) and error(dmmse, p) > 5 * error(ridge, p)


def test_the_odds_of_the_noise_are_those_of_the_labels_density():
    p = tasks.linear_regression(B=9, N=7, d_x=3, noise=0.7, seed=4)
    logs = []
    for noise in (0.3, 0.7, 2.0):
        covariance = p.x @ p.x.mT + noise**2 * torch.eye(7).double()
        normal = torch.distributions.MultivariateNormal(torch.zeros(7).double(), covariance)
        logs.append(normal.log_prob(p.y[..., 0]))
    expected = torch.softmax(torch.stack(logs, dim=1), dim=1)
    assert metrics.max_gap(bayes.noise_posterior(p.x, p.y, [0.3, 0.7, 2.0]), expected) < 1e-10
    assert metrics.max_gap(bayes.noise_posterior(p.x, p.y, [0.33, 0.7, 2.0]), expected) > WRONG
    assert torch.allclose(expected.sum(1), torch.ones(9).double())


def test_the_mixture_is_ridge_where_the_noise_is_plain():
    p = tasks.linear_regression(B=50, N=60, d_x=3, noise=0.1, seed=6)
    mixture = bayes.ridge_mixture(*p.shown, noises=[0.1, 5.0])
    assert metrics.max_gap(mixture, learners.ridge(*p.shown, lam=0.01)) < 1e-9
    assert metrics.max_gap(mixture, learners.ridge(*p.shown, lam=25.0)) > WRONG
    assert torch.equal(bayes.ridge_mixture(*p.shown, noises=[2.0]), learners.ridge(*p.shown, lam=4.0))


def test_picking_chooses_what_errs_least_on_the_held_out_pairs():
    p, noises = tasks.linear_regression(B=40, N=12, d_x=3, noise=0.8, seed=7), [0.2, 3.0]
    for b in range(40):
        x, y, x_query = (part[b : b + 1] for part in p.shown)
        errors = []
        for noise in noises:
            on_held_out = [learners.ridge(x[:, :8], y[:, :8], x[:, i], lam=noise**2) - y[:, i] for i in range(8, 12)]
            errors.append(torch.cat(on_held_out).square().sum())
        best = noises[int(torch.stack(errors).argmin())]
        expected = learners.ridge(x, y, x_query, lam=best**2)
        assert metrics.max_gap(bayes.pick_ridge(x, y, x_query, noises, held_out=4), expected) < EXACT


GOOD = tasks.linear_regression(B=2, N=5, d_x=3)
TWO = tasks.linear_regression(B=2, N=5, d_x=3, d_y=2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bayes.dmmse(*GOOD.shown, listed(4, 2), 0.5), r"W: expected \(M, d_x\) with d_x=3, got \(4, 2\)"),
        (lambda: bayes.dmmse(*GOOD.shown, listed(4, 3).float(), 0.5), "expected one dtype, got x float64, W float32"),
        (lambda: bayes.dmmse(*GOOD.shown, listed(4, 3) * math.nan, 0.5), "W: expected finite numbers, got nan"),
        (lambda: bayes.dmmse(*GOOD.shown, listed(4, 3), 0.0), "noise: expected a standard deviation above 0, got 0.0"),
        (lambda: bayes.dmmse_by_attention(*TWO.shown, listed(4, 3), 0.5), "y: expected one output, d_y = 1, got 2"),
        (lambda: bayes.noise_posterior(GOOD.x, GOOD.y, [1.0, -1.0]), "noise: expected a standard deviation above 0"),
        (lambda: bayes.pick_ridge(*GOOD.shown, [1.0], held_out=5), "held_out: expected fewer than the 5 pairs"),
        (lambda: bayes.pick_ridge(*GOOD.shown, [1.0], held_out=0), "held_out: expected a whole number of at least 1"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
