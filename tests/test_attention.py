"""One attention layer, against a plain loop over tokens and against torch's own attention."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import attention
from helpers.attention import Layer


def random_layer(D, d_k, d_v, heads=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    lead = () if heads is None else (heads,)
    shapes = [(d_k, D), (d_k, D), (d_v, D), (D, d_v)]
    return Layer(*(torch.randn(*lead, *shape, generator=g, dtype=torch.float64) for shape in shapes))


def random_tokens(B, N, D, seed=1):
    return torch.randn(B, N + 1, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(z, layer, weigh, include_query):
    """z_j + P sum_i weight_ij W_V z_i, one token, one head at a time."""
    heads = [layer] if layer.P.ndim == 2 else [Layer(*(W[h] for W in layer)) for h in range(len(layer.P))]
    out = z.clone()
    for b in range(len(z)):
        readable = z[b] if include_query else z[b, :-1]
        for j in range(z.shape[1]):
            for W_Q, W_K, W_V, P in heads:
                scores = torch.stack([(W_K @ z_i) @ (W_Q @ z[b, j]) for z_i in readable])
                values = torch.stack([W_V @ z_i for z_i in readable])
                out[b, j] += P @ (weigh(scores, len(W_K)) @ values)
    return out


KINDS = {
    "linear": (attention.linear, lambda s, d_k: s),
    "relu": (attention.relu, lambda s, d_k: s.clamp(min=0)),
    "softmax": (attention.softmax, lambda s, d_k: (s / d_k**0.5).exp() / (s / d_k**0.5).exp().sum()),
}


@pytest.mark.parametrize("heads", [None, 1, 3])
@pytest.mark.parametrize("include_query", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_the_sum_over_tokens(kind, include_query, heads):
    attend, weigh = KINDS[kind]
    z, layer = random_tokens(2, 5, 4), random_layer(4, 3, 2, heads)
    expected = by_loops(z, layer, weigh, include_query)
    assert torch.allclose(attend(z, layer, include_query=include_query), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(attend(z, layer, include_query=not include_query), expected, rtol=0, atol=1e-3)


def test_softmax_attention_is_torchs():
    z, layer = random_tokens(2, 5, 4), random_layer(4, 3, 2)
    W_Q, W_K, W_V, P = layer
    read = torch.nn.functional.scaled_dot_product_attention(z @ W_Q.T, z[:, :-1] @ W_K.T, z[:, :-1] @ W_V.T)
    assert torch.allclose(attention.softmax(z, layer), z + read @ P.T, rtol=0, atol=1e-12)
    unscaled = attention.softmax(z, layer._replace(W_Q=W_Q * 3**0.5))
    assert not torch.allclose(unscaled, z + read @ P.T, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_context_does_not_matter(kind):
    attend, _ = KINDS[kind]
    z, layer = random_tokens(1, 6, 4), random_layer(4, 3, 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2, 6])
    assert torch.allclose(attend(z[:, order], layer), attend(z, layer)[:, order], rtol=0, atol=1e-12)


def test_linear_attention_costs_in_proportion_to_the_context():
    def flops(N):
        with FlopCounterMode(display=False) as counter:
            attention.linear(random_tokens(1, N, 4), random_layer(4, 3, 2))
        return counter.get_total_flops()

    assert flops(2000) < 2.1 * flops(1000)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_reads_the_query(kind):
    attend, _ = KINDS[kind]
    z, layer = random_tokens(1, 6, 4), random_layer(4, 3, 2)
    other = z.clone()
    other[:, -1] += 1
    assert torch.equal(attend(z, layer)[:, :-1], attend(other, layer)[:, :-1])
    changed = attend(z, layer, include_query=True)[:, :-1], attend(other, layer, include_query=True)[:, :-1]
    assert not torch.allclose(*changed)


@pytest.mark.parametrize("heads", [None, 2])
def test_causal_linear_attention_reads_what_stood_before_and_itself(heads):
    z, layer = random_tokens(2, 5, 4), random_layer(4, 3, 2, heads)
    out = attention.causal_linear(z, layer)
    for j in range(5):  # what is read of a prompt that ends here
        ends_here = torch.cat([z[:, : j + 1], z[:, j : j + 1]], dim=1)  # the last token is masked: a copy of it is read
        assert torch.allclose(out[:, j], attention.linear(ends_here, layer)[:, -1], rtol=0, atol=1e-12)
    assert torch.equal(out[:, -1], attention.linear(z, layer)[:, -1]) or torch.allclose(
        out[:, -1], attention.linear(z, layer)[:, -1], rtol=0, atol=1e-12
    )
    assert not torch.allclose(out[:, :-1], attention.linear(z, layer)[:, :-1], rtol=0, atol=1e-3)


def test_two_causal_layers_feel_the_order_and_one_does_not():
    z, layer = random_tokens(1, 6, 4), random_layer(4, 3, 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2, 6])
    once, twice = z, z[:, order]
    for depth in (1, 2):
        once, twice = attention.causal_linear(once, layer), attention.causal_linear(twice, layer)
        assert torch.allclose(once[:, -1], twice[:, -1], rtol=0, atol=1e-9) == (depth == 1)
