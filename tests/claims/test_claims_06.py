"""What notebook 06 says of its experiments; the identities are in tests/theory/test_residuals and test_best_steps."""

import math

import numpy as np
import pytest
import torch
from conftest import ROOT
from scenarios import holds, prose

from helpers import constructions, learners
from helpers.theory import best_steps, residuals
from helpers.trained import deep_stacks
from helpers.verdicts import notebook_06 as claims

NOTEBOOK = ROOT / "notebooks" / "06_depth_and_curvature.ipynb"
ETA_STAR = 120 / 19.8


# --- section 2: one layer, repeated -----------------------------------------------------------------------------


def test_these_fractions_of_prompts_diverge():
    h_max = best_steps.eigenvalues(10, inputs="uniform", B=50_000, seed=4)[:, -1]
    fractions = [(c * ETA_STAR * h_max / 10 > 2).double().mean().item() for c in (1, 0.875, 0.75)]
    assert np.allclose(fractions, [0.033, 0.0034, 0.0001], rtol=0, atol=[0.01, 0.002, 0.0005])


def test_a_prompt_diverges_where_its_largest_eigenvalue_says_so():
    prompt = deep_stacks.prompts(200, seed=5)
    critical = 20 / (ETA_STAR * torch.linalg.eigvalsh(prompt.x.mT @ prompt.x)[:, -1])
    for b in range(0, 200, 20):
        one = (prompt.x[b : b + 1], prompt.y[b : b + 1])
        for factor, grows in [(0.95, False), (1.05, True)]:
            W = [learners.gd_weights(*one, factor * critical[b].item() * ETA_STAR, k) for k in (300, 600)]
            assert (W[1].norm() > 10 * W[0].norm()) == grows


def test_half_losses_of_the_roll_out_are_those_of_the_table():
    h = best_steps.eigenvalues(10, inputs="uniform", seed=2)
    told = {1: 0.219, 2: 0.170, 5: 0.116, 10: 0.086, 20: 0.064, 50: 0.044}
    for k, loss in told.items():
        assert (1 - 0.75 * ETA_STAR * h / 10).pow(2 * k).sum(dim=1).mean() / 24 == pytest.approx(loss, rel=0.02)


def test_only_a_dampening_of_0_132_is_safe_for_every_prompt():
    corner = torch.full((1, 10, 10), 0.5, dtype=torch.float64)  # ten times the same corner of the cube
    h = torch.linalg.eigvalsh(corner.mT @ corner)[0, -1].item()
    assert h == pytest.approx(25, rel=1e-12)
    assert abs(1 - 0.132 * ETA_STAR * h / 10) <= 1 < abs(1 - 0.133 * ETA_STAR * h / 10)


# --- section 5 and "Where this breaks" --------------------------------------------------------------------------


def test_a_flat_top_squares_the_deviation():
    delta = np.linspace(-0.5, 0.5, 101)

    def image(gamma_mu):
        return (1 + delta) * (1 - gamma_mu * (1 + delta)) ** 2 / (1 - gamma_mu) ** 2 - 1

    assert np.allclose(image(1 / 3), -3 / 4 * delta**2 + delta**3 / 4, rtol=0, atol=1e-14)
    slope = (image(1.1 / 3)[51] - image(1.1 / 3)[49]) / (delta[51] - delta[49])
    assert abs(slope) > 0.1  # the twin: off by a tenth, the deviation shrinks in proportion only


def test_five_layers_by_hand_are_a_learner_with_this_half_loss():
    prompt = deep_stacks.prompts(2000, seed=6)

    def half_loss(L):
        layers = [constructions.gd_pp_step(10 * g, g, 10, 10) for g in residuals.tripling(L, 5)]
        queries = [(row * math.sqrt(1 / 12)).expand(2000, 10) for row in torch.eye(10, dtype=torch.float64)]
        learn = constructions.learner(layers)
        errors = [learn(prompt.x, prompt.y, q) - (prompt.W @ q[..., None])[..., 0] for q in queries]
        return torch.stack(errors).square().sum(dim=0).mean().item() / 2

    by_weights = deep_stacks.half_losses(deep_stacks.tripled(prompt, 5, 5), prompt).mean().item()
    assert half_loss(5) == pytest.approx(by_weights, rel=1e-6) and by_weights == pytest.approx(0.0058, rel=0.08)
    assert half_loss(25) == pytest.approx(0.0126, rel=0.05)
    assert half_loss(3.5) > 1e3  # beyond L a polynomial of degree 121 has no mercy


def test_one_prompt_in_ten_thousand_ruins_a_mean_for_l_of_4_5():
    means = []
    for seed in range(6):
        p = residuals.gd_pp(claims.sample(seed), *[residuals.tripling(4.5, 5)] * 2)
        means.append((best_steps.excess(p).mean() / 24).item())
    assert means[0] > 1e20 and all(mean < 0.006 for mean in means[1:])
    assert (claims.sample(0)[:, -1] > 4.9).sum() == 1


# --- section 7: trained stacks ----------------------------------------------------------------------------------


def test_the_picture_of_noise_is_what_the_text_says():
    hand, gd = deep_stacks.by_depth(0.1)["by hand"], deep_stacks.by_depth(0.1)["gradient descent"]
    assert hand[2].median() < hand[3].median() < hand[4].median()  # the fourth and the fifth do harm
    assert hand[4].mean() > gd[4].mean() > hand[2].mean()
    exact = deep_stacks.by_depth(0.0)["by hand"].median(dim=1).values
    assert (exact.diff() < 0).all()
    ridge = deep_stacks.rivals(0.1)["ridge"].mean()
    assert all(1 < trained.mean() / ridge < 1.06 for trained in deep_stacks.rivals(0.1)["trained"])
    medians = [deep_stacks.rivals(0.1)[name].median(dim=1).values for name in ("trained", "ridge")]
    assert medians[0].min() < medians[1] < medians[0].max()  # ridge is the best in the mean only


def test_no_trained_stack_is_ahead_of_layers_by_hand_on_exact_labels_and_they_differ():
    by_hand, trained = deep_stacks.by_depth(0.0)["by hand"][4], deep_stacks.rivals(0.0)["trained"]
    assert all((by_hand < stack).double().mean() > 0.5 for stack in trained)
    medians = trained.median(dim=1).values
    assert medians.max() > 3 * medians.min()
    assert trained.amax(dim=1).max() > 1e6 > 1 > trained.sort(dim=1).values[:, -11].max()  # one prompt in 4,000
    safe = deep_stacks.rivals(0.0)["by hand, L = 25"][0].median()
    assert medians.min() < safe < medians.max()


def test_two_of_three_stacks_explode_on_rare_prompts_that_training_has_met_the_like_of():
    """On 120,000 new prompts; "explode": a half-loss twelve times that of answering 0, which is 10/24."""
    exploded, like_it = [0, 0, 0], 0
    for seed in range(1000, 1006):
        new = deep_stacks.prompts(20_000, seed=seed)
        h_max = torch.linalg.eigvalsh(new.x.mT @ new.x)[:, -1]
        like_it += (h_max > 3.97).sum().item()
        for k, model in enumerate(deep_stacks.load(0.0)):
            bad = deep_stacks.half_losses(model.weights(new.x, new.y), new) > 5
            exploded[k] += bad.sum().item()
            assert (h_max[bad] > 3.9).all()
    assert exploded[1] == 0 and [round(120 / exploded[k]) for k in (0, 2)] == pytest.approx([11, 4])
    assert 2000 < like_it / 120_000 * deep_stacks.ITERATIONS * deep_stacks.B < 6000
    assert abs(deep_stacks.ITERATIONS * deep_stacks.B / 1e6 - 3) < 0.1


def test_newton_from_aH_needs_more_rounds_than_gd_pp_from_a_kappa_of_seventy_on():
    at = {kappa: residuals.rounds(kappa) for kappa in (5, 10, 65, 70, 100, 1000)}
    behind = {kappa: each["Newton from aH"] > each["GD++ by hand"] for kappa, each in at.items()}
    assert behind == {5: False, 10: False, 65: False, 70: True, 100: True, 1000: True}
    more = [each["Newton from aH"] / each["Newton from aI"] for each in at.values()]
    assert more[0] < 1.5 < 1.7 < more[-1] < 2


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_fresh_training_finds_gamma_and_the_step(seed):
    model, losses = deep_stacks.tied_stack(seed)
    best = claims.predicted(10)
    assert deep_stacks.read_gamma(model.layers()[0]) == pytest.approx((best.gamma, best.a), rel=0.05)
    assert losses[-100:].mean().item() == pytest.approx(best.excess / 24, rel=0.05) and best.flat > 1.3 * best.excess
    gauges = torch.randn(2, 11, 11, generator=torch.Generator().manual_seed(7)).double()
    scrambled = constructions.change_gauge(model.layers()[0], *gauges, scale=-3.0)
    assert deep_stacks.read_gamma(scrambled) == pytest.approx(deep_stacks.read_gamma(model.layers()[0]), rel=1e-6)
    raw = -(scrambled.P @ scrambled.W_V).diagonal()[:-1].mean().item()
    assert raw != pytest.approx(best.gamma, rel=0.1)  # one product alone does not hold gamma


def test_an_untrained_stack_is_far_from_a_trained_one():
    prompt, start = deep_stacks.prompts(500, seed=8), deep_stacks.untrained(0)
    before = deep_stacks.half_losses(start.weights(prompt.x, prompt.y), prompt).median()
    after = deep_stacks.half_losses(deep_stacks.load()[0].weights(prompt.x, prompt.y), prompt).median()
    assert after < 0.05 * before
    losses = deep_stacks.train(start, iterations=30).losses
    assert losses[-5:].mean() < 0.9 * losses[:5].mean()


# --- what you should have seen ----------------------------------------------------------------------------------


def roots(*four):
    return {f"root_{i}": root for i, root in enumerate(four, start=1)}


def rolled(dampening, repeats, seed):
    return {"dampening": dampening, "repeats": repeats, "seed": seed}


def shortened(gamma, N):
    return {"gamma": gamma, "N": N}


def rounds(name):
    return lambda now: now.rounds[name]


SEEN = [
    *[("roots_widget", roots(*at), lambda now: now.excess, stated, ".3g") for at, stated in [
        ((1.7, 1.7, 1.7, 1.7), "1.09"), ((1.7, 1.7, 1.7, 3.6), "1.22"), ((0.4, 1.7, 1.7, 3.6), "0.673"),
        ((0.4, 0.9, 2, 3.6), "1.06"), ((0.05, 0.9, 2, 3.6), "84.5"), ((0.4, 1.25, 2.3, 3.2), "0.532"),
    ]],
    ("rollout_widget", rolled(0.75, 50, 0), lambda now: now.mean[-1], "15,755", ".0f"),
    ("rollout_widget", rolled(0.75, 50, 0), lambda now: now.diverging, "2", ".0f"),
    ("rollout_widget", rolled(0.75, 50, 2), lambda now: now.mean[-1], "0.0432", ".3g"),
    ("rollout_widget", rolled(0.75, 50, 1), lambda now: now.mean[-1], "0.0435", ".3g"),
    ("rollout_widget", rolled(1.0, 50, 1), lambda now: now.mean.argmin(), "6", ".0f"),
    ("rollout_widget", rolled(1.0, 50, 1), lambda now: now.mean.min(), "0.112", ".3g"),
    ("rollout_widget", rolled(1.0, 50, 1), lambda now: now.diverging, "322", ".0f"),
    ("rollout_widget", rolled(0.925, 5, 1), lambda now: now.mean[-1], "0.108", ".3g"),
    ("gamma_widget", shortened(0.056, "50"), lambda now: now.loss, "0.00255", ".3g"),
    ("gamma_widget", shortened(0.076, "50"), lambda now: now.kappas[1], "1.61", ".3g"),
    ("gamma_widget", shortened(0.179, "100"), lambda now: now.loss, "0.046", ".2g"),
    ("gamma_widget", shortened(0.179, "100"), lambda now: now.kappas[0], "2.83", ".3g"),
    ("gamma_widget", shortened(0.179, "100"), lambda now: now.kappas[1], "2,870", ".0f"),
    ("gamma_widget", shortened(0.0, "100"), lambda now: now.loss, "0.00661", ".3g"),
    ("gamma_widget", shortened(0.03, "100"), lambda now: now.loss, "0.000407", ".3g"),
    ("gamma_widget", shortened(0.0, "10"), lambda now: now.loss, "0.157", ".3g"),
    ("gamma_widget", shortened(0.176, "10"), lambda now: now.loss, "0.11", ".2g"),
    *[("newton_widget", {"kappa": kappa, "digits": digits}, rounds(name), stated, ".0f")
      for kappa, digits, name, stated in [
        (1, 6, "GD, equal steps", "1"), (1, 6, "GD++ by hand", "13"), (2, 6, "GD, equal steps", "13"),
        (2, 6, "GD, untied steps", "9"), (2, 6, "Newton from aI", "4"), (2, 6, "Newton from aH", "5"),
        (1000, 3, "GD++ by hand", "10"), (1000, 3, "Newton from aI", "12"), (1000, 3, "Newton from aH", "22"),
        (1000, 12, "Newton from aI", "14"), (1000, 12, "Newton from aH", "24"), (1000, 12, "GD++ by hand", "29"),
        (1000, 12, "GD, untied steps", "448"), (1000, 12, "GD, equal steps", "13,816"),
    ]],
]  # fmt: skip


@pytest.mark.parametrize("widget, settings, number, stated, style", SEEN)
def test_what_you_should_have_seen(ran, widget, settings, number, stated, style):
    holds(ran, NOTEBOOK, widget, settings, number, stated, style)


def test_the_best_settings_of_the_text_are_the_best(ran):
    names = ran(NOTEBOOK).namespace
    assert f"{claims.steps(4).excess_untied:.3g}" == "0.532" and "0.532" in prose(NOTEBOOK)
    dampers = np.arange(0.5, 1.001, 0.005).round(3)
    for seed, repeats, stated in [(1, 5, "0.925"), (1, 50, "0.75"), (0, 5, "0.905"), (0, 50, "0.68")]:
        ends = [names["rollout_widget"].compute(damper, repeats, seed).mean[-1] for damper in dampers]
        assert f"{dampers[int(np.argmin(ends))]:g}" == stated and stated in prose(NOTEBOOK)
    gammas = np.arange(0, 0.3, 0.002)
    for number, at in [(lambda now: now.loss, 0.056), (lambda now: now.kappas[1], 0.076)]:
        turn = min(gammas, key=lambda gamma, number=number: number(names["gamma_widget"].compute(gamma, "50")))
        assert turn == pytest.approx(at)
