"""One attention layer as a function of its matrices: linear, ReLU, softmax; linear and softmax with a causal mask, too.

    z_j  <-  z_j + P V score(K^T q_j),   K = W_K [z_1 … z_N],  V = W_V [z_1 … z_N],  q_j = W_Q z_j

Keys and values come from the N context tokens; queries from all N+1. The last token, the query of the prompt, is
masked: it reads the context and is read by nobody (von Oswald et al. 2023). Tokens are rows in the
code and columns in the formula, so `W_K @ z_i` is written `z @ W_K.mT`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import checks


class Layer(NamedTuple):
    """The four matrices of a layer that works on tokens of width D.

    One head: W_Q (d_k, D), W_K (d_k, D), W_V (d_v, D), P (D, d_v). H heads: each with a first dimension H; the
    heads' updates are added.
    """

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    P: Tensor

    def to(self, dtype: torch.dtype) -> Layer:
        """The same layer in float32 or float64."""
        return Layer(*(W.to(dtype) for W in self))


def _check(z: Tensor, layer: Layer) -> None:
    if not isinstance(layer, Layer):
        raise TypeError(
            f"layer: expected a Layer, got {type(layer).__name__}: a list of layers goes to a loop, one by one."
        )
    if len({W.ndim for W in layer}) > 1:
        raise ValueError(f"layer: expected 2 dimensions in each matrix, or 3 for heads, got {[W.ndim for W in layer]}.")
    sizes = checks.tensor("z", z, "B N+1 D")
    if sizes["N+1"] < 2:
        raise ValueError("z: expected at least 2 tokens, a context and the query, got 1: is the context empty?")
    head = "H " if layer.P.ndim == 3 else ""
    for name, shape in {"W_Q": "d_k D", "W_K": "d_k D", "W_V": "d_v D", "P": "D d_v"}.items():
        sizes |= checks.tensor(name, getattr(layer, name), head + shape, sizes)
    checks.same_dtype(z=z, **layer._asdict())


def _attend(z: Tensor, layer: Layer, mix: Callable, include_query: bool) -> Tensor:
    """Project to queries, keys and values, `mix(q, k, v)` them, project back and add to the tokens."""
    _check(z, layer)
    W_Q, W_K, W_V, P = (W if W.ndim == 3 else W[None] for W in layer)  # (H, ., .)
    context = z if include_query else z[:, :-1]
    q, k, v = _project(z, W_Q), _project(context, W_K), _project(context, W_V)
    update = mix(q, k, v) @ P.mT  # (B, H, N+1, D)
    return z + update.sum(dim=1)


def _project(z: Tensor, W: Tensor) -> Tensor:
    """Each token through each head's matrix: z (B, n, D), W (H, d, D) -> (B, H, n, d), in one product."""
    return (z @ W.flatten(0, 1).mT).unflatten(-1, W.shape[:2]).transpose(1, 2)


def linear(z: Tensor, layer: Layer, *, include_query: bool = False) -> Tensor:
    """Linear attention, z_j + P V K^T q_j, for all tokens z (B, N+1, D) at once; returns the new tokens.

    V K^T is summed first, so the cost grows with N and not with N^2. `include_query` lets the last token be read
    too, which is not the construction of von Oswald et al. 2023: it is there to show what the mask is for.

    >>> eye = torch.eye(2)
    >>> z = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])            # one context token (1, 2), one query (3, 0)
    >>> linear(z, Layer(eye, eye, eye, eye))[0, -1]             # (3, 0) + (1, 2) * <(1, 2), (3, 0)>
    tensor([6., 6.])
    """
    return _attend(z, layer, lambda q, k, v: q @ (k.mT @ v), include_query)


def causal_linear(z: Tensor, layer: Layer) -> Tensor:
    """Linear attention from left to right: token j reads itself and those before it, z_j + P sum_(i<=j) v_i k_i^T q_j.

    The query stands last, so in one layer it reads the same as in `linear`. From the second layer on it does not: what
    it reads there was changed by what stood before it, and so the order of the context counts.

    >>> eye = torch.eye(2)
    >>> z = torch.tensor([[[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]])
    >>> layer = Layer(eye, eye, eye, eye)
    >>> causal_linear(z, layer)[0, 0], torch.equal(causal_linear(z, layer)[0, -1], linear(z, layer)[0, -1])
    (tensor([ 6., 12.]), True)
    """
    return _attend(z, layer, lambda q, k, v: (q @ k.mT).tril() @ v, include_query=False)


def relu(z: Tensor, layer: Layer, *, include_query: bool = False) -> Tensor:
    """ReLU attention, z_j + P V max(0, K^T q_j), not normalised (the attention of Bai et al. 2023, without 1/N).

    >>> eye = torch.eye(2)
    >>> z = torch.tensor([[[1.0, 2.0], [-3.0, 0.0]]])
    >>> relu(z, Layer(eye, eye, eye, eye))[0, -1]               # <(1, 2), (-3, 0)> is negative: nothing is read
    tensor([-3.,  0.])
    """
    return _attend(z, layer, lambda q, k, v: (q @ k.mT).relu() @ v, include_query)


def softmax(z: Tensor, layer: Layer, *, include_query: bool = False) -> Tensor:
    """Conventional attention, z_j + P V softmax(K^T q_j / sqrt(d_k)) (Vaswani et al. 2017).

    >>> eye = torch.eye(2)
    >>> z = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    >>> softmax(z, Layer(eye, eye, eye, eye))[0, -1]            # one key: its weight is 1, whatever it scores
    tensor([4., 2.])
    """
    return _attend(z, layer, lambda q, k, v: _weights(q, k) @ v, include_query)


def causal_softmax(z: Tensor, layer: Layer) -> Tensor:
    """Softmax attention as language models have it: each token reads itself and those before it, and no other.

    >>> eye = torch.eye(2)
    >>> z = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    >>> causal_softmax(z, Layer(eye, eye, eye, eye))[0, 0]              # the first token has only itself to read
    tensor([2., 4.])
    """
    return _attend(z, layer, lambda q, k, v: _weights(q, k, causal=True) @ v, include_query=True)


def pattern(z: Tensor, layer: Layer, *, causal: bool = False) -> Tensor:
    """Who reads whom: the weights of `softmax` (B, H, N+1, N), or of `causal_softmax` (B, H, N+1, N+1).

    A row is a reader, a column is read; each row sums to 1. H is 1 for a layer of one head.

    >>> eye = torch.eye(2)
    >>> z = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    >>> pattern(z, Layer(eye, eye, eye, eye), causal=True)[0, 0, 0]
    tensor([1., 0.])
    """
    _check(z, layer)
    W_Q, W_K = (W if W.ndim == 3 else W[None] for W in layer[:2])
    return _weights(_project(z, W_Q), _project(z if causal else z[:, :-1], W_K), causal)


def _weights(q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(dim=-1)
