"""The trainable stack is the attention of the series, computed on another road."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import attention, constructions, learners, metrics, tasks
from helpers.attention import Layer
from helpers.models.stacks import LinearTransformer, SoftmaxLayer


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    n_layers=st.integers(1, 4),
    tied=st.booleans(),
    scale=st.floats(0.02, 0.4),
    seed=st.integers(0, 999),
)
def test_the_stack_is_attention_layer_after_layer(sizes, n_layers, tied, scale, seed):
    B, N, d_x, d_y = sizes
    p = tasks.linear_regression(B, N, d_x, d_y, inputs="uniform", noise=0.3, seed=seed)
    model = LinearTransformer(d_x, d_y, n_layers, tied=tied, scale=scale, seed=seed)
    assert metrics.gap_in_roundoff(model(*p.shown), constructions.learner(model.layers())(*p.shown)) < 1000


def test_reading_the_query_too_would_be_noticed():
    p = tasks.linear_regression(B=4, N=5, d_x=3)
    model = LinearTransformer(3, n_layers=2, scale=0.3)
    z = tasks.tokens(p)
    for layer in model.layers():
        z = attention.linear(z, layer, include_query=True)
    assert metrics.max_gap(model(*p.shown), tasks.read(z)) > 1e-6


def loaded(layers, d_x, tied=False):
    """The stack with weights written by hand."""
    model = LinearTransformer(d_x, n_layers=len(layers), tied=tied)
    each = layers[:1] if tied else layers
    Ws = {name: torch.stack([getattr(layer, name) for layer in each]) for name in layers[0]._fields}
    model.load_state_dict(Ws)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_with_the_weights_of_the_construction_it_is_gradient_descent(tied):
    p = tasks.linear_regression(B=8, N=12, d_x=4)
    model = loaded([constructions.gd_step(0.4, N=12, d_x=4)] * 3, d_x=4, tied=tied)
    assert metrics.max_gap(model(*p.shown), learners.gd(*p.shown, eta=0.4, steps=3)) < 1e-12
    assert metrics.max_gap(model.weights(p.x, p.y), learners.gd_weights(p.x, p.y, 0.4, 3)) < 1e-12
    assert metrics.max_gap(model(*p.shown), learners.gd(*p.shown, eta=0.44, steps=3)) > 1e-3


def test_tied_layers_share_their_weights_and_untied_ones_do_not():
    tied, untied = (LinearTransformer(3, n_layers=3, tied=tied) for tied in (True, False))
    assert tied.layers()[0].P.data_ptr() == tied.layers()[2].P.data_ptr()
    assert untied.layers()[0].P.data_ptr() != untied.layers()[2].P.data_ptr()
    assert len(tied.layers()) == len(untied.layers()) == 3


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (LinearTransformer(3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.W_Q, same.W_Q) and not torch.equal(one.W_Q, other.W_Q)


def test_a_step_costs_the_same_for_any_context_once_the_moments_are_there():
    """Peak size of what is made on the way: nothing with N x N entries, so 20,000 pairs are no trouble."""
    p = tasks.linear_regression(B=1, N=20_000, d_x=4)
    assert LinearTransformer(4, n_layers=3, scale=0.01)(*p.shown).isfinite().all()


# --- softmax --------------------------------------------------------------------------------------------------


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    n_heads=st.integers(1, 3),
    scale=st.floats(0.1, 1.0),
    seed=st.integers(0, 999),
)
def test_the_softmax_layer_is_softmax_attention_on_all_tokens(sizes, n_heads, scale, seed):
    B, N, d_x, d_y = sizes
    p = tasks.linear_regression(B, N, d_x, d_y, noise=0.3, seed=seed)
    model = SoftmaxLayer(d_x, d_y, n_heads, scale=scale, seed=seed)
    by_tokens = constructions.learner([model.layer()], attend=attention.softmax)
    assert metrics.gap_in_roundoff(model(*p.shown), by_tokens(*p.shown)) < 1000


def test_the_softmax_layer_is_pytorchs_attention_at_the_query():
    p, model = tasks.linear_regression(B=8, N=6, d_x=4), SoftmaxLayer(4, n_heads=2, scale=0.5)
    z = tasks.tokens(p)
    W_Q, W_K, W_V, P = (W.detach() for W in model.layer())

    def heads(context):
        q, k, v = (torch.stack([t @ W[h].T for h in (0, 1)], 1) for t, W in [(z, W_Q), (context, W_K), (context, W_V)])
        read = torch.nn.functional.scaled_dot_product_attention(q, k, v)[:, :, -1]  # (B, H, D)
        return -sum(read[:, h] @ P[h].T for h in (0, 1))[:, -1:]

    assert metrics.max_gap(model(*p.shown), heads(z[:, :-1])) < 1e-12
    assert metrics.max_gap(model(*p.shown), heads(z)) > 1e-3  # the query is read, too


def test_softmax_ignores_the_order_of_the_context_and_linear_attention_is_another_thing():
    p, model = tasks.linear_regression(B=8, N=6, d_x=4), SoftmaxLayer(4, scale=0.5)
    assert metrics.max_gap(model(p.x.flip(1), p.y.flip(1), p.x_query), model(*p.shown)) < 1e-12
    assert (
        metrics.max_gap(constructions.learner([Layer(*(W[0] for W in model.layer()))])(*p.shown), model(*p.shown))
        > 1e-3
    )


def test_bad_input():
    p = tasks.linear_regression(B=2, N=5, d_x=3)
    with pytest.raises(ValueError, match="n_layers: expected a whole number of at least 1, got 0"):
        LinearTransformer(3, n_layers=0)
    with pytest.raises(ValueError, match="expected 4 inputs and 1 labels a pair, got 3 and 1"):
        LinearTransformer(4)(*p.shown)
    with pytest.raises(ValueError, match="expected 4 inputs and 1 labels a pair, got 3 and 1"):
        SoftmaxLayer(4)(*p.shown)
    with pytest.raises(ValueError, match="n_heads: expected a whole number of at least 1, got 0"):
        SoftmaxLayer(3, n_heads=0)
    with pytest.raises(ValueError, match="x_query: expected"):
        LinearTransformer(3)(p.x, p.y, p.x_query[:, :2])
