"""Weights written by hand: what each construction does, against the learners, and what it refuses.

That one layer is one step, and what breaks it, is in claims/test_claims_03.py.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stacked import EXACT, WRONG, prompts, stack_of_layers, start

from helpers import attention, constructions, learners, metrics, tasks


@pytest.mark.parametrize("d_y, seed", [(1, 0), (3, 1)])
def test_two_softmax_heads_are_a_step_on_centred_data_up_to_the_second_order(d_y, seed):
    p = tasks.linear_regression(B=32, N=9, d_x=4, d_y=d_y, noise=0.5, seed=seed)
    x, y = (t - t.mean(1, keepdim=True) for t in p[:2])

    def off(tau, eta=0.7, heads=slice(None), step=(x, y)):
        pair = constructions.two_softmax_heads(constructions.gd_step(eta, 9, 4, d_y), 9, tau)
        layer = attention.Layer(*(W[heads] for W in pair))
        y_hat = constructions.learner([layer], attend=attention.softmax)(*p.shown)
        return metrics.max_gap(y_hat, learners.gd(*step, p.x_query, eta=0.7))

    slope = math.log(off(1000.0) / off(30.0)) / math.log(1000 / 30)
    assert abs(slope + 2) < 0.05 and off(1000.0) < 1e-4
    assert off(1000.0, eta=0.77) > WRONG  # a step 10 % too long
    assert off(1000.0, step=p[:2]) > WRONG  # data that is not centred
    assert off(1000.0, heads=slice(0, 1)) > 1  # one head: the mean, times tau


def test_two_softmax_heads_refuse_bad_input():
    layer = constructions.gd_step(0.7, 9, 4)
    with pytest.raises(ValueError, match="tau: expected a temperature above 0, got -1"):
        constructions.two_softmax_heads(layer, 9, -1.0)
    with pytest.raises(ValueError, match="N: expected a whole number of at least 1, got 0"):
        constructions.two_softmax_heads(layer, 0, 1.0)


def test_a_stack_is_a_learner_like_gradient_descent():
    prompt, W_0 = tasks.linear_regression(B=4, N=11, d_x=7, d_y=3), start(3, 7)
    layers = [constructions.gd_step(eta, 11, 7, 3, W_0) for eta in (0.3, 0.2)]
    y_gd = learners.gd(*prompt.shown, [0.3, 0.2], 2, W_0)
    assert metrics.max_gap(constructions.learner(layers, W_0)(*prompt.shown), y_gd) <= EXACT
    assert metrics.max_gap(constructions.learner(layers[:1], W_0)(*prompt.shown), y_gd) > WRONG
    assert metrics.max_gap(constructions.learner(layers)(*prompt.shown), y_gd) > WRONG


def test_the_four_matrices_are_four():
    """Changing one in place, as the inspector does, leaves the others."""
    layer = constructions.gd_step(0.7, 11, 7)
    layer.W_Q[0, 0] = 9
    assert layer.W_K[0, 0] == 1


def test_rotating_the_inputs_changes_nothing_and_scaling_them_scales_the_step():
    prompt = tasks.linear_regression(B=4, N=11, d_x=5)
    rotation = torch.linalg.qr(start(5, 5)).Q
    rotated = prompt._replace(x=prompt.x @ rotation, x_query=prompt.x_query @ rotation)
    assert metrics.max_gap(stack_of_layers(rotated, [0.3] * 3), stack_of_layers(prompt, [0.3] * 3)) <= EXACT
    doubled = prompt._replace(x=2 * prompt.x, x_query=2 * prompt.x_query)
    assert metrics.max_gap(stack_of_layers(doubled, [0.3]), stack_of_layers(prompt, [1.2])) <= EXACT


# --- F4: GD++ in one head -------------------------------------------------------------------------------------


@given(prompts, st.lists(st.tuples(st.floats(-0.1, 0.12), st.floats(-0.002, 0.004)), min_size=1, max_size=4))
def test_k_gd_pp_layers_are_k_steps_of_gd_pp(prompt, steps):
    (_, N, d_x), d_y = prompt.x.shape, prompt.y.shape[-1]
    etas, gammas = map(list, zip(*steps, strict=True))
    layers = [constructions.gd_pp_step(eta, gamma, N, d_x, d_y) for eta, gamma in steps]
    y_hat = constructions.learner(layers)(*prompt.shown)
    assert metrics.max_gap(y_hat, learners.gd_pp(*prompt.shown, etas, gammas, len(steps))) <= EXACT


def test_gd_pp_layers_that_are_a_little_off_are_noticed():
    prompt = tasks.linear_regression(B=16, N=20, d_x=7, d_y=3, noise=0.2, seed=3)
    y_hat = learners.gd_pp(*prompt.shown, eta=0.8, gamma=0.01, steps=3)
    good = constructions.gd_pp_step(0.8, 0.01, 20, 7, 3)

    def gap(layer, include_query=False):
        z = tasks.tokens(prompt)
        for _ in range(3):
            z = attention.linear(z, layer, include_query=include_query)
        return metrics.max_gap(tasks.read(z, 3), y_hat)

    assert gap(good) <= EXACT
    assert gap(constructions.gd_pp_step(0.88, 0.01, 20, 7, 3)) > WRONG
    assert gap(constructions.gd_pp_step(0.8, 0.011, 20, 7, 3)) > WRONG
    assert gap(constructions.gd_pp_step(0.8, 0.01 / 20, 20, 7, 3)) > WRONG  # gamma read as if it carried 1/N
    assert gap(constructions.gd_step(0.8, 20, 7, 3)) > WRONG
    assert gap(good, include_query=True) > WRONG


def test_gd_pp_without_gamma_is_the_layer_of_gd():
    plain, curved = constructions.gd_step(0.7, 11, 7, 3), constructions.gd_pp_step(0.7, 0.0, 11, 7, 3)
    assert torch.equal(plain.P @ plain.W_V, curved.P @ curved.W_V)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(gamma=float("nan")), "gamma: expected one finite number, got nan"),
        (dict(eta="1"), "eta: expected one finite number, got '1'"),
        (dict(N=0), "N: expected a whole number of at least 1, got 0"),
    ],
)
def test_gd_pp_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        constructions.gd_pp_step(**{"eta": 0.5, "gamma": 0.01, "N": 5, "d_x": 3, **arguments})


@pytest.mark.parametrize("T", [5, 9])
def test_the_previous_token_scores_beta_and_all_others_0(T):
    """However long the text is: the weight of the token before is e^beta among 1's."""
    z, beta = torch.eye(9 + T, dtype=torch.float64)[None, 9:], 2.0
    pattern = attention.pattern(z, constructions.induction(V=3, T=T, beta=beta)[0], causal=True)[0, 0]
    wanted = torch.tensor([math.exp(beta) / (math.exp(beta) + t) for t in range(1, T)], dtype=torch.float64)
    assert torch.allclose(pattern.diagonal(-1), wanted, rtol=0, atol=1e-12)


def test_a_temperature_of_0_is_refused():
    with pytest.raises(ValueError, match="tau"):
        constructions.two_softmax_heads(constructions.gd_step(1.0, 4, 2), N=4, tau=0.0)
