"""Separate tokens for x and y: the layer that pairs them, and the two-layer model that must learn to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import attention, constructions, learners, metrics, tasks
from helpers.attention import Layer
from helpers.models import copying

EXACT, WRONG = 1e-12, 1e-3
sizes = {"N": st.integers(1, 12), "d_x": st.integers(1, 6), "d_y": st.integers(1, 3), "seed": st.integers(0, 999)}


def one_hot(N):
    return torch.eye(2 * N + 1, dtype=torch.float64)


def laid_out(N, d_x, d_y, seed, B=3):
    prompt = tasks.linear_regression(B, N, d_x, d_y, seed=seed)
    return prompt, copying.tokens(prompt, one_hot(N))


@given(**sizes)
def test_tokens_are_the_prompt_in_order(N, d_x, d_y, seed):
    prompt, z = laid_out(N, d_x, d_y, seed)
    for i in range(N):
        assert torch.equal(z[:, 2 * i, :d_x], prompt.x[:, i]) and not z[:, 2 * i, d_x : d_x + d_y].any()
        assert torch.equal(z[:, 2 * i + 1, d_x : d_x + d_y], prompt.y[:, i]) and not z[:, 2 * i + 1, :d_x].any()
    assert torch.equal(z[:, -1, :d_x], prompt.x_query) and torch.equal(z[0, :, d_x + d_y :], one_hot(N))


@pytest.mark.parametrize("next_token", [False, True])
@given(**sizes)
def test_the_copying_layer_makes_pairs(next_token, N, d_x, d_y, seed):
    prompt, z = laid_out(N, d_x, d_y, seed)
    pairs = torch.cat([prompt.x, prompt.y], dim=-1)

    def copied(layer):
        return attention.linear(z, layer)[:, (0 if next_token else 1) : -1 : 2, : d_x + d_y]

    right = constructions.copying(d_x, d_y, 2 * N + 1, next_token=next_token)
    assert metrics.max_gap(copied(right), pairs) <= EXACT
    reversed_shift = right._replace(W_Q=right.W_Q.clone())
    reversed_shift.W_Q[:, d_x + d_y :] = right.W_Q[:, d_x + d_y :].mT
    if N > 1:
        assert metrics.max_gap(copied(reversed_shift), pairs) > WRONG
    assert metrics.max_gap(copied(right._replace(W_Q=1.1 * right.W_Q)), pairs) > WRONG
    nowhere = right._replace(W_Q=0 * right.W_Q)  # no positions
    assert metrics.max_gap(copied(nowhere), pairs) > WRONG


@pytest.mark.parametrize("next_token", [False, True])
@given(**sizes)
def test_copying_then_the_step_is_one_gd_step(next_token, N, d_x, d_y, seed):
    prompt, z = laid_out(N, d_x, d_y, seed)
    copy = constructions.copying(d_x, d_y, 2 * N + 1, next_token=next_token)
    step = constructions.widen(constructions.gd_step(0.7, N, d_x, d_y), z.shape[-1])

    def read(*layers, z=z):
        for layer in layers:
            z = attention.linear(z, layer)
        return copying.read(z, d_x, d_y)

    y_gd = learners.gd(*prompt.shown, eta=0.7)
    assert metrics.max_gap(read(copy, step), y_gd) <= EXACT
    assert read(step).abs().max() <= EXACT  # no pairs, no step: the answer is 0
    assert metrics.max_gap(read(step, copy), y_gd) > 1e-6  # in the wrong order
    assert metrics.max_gap(read(copy, step._replace(P=1.1 * step.P)), y_gd) > 1e-6


@given(**sizes)
def test_softmax_copies_as_well_as_its_temperature_allows(N, d_x, d_y, seed):
    prompt, z = laid_out(N, d_x, d_y, seed)
    T = 2 * N + 1
    for beta in (0.0, 3.0, 50.0):
        layer = constructions.copying(d_x, d_y, T, beta=beta)
        weights = attention.pattern(z, layer)[0, 0].diagonal(-1)
        expected = 1 / (1 + (T - 2) * torch.exp(torch.tensor(-beta, dtype=torch.float64)))
        assert (weights - expected).abs().max() <= EXACT
    pairs = attention.softmax(z, layer)[:, 1::2, : d_x + d_y]
    assert metrics.max_gap(pairs, torch.cat([prompt.x, prompt.y], dim=-1)) <= EXACT  # e^-50: below round-off


def test_the_published_layer_shifts_the_other_way_than_it_says():
    s = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = torch.cat([s, torch.eye(9, dtype=torch.float64)[None]], dim=-1)

    def second_block(S):
        W_K, W_V = torch.zeros(13, 13).double(), torch.zeros(13, 13).double()
        W_Q, W_K[4:, 4:] = W_V.clone(), torch.eye(9)
        W_Q[4:, 4:], W_V[4:8, :4], W_V[4:, 4:] = S.mT, torch.eye(4), -S
        return attention.linear(z, Layer(W_Q, W_K, W_V, torch.eye(13).double()), include_query=True)[..., 4:8]

    lower = torch.diag(torch.ones(8, dtype=torch.float64), -1)
    assert metrics.max_gap(second_block(lower)[:, 1:], s[:, :-1]) <= EXACT
    assert metrics.max_gap(second_block(lower.mT)[:, :-1], s[:, 1:]) <= EXACT
    assert metrics.max_gap(second_block(lower)[:, :-1], s[:, 1:]) > WRONG


# --- the model ------------------------------------------------------------------------------------------------


def model(seed=0, **changed):
    return copying.CopyingTransformer(3, 2, positions=copying.sinusoids(11, 6), seed=seed, **changed).double()


def test_the_model_is_softmax_attention_then_linear_attention():
    prompt, m = tasks.linear_regression(4, 5, 3, 2), model(scale=0.5)
    z = copying.tokens(prompt, m.positions)
    first, second = m.layers()
    plain = copying.read(attention.linear(attention.softmax(z, first), second), 3, 2)
    swapped = copying.read(attention.linear(attention.softmax(z, second), first), 3, 2)
    assert metrics.max_gap(m(*prompt.shown), plain) <= EXACT < WRONG < metrics.max_gap(m(*prompt.shown), swapped)


def test_the_seed_is_all_that_the_start_depends_on():
    assert torch.equal(model(1).first, model(1).first) and not torch.equal(model(1).first, model(2).first)


def test_sinusoids_are_those_of_the_formula():
    found = copying.sinusoids(30, 8)
    for j, k in [(0, 0), (7, 1), (29, 3)]:
        angle = torch.tensor(j / 10_000 ** (2 * k / 8), dtype=torch.float64)
        assert abs(found[j, k] - angle.sin()) <= EXACT and abs(found[j, 4 + k] - angle.cos()) <= EXACT


def test_sensitivity_is_the_slope_of_the_update():
    prompt, m = tasks.linear_regression(1, 5, 3, 2, seed=3), model(scale=0.7)
    z, layer, eps = copying.tokens(prompt, m.positions), m.layers()[0], 1e-6
    slopes = torch.zeros(11, 11, dtype=torch.float64)  # |d update_i / d data_j|, by differences
    for j in range(11):
        for c in range(5):
            up, down = z.clone(), z.clone()
            up[0, j, c] += eps
            down[0, j, c] -= eps
            change = (attention.softmax(up, layer) - up - attention.softmax(down, layer) + down) / (2 * eps)
            slopes[:, j] += change[0].square().sum(-1)
    slopes, found = slopes.detach().sqrt(), copying.sensitivity(z, layer, d=5)
    inputs = [2, 4, 6, 8]
    assert abs(found["own"] - torch.stack([slopes[i, i] for i in inputs]).mean()) < 1e-6
    assert abs(found["next"] - torch.stack([slopes[i, i + 1] for i in inputs]).mean()) < 1e-6
    assert abs(found["previous"] - torch.stack([slopes[i, i - 1] for i in inputs]).mean()) < 1e-6
    rest = [slopes[i, j] for i in inputs for j in range(10) if abs(i - j) > 1]
    assert abs(found["other"] - torch.stack(rest).mean()) < 1e-6


def test_neighbours_reads_the_map():
    pattern = torch.rand(2, 11, 10, generator=torch.Generator().manual_seed(0))
    found = copying.neighbours(pattern)
    assert found["next"] == pytest.approx(pattern[:, range(0, 10, 2), range(1, 11, 2)].mean().item())
    assert found["previous"] == pytest.approx(pattern[:, range(1, 11, 2), range(0, 10, 2)].mean().item())


PROMPT = tasks.linear_regression(2, 5, 3, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: copying.sinusoids(5, 3), "width: expected an even number, a sine and a cosine"),
        (
            lambda: copying.tokens(PROMPT, one_hot(4)),
            r"positions: expected \(2N\+1, width\) with 2N\+1=11, got \(9, 9\)",
        ),
        (lambda: copying.tokens(PROMPT, one_hot(5).float()), "expected one dtype, got x float64, positions float32"),
        (
            lambda: model()(*tasks.linear_regression(2, 5, 4, 2).shown),
            "expected 3 inputs and 2 labels a pair, got 4 and 2",
        ),
        (lambda: model()(*PROMPT.first(4).shown), r"positions: expected \(2N\+1, width\) with 2N\+1=9, got \(11, 6\)"),
        (lambda: copying.neighbours(torch.ones(3, 3)), "pattern: expected"),
        (lambda: constructions.copying(2, 1, 0), "T: expected a whole number of at least 1, got 0"),
        (lambda: constructions.widen(constructions.gd_step(1.0, 4, 3), 3), "D: expected at least 4, the width"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
