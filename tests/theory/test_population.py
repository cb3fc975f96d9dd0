"""The expected loss of one layer against Monte Carlo, closed forms and automatic differentiation; training on it."""

import numpy as np
import pytest
import torch

from helpers import attention, constructions, learners, metrics, tasks
from helpers.attention import Layer
from helpers.theory import closed_forms, population

EXACT = 1e-12
SETTINGS = [
    (3, 5, "gaussian", 0.0),
    (3, 5, "uniform", 0.4),
    (4, 3, "rademacher", 0.7),
    (1, 4, "gaussian", 0.5),
    (5, 8, "uniform", 0.0),
    (2, 1, "gaussian", 1.0),
]
each_setting = pytest.mark.parametrize("d_x, N, inputs, noise", SETTINGS)


def random_layer(d_x, scale=0.4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return Layer(*(scale * torch.randn(4, d_x + 1, d_x + 1, generator=generator, dtype=torch.float64)))


def best_half_loss(N, d_x, **law):
    return closed_forms.gd_excess(closed_forms.best_step(N, d_x, **law), N, d_x, **law) / 2


def distance_in_standard_errors(d_x, N, inputs, noise, exact, B=200_000):
    """The attention layer itself, token by token, on sampled prompts: no formula in common."""
    prompt = tasks.linear_regression(B, N, d_x, inputs=inputs, noise=noise, seed=5)
    y_hat = tasks.read(attention.linear(tasks.tokens(prompt), random_layer(d_x)))
    errors = (y_hat - prompt.y_query).square()[:, 0] / 2
    return ((errors.mean() - exact).abs() / (errors.std() / B**0.5)).item()


@each_setting
def test_the_formula_is_the_mean_of_sampled_losses(d_x, N, inputs, noise):
    exact = population.half_loss(random_layer(d_x), N, inputs=inputs, noise=noise).item()
    assert distance_in_standard_errors(d_x, N, inputs, noise, exact) < 4


@pytest.mark.parametrize("term", ["tr B", "|B|^2", "|A^T u|^2", "|u|^2 |A|^2", "c b^T A^T u", "c^2 |b|^2"])
def test_a_twin_that_drops_a_term_is_noticed(term, monkeypatch):
    whole = population._coefficients
    monkeypatch.setattr(population, "_coefficients", lambda *args: whole(*args) | {term: 0.0})
    twin = population.half_loss(random_layer(3), 5, noise=0.4).item()
    assert distance_in_standard_errors(3, 5, "gaussian", 0.4, twin) > 6


@pytest.mark.parametrize("d_x, N, inputs, wrong", [(3, 5, "gaussian", 1.8), (4, 3, "rademacher", 3.0)])
def test_a_twin_with_the_wrong_kurtosis_is_noticed(d_x, N, inputs, wrong, monkeypatch):
    s2, _ = tasks.MOMENTS[inputs]
    monkeypatch.setitem(tasks.MOMENTS, inputs, (s2, wrong))
    twin = population.half_loss(random_layer(d_x), N, inputs=inputs).item()
    assert distance_in_standard_errors(d_x, N, inputs, 0.0, twin) > 6


def test_a_twin_that_forgets_the_noise_is_noticed():
    twin = population.half_loss(random_layer(4), 3, inputs="rademacher").item()
    assert distance_in_standard_errors(4, 3, "rademacher", 0.7, twin) > 6


@each_setting
@pytest.mark.parametrize("eta", [-0.5, 0.3, 2.0])
def test_the_construction_has_gradient_descents_loss(d_x, N, inputs, noise, eta):
    law = {"inputs": inputs, "noise": noise}
    exact = population.half_loss(constructions.gd_step(eta, N, d_x), N, **law).item()
    assert exact == pytest.approx(closed_forms.gd_excess(eta, N, d_x, **law) / 2, rel=1e-12, abs=EXACT)
    assert exact != pytest.approx(closed_forms.gd_excess(1.1 * eta, N, d_x, **law) / 2, rel=1e-4)


@each_setting
def test_no_layer_is_better_than_the_best_step(d_x, N, inputs, noise):
    best = best_half_loss(N, d_x, inputs=inputs, noise=noise)
    by_hand = constructions.gd_step(closed_forms.best_step(N, d_x, inputs=inputs, noise=noise), N, d_x)
    for seed in range(20):
        near = Layer(*(W + dW for W, dW in zip(by_hand, random_layer(d_x, 0.03, seed), strict=True)))
        for layer in (near, random_layer(d_x, 0.3, seed)):
            assert population.half_loss(layer, N, inputs=inputs, noise=noise) >= best - EXACT


def test_the_loss_does_not_depend_on_the_gauge_nor_on_what_nobody_reads():
    layer, R, R_v = random_layer(4), *random_layer(4, 1.0, seed=9)[:2]
    same = [constructions.change_gauge(layer, R, R_v, scale=-3.0)]
    P = layer.P.clone()
    P[:-1] = 7.0  # the rows that write into the x part
    same.append(layer._replace(P=P))
    for other in same:
        assert population.half_loss(other, 6).item() == pytest.approx(population.half_loss(layer, 6).item(), rel=1e-10)
        assert population.learned_step(other, 6) == pytest.approx(population.learned_step(layer, 6), rel=1e-10)


def test_the_loss_has_a_gradient_for_all_four_matrices():
    layer = Layer(*(W.requires_grad_() for W in random_layer(2)))
    assert torch.autograd.gradcheck(lambda *Ws: population.half_loss(Layer(*Ws), 5, inputs="uniform"), tuple(layer))


@each_setting
def test_the_written_gradient_is_the_automatic_one(d_x, N, inputs, noise):
    k = population._coefficients(N, d_x, inputs, noise)
    generator = torch.Generator().manual_seed(3)
    shapes = [(d_x, d_x), (d_x,), (d_x,), ()]
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    automatic = torch.func.grad(lambda Ws: population._half_loss(*Ws, k))(parts)
    written = population._gradient(*(part.numpy() for part in parts), k)
    for one, other in zip(automatic, written, strict=True):
        assert np.allclose(one.numpy(), other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_training_meets_the_best_step_within_100_steps_and_to_1e_8_within_200(seed):
    prompt = tasks.linear_regression(500, 10, 10, inputs="uniform", seed=8)
    eta = closed_forms.best_step(10, 10, inputs="uniform")
    w_gd, best = learners.gd_weights(prompt.x, prompt.y, eta), best_half_loss(10, 10, inputs="uniform")
    for steps, excess in [(100, 1e-3), (200, 1e-8)]:
        trained = population.train(10, 10, inputs="uniform", steps=steps, seed=seed)
        read, key_query = population.products(trained.layer)
        z = torch.cat([prompt.x, prompt.y], dim=-1)
        w = -(z @ read)[:, None] @ z @ key_query[:, :10]
        assert metrics.mean_cosine(w, w_gd) > 0.999
        assert -EXACT < trained.losses[-1] - best < excess


@pytest.mark.parametrize("law", [{"noise": 0.5}, {"inputs": "rademacher"}, {"inputs": "uniform", "noise": 1.0}])
@pytest.mark.parametrize("N, d_x", [(3, 20), (10, 10), (100, 20), (5, 1)])
def test_training_finds_the_best_step_of_each_setting(N, d_x, law):
    trained = population.train(N, d_x, steps=300, **law)
    assert trained.etas[-1] == pytest.approx(closed_forms.best_step(N, d_x, **law), rel=1e-3)
    assert trained.losses[-1] == pytest.approx(best_half_loss(N, d_x, **law), rel=1e-5)


def test_what_training_returns_fits_together():
    trained = population.train(7, 3, noise=0.2, steps=40)
    assert trained.losses.shape == trained.etas.shape == (41,)
    assert population.half_loss(trained.layer, 7, noise=0.2).item() == pytest.approx(trained.losses[-1], rel=1e-12)
    assert population.learned_step(trained.layer, 7) == pytest.approx(trained.etas[-1], rel=1e-12)
    again, other = (population.train(7, 3, noise=0.2, steps=40, seed=seed) for seed in (0, 1))
    assert np.array_equal(again.losses, trained.losses) and not np.array_equal(other.losses, trained.losses)


def test_bad_input():
    layer = random_layer(3)
    with pytest.raises(ValueError, match="expected a Layer with one head: several heads"):
        population.half_loss(constructions.two_relu_heads(layer), 5)
    with pytest.raises(ValueError, match="expected a Layer with one head"):
        population.half_loss([layer], 5)
    with pytest.raises(ValueError, match="inputs: expected one of gaussian, uniform, rademacher, got 'normal'"):
        population.half_loss(layer, 5, inputs="normal")
    with pytest.raises(ValueError, match="noise: expected a standard deviation of at least 0"):
        population.train(5, 3, noise=-1)
    with pytest.raises(ValueError, match="N: expected a whole number of at least 1, got 0"):
        population.half_loss(layer, 0)
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 1"):
        population.train(5, 3, steps=0)
