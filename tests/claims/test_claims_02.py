"""Claims B1 to B8: linear attention is a matrix that is written by adding and read by multiplying.

Formulas with columns, V (d_v, N), K (d_k, N), are held against sums over tokens, automatic differentiation, draws
and `helpers.attention`. Each identity has a twin that fails.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scenarios import follow
from torch.utils.flop_counter import FlopCounterMode

from helpers import attention, metrics
from helpers.theory import fast_weights
from helpers.verdicts.notebook_02 import attend as read_by
from helpers.verdicts.notebook_02 import columns as random_columns
from helpers.verdicts.notebook_02 import cost, kernel

EXACT = 1e-12
WRONG = 1e-3
NOTEBOOK = ROOT / "notebooks" / "02_linear_attention.ipynb"


def columns(*sizes, N=11, seed=0):
    """Random matrices of N columns, one for each size."""
    return random_columns(*sizes, N=N, seed=seed)


def by_tokens(V, K, q):
    """The definition: each value, times the match of its key with the query."""
    return sum(v * sum(a * b for a, b in zip(k, q, strict=True)) for v, k in zip(V.T, K.T, strict=True))


def softmax_by_tokens(V, K, q):
    scores = [(k @ q / len(q) ** 0.5).exp() for k in K.T]
    return sum(v * score for v, score in zip(V.T, scores, strict=True)) / sum(scores)


def read(attend, V, K, q):
    """What a layer of helpers.attention adds to the query's value slot."""
    return read_by(V, K, q, attend)


# --- B1: the formula and its price ------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 12), st.integers(0, 1000))
def test_both_orders_and_the_packaged_layer_are_the_sum_over_tokens(d_k, d_v, N, seed):
    V, K = columns(d_v, d_k, N=N, seed=seed)
    (q,) = columns(d_k, N=1, seed=seed + 1)
    expected = by_tokens(V, K, q[:, 0])
    assert metrics.max_gap((V @ K.T) @ q[:, 0], expected) <= EXACT
    assert metrics.max_gap(V @ (K.T @ q[:, 0]), expected) <= EXACT
    assert metrics.max_gap(read(attention.linear, V, K, q[:, 0]), expected) <= EXACT


def test_the_formula_as_the_review_prints_it_does_not_fit_or_says_something_else():
    """S1: K V^T q compares the query with the values and returns keys."""
    V, K = columns(4, 6)
    with pytest.raises(RuntimeError):
        K @ V.T @ K[:, 0]
    V, K = columns(6, 6)
    assert metrics.max_gap(K @ V.T @ K[:, 0], V @ K.T @ K[:, 0]) > WRONG


@pytest.mark.parametrize("d_k, d_v, N, m", [(16, 16, 64, 1), (16, 8, 64, 65), (3, 5, 7, 11)])
def test_the_multiplications_are_those_that_torch_counts(d_k, d_v, N, m):
    V, K = columns(d_v, d_k, N=N)
    (Q,) = columns(d_k, N=m)
    for multiply, price in [
        (lambda: (V @ K.T) @ Q, d_v * d_k * (N + m)),
        (lambda: V @ (K.T @ Q), N * m * (d_k + d_v)),
    ]:
        with FlopCounterMode(display=False) as counter:
            multiply()
        assert counter.get_total_flops() == 2 * price  # a multiplication and an addition


def test_when_all_tokens_ask_the_matrix_is_cheaper_from_N_equal_to_d_on():
    def prices(d, N):
        return d * d * (2 * N + 1), 2 * d * N * (N + 1)

    for d in range(1, 65):
        assert prices(d, d)[0] < prices(d, d)[1]
        assert d == 1 or prices(d, d - 1)[0] > prices(d, d - 1)[1]


def test_linear_attention_makes_nothing_of_size_N_by_N_and_its_operations_grow_by_a_constant_a_token():
    lengths = [100, 200, 1_000, 2_000, 100_000]
    costs = dict(zip(lengths, (cost(attention.linear, N) for N in lengths), strict=True))
    per_token = (costs[200][0] - costs[100][0]) / 100
    for N in lengths:
        assert costs[N][0] == costs[100][0] + per_token * (N - 100)
        assert costs[N][1] == 11 * (N + 1)


def test_softmax_written_out_makes_N_by_N_scores_and_more_operations_with_each_token():
    costs = {N: cost(attention.softmax, N) for N in (100, 200, 300)}
    assert all(costs[N][1] == N * (N + 1) for N in costs)
    assert costs[300][0] - costs[200][0] > 1.3 * (costs[200][0] - costs[100][0])


@pytest.mark.parametrize("N", [1, 63, 64, 65, 300])
def test_softmax_in_blocks_is_softmax_with_less_memory(ran, N):
    in_blocks = ran(NOTEBOOK).namespace["softmax_in_blocks"]
    z, layer = (
        3 * columns(N + 1, 5, N=8)[0].T[None].mT,
        attention.Layer(*(columns(8, N=8, seed=s)[0] for s in range(4))),
    )
    expected = attention.softmax(z, layer)
    assert torch.allclose(in_blocks(z, layer), expected, rtol=1e-10, atol=1e-10)
    assert torch.allclose(kernel(z, layer), expected, rtol=1e-10, atol=1e-10)
    assert N == 1 or metrics.max_gap(in_blocks(z, layer), attention.linear(z, layer)) > WRONG
    if N == 300:
        assert cost(in_blocks, 2000)[1] == 64 * 2001 and cost(kernel, 2000)[1] == 11 * 2001
        assert 1.9 < cost(in_blocks, 2000)[0] / cost(in_blocks, 1000)[0] / 2 < 2.1  # N^2 operations remain


def test_softmax_in_blocks_does_not_overflow(ran):
    z, layer = columns(40, N=8)[0][None], attention.Layer(*(100 * torch.eye(8).double() for _ in range(4)))
    assert torch.isfinite(ran(NOTEBOOK).namespace["softmax_in_blocks"](z, layer)).all()


PEAK = """
import re
from pathlib import Path

import torch

from helpers import attention, constructions, tasks
from helpers.verdicts.notebook_02 import kernel


def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1000


torch.set_num_threads(1)
z, layer = tasks.tokens(tasks.linear_regression(B=1, N=4000, d_x=10)), constructions.gd_step(1.0, N=4000, d_x=10)
for attend in (kernel, attention.softmax):
    before = peak()
    attend(z, layer)
    print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process its own peak, others do not")
def test_the_operating_system_says_so_too():
    """Peak memory of a process in megabytes: 4,000 x 4,001 scores in float64 fill 128 of them."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, cwd=ROOT, check=True)
    in_blocks, written_out = (int(line) for line in done.stdout.split())
    assert written_out > 110 and in_blocks < 0.5 * written_out


# --- B2, B3: a sum, and in no order -----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 10])
def test_blocks_add_up_in_linear_attention_and_not_in_softmax_attention(n):
    V, K = columns(4, 6)
    q = columns(6, N=1, seed=1)[0][:, 0]

    def gap(attend):
        parts = read(attend, V[:, :n], K[:, :n], q) + read(attend, V[:, n:], K[:, n:], q)
        return metrics.max_gap(read(attend, V, K, q), parts)

    assert gap(attention.linear) <= EXACT
    assert gap(attention.softmax) > WRONG


def test_demonstrations_act_as_a_weight_update_of_their_own_sum():
    """Dai et al.: attention over [X'; X] is (W_ZSL + dW) q with dW = V' K'^T."""
    V, K = columns(4, 6)
    q = columns(6, N=1, seed=1)[0][:, 0]
    W_ZSL, delta_W = V[:, 4:] @ K[:, 4:].T, V[:, :4] @ K[:, :4].T
    assert metrics.max_gap(read(attention.linear, V, K, q), (W_ZSL + delta_W) @ q) <= EXACT
    assert metrics.max_gap(read(attention.linear, V, K, q), (W_ZSL + 1.1 * delta_W) @ q) > WRONG


@pytest.mark.parametrize("attend", [attention.linear, attention.softmax])
def test_the_order_of_the_context_changes_nothing_unless_tokens_know_their_place(attend):
    V, K = columns(4, 6)
    q, place = columns(6, N=1, seed=1)[0][:, 0], columns(6, seed=2)[0]
    g = torch.Generator().manual_seed(3)
    orders = [torch.randperm(11, generator=g) for _ in range(200)]
    plain, placed = read(attend, V, K, q), read(attend, V, K + place, q)
    assert all(metrics.max_gap(read(attend, V[:, o], K[:, o], q), plain) <= EXACT for o in orders)
    assert metrics.max_gap(read(attend, V[:, orders[0]], K[:, orders[0]] + place, q), placed) > WRONG


# --- C4: a kernel smoother --------------------------------------------------------------------------------------


def test_softmax_attention_is_a_normalised_smoother_with_the_exponential_kernel():
    V, K = columns(1, 2, N=40)
    for q in columns(2, N=5, seed=1)[0].T:
        assert metrics.max_gap(read(attention.softmax, V, K, q), softmax_by_tokens(V, K, q)) <= EXACT
        assert metrics.max_gap(read(attention.softmax, V, K, q), by_tokens(V, K, q)) > WRONG


def test_linear_attention_is_linear_in_the_query_and_grows_with_the_prompt():
    """No average: twice the prompt is twice the answer, where softmax attention says the same again."""
    V, K = columns(1, 2, N=40)
    a, b = columns(2, N=2, seed=1)[0].T
    twice = torch.cat([V, V], dim=1), torch.cat([K, K], dim=1)
    for attend, is_linear in [(attention.linear, True), (attention.softmax, False)]:
        added = metrics.max_gap(read(attend, V, K, a + b), read(attend, V, K, a) + read(attend, V, K, b))
        assert (added <= EXACT) if is_linear else (added > WRONG)
        factor = 2 if is_linear else 1
        assert metrics.max_gap(read(attend, *twice, a), factor * read(attend, V, K, a)) <= EXACT


# --- B5: Hebb's rule and the delta rule -------------------------------------------------------------------------


def rules(ran):
    namespace = ran(NOTEBOOK).namespace
    return namespace["hebb"], namespace["delta"]


@pytest.mark.parametrize("beta", [0.1, 1.0, 2.5])
def test_the_delta_rule_is_a_step_of_gradient_descent_on_one_pair(ran, beta):
    hebb, delta = rules(ran)
    W, (k, v) = columns(4, N=6)[0], (part[:, 0] for part in columns(6, 4, N=1, seed=1))
    gradient = torch.func.grad(lambda W: (W @ k - v).square().sum() / 2)(W)
    assert metrics.max_gap(delta(W, k, v, beta), W - beta * gradient) <= EXACT
    assert metrics.max_gap(delta(W, k, v, 1.1 * beta), W - beta * gradient) > WRONG
    assert metrics.max_gap(hebb(W, k, v, beta), W - beta * gradient) > WRONG
    assert torch.equal(hebb(0 * W, k, v, beta), delta(0 * W, k, v, beta))


def test_hebbs_writes_are_linear_attention_and_the_delta_rule_overwrites(ran):
    hebb, delta = rules(ran)
    V, K = columns(4, 6, N=3)
    K = K / K.norm(dim=0)
    K[:, 2] = K[:, 0]  # the third pair has the first one's key
    by_hebb = by_delta = torch.zeros(4, 6, dtype=torch.float64)
    for v, k in zip(V.T, K.T, strict=True):
        by_hebb, by_delta = hebb(by_hebb, k, v), delta(by_delta, k, v)
    assert metrics.max_gap(by_hebb, V @ K.T) <= EXACT
    assert metrics.max_gap(by_delta @ K[:, 2], V[:, 2]) <= EXACT
    assert metrics.max_gap(by_hebb @ K[:, 2], V[:, 2]) > WRONG
    assert metrics.max_gap(by_delta, V @ K.T) > WRONG


# --- B6: capacity -----------------------------------------------------------------------------------------------


def relative_errors(n, d_k, beta, draws=3000):
    """By Hebb and by the delta rule: squared error of each of n pairs in each draw, one write after the other."""
    g, values = torch.Generator().manual_seed(9), 4
    K = torch.randn(draws, n, d_k, generator=g, dtype=torch.float64)
    K = K / K.norm(dim=-1, keepdim=True)
    V = torch.randn(draws, n, values, generator=g, dtype=torch.float64)
    W = torch.zeros(draws, values, d_k, dtype=torch.float64)
    for t in range(n):
        missing = V[:, t] - torch.einsum("bvk,bk->bv", W, K[:, t])
        W = W + beta * torch.einsum("bv,bk->bvk", missing, K[:, t])
    hebb = torch.einsum("bnv,bnk->bvk", V, K)
    return [(torch.einsum("bvk,bnk->bnv", M, K) - V).square().mean(dim=-1) for M in (hebb, W)]


def test_the_draws_of_the_figure_are_such_draws():
    found = fast_weights.recall_errors(20, 8, 0.7, draws=3000, d_v=4, counts=(5, 20))
    for rule, other in enumerate(relative_errors(20, 8, 0.7)):
        ours = found[20][rule]
        error = (ours.mean(1).var() / 3000 + other.mean(1).var() / 3000) ** 0.5
        assert abs(ours.mean() - other.mean()) < 4 * error < 0.1 * other.mean()
    assert found[5][0].shape == (3000, 5) and found[5][0].mean() < 0.5 * found[20][0].mean()


def standard_errors_off(draws, theory):
    """Mean of each column against the theory, in standard errors; 0 where both agree to round-off."""
    off = draws.mean(dim=0) - theory
    return torch.where(off.abs() < EXACT, 0.0, off / (draws.std(dim=0) / len(draws) ** 0.5).clamp(min=1e-15))


@pytest.mark.parametrize("n, d_k", [(1, 8), (8, 32), (32, 32), (64, 32), (17, 32), (12, 4)])
def test_hebbian_recall_with_random_unit_keys_has_the_error_n_minus_1_over_d_k(n, d_k):
    hebb, _ = relative_errors(n, d_k, 1.0, draws=6000)
    assert fast_weights.hebb_error(n, d_k) == (n - 1) / d_k
    each = hebb.mean(dim=1, keepdim=True)  # pairs of one draw are not independent: the draw is the sample
    assert all(standard_errors_off(each, (n - 1) / d_k).abs() < 4)
    assert all(standard_errors_off(each, n / d_k).abs() > 4)


@pytest.mark.parametrize("n, d_k, beta", [(8, 32, 1.0), (32, 32, 1.0), (40, 8, 1.0), (24, 6, 0.3), (24, 6, 1.6)])
def test_the_delta_rule_with_random_unit_keys_has_the_error_that_the_figure_draws(n, d_k, beta):
    table = fast_weights.delta_rule_errors(n, d_k, beta)
    before = torch.arange(n)
    theory = table[before, n - 1 - before]
    _, delta = relative_errors(n, d_k, beta)
    off = standard_errors_off(delta.mean(dim=1, keepdim=True), theory.mean()).abs()
    assert all(off < 4)
    assert (standard_errors_off(delta, theory).abs() < 4).double().mean() > 0.97  # n comparisons at once
    assert all(standard_errors_off(delta.mean(dim=1, keepdim=True), 1.1 * theory.mean()).abs() > 4)


def test_the_delta_rule_is_exact_for_the_newest_pair_and_ends_at_2_for_the_oldest():
    table = fast_weights.delta_rule_errors(400, 8, 1.0)
    assert abs(table[399, 0]) <= EXACT and abs(table[0, 399] - 2) < WRONG
    past_the_edge = fast_weights.delta_rule_errors(400, 8, 2.1)
    assert past_the_edge[0, 399] > 100


def test_recall_is_exact_for_all_values_if_and_only_if_the_keys_are_orthonormal():
    V, K = columns(5, 12, N=12)
    orthonormal = torch.linalg.qr(K).Q[:, :9]
    assert metrics.max_gap(V[:, :9] @ orthonormal.T @ orthonormal, V[:, :9]) <= EXACT
    longer = orthonormal * 1.1
    tilted = torch.cat([orthonormal[:, 1:2], orthonormal[:, 1:]], dim=1)
    for keys in (longer, tilted):
        assert metrics.max_gap(V[:, :9] @ keys.T @ keys, V[:, :9]) > WRONG


# --- B7: rank ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 8), st.integers(0, 1000))
def test_n_random_tokens_write_a_matrix_of_rank_min_n_d_k_d_v(n, d_k, d_v, seed):
    V, K = columns(d_v, d_k, N=n, seed=seed)
    sizes = torch.linalg.svdvals(V @ K.T)
    rank = min(n, d_k, d_v)
    assert all(sizes[rank:] < 1e-12 * sizes[0])
    assert all(sizes[:rank] > 1e-10 * sizes[0])  # random, so generic: the bound is reached


def test_a_key_that_is_a_sum_of_others_adds_no_rank():
    V, K = columns(8, 16, N=4)
    assert torch.linalg.matrix_rank(V @ K.T) == 4
    K[:, 3] = K[:, 0] + K[:, 1]
    assert torch.linalg.matrix_rank(V @ K.T) == 3


# --- B8: a gradient step on which loss? -------------------------------------------------------------------------


def test_the_sum_of_outer_products_is_a_gradient_of_a_linear_loss_everywhere_and_of_the_squared_loss_at_0():
    V, K = columns(3, 5, N=20)
    W = columns(3, N=5, seed=1)[0]

    def minus_gradient(loss, W):
        return -torch.func.grad(loss)(W)

    def linear(W):
        return -sum(v @ W @ k for v, k in zip(V.T, K.T, strict=True))

    def squared(W):
        return sum((W @ k - v).square().sum() for v, k in zip(V.T, K.T, strict=True)) / 2

    for scale in (0.0, 1.0, -3.0):
        assert metrics.max_gap(minus_gradient(linear, scale * W), V @ K.T) <= EXACT
        squared_gap = metrics.max_gap(minus_gradient(squared, scale * W), V @ K.T)
        assert (squared_gap <= EXACT) if scale == 0 else (squared_gap > WRONG)


def test_the_second_step_doubles_on_the_linear_loss_and_contracts_on_the_squared_one(ran):
    paths = ran(NOTEBOOK).namespace["paths"]
    by_name = {loss.__name__: path for loss, path in paths.items()}
    linear, squared = by_name["linear_loss"], by_name["squared_loss"]
    assert metrics.max_gap(linear[1], squared[1]) <= EXACT
    assert metrics.max_gap(linear[2], 2 * linear[1]) <= EXACT
    steps = [(b - a).norm() for a, b in zip(squared, squared[1:], strict=False)]
    assert all(later < earlier for earlier, later in zip(steps, steps[1:], strict=False))
    assert metrics.max_gap(squared[2], linear[2]) > WRONG
    losses = [ran(NOTEBOOK).namespace["squared_loss"](W).item() for W in linear]
    assert losses[1] > losses[2] and all(
        b > a for a, b in zip(losses[2:], losses[3:], strict=False)
    )  # as the text says


# --- B4: a recurrent network ------------------------------------------------------------------------------------


def causal_by_definition(V, K, Q, newest=1):
    """Each output an average over the tokens so far, with weights phi(k)^T phi(q), written out."""

    def phi(x):
        return torch.where(x > 0, x + 1, x.exp())  # elu(x) + 1

    outputs = []
    for t in range(V.shape[1]):
        weights = [(phi(K[:, i]) * phi(Q[:, t])).sum() for i in range(max(t + newest, 1))]
        outputs.append(sum(w * V[:, i] for i, w in enumerate(weights)) / sum(weights))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("form", ["in_parallel", "token_by_token"])
@pytest.mark.parametrize("N", [1, 2, 30])
def test_causal_linear_attention_is_a_recurrent_network(ran, form, N):
    attend = ran(NOTEBOOK).namespace[form]
    V, K, Q = columns(4, 8, 8, N=N)
    assert metrics.max_gap(attend(V, K, Q), causal_by_definition(V, K, Q)) <= EXACT
    if N > 2:
        assert metrics.max_gap(attend(V, K, Q), causal_by_definition(V, K, Q, newest=0)) > WRONG
        full = torch.nn.functional.elu(K) + 1, torch.nn.functional.elu(Q) + 1
        unnormalised = V @ torch.triu(full[0].T @ full[1])
        assert metrics.max_gap(attend(V, K, Q), unnormalised) > WRONG


def test_what_comes_later_is_not_read():
    """The twin of the causal mask: change the last token, and only the last output moves."""
    V, K, Q = columns(4, 8, 8, N=6)
    other = V.clone()
    other[:, -1] += 1
    moved = (causal_by_definition(other, K, Q) - causal_by_definition(V, K, Q)).abs().amax(dim=0)
    assert torch.equal(moved[:-1], torch.zeros(5, dtype=torch.float64)) and moved[-1] > WRONG


# --- what the reader should have seen -------------------------------------------------------------------------


def test_the_orders_items_followed_in_order_show_what_the_text_says(ran):
    orders = ran(NOTEBOOK).namespace["orders_widget"]
    said = follow(orders, d_k=16, d_v=16, N=64, asks="one query")
    assert "first: 16,640 " in said and "first: 2,048," in said and "Cheaper: the scores" in said
    said = follow(orders, d_k=1, d_v=1)
    assert "first: 65 " in said and "first: 128," in said
    said = follow(orders, d_k=16, d_v=16, asks="all N + 1 tokens")
    assert "first: 33,024 " in said and "first: 133,120," in said and "wins from N = 16." in said
    assert "Cheaper: the scores" in follow(orders, N=15) and "Cheaper: the matrix" in follow(orders, N=16)
    assert "wins from N = 64." in follow(orders, d_k=64, d_v=64)
    said = follow(orders, d_k=16, d_v=16, N=256)
    assert "first: 131,328 " in said and "first: 2,105,344," in said
    said = follow(orders, N=512)
    assert "first: 262,400 " in said and "first: 8,404,992," in said


def test_the_capacitys_items_followed_in_order_show_what_the_text_says(ran):
    capacity = ran(NOTEBOOK).namespace["capacity_widget"]
    said = follow(capacity, d_k=32, beta=1.0, n=33)
    assert "Hebb 0.965 ± 0.022 (theory 1)" in said
    assert "Hebb 0.989 ± 0.021 (theory 1.03)" in follow(capacity, n=34)
    assert "Hebb 1.01 ± 0.076 (theory 1)" in follow(capacity, d_k=8, n=9)
    follow(capacity, d_k=32, n=48)
    by_age = capacity.compute(48, 32, 1.0).theory[1][0].flip(0)
    assert by_age[0] < EXACT and (by_age >= 1).int().argmax() == 26 and abs(by_age[26] - 1) < 0.01
    assert "delta rule 1.49" in follow(capacity, n=128) and "delta rule 0.812" in follow(capacity, beta=0.2)
    for beta, oldest, newest in [(1.0, 2.0, 0.0), (0.2, 0.9, 0.7)]:
        table = capacity.compute(128, 32, beta).theory[1][0]
        assert abs(table[:5].mean() - oldest) < 0.1 and abs(table[-3:].mean() - newest) < 0.15
    assert "delta rule 16.9" in follow(capacity, beta=2.0) and "delta rule 55.3" in follow(capacity, beta=2.2)
    assert "Hebb 0 ± 0 (theory 0); delta rule 0 ± 0 (theory 0)" in follow(capacity, beta=1.0, n=1)


def test_the_networks_items_followed_in_order_show_what_the_text_says(ran):
    network = ran(NOTEBOOK).namespace["rnn_widget"]
    follow(network, keys="orthonormal", features="none", j=3)
    for t in range(1, 9):
        wrong = "1.00" if t < 3 else "0 to round-off"
        assert f"reading: {wrong}." in follow(network, t=t)
    assert "reading: 1.04." in follow(network, keys="random", t=2) and "reading: 1.82." in follow(network, t=5)
    weights = network.compute(5, 3, "random", "none").weights
    assert [i + 1 for i, weight in enumerate(weights) if weight > 0.5] == [3, 4, 5]
    assert "reading: 0.74." in follow(network, features="elu + 1, normalised")
    weights = network.compute(5, 3, "random", "elu + 1, normalised").weights[:5]
    assert weights.max() < 1.5 * weights.min()
