"""Reading by softmax and the gate, against PyTorch's attention and plain sums."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers import metrics
from helpers.theory import mixing

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


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mixing.read_out(torch.zeros(2, 3), torch.zeros(4, 1)), "expected as many scores as values, got"),
        (lambda: mixing.read_out(torch.zeros(2, 3), torch.zeros(3)), "expected as many scores as values, got"),
        (lambda: mixing.read_out(torch.zeros(2, 0), torch.zeros(0, 1)), "values: expected at least one token"),
        (lambda: mixing.gate(torch.zeros(2, 3), torch.zeros(2, 0)), "own: expected at least one token"),
        (lambda: mixing.gate(torch.zeros(2, 3), torch.zeros(3, 3)), "expected scores of the same queries"),
        (lambda: mixing.gate(torch.zeros(2, 3), torch.zeros(2, 3).double()), "expected one dtype, got new float32"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
