"""Reading by softmax, the gate, smoothers, stacks and small scores, against PyTorch's attention and plain sums."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers import learners, metrics, tasks
from helpers.theory import closed_forms, kernels, mixing

EXACT, WRONG = 1e-12, 1e-3


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.tuples(*[st.integers(1, 6)] * 4), st.floats(0.1, 5.0), st.integers(0, 99))
def test_the_read_out_is_pytorchs_attention(sizes, scale, seed):
    M, n, d, d_v = sizes
    q, k, v = scale * normal(2, M, d, seed=seed), normal(2, n, d, seed=seed + 1), normal(2, n, d_v, seed=seed + 2)
    scores = q @ k.mT / d**0.5
    assert metrics.max_gap(mixing.read_out(scores, v), F.scaled_dot_product_attention(q, k, v)) <= EXACT
    if n > 1:
        assert metrics.max_gap(mixing.read_out(1.1 * scores, v), F.scaled_dot_product_attention(q, k, v)) > 1e-9


@given(st.integers(1, 9), st.integers(1, 9), st.floats(-8, 8), st.integers(0, 99))
def test_attention_to_both_is_the_gated_mixture(n, m, gap, seed):
    new, own = gap + normal(3, n, seed=seed), normal(3, m, seed=seed + 1)
    V_new, V_own = normal(n, 2, seed=seed + 2), normal(m, 2, seed=seed + 3)
    both = mixing.read_out(torch.cat([new, own], -1), torch.cat([V_new, V_own]))
    lam = mixing.gate(new, own)[:, None]
    demos, rest = mixing.read_out(new, V_new), mixing.read_out(own, V_own)
    assert metrics.max_gap(lam * demos + (1 - lam) * rest, both) <= EXACT
    assert metrics.max_gap(rest + lam * (demos - rest), both) <= EXACT
    by_sums = new.exp().sum(-1) / (new.exp().sum(-1) + own.exp().sum(-1))
    assert metrics.max_gap(lam[:, 0], by_sums) <= EXACT


def test_adding_is_not_mixing_and_a_wrong_gate_is_noticed():
    new, own, V_new, V_own = normal(3, 8, seed=1), normal(3, 4, seed=2), normal(8, 2, seed=3), normal(4, 2, seed=4)
    both = mixing.read_out(torch.cat([new, own], -1), torch.cat([V_new, V_own]))
    demos, rest = mixing.read_out(new, V_new), mixing.read_out(own, V_own)
    lam = mixing.gate(new, own)[:, None]
    swapped = mixing.gate(own, new)[:, None]
    for wrong in (demos + rest, rest + lam * demos, 1.1 * lam * demos + (1 - 1.1 * lam) * rest):
        assert metrics.max_gap(wrong, both) > 1e-2
    assert metrics.max_gap(swapped * demos + (1 - swapped) * rest, both) > 1e-2


@pytest.mark.parametrize("n, m", [(0, 3), (1, 1), (12, 4), (64, 16)])
def test_equal_scores_count_tokens(n, m):
    gate = mixing.gate(torch.full((1, n), 2.5).double(), torch.full((1, m), 2.5).double())
    assert abs(gate.item() - n / (n + m)) <= EXACT


def test_huge_scores_do_not_overflow_and_masked_tokens_count_for_nothing():
    new, own = torch.tensor([[1000.0, -math.inf]]), torch.tensor([[999.0]])
    assert mixing.gate(new, own).item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert mixing.read_out(new, torch.tensor([[2.0], [math.pi]])).item() == 2.0


# --- the dual form and random features ------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_numerator_and_denominator_add_for_any_features(norm):
    k, q, v, w = norm * normal(9, 5, seed=1), normal(4, 5, seed=2), normal(9, 3, seed=3), normal(5, 20, seed=4)
    features, written = mixing.features, mixing.written
    num, den = (features(q, w) @ (written(k[:3], v[:3], w) + written(k[3:], v[3:], w)).T).split([3, 1], dim=1)
    kernel = features(q, w) @ features(k, w).T
    by_hand = kernel @ v / kernel.sum(1, keepdim=True)
    assert metrics.max_gap(num / den, by_hand) <= EXACT
    old = features(q, w) @ written(k[:3], v[:3], w).T
    assert metrics.max_gap(num / old[:, 3:], by_hand) > WRONG  # the denominator left as it was
    assert metrics.max_gap(old[:, :3] / old[:, 3:], by_hand) > WRONG  # the demonstrations left out


def test_the_features_have_the_right_inner_product_and_variance():
    x, w = normal(2, 4, seed=5) / 2, normal(4, 400_000, seed=6)
    a, b = mixing.features(x, w) * 400_000**0.5
    products, mean = a * b, torch.exp(x[0] @ x[1])
    assert abs(products.mean() - mean) < 4 * products.std() / 400_000**0.5
    assert (a > 0).all()
    assert abs(products.var() / mean**2 / ((x[0] + x[1]).square().sum().exp() - 1) - 1) < 0.1


# --- smoothing, and a stack of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("d, tau", [(2, 0.1), (5, 1.0), (8, 3.0)])
def test_softmax_is_nadaraya_watson_when_each_key_counts_by_its_length(d, tau):
    k, q, v = normal(12, d, seed=7), normal(30, d, seed=8), normal(12, 2, seed=9)
    weights = [[math.exp(-(a - b).square().sum() / (2 * tau)) for b in k] for a in q]
    by_hand = torch.stack([sum(w * y for w, y in zip(row, v, strict=True)) / sum(row) for row in weights])
    assert metrics.max_gap(mixing.nadaraya_watson(q, k, v, tau), by_hand) <= 1e-11
    on_sphere, loud = k / k.norm(dim=1, keepdim=True), torch.exp(k.square().sum(1) / (2 * tau))
    read = mixing.read_out(q @ on_sphere.T / tau, v)
    assert metrics.max_gap(read, mixing.nadaraya_watson(q, on_sphere, v, tau)) <= EXACT
    assert metrics.max_gap(read, mixing.nadaraya_watson(q, on_sphere, v, 1.2 * tau)) > WRONG
    read = mixing.read_out(q @ k.T / tau, v)
    gap = metrics.max_gap(read, mixing.nadaraya_watson(q, k, v, tau, loudness=loud))
    assert gap <= 1e-11 * loud.log().max().clamp(min=1)
    assert metrics.max_gap(read, by_hand) > WRONG  # keys of different length


@pytest.mark.parametrize("seed", range(3))
def test_a_row_normalised_stack_interpolates_along_another_curve(seed):
    x = torch.arange(7).double()[:, None] + 0.4 * torch.rand(7, 1, generator=torch.Generator().manual_seed(seed))
    x, y, line = x.double(), normal(7, 1, seed=seed), torch.linspace(-1, 8, 50, dtype=torch.float64)[:, None]
    kernel = kernels.rbf(0.5)
    K, k_q = kernel(x, x), kernel(line, x)
    limit, plain = mixing.stack_limit(K, k_q, y), k_q @ torch.linalg.solve(K, y)
    deep, on_points = mixing.stack(k_q.log(), K.log(), y, 4000), mixing.stack(K.log(), K.log(), y, 4000)
    assert metrics.max_gap(deep, limit) < 1e-9 and metrics.max_gap(on_points, y) < 1e-9
    assert metrics.max_gap(limit, plain) > 0.05 and metrics.max_gap(mixing.stack_limit(K, K, y), y) < 1e-9
    assert metrics.max_gap(mixing.stack_limit(K, k_q, y + 1), limit + 1) < 1e-9  # rows sum to 1
    assert metrics.max_gap(mixing.stack(k_q.log(), K.log(), y, 1), k_q / k_q.sum(1, keepdim=True) @ y) <= EXACT
    loud = 1 + normal(7, 1, seed=9).square()  # a factor for each row drops out: exp(scores) need not be symmetric
    assert metrics.max_gap(mixing.stack_limit(loud * K, k_q, y), limit) < 1e-9
    rates = torch.linalg.eigvals(K / K.sum(1, keepdim=True))
    assert rates.imag.abs().max() < EXACT and rates.real.min() > 0 and rates.real.max() < 1 + EXACT


# --- small scores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d, N, seed", [(1, 3, 0), (4, 8, 1), (10, 20, 2)])
def test_residuals_fall_as_the_second_and_the_third_power(d, N, seed):
    k, y, q, *_ = tasks.linear_regression(B=200, N=N, d_x=d, noise=0.5, seed=seed)
    y, taus = y + 1, np.geomspace(100 * d**0.5, 3000, 8)
    step = learners.gd(k - k.mean(1, keepdim=True), y - y.mean(1, keepdim=True), q, eta=1.0)
    scores = q[:, None] @ k.mT
    assert metrics.max_gap(mixing.first_order(scores, y)[:, 0], y.mean(1) + step) < 1e-11

    def slope(order):
        left_over = []
        for tau in taus:
            plus, minus = (mixing.read_out(s * scores / tau, y)[:, 0] for s in (1, -1))
            left_over.append(order(plus, minus, tau).square().mean().sqrt().item())
        return np.polyfit(np.log(taus), np.log(left_over), 1)[0]

    uncentred = learners.gd(k, y, q, eta=1.0)
    assert abs(slope(lambda plus, minus, tau: plus - y.mean(1) - step / tau) + 2) < 0.05
    assert abs(slope(lambda plus, minus, tau: plus - minus - 2 * step / tau) + 3) < 0.05
    assert abs(slope(lambda plus, minus, tau: plus - minus - 2.2 * step / tau) + 1) < 0.05  # a step 10 % too long
    assert abs(slope(lambda plus, minus, tau: plus - minus - 2 * uncentred / tau) + 1) < 0.05
    assert abs(slope(lambda plus, minus, tau: plus - uncentred / tau)) < 0.05  # no mean


@pytest.mark.parametrize("inputs", tasks.MOMENTS)
@pytest.mark.parametrize("N, d_x", [(7, 4), (2, 3)])
def test_the_best_step_on_centred_data_has_the_loss_of_the_formula(inputs, N, d_x):
    eta, excess = mixing.best_centred_step(N, d_x, inputs=inputs)
    p = tasks.linear_regression(200_000, N, d_x, inputs=inputs, seed=3)
    centred = p.x - p.x.mean(1, keepdim=True), p.y - p.y.mean(1, keepdim=True), p.x_query
    errors, longer, shorter = (
        (learners.gd(*centred, size * eta) - p.y_query).square()[:, 0] for size in (1.0, 1.1, 0.9)
    )
    assert abs(errors.mean() - excess) < 4 * errors.std() / 200_000**0.5
    assert errors.mean() < min(longer.mean(), shorter.mean())
    if inputs == "gaussian" and N > 2:  # exactly one example fewer
        fewer = closed_forms.gd_excess(closed_forms.best_step(N - 1, d_x), N - 1, d_x)
        assert abs(excess - fewer) <= EXACT


# --- clear errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mixing.read_out(torch.zeros(2, 3), torch.zeros(4, 1)), "expected as many scores as values, got"),
        (lambda: mixing.read_out(torch.zeros(2, 3), torch.zeros(3)), "expected as many scores as values, got"),
        (lambda: mixing.read_out(torch.zeros(2, 0), torch.zeros(0, 1)), "values: expected at least one token"),
        (lambda: mixing.gate(torch.zeros(2, 3), torch.zeros(2, 0)), "own: expected at least one token"),
        (lambda: mixing.gate(torch.zeros(2, 3), torch.zeros(3, 3)), "expected scores of the same queries"),
        (lambda: mixing.gate(torch.zeros(2, 3), torch.zeros(2, 3).double()), "expected one dtype, got new float32"),
        (lambda: mixing.best_centred_step(1, 3), "N: expected a whole number of at least 2, got 1"),
        (lambda: mixing.best_centred_step(5, 3, inputs="cauchy"), "inputs: expected one of gaussian"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
