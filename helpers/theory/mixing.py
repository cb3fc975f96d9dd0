"""Reading values by softmax: what new tokens change, what small scores leave, where a stack of such layers ends.

Most functions start from scores, whatever made them: `scores` (…, M, n) of M queries against n tokens, already divided
by sqrt(d_k) or a temperature; a mask is a score of -inf.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import checks, tasks
from helpers.theory import kernels

# --- mixing ---------------------------------------------------------------------------------------------------


def read_out(scores: Tensor, values: Tensor) -> Tensor:
    """What M queries read: the mean of the values (…, n, d_v), weighted by softmax(scores) (…, M, n) -> (…, M, d_v).

    >>> read_out(torch.zeros(1, 4), torch.eye(4))                       # equal scores: the plain mean
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    >>> read_out(torch.zeros(1, 3), torch.eye(4))
    Traceback (most recent call last):
    ValueError: scores, values: expected as many scores as values, got (1, 3) and (4, 4).
    """
    checks.same_dtype(scores=scores, values=values)
    if values.ndim < 2 or scores.shape[-1:] != values.shape[-2:-1]:
        got = f"{tuple(scores.shape)} and {tuple(values.shape)}"
        raise ValueError(f"scores, values: expected as many scores as values, got {got}.")
    if not values.shape[-2]:
        raise ValueError("values: expected at least one token, got none: a mean of nothing is undefined.")
    return scores.softmax(dim=-1) @ values


def gate(new: Tensor, own: Tensor) -> Tensor:
    """The share lambda (…, M) of the attention that new tokens take, from their scores (…, M, n) and (…, M, m).

        read_out([new; own]) = lambda read_out(new) + (1 - lambda) read_out(own)
        lambda = Z' / (Z' + Z) = sigmoid(LSE(new) - LSE(own)),     Z = sum of exp(score),  LSE = ln Z

    Exact, for any scores and values (He et al. 2022, for the prefix of prefix tuning). Without new tokens
    it is 0.

    >>> gate(torch.zeros(1, 12), torch.zeros(1, 4)), gate(torch.zeros(1, 0), torch.zeros(1, 4))
    (tensor([0.7500]), tensor([0.]))
    >>> gate(torch.zeros(2, 12), torch.zeros(1, 4))
    Traceback (most recent call last):
    ValueError: new, own: expected scores of the same queries, got (2, 12) and (1, 4).
    """
    checks.same_dtype(new=new, own=own)
    if new.shape[:-1] != own.shape[:-1]:
        raise ValueError(
            f"new, own: expected scores of the same queries, got {tuple(new.shape)} and {tuple(own.shape)}."
        )
    if not own.shape[-1]:
        raise ValueError("own: expected at least one token, got none: there is nothing to share with.")
    return torch.sigmoid(new.logsumexp(dim=-1) - own.logsumexp(dim=-1))


# --- the dual form with random features -----------------------------------------------------------------------


def features(x: Tensor, w: Tensor) -> Tensor:
    """Positive random features phi(x) (…, m) of x (…, d), for w (d, m) from N(0, 1): FAVOR+, Choromanski et al. 2021.

        phi(x) = exp(w^T x - |x|^2 / 2) / sqrt(m),      E phi(k)^T phi(q) = exp(k^T q)

    >>> features(torch.zeros(3, 2), torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))[0]
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    checks.same_dtype(x=x, w=w)
    return torch.exp(x @ w - x.square().sum(-1, keepdim=True) / 2) / w.shape[-1] ** 0.5


def written(k: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """The fast weights (d_v + 1, m) that keys (n, d) and values (n, d_v) write: sum_i (v_i; 1) phi(k_i)^T.

    Those of two sets of tokens add up. Numerator and denominator of what q reads are `written(k, v, w) @ phi(q)`.

    >>> k, v, w = torch.zeros(3, 2), torch.ones(3, 1), torch.zeros(2, 4)
    >>> written(k, v, w) @ features(torch.zeros(2), w)                        # three values of 1: 3 / 3
    tensor([3., 3.])
    """
    return torch.cat([v, torch.ones_like(v[:, :1])], dim=1).T @ features(k, w)


# --- small scores ---------------------------------------------------------------------------------------------


def first_order(scores: Tensor, values: Tensor) -> Tensor:
    """What `read_out` tends to for small scores: a mean, and a covariance of values and scores, (…, M, d_v).

        mean(v) + (1/n) sum_i v_i (l_i - mean l) + O(l^2)

    >>> scores, values = torch.tensor([[0.1, -0.1]]), torch.tensor([[1.0], [0.0]])
    >>> first_order(scores, values), read_out(scores, values)
    (tensor([[0.5500]]), tensor([[0.5498]]))
    """
    checks.same_dtype(scores=scores, values=values)
    return values.mean(-2, keepdim=True) + (scores - scores.mean(-1, keepdim=True)) @ values / values.shape[-2]


def best_centred_step(N: int, d_x: int, *, inputs: str = "gaussian") -> tuple[float, float]:
    """Size and excess of the best gradient step on centred data (x_i - mean x, y_i - mean y), linear tasks, no noise.

        excess = s2 d_x (1 - 1/G),   eta = N / ((N - 1) s2 G),   G = 1 + (d_x - 1)/(N - 1) + (k4 - (N - 3)/(N - 1))/N

    s2 and k4 are variance and kurtosis of the coordinates, as in `closed_forms.gd_excess`; the second and fourth
    moments of a sample covariance stand behind it. For Gaussian inputs it is `gd_excess` with N - 1 examples.

    >>> eta, excess = best_centred_step(N=10, d_x=10, inputs="uniform")
    >>> round(eta, 3), round(excess / 2, 4)
    (6.342, 0.2185)
    """
    N, d_x = checks.count("N", N, least=2), checks.count("d_x", d_x)
    if inputs not in tasks.MOMENTS:
        raise ValueError(f"inputs: expected one of {', '.join(tasks.MOMENTS)}, got {inputs!r}.")
    s2, k4 = tasks.MOMENTS[inputs]
    G = 1 + (d_x - 1) / (N - 1) + (k4 - (N - 3) / (N - 1)) / N
    return N / ((N - 1) * s2 * G), s2 * d_x * (1 - 1 / G)


# --- smoothing, and a stack of it -----------------------------------------------------------------------------


def nadaraya_watson(q: Tensor, k: Tensor, y: Tensor, tau: float, *, loudness: Tensor | float = 1.0) -> Tensor:
    """The kernel smoother of bandwidth sqrt(tau): the Gaussian-weighted mean of the labels y (N, d_y) near q (M, d).

    Each key k (N, d) counts `loudness` times. With exp(|k|^2 / 2 tau) it is softmax attention with scores k^T q / tau,
    and for keys of one length without it (Nadaraya 1964, Watson 1964).

    >>> keys = torch.tensor([[0.0], [1.0]])
    >>> nadaraya_watson(torch.tensor([[0.5]]), keys, torch.tensor([[1.0], [3.0]]), tau=0.1)
    tensor([[2.]])
    """
    weights = loudness * kernels.rbf(tau**0.5)(q, k)
    return weights / weights.sum(1, keepdim=True) @ y


def stack(query_scores: Tensor, key_scores: Tensor, y: Tensor, layers: int) -> Tensor:
    """Softmax layers that read the errors r (N, d_y) of the labels y, and what M queries add up, f (M, d_y).

        f <- f + softmax(query_scores) r,   r <- r - softmax(key_scores) r          from f = 0 and r = y

    >>> stack(torch.zeros(1, 2), torch.zeros(2, 2), torch.tensor([[1.0], [3.0]]), layers=5)   # equal scores: the mean
    tensor([[2.]])
    """
    r, f = y, y.new_zeros(len(query_scores), y.shape[1])
    for _ in range(layers):
        f, r = f + read_out(query_scores, r), r - read_out(key_scores, r)
    return f


def stack_limit(K: Tensor, k_q: Tensor, y: Tensor) -> Tensor:
    """Where `stack` ends, from the kernel exp(scores): d_q^-1 k_q^T K^-1 D y, with the row sums d_q of k_q and D of K.

    K (N, N) must be positive definite; k_q (M, N), y (N, d_y). Up to a factor for each row, which drops out, K may be
    any kernel matrix with the same softmax. Without normalising it would be k_q^T K^-1 y.

    >>> K = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> torch.allclose(stack_limit(K, K, torch.tensor([[1.0], [3.0]])), torch.tensor([[1.0], [3.0]]))   # interpolates
    True
    """
    return k_q / k_q.sum(1, keepdim=True) @ torch.linalg.solve(K, K.sum(1, keepdim=True) * y)
