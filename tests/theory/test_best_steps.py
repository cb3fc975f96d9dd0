"""Which constants are best on average: searched for here by Newton's method on autograd, not by L-BFGS."""

import numpy as np
import pytest
import torch

from helpers import learners, tasks
from helpers.theory import best_steps, residuals

LEDGER = {10: 0.1762, 25: 0.0992, 50: 0.0561, 100: 0.0297}
PAPER = {10: 0.179, 25: 0.099, 50: 0.056, 100: 0.029}
TWO_LAYERS = {10: (0.1565, 0.1103), 25: (0.0584, 0.0183), 50: (0.0214, 0.0025), 100: (0.0066, 0.0004)}


def minimum(loss, start, rounds=60):
    """Newton's method with a step that is halved until it helps; where the curvature is negative, it is turned."""
    at = torch.as_tensor(start, dtype=torch.float64)
    for _ in range(rounds):
        slope, curvature = torch.func.grad(loss)(at), torch.func.hessian(loss)(at)
        sizes, ways = torch.linalg.eigh(curvature)
        step = -ways @ ((ways.T @ slope) / sizes.abs().clamp(min=1e-9))
        while loss(at + step) > loss(at) and step.abs().max() > 1e-12:
            step = step / 2
        at = at + step
        if step.abs().max() < 1e-9:
            break
    return at, loss(at).item()


def excess(etas, lam):
    return best_steps.excess(residuals.gd(lam, etas)).mean()


@pytest.mark.parametrize("K, equal_told, untied_told, tolerance", [(2, 2.104, 1.683, 0.01), (5, 0.863, 0.323, 0.08)])
def test_untied_steps_beat_equal_ones(K, equal_told, untied_told, tolerance):
    lam = best_steps.eigenvalues(N=20, B=20_000, seed=3) / 20
    found = best_steps.steps(lam, K)
    eta, equal = minimum(lambda eta: excess(eta.expand(K), lam), [0.5])
    etas, untied = minimum(lambda etas: excess(etas, lam), eta * torch.linspace(0.6, 1.6, K))
    assert found.equal == pytest.approx(eta.item(), rel=1e-4) and found.excess_equal == pytest.approx(equal, rel=1e-6)
    assert np.allclose(found.untied, sorted(etas.tolist()), rtol=1e-3)
    assert found.excess_untied == pytest.approx(untied, rel=1e-6)
    assert equal == pytest.approx(equal_told, rel=tolerance) and untied == pytest.approx(untied_told, rel=tolerance)
    assert all(excess(factor * etas, lam) > untied for factor in (0.9, 1.1))
    assert K == 2 or torch.quantile(2 / lam[:, -1], 0.99) < etas.max()  # the largest alone diverges on nearly all


@pytest.mark.parametrize("K", [2, 3, 6])
@pytest.mark.parametrize("inputs", list(tasks.INPUT_LAWS))
def test_equal_steps_are_a_saddle_for_every_law_of_inputs_in_four_dimensions(K, inputs):
    lam = best_steps.eigenvalues(N=12, d_x=4, inputs=inputs, B=500)
    lam = lam / lam.mean()
    eta, _ = minimum(lambda eta: excess(eta.expand(K), lam), [0.5])
    equal = eta.expand(K).clone()
    assert torch.func.grad(excess)(equal, lam).abs().max() < 1e-7
    formula = -2 * (lam**2 * (1 - eta * lam) ** (2 * K - 2)).sum(dim=1).mean()
    curvatures = torch.linalg.eigvalsh(torch.func.hessian(excess)(equal, lam))
    assert torch.allclose(curvatures[: K - 1], formula.expand(K - 1), rtol=1e-9) and formula < 0 < curvatures[-1]
    assert not torch.isclose(curvatures[0], formula / 2, rtol=0.1)
    untied, _ = minimum(lambda etas: excess(etas, lam), equal * torch.linspace(0.7, 1.5, K))
    assert torch.linalg.eigvalsh(torch.func.hessian(excess)(untied, lam))[0] > 0  # the twin: these are a minimum


def least_curvature(lam, K, noise=0.0, h=None):
    """At the best equal steps."""

    def loss(etas):
        return best_steps.excess(residuals.gd(lam, etas), noise, h).mean()

    found = best_steps.steps(lam, K, noise=noise, h=h)
    equal = torch.full((K,), found.equal, dtype=torch.float64)
    return found, torch.linalg.eigvalsh(torch.func.hessian(loss)(equal))[0].item()


def test_equal_steps_are_the_best_where_all_eigenvalues_are_alike():
    lam = best_steps.eigenvalues(N=12, d_x=1, inputs="rademacher", B=50) / 12
    found, curvature = least_curvature(lam, 3)
    assert found.equal == pytest.approx(1, abs=1e-2) and found.excess_equal < 1e-9 and curvature > -1e-9
    assert least_curvature(best_steps.eigenvalues(N=12, d_x=1, B=50) / 12, 3)[1] < -1e-3  # the twin: Gaussian inputs


@pytest.mark.parametrize("noise, saddle", [(0.0, True), (2.0, True), (4.0, False)])
def test_under_much_noise_equal_steps_are_the_best(noise, saddle):
    h = best_steps.eigenvalues(20, B=3000)
    found, curvature = least_curvature(h / 20, 3, noise, h)
    assert (curvature < -1) if saddle else (curvature > 0)
    assert (found.excess_untied < found.excess_equal - 1e-3) == saddle
    assert saddle or found.excess_untied == pytest.approx(found.excess_equal, rel=1e-6)


def test_the_scalars_that_ahn_et_al_trained_are_three_untied_steps():
    draws = [best_steps.eigenvalues(20, d_x=5, B=20_000, seed=seed) / 20 for seed in range(3)]
    found = [best_steps.steps(lam, 3) for lam in draws]
    etas, loss = np.mean([each.untied for each in found], axis=0), np.mean([each.excess_untied for each in found])
    assert np.allclose(etas, [0.4195, 0.6857, 1.7083], rtol=0.01) and loss == pytest.approx(0.1355, rel=0.02)
    assert np.allclose(etas, [0.42, 0.69, 1.71], rtol=0.015)  # as they report
    other = best_steps.steps(best_steps.eigenvalues(10, d_x=5) / 10, 3)  # the twin: another context length
    assert not np.allclose(other.untied, etas, rtol=0.05)


@pytest.mark.parametrize("N", PAPER)
def test_trained_gammas_are_the_minimum_of_the_expected_loss(N):
    h = best_steps.eigenvalues(N, inputs="uniform", seed=1)
    found, unit = best_steps.two_tied_layers(h), 12 / N

    def half_loss(a, gamma):
        return residuals.gd_pp(h * unit, [a] * 2, [gamma] * 2).square().sum(dim=1).mean() / 24

    (a, gamma), least = minimum(lambda at: half_loss(*at), [0.8, 0.15])
    assert (found.a, found.gamma) == pytest.approx((unit * a.item(), unit * gamma.item()), rel=1e-3)
    assert found.gamma == pytest.approx(LEDGER[N], rel=0.02) and found.gamma == pytest.approx(PAPER[N], rel=0.03)
    assert found.flat / 24 == pytest.approx(TWO_LAYERS[N][0], rel=0.02)
    assert found.excess / 24 == pytest.approx(least, rel=1e-6) and least == pytest.approx(TWO_LAYERS[N][1], rel=0.04)
    for off in (0.9, 1.1):  # even with the step chosen anew
        assert minimum(lambda at, off=off: half_loss(at[0], off * gamma), a[None])[1] > 1.001 * least


def test_the_excess_with_noise_is_that_of_gradient_descent_on_noisy_labels():
    prompt = tasks.linear_regression(B=40_000, N=10, d_x=4, noise=0.5, seed=4)
    h, etas = torch.linalg.eigvalsh(prompt.x.mT @ prompt.x), [0.3, 0.6, 0.4]
    p = residuals.gd(h / 10, etas)
    off = (prompt.W - learners.gd_weights(prompt.x, prompt.y, etas, 3)).square().sum(dim=(1, 2))
    pairs = off - best_steps.excess(p, 0.5, h)  # the formula is the mean over tasks and noise, given the inputs
    error = pairs.std() / len(pairs) ** 0.5
    assert pairs.mean().abs() < 4 * error
    assert (off - best_steps.excess(p)).mean().abs() > 8 * error  # the twin: without the noise


def test_with_noise_the_best_untied_steps_are_other_ones():
    h = best_steps.eigenvalues(10, d_x=10, inputs="uniform", B=2000)
    calm, noisy = (best_steps.steps(h / 10, 3, noise=noise, h=h) for noise in (0.0, 1.0))
    assert noisy.untied[-1] < 0.9 * calm.untied[-1] and noisy.excess_untied > calm.excess_untied
