"""What is read off a trained softmax layer's heads, against the layer itself and plain loops."""

import pytest
import torch

from helpers import attention, metrics, tasks
from helpers.models import heads
from helpers.models.normed import NormedLayer
from helpers.models.stacks import SoftmaxLayer

EXACT, WRONG = 1e-12, 1e-3


def ideal(a, r, d=4):
    """A pair r (head(a) - head(-a)) as a softmax layer with weights written by hand."""
    model, D = SoftmaxLayer(d, n_heads=2).requires_grad_(False), d + 1
    for W in (model.W_Q, model.W_K, model.W_V, model.P):
        W.zero_()
    for h, sign in enumerate((1, -1)):
        model.W_Q[h, :d, :d], model.W_K[h, :d, :d] = sign * a * D**0.5 * torch.eye(d).double(), torch.eye(d)
        model.W_V[h, d, d], model.P[h, d, d] = 1, -sign * r
    return model


@pytest.mark.parametrize("a, r", [(0.5, 2.0), (3.0, 1.4), (-2.0, 0.7)])
def test_a_pair_of_ideal_heads_is_the_layer_with_those_two_numbers(a, r):
    p, model = tasks.linear_regression(B=50, N=6, d_x=4, seed=1), ideal(a, r)
    assert heads.two_numbers(model) == pytest.approx((a, r), abs=EXACT)
    assert metrics.max_gap(model(*p.shown), heads.pair(a, r, p)) <= EXACT
    assert metrics.max_gap(model(*p.shown), heads.pair(1.1 * a, r, p)) > WRONG
    assert metrics.max_gap(heads.pair(-a, -r, p), heads.pair(a, r, p)) <= EXACT  # opposites, with the sign turned


def test_scores_and_read_outs_are_those_of_the_layer():
    p, model = tasks.linear_regression(B=7, N=5, d_x=3, seed=2), SoftmaxLayer(3, n_heads=2, scale=0.7, seed=3)
    model.requires_grad_(False)
    A, read = heads.scores(model)
    z = torch.cat([p.x, p.y], dim=-1)
    by_hand = sum(((z @ A[h] @ p.x_query[..., None]).softmax(1).mT @ z @ read[h])[:, 0] for h in range(2))
    assert metrics.max_gap(by_hand, model(*p.shown)[:, 0]) <= EXACT
    full = attention.softmax(tasks.tokens(p), model.layer())
    assert metrics.max_gap(tasks.read(full), model(*p.shown)) <= EXACT
    assert metrics.max_gap(heads.parts(model), torch.stack([read[h, -1] * A[h] for h in range(2)])) <= EXACT


def test_off_the_diagonal():
    A = torch.arange(20.0).reshape(5, 4)  # the fifth row is no part of the square
    by_hand = [A[i, j].item() ** 2 for i in range(4) for j in range(4) if i != j]
    assert heads.off_diagonal(A).item() == pytest.approx((sum(by_hand) / 12) ** 0.5, rel=1e-6)
    assert heads.off_diagonal(torch.diag(torch.full((4,), 1e6))) == 0


def test_a_layer_norm_hides_the_length_of_the_query_and_of_each_example():
    p, model = tasks.linear_regression(64, 10, 10, inputs="uniform", seed=9), NormedLayer(10, seed=1)
    lengths = 0.5 + torch.rand(64, 10, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        answer = model(*p.shown)
        scale = answer.abs().max()
        assert metrics.max_gap(model(lengths * p.x, lengths * p.y, 3 * p.x_query), answer) < 1e-11 * scale
        assert metrics.max_gap(model(lengths * p.x, p.y, p.x_query), answer) > WRONG * scale
        moved = model(p.x + 1, p.y + 1, p.x_query)  # the mean over a token's entries is gone, too
        assert metrics.max_gap(moved, answer) < 1e-11 * scale
        norm = torch.nn.functional.layer_norm
        z, z_query = (norm(t, (11,), eps=0.0) for t in (torch.cat([p.x, p.y], -1), tasks.tokens(p)[:, -1]))
        layer = model.inside.layers()[0]
        by_hand = attention.linear(torch.cat([z, z_query[:, None]], 1), layer)[:, -1, -1] - z_query[:, -1]
        assert metrics.max_gap(-by_hand, answer[:, 0]) <= 1e-12
