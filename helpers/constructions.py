"""Attention weights written by hand, so that a layer *is* a learning algorithm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import attention, checks, tasks
from helpers.attention import Layer
from helpers.learners import Learner
from helpers.usual import usual


@usual()
def gd_step(eta: float, N: int, d_x: int, d_y: int = 1, W_0: Tensor | None = None) -> Layer:
    """The linear-attention layer that is one step of gradient descent (von Oswald et al. 2023, proposition 1).

        W_K = W_Q = [[I, 0],   W_V = [[ 0,   0],   P = (eta/N) I          blocks d_x | d_y, all (D, D)
                     [0, 0]]          [W_0, -I]]

    It turns every token (x_j, y_j) into (x_j, y_j - dW x_j), where dW is the step that gradient descent with step
    size eta takes from W_0 (d_y, d_x; 0 in float64 when None) on L(W) = 1/(2N) sum_i |W x_i - y_i|^2.

    >>> prompt = tasks.linear_regression(B=1, N=20, d_x=10)
    >>> z = attention.linear(tasks.tokens(prompt), gd_step(eta=1.0, N=20, d_x=10))
    >>> by_hand = (prompt.y[0, :, 0] @ prompt.x[0]) @ prompt.x_query[0] / 20        # dW x_q when W_0 = 0
    >>> bool(torch.isclose(tasks.read(z)[0, 0], by_hand, rtol=0, atol=1e-12))
    True
    """
    N, d_x, d_y = checks.count("N", N), checks.count("d_x", d_x), checks.count("d_y", d_y)
    checks.number("eta", eta)
    W_0 = torch.zeros(d_y, d_x, dtype=torch.float64) if W_0 is None else W_0
    checks.tensor("W_0", W_0, "d_y d_x", {"d_y": d_y, "d_x": d_x})
    checks.finite(W_0=W_0)
    D = d_x + d_y
    read_x = torch.zeros(D, D, dtype=W_0.dtype)
    read_x[:d_x, :d_x] = torch.eye(d_x)
    error = torch.zeros(D, D, dtype=W_0.dtype)
    error[d_x:, :d_x] = W_0
    error[d_x:, d_x:] = -torch.eye(d_y)
    return Layer(W_Q=read_x, W_K=read_x.clone(), W_V=error, P=eta / N * torch.eye(D, dtype=W_0.dtype))


@usual()
def gd_pp_step(eta: float, gamma: float, N: int, d_x: int, d_y: int = 1) -> Layer:
    """The one-head layer that is one step of GD++ from W = 0 (von Oswald et al. 2023, appendix A.10).

        W_K = W_Q = [[I, 0],   W_V = [[I,  0],   P = [[-gamma I, 0        ],     blocks d_x | d_y, all (D, D)
                     [0, 0]]          [0, -I]]        [0,        (eta/N) I]]

    It turns every token (x_j, y_j) into (x_j - gamma sum_i x_i x_i^T x_j, y_j - (eta/N) sum_i y_i x_i^T x_j). gamma
    multiplies the sum without 1/N, as in the paper. gamma = 0 is `gd_step`; k layers are k steps of `learners.gd_pp`.

    >>> prompt = tasks.linear_regression(B=1, N=20, d_x=10)
    >>> z = attention.linear(tasks.tokens(prompt), gd_pp_step(eta=1.0, gamma=0.01, N=20, d_x=10))
    >>> by_hand = prompt.x_query[0] - 0.01 * (prompt.x[0] @ prompt.x_query[0]) @ prompt.x[0]
    >>> torch.allclose(z[0, -1, :10], by_hand, rtol=0, atol=1e-12)
    True
    """
    checks.number("gamma", gamma)
    layer = gd_step(eta, N, d_x, d_y)
    I = torch.eye(d_x, dtype=torch.float64)
    layer.W_V[:d_x, :d_x], layer.P[:d_x, :d_x] = I, -gamma * I
    return layer


@usual()
def copying(d_x: int, d_y: int, T: int, *, beta: float | None = None, next_token: bool = False) -> Layer:
    """The layer that makes pairs out of T separate tokens (x_j, 0, p_j) and (0, y_j, p_j), p_j one-hot.

        W_K = [0, 0, I],   W_Q = [0, 0, S^T],   W_V = P^T = [I, 0, 0]          blocks d_x | d_y | T

    S is the lower shift, S p_j = p_(j+1): token j scores 1 with token j-1 and 0 with all others. So the label's
    token, and it alone, picks up the input: (0, y_j) becomes (x_j, y_j). With `next_token`, S is the upper shift and
    W_V reads y: the input picks up its label. After von Oswald et al. 2023, proposition 3, whose layer also erases p_j.

    Exact in `attention.linear`. In `attention.softmax` scores are multiplied by `beta` (an inverse temperature), and
    1 - 1/(1 + (n - 1) e^-beta) of the attention goes astray among n tokens.

    >>> z = torch.tensor([[[3.0, 0, 1, 0, 0], [0, 5, 0, 1, 0], [4, 0, 0, 0, 1]]])       # x_1, y_1, x_query
    >>> attention.linear(z, copying(1, 1, T=3).to(torch.float32))[0, 1]                 # (3, 5): a pair
    tensor([3., 5., 0., 1., 0.])
    """
    d_x, d_y, T = (checks.count(name, n) for name, n in {"d_x": d_x, "d_y": d_y, "T": T}.items())
    I, D = torch.eye(d_x + d_y + T, dtype=torch.float64), d_x + d_y
    shift = torch.diag(torch.ones(T - 1, dtype=torch.float64), 1 if next_token else -1)
    W_Q = torch.zeros(T, D + T, dtype=torch.float64)
    W_Q[:, D:] = shift.mT * (1.0 if beta is None else checks.number("beta", beta) * T**0.5)  # softmax divides by it
    W_V = I[d_x:D] if next_token else I[:d_x]
    return Layer(W_Q=W_Q, W_K=I[D:], W_V=W_V, P=W_V.mT)


def widen(layer: Layer, D: int) -> Layer:
    """The same layer for longer tokens, of width D: it neither reads nor writes what was added at their end.

    >>> widen(gd_step(1.0, N=20, d_x=2), D=5).W_Q
    tensor([[1., 0., 0., 0., 0.],
            [0., 1., 0., 0., 0.],
            [0., 0., 0., 0., 0.]], dtype=torch.float64)
    """
    more = checks.count("D", D) - layer.P.shape[-2]
    if more < 0:
        raise ValueError(f"D: expected at least {layer.P.shape[-2]}, the width that the layer has, got {D}.")
    W_Q, W_K, W_V = (F.pad(W, (0, more)) for W in layer[:3])
    return Layer(W_Q, W_K, W_V, F.pad(layer.P, (0, 0, 0, more)))


@usual()
def induction(V: int, T: int, *, beta: float) -> list[Layer]:
    """The two causal layers of an induction head: "what came after this word, the last time?" (Olsson et al. 2022).

    Tokens (s_j, 0, 0, p_j): blocks word | previous word | prediction | position, of widths V, V, V, T, one-hot.
    - Layer 1, the previous-token head: token j reads token j-1 and notes its word in the second block.
    - Layer 2, the match: the query is the word, the key is the *previous* word, the value is the word. What it reads
      goes to the third block. Nobody matches with the first token: it has no previous word, and read itself.

    `beta` is the inverse temperature of both: a match scores beta, the first token at most -beta, all else 0.

    >>> s = torch.tensor([2, 0, 1, 2, 0])                                               # c a b c a: next comes b
    >>> z = torch.cat([torch.eye(3)[s], torch.zeros(5, 6), torch.eye(5)], dim=1)[None].double()
    >>> for layer in induction(V=3, T=5, beta=20.0):
    ...     z = attention.causal_softmax(z, layer)
    >>> z[0, -1, 6:9].argmax()
    tensor(1)
    """
    V, T, beta = checks.count("V", V), checks.count("T", T), checks.number("beta", beta)
    word, previous, prediction, position = torch.eye(3 * V + T, dtype=torch.float64).split([V, V, V, T])
    shift = torch.diag(torch.ones(T - 1, dtype=torch.float64), -1)
    look_back = Layer(W_Q=beta * T**0.5 * shift.mT @ position, W_K=position, W_V=word, P=previous.mT)
    # one more coordinate: -1 in each query, and in the first token's key 2, where its own word may give 1 as well
    always, is_first = -position.sum(0, keepdim=True), 2 * position[:1]
    W_Q, W_K = torch.cat([word, always]), torch.cat([previous, is_first])
    return [look_back, Layer(W_Q=beta * (V + 1) ** 0.5 * W_Q, W_K=W_K, W_V=word, P=prediction.mT)]


def two_relu_heads(layer: Layer) -> Layer:
    """Two ReLU heads that together do what one linear head does, since t = max(0, t) - max(0, -t).

    `attention.relu(z, two_relu_heads(layer))` equals `attention.linear(z, layer)` (the trick of Bai et al. 2023).

    >>> two_relu_heads(gd_step(1.0, N=20, d_x=10)).W_Q.shape
    torch.Size([2, 11, 11])
    """
    W_Q, W_K, W_V, P = layer
    return Layer(torch.stack([W_Q, -W_Q]), torch.stack([W_K, W_K]), torch.stack([W_V, W_V]), torch.stack([P, -P]))


def two_softmax_heads(layer: Layer, N: int, tau: float) -> Layer:
    """Two softmax heads of opposite temperature that together do nearly what one linear head does on centred tokens.

    The scores are K^T q / tau in one head and minus that in the other, their values +N tau/2 and -N tau/2 times those
    of `layer`. Means and all even orders cancel:

        N tau/2 V [softmax(K^T q / tau) - softmax(-K^T q / tau)] = sum_i (v_i - mean v) (k_i - mean k)^T q + O(1/tau^2)

    Of `gd_step` they make one gradient step on the centred data x_i - mean x, y_i - mean y, as tau grows. (Two heads:
    von Oswald et al. 2023, appendix A.9; the centring and the order are derived here.)

    >>> prompt = tasks.linear_regression(B=4, N=20, d_x=10)
    >>> pair = two_softmax_heads(gd_step(eta=1.0, N=20, d_x=10), N=20, tau=1e4)
    >>> y_hat = tasks.read(attention.softmax(tasks.tokens(prompt), pair))
    >>> x, y = (t - t.mean(1, keepdim=True) for t in prompt[:2])
    >>> by_hand = ((y.mT @ x / 20) @ prompt.x_query[..., None])[..., 0]
    >>> torch.allclose(y_hat, by_hand, rtol=0, atol=1e-6)
    True
    """
    if checks.number("tau", tau) <= 0:
        raise ValueError(f"tau: expected a temperature above 0, got {tau}.")
    W_Q, W_K, W_V, P = layer
    W_Q, P = W_K.shape[-2] ** 0.5 / tau * W_Q, checks.count("N", N) * tau / 2 * P
    return Layer(torch.stack([W_Q, -W_Q]), torch.stack([W_K, W_K]), torch.stack([W_V, W_V]), torch.stack([P, -P]))


def change_gauge(layer: Layer, R: Tensor, R_v: Tensor, scale: float = 1.0) -> Layer:
    """Other matrices, same layer: (W_Q, W_K) -> (R^-T W_Q, R W_K), (W_V, P) -> (R_v W_V, P R_v^-1).

    Attention sees its weights only as the products W_K^T W_Q and P W_V, which R (d_k, d_k) and R_v (d_v, d_v), any
    invertible matrices, leave as they are. *Linear* attention sees even those two only multiplied, so `scale` may
    pass from one to the other: W_Q / scale, P * scale.

    >>> layer, R = gd_step(1.0, N=20, d_x=2), torch.tensor([[1.0, 2, 0], [0, 1, 0], [0, 0, 1]]).double()
    >>> other = change_gauge(layer, R, R)
    >>> torch.equal(other.W_K, layer.W_K), torch.equal(other.W_K.mT @ other.W_Q, layer.W_K.mT @ layer.W_Q)
    (False, True)
    """
    d_k, d_v = layer.W_K.shape[-2], layer.W_V.shape[-2]
    checks.tensor("R", R, "d_k d_k", {"d_k": d_k})
    checks.tensor("R_v", R_v, "d_v d_v", {"d_v": d_v})
    checks.same_dtype(R=R, R_v=R_v, layer=layer.W_K)
    checks.finite(R=R, R_v=R_v)
    if min(torch.linalg.matrix_rank(R) - d_k, torch.linalg.matrix_rank(R_v) - d_v) < 0:
        raise ValueError("R, R_v: expected invertible matrices, got a singular one: the layer could not be recovered.")
    if checks.number("scale", scale) == 0:
        raise ValueError("scale: expected a number other than 0, got 0: the layer would be lost.")
    W_Q, W_K, W_V, P = layer
    return Layer(torch.linalg.solve(R.mT, W_Q) / scale, R @ W_K, R_v @ W_V, scale * torch.linalg.solve(R_v.mT, P.mT).mT)


def learner(layers: Sequence[Layer], W_0: Tensor | None = None, attend: Callable = attention.linear) -> Learner:
    """A stack of layers as a learner, `learner(x, y, x_query) -> y_hat`: tokens in, layer after layer, read out.

    >>> prompt = tasks.linear_regression(B=4, N=20, d_x=10)
    >>> two_steps = learner([gd_step(0.5, N=20, d_x=10)] * 2)
    >>> two_steps(*prompt.shown).shape
    torch.Size([4, 1])
    """

    if isinstance(layers, Layer):
        raise TypeError("layers: expected a list of layers, got one Layer: write [layer].")

    def learn(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        z = tasks.tokens(tasks.Prompt(x, y, x_query), W_0)
        for layer in layers:
            z = attend(z, layer)
        return tasks.read(z, d_y=y.shape[-1])

    return learn
