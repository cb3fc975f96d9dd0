"""How much a matrix can hold: the error of reading a stored pair, by Hebb's rule and by the delta rule.

Pairs are written one after the other, W <- W + beta v k^T (Hebb) or W <- W + beta (v - W k) k^T (delta rule), from
W = 0, with random keys of length 1 and values with independent coordinates of mean 0 and variance 1. The relative error
of a pair is E |W k - v|^2 / d_v; 1 is what always reading 0 would cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import checks


def hebb_error(n: int, d_k: int) -> float:
    """Expected relative error of each of n pairs written by Hebb's rule with beta = 1: all others add crosstalk.

    >>> hebb_error(33, d_k=32), hebb_error(1, d_k=32)
    (1.0, 0.0)
    """
    return (checks.count("n", n) - 1) / checks.count("d_k", d_k)


def delta_rule_errors(n: int, d_k: int, beta: float) -> Tensor:
    """Expected relative errors (n, n) by the delta rule: entry [j, m] for a pair with j written before it, m after.

    Write P for the product of the m matrices I - beta k k^T that came after, u for the pair's own key. What is read
    is v beta u^T P u, plus later values times beta k_i^T (...) u, plus older ones times beta k_i^T (...) (I - beta u
    u^T) P u. A random k makes E |(I - beta k k^T) w|^2 = a |w|^2 and E u^T (I - beta k k^T) w = b u^T w.

    >>> errors = delta_rule_errors(300, d_k=8, beta=1.0)
    >>> errors[200, 0].abs().item() < 1e-12, round(errors[0, 299].item(), 3)       # the newest, and one long ago
    (True, 2.0)
    """
    a, b = 1 - (2 * beta - beta**2) / d_k, 1 - beta / d_k
    length = a ** torch.arange(n, dtype=torch.float64)  # E |P u|^2 after m writes
    mean = b ** torch.arange(n, dtype=torch.float64)  # E u^T P u
    square = torch.ones(n, dtype=torch.float64)  # E (u^T P u)^2, step by step
    for m in range(1, n):
        grown = 1 - 2 * beta / d_k + 2 * beta**2 / (d_k * (d_k + 2))
        square[m] = grown * square[m - 1] + beta**2 * length[m - 1] / (d_k * (d_k + 2))
    summed = torch.cat([torch.zeros(1, dtype=torch.float64), length.cumsum(0)[:-1]])  # over that many other writes
    own = 1 - 2 * beta * mean + beta**2 * square
    later = beta**2 / d_k * summed
    older = beta**2 / d_k * summed[:, None] * (length - (2 * beta - beta**2) * square)
    return own + later + older


def recall_errors(
    n: int, d_k: int, beta: float = 1.0, *, draws: int = 20, d_v: int = 16, counts: tuple[int, ...] = (), seed: int = 0
) -> dict[int, tuple[Tensor, Tensor]]:
    """The same in draws: {pairs written: the error of each pair, (draws, pairs), by Hebb (beta = 1) and by delta}.

    `counts` are the numbers of pairs after which to look, n when empty. d_k is at most 64: draws of one seed then use
    the same numbers for every d_k.

    >>> hebb, delta = recall_errors(5, d_k=16)[5]
    >>> hebb.shape, (delta[:, -1] < 1e-12).all().item()                            # the newest pair is exact
    (torch.Size([20, 5]), True)
    """
    g, counts = torch.Generator().manual_seed(seed), counts or (n,)
    keys = torch.randn(draws, n, 64, generator=g, dtype=torch.float64)[..., :d_k]
    keys = keys / keys.norm(dim=-1, keepdim=True)
    values = torch.randn(draws, n, d_v, generator=g, dtype=torch.float64)
    W, found = torch.zeros(draws, d_v, d_k, dtype=torch.float64), {}
    for t in range(n):
        k, v = keys[:, t, :, None], values[:, t, :, None]
        W = W + beta * (v - W @ k) @ k.mT
        if t + 1 in counts:
            K, V = keys[:, : t + 1], values[:, : t + 1]
            found[t + 1] = tuple((K @ M.mT - V).square().mean(dim=-1) for M in (V.mT @ K, W))
    return found
