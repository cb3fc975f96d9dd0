"""Claims B1 to B8: linear attention is a matrix that is written by adding and read by multiplying.

Formulas with columns, V (d_v, N), K (d_k, N), are held against sums over tokens, automatic differentiation, draws
and `helpers.attention`. Each identity has a twin that fails.
"""

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from helpers import attention, constructions, metrics, tasks
from helpers.attention import Layer

EXACT = 1e-12
WRONG = 1e-3
NOTEBOOK = ROOT / "notebooks" / "02_linear_attention.ipynb"


def columns(*sizes, N=11, seed=0):
    """Random matrices of N columns, one for each size."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(d, N, generator=g, dtype=torch.float64) for d in sizes]


def by_tokens(V, K, q):
    """The definition: each value, times the match of its key with the query."""
    return sum(v * sum(a * b for a, b in zip(k, q, strict=True)) for v, k in zip(V.T, K.T, strict=True))


def softmax_by_tokens(V, K, q):
    scores = [(k @ q / len(q) ** 0.5).exp() for k in K.T]
    return sum(v * score for v, score in zip(V.T, scores, strict=True)) / sum(scores)


def layer_that_picks(d_k, d_v):
    """Tokens (k, v): keys and queries are the first d_k entries, values the others, and there the answer goes."""
    eye = torch.eye(d_k + d_v, dtype=torch.float64)
    return Layer(W_Q=eye[:d_k], W_K=eye[:d_k], W_V=eye[d_k:], P=eye[d_k:].T)


def as_tokens(V, K, q):
    query = torch.cat([q, torch.zeros(len(V), dtype=q.dtype)])
    return torch.cat([torch.cat([K, V]).T, query[None]])[None]


def read(attend, V, K, q):
    """What a layer of helpers.attention adds to the query's value slot."""
    return attend(as_tokens(V, K, q), layer_that_picks(len(K), len(V)))[0, -1, len(K) :]


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


class Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            self.numel = max(self.numel, tensor.numel())
        return made


def cost(attend, N):
    """Operations and the largest tensor of one layer on one prompt."""
    z, layer = tasks.tokens(tasks.linear_regression(B=1, N=N, d_x=10)), constructions.gd_step(1.0, N, d_x=10)
    with Largest() as largest, FlopCounterMode(display=False) as counter:
        attend(z, layer)
    return counter.get_total_flops(), largest.numel


def test_linear_attention_makes_nothing_of_size_N_by_N_and_its_operations_grow_by_a_constant_a_token():
    lengths = [100, 200, 1_000, 2_000, 100_000]
    costs = dict(zip(lengths, (cost(attention.linear, N) for N in lengths), strict=True))
    per_token = (costs[200][0] - costs[100][0]) / 100
    for N in lengths:
        assert costs[N][0] == costs[100][0] + per_token * (N - 100)
        assert costs[N][1] == 11 * (N + 1)


def test_softmax_attention_makes_N_by_N_scores_and_more_operations_with_each_token():
    costs = {N: cost(attention.softmax, N) for N in (100, 200, 300)}
    assert all(costs[N][1] == N * (N + 1) for N in costs)
    assert costs[300][0] - costs[200][0] > 1.3 * (costs[200][0] - costs[100][0])


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


def relative_errors(n, d_k, beta, draws=3000, d_v=4, seed=0):
    """By Hebb and by the delta rule: squared error of each of n pairs in each draw, relative to the values' mean."""
    g = torch.Generator().manual_seed(seed)
    K = torch.randn(draws, n, d_k, generator=g, dtype=torch.float64)
    K = K / K.norm(dim=-1, keepdim=True)
    V = torch.randn(draws, n, d_v, generator=g, dtype=torch.float64)
    W = torch.zeros(draws, d_v, d_k, dtype=torch.float64)
    for t in range(n):
        missing = V[:, t] - torch.einsum("bvk,bk->bv", W, K[:, t])
        W = W + beta * torch.einsum("bv,bk->bvk", missing, K[:, t])
    hebb = torch.einsum("bnv,bnk->bvk", V, K)
    return [(torch.einsum("bvk,bnk->bnv", M, K) - V).square().mean(dim=-1) for M in (hebb, W)]


def standard_errors_off(draws, theory):
    """Mean of each column against the theory, in standard errors; 0 where both agree to round-off."""
    off = draws.mean(dim=0) - theory
    return torch.where(off.abs() < EXACT, 0.0, off / (draws.std(dim=0) / len(draws) ** 0.5).clamp(min=1e-15))


@pytest.mark.parametrize("n, d_k", [(1, 8), (8, 32), (32, 32), (64, 32), (17, 32), (12, 4)])
def test_hebbian_recall_with_random_unit_keys_has_the_error_n_minus_1_over_d_k(n, d_k):
    hebb, _ = relative_errors(n, d_k, 1.0, draws=6000)
    each = hebb.mean(dim=1, keepdim=True)  # pairs of one draw are not independent: the draw is the sample
    assert all(standard_errors_off(each, (n - 1) / d_k).abs() < 4)
    assert all(standard_errors_off(each, n / d_k).abs() > 4)


@pytest.mark.parametrize("n, d_k, beta", [(8, 32, 1.0), (32, 32, 1.0), (40, 8, 1.0), (24, 6, 0.3), (24, 6, 1.6)])
def test_the_delta_rule_with_random_unit_keys_has_the_error_that_the_figure_draws(ran, n, d_k, beta):
    table = ran(NOTEBOOK).namespace["delta_rule_errors"](n, d_k, beta)
    before = torch.arange(n)
    theory = table[before, n - 1 - before]
    _, delta = relative_errors(n, d_k, beta)
    off = standard_errors_off(delta.mean(dim=1, keepdim=True), theory.mean()).abs()
    assert all(off < 4)
    assert (standard_errors_off(delta, theory).abs() < 4).double().mean() > 0.97  # n comparisons at once
    assert all(standard_errors_off(delta.mean(dim=1, keepdim=True), 1.1 * theory.mean()).abs() > 4)


def test_the_delta_rule_is_exact_for_the_newest_pair_and_ends_at_2_for_the_oldest(ran):
    table = ran(NOTEBOOK).namespace["delta_rule_errors"](400, 8, 1.0)
    assert abs(table[399, 0]) <= EXACT and abs(table[0, 399] - 2) < WRONG
    past_the_edge = ran(NOTEBOOK).namespace["delta_rule_errors"](400, 8, 2.1)
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
