"""Claims E1 to E8 and D10: training finds the gradient step. Each closed form has a twin that fails."""

import numpy as np
import pytest
import torch

from helpers import constructions, learners, metrics, tasks, training
from helpers.attention import Layer
from helpers.models.stacks import LinearTransformer
from helpers.theory import closed_forms, population

N = d_x = 10
UNIFORM = {"inputs": "uniform"}
ETA = closed_forms.best_step(N, d_x, **UNIFORM)
BEST = closed_forms.gd_excess(ETA, N, d_x, **UNIFORM) / 2
ZERO = d_x / 24


def as_layer(read, key_query):
    """The layer with this last row of P W_V and this W_K^T W_Q."""
    eye = torch.eye(len(read), dtype=read.dtype)
    return Layer(W_Q=key_query, W_K=eye, W_V=torch.outer(eye[-1], read), P=eye)


def mix(one, other, t):
    (read_1, kq_1), (read_2, kq_2) = population.products(one), population.products(other)
    return as_layer((1 - t) * read_1 + t * read_2, (1 - t) * kq_1 + t * kq_2)


def trained_on_the_exact_loss(seed, *, iterations=150, scale=0.1, keep=None, watch=None, stop_at=None):
    """All four matrices, with Adam."""
    model, calls = LinearTransformer(d_x, scale=scale, seed=seed), []

    def loss(_):
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return population.half_loss(model.layers()[0], N, **UNIFORM)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    history = training.fit(model, loss, optimizer, iterations, seed=seed, keep=keep, watch=watch)
    return model, history, len(calls)


# --- E1, E2, E4: what training finds --------------------------------------------------------------------------


def test_the_papers_setting_has_step_6_06_and_loss_0_206():
    """P1: the text's U(-1, 1) has four times the loss, and eight times without the 1/2."""
    assert (round(ETA, 4), round(ETA / N, 3), round(BEST, 6)) == (6.0606, 0.606, 0.206229)
    assert 8 * BEST == pytest.approx(1.650, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_four_free_matrices_end_at_the_gradient_step_and_beta_shows_it(seed):
    model, history, _ = trained_on_the_exact_loss(seed)
    prompt = tasks.linear_regression(500, N, d_x, inputs="uniform", seed=90)
    w, w_gd = model.weights(prompt.x, prompt.y).detach(), learners.gd_weights(prompt.x, prompt.y, ETA)
    assert metrics.mean_cosine(w, w_gd) > 0.9999 and metrics.mean_distance(w, w_gd) < 0.01
    assert -1e-12 < history.losses[-1] - BEST < 1e-5

    read, key_query = (W.detach() for W in population.products(model.layers()[0]))
    beta = key_query[:d_x, :d_x].diagonal().mean()
    assert metrics.max_gap(key_query[:d_x, :d_x] / beta, torch.eye(d_x).double()) < 0.01
    assert (beta * read[-1]).item() == pytest.approx(-ETA / N, abs=2e-3)


def test_the_x_rows_of_what_is_written_get_no_gradient():
    layer = LinearTransformer(4, seed=1).layers()[0]
    (to_P,) = torch.autograd.grad(population.half_loss(layer, 6), layer.P)
    assert torch.equal(to_P[:-1], torch.zeros(4, 5).double()) and to_P[-1].norm() > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_sampled_training_comes_close_and_noise_keeps_it_above(seed):
    model = LinearTransformer(d_x, scale=0.1, seed=seed)

    def loss(task_seed):
        prompt = tasks.linear_regression(512, N, d_x, inputs="uniform", seed=task_seed)
        return (model(*prompt.shown) - prompt.y_query).square().mean() / 2

    training.fit(model, loss, torch.optim.Adam(model.parameters(), 0.02), 300, seed=seed)
    prompt = tasks.linear_regression(500, N, d_x, inputs="uniform", seed=90)
    w, w_gd = model.weights(prompt.x, prompt.y).detach(), learners.gd_weights(prompt.x, prompt.y, ETA)
    assert metrics.mean_cosine(w, w_gd) > 0.995
    assert 1e-5 < population.half_loss(model.layers()[0], N, **UNIFORM).item() - BEST < 0.02 * BEST


def test_the_cosine_is_blind_to_the_step_size_and_the_distance_is_not():
    prompt = tasks.linear_regression(100, N, d_x, inputs="uniform", seed=2)
    w, long = (learners.gd_weights(prompt.x, prompt.y, eta) for eta in (ETA, 3 * ETA))
    assert abs(metrics.mean_cosine(long, w) - 1) < 1e-12 and metrics.mean_distance(long, w) > 1


def test_rank_r_layers_are_saddles_at_a_known_height():
    """Steps along r of the d_x directions: excess (1 - r/d_x) of the way; slope 0, and a way down."""
    for r in (1, 4):
        key_query = torch.zeros(11, 11, dtype=torch.float64)
        key_query[:r, :r] = torch.eye(r)
        read = torch.cat([torch.zeros(10), torch.tensor([-ETA / N])]).double()
        loss = population.half_loss(as_layer(read, key_query), N, **UNIFORM).item()
        assert loss - BEST == pytest.approx((1 - r / d_x) * (ZERO - BEST), rel=1e-9)
        further = key_query.clone()
        further[r, r] = 0.1
        assert population.half_loss(as_layer(read, further), N, **UNIFORM).item() < loss - 1e-4


def test_in_two_dimensions_there_is_a_second_minimum_and_in_ten_none_was_met():
    end = population.train(N, 2, inputs="uniform", steps=2000)
    best = closed_forms.gd_excess(closed_forms.best_step(N, 2, **UNIFORM), N, 2, **UNIFORM) / 2
    read, key_query = population.products(end.layer)
    flat = torch.cat([read, key_query[:, :2].flatten()])

    def loss(flat):
        query = torch.cat([flat[3:].view(3, 2), torch.zeros(3, 1, dtype=flat.dtype)], dim=1)
        value = torch.stack([*torch.zeros(2, 3, dtype=flat.dtype), flat[:3]])
        eye = torch.eye(3, dtype=flat.dtype)
        return population.half_loss(Layer(query, eye, value, eye), N, **UNIFORM)

    bends = torch.linalg.eigvalsh(torch.func.hessian(loss)(flat))
    assert torch.func.grad(loss)(flat).norm() < 1e-6
    assert abs(bends[0]) < 1e-6 and all(bends[1:] > 1e-4)  # flat along the gauge, up everywhere else
    assert (end.losses[-1] - best) / (2 / 24 - best) == pytest.approx(0.301, abs=0.002)
    for seed in range(10):
        assert population.train(N, d_x, inputs="uniform", seed=seed).losses[-1] < BEST + 1e-6


# --- E3: interpolation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [-5.0, -1.0, 0.5, 1.2, 5.0])
@pytest.mark.parametrize("t", [-0.5, 0.5, 1.0, 1.5])
def test_mixing_two_gauges_multiplies_the_step_as_the_formula_says(beta, t):
    eye = torch.eye(11, dtype=torch.float64)
    by_hand = constructions.gd_step(ETA, N, d_x)
    mixed = mix(by_hand, constructions.change_gauge(by_hand, eye, eye, scale=1 / beta), t)
    times = (1 - t + t * beta) * (1 - t + t / beta)
    assert population.learned_step(mixed, N) == pytest.approx(times * ETA, rel=1e-12, abs=1e-12)
    loss = population.half_loss(mixed, N, **UNIFORM).item()
    assert loss == pytest.approx(closed_forms.gd_excess(times * ETA, N, d_x, **UNIFORM) / 2, rel=1e-12, abs=1e-12)
    if t == 0.5 and beta != -1:
        assert times == pytest.approx((1 + beta) ** 2 / (4 * beta), rel=1e-12, abs=1e-12)
        assert abs(times - (1 + beta) / 2) > 1e-3  # twin: one product mixed, the other not


def test_corrected_mixtures_are_as_good_and_uncorrected_ones_are_not():
    model, _, _ = trained_on_the_exact_loss(0, iterations=300)
    layer, eye = Layer(*(W.detach() for W in model.layers()[0])), torch.eye(11, dtype=torch.float64)
    beta = (layer.W_K.T @ layer.W_Q)[:d_x, :d_x].diagonal().mean().item()
    by_hand = constructions.gd_step(ETA, N, d_x)
    for scale, good in [(beta, True), (beta / 5, False), (-beta / 5, False)]:
        middle = mix(by_hand, constructions.change_gauge(layer, eye, eye, scale=scale), 0.5)
        assert (population.half_loss(middle, N, **UNIFORM).item() < 1.001 * BEST) == good


# --- E5, E6, E7: gradient flow --------------------------------------------------------------------------------


def descend(layer, N, dt, steps, **law):
    """Plain gradient descent on the exact loss by automatic differentiation, of the two products."""
    read, key_query = (W.clone().requires_grad_() for W in population.products(layer))
    for _ in range(steps):
        to_read, to_kq = torch.autograd.grad(
            population.half_loss(as_layer(read, key_query), N, **law), [read, key_query]
        )
        with torch.no_grad():
            read -= dt * to_read
            key_query -= dt * to_kq
    return read.detach(), key_query.detach()


@pytest.mark.parametrize("d, law, s2", [(4, {}, 1.0), (6, {"inputs": "rademacher", "noise": 0.5}, 1.0)])
def test_the_step_grows_by_a_logistic_law_with_an_error_of_the_order_of_dt(d, law, s2):
    """For tokens divided by sqrt(N), so that the attention takes the mean: here the gradients carry the factors."""
    n, scale, until = 8, 0.05, 1.2
    rate, end = 2 * d**0.5 * s2**2, closed_forms.best_step(n, d, **law)
    errors, wrong, start = [], [], scale**2 / d**0.5
    for steps in (150, 300, 600):
        a, c, dt = scale / d**0.5, scale, until / steps
        for _ in range(steps):
            read = torch.cat([torch.zeros(d), torch.tensor([-c / n])]).double().requires_grad_()
            query = torch.diag(torch.tensor([*[a] * d, 0.0], dtype=torch.float64)).requires_grad_()
            loss = population.half_loss(as_layer(read, query), n, **law)
            to_read, to_query = torch.autograd.grad(loss, [read, query])
            a, c = a - dt * to_query[0, 0].item(), c + dt * to_read[-1].item() / n
        errors.append(abs(a * c - end / (1 + (end / start - 1) * np.exp(-rate * until))))
        wrong.append(abs(a * c - end / (1 + (end / start - 1) * np.exp(-rate / 2**0.5 * until))))
    assert all(1.8 < coarse / fine < 2.2 for coarse, fine in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 0.01 * end and wrong[-1] > 0.05 * end


def test_a_balance_is_conserved_by_gradient_flow_and_others_are_not():
    """E6: |u|^2 + c^2 - |A|^2 - |b|^2, for the whole layer; the drift halves with the step."""
    generator = torch.Generator().manual_seed(5)
    read, key_query = (0.3 * torch.randn(n, generator=generator, dtype=torch.float64) for n in ((4,), (4, 4)))
    key_query[:, -1] = 0

    def drift(steps, power=2.0, weight=1.0):
        end = descend(as_layer(read, key_query), 5, 0.1 / steps, steps)
        balance = [r.norm() ** power - weight * k.norm() ** power for r, k in ((read, key_query), end)]
        return abs(balance[1] - balance[0]).item()

    coarse, fine = drift(200), drift(400)
    assert 1.7 < coarse / fine < 2.3 and fine < 0.01
    assert drift(400, power=1.0) > 10 * fine and drift(400, weight=0.5) > 10 * fine  # twins
