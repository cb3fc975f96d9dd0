"""A prompt that says which algorithm is right: who finds out, and who cannot."""

import pytest
import torch

from helpers import learners, metrics, tasks
from helpers.theory import bayes, selection

EXACT = 1e-12


def test_errors_are_those_on_prompts_of_either_noise():
    for half, noise in enumerate(selection.NOISES):
        p = tasks.linear_regression(50, 32, 8, noise=noise, seed=7 + 100 * half)
        for ours, learner in ((selection.validate, bayes.pick_ridge), (selection.weigh, bayes.ridge_mixture)):
            more = {"held_out": 8} if learner is bayes.pick_ridge else {}
            answers = learner(*p.shown, selection.NOISES, **more)
            expected = (answers - p.y_query).square()[:, 0]
            assert torch.equal(selection.errors(ours, B=50, seed=7)[half], expected)
        told = learners.ridge(*p.shown, lam=noise**2)
        assert torch.equal(selection.told(B=50, seed=7)[half], (told - p.y_query).square()[:, 0])
    assert not torch.equal(selection.told(B=50, seed=7), selection.errors(selection.compromise, B=50, seed=7))


@pytest.mark.parametrize("seed", [50, 60, 70])
def test_the_mixture_knows_the_noise_and_validation_half_knows_it(seed):
    def error(learner):
        return selection.errors(learner, seed=seed).mean()

    fixed = min(error(selection.ridge(noise)) for noise in selection.NOISES)
    linear, pick = error(selection.compromise), error(selection.validate)
    assert error(selection.weigh) < 0.95 * min(linear, pick) and max(linear, pick) < fixed
    assert abs(error(selection.weigh) / selection.told(seed=seed).mean() - 1) < 1e-3
    assert abs(linear / pick - 1) < 0.06


def test_ridge_with_the_mean_variance_is_the_best_that_is_linear_in_the_labels():
    p = tasks.linear_regression(B=6, N=9, d_x=3, seed=80)
    variances, odds = torch.tensor([[0.05, 4.0, 1.0], [0.5, 0.3, 0.2]], dtype=torch.float64)
    for x, x_query in zip(p.x, p.x_query, strict=True):
        covariances = [x @ x.T + variance * torch.eye(9).double() for variance in variances]
        second_moment = sum(share * each for share, each in zip(odds, covariances, strict=True))
        a = torch.linalg.solve(second_moment, x @ x_query)  # the minimum of E (a^T y - w^T x_q)^2 over a
        y = torch.randn(9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        wanted = (a @ y).reshape(1, 1)
        for lam, exact in (((odds * variances).sum().item(), True), (1.0, False)):
            gap = metrics.max_gap(learners.ridge(x[None], y[None], x_query[None], lam=lam), wanted)
            assert (gap < EXACT) if exact else (gap > 1e-4)


def test_the_compromise_is_that_ridge_for_two_equally_likely_variances():
    p = tasks.linear_regression(B=6, N=32, d_x=8, noise=1.0, seed=81)
    low, high = (noise**2 for noise in selection.NOISES)
    assert metrics.max_gap(selection.compromise(*p.shown), learners.ridge(*p.shown, lam=(low + high) / 2)) < EXACT
    assert metrics.max_gap(selection.compromise(*p.shown), learners.ridge(*p.shown, lam=(low * high) ** 0.5)) > 0.01
