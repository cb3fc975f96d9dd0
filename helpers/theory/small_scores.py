"""Softmax attention on prompts that are drawn for it: how fast its approximations become right.

Random features, as their number grows; the first order, as scores shrink; and six examples for smoothers to smooth.
Each measurement is cached, since figures and claims share it; `shift` draws other prompts.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import learners, tasks
from helpers.theory import kernels, mixing

SIZES = np.geomspace(1e-2, 3, 12)  # standard deviations of scores
TAUS = np.geomspace(1, 1000, 25)  # temperatures
POWERS = range(4, 13)  # of 2: numbers of random features


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Mixture(NamedTuple):
    """500 queries with twelve demonstrations and four tokens that each reads anyway, and their scores."""

    q: Tensor  # (500, 1, 16)
    keys: Tensor  # (500, 16, 16): demonstrations first
    values: Tensor  # (500, 16, 16)
    new: Tensor  # (500, 1, 12): k^T q / sqrt(16) of the demonstrations
    own: Tensor  # (500, 1, 4)


def mixture(shift: int = 0) -> Mixture:
    """Random keys, values and queries.

    >>> mixture().new.shape
    torch.Size([500, 1, 12])
    """
    K_new, V_new, K_own, V_own, q = (normal(500, n, 16, seed=10 * shift + i) for i, n in enumerate([12, 12, 4, 4, 1]))
    keys, values = torch.cat([K_new, K_own], dim=1), torch.cat([V_new, V_own], dim=1)
    return Mixture(q, keys, values, q @ K_new.mT / 4, q @ K_own.mT / 4)


class Alignment(NamedTuple):
    """Cosines (500,) with the change that demonstrations make, and with that change less its limit, the means' part."""

    first: Tensor  # of the first order, with the change
    mean: Tensor  # of the mean of all values less that of the own tokens' alone, with the change
    dropped: Tensor  # of the sum without softmax, with the change
    covariance: Tensor  # of the first order less the mean, with the change less the mean
    dropped_beyond: Tensor  # of the sum without softmax, with the change less the mean


@functools.lru_cache
def alignment(size: float, shift: int = 0) -> Alignment:
    """Which guesses point as the change does that the demonstrations make, for scores of this standard deviation.

    >>> now = alignment(0.01)
    >>> [round(cosine.mean().item(), 2) for cosine in (now.mean, now.covariance, now.dropped_beyond)]
    [1.0, 1.0, 0.55]
    """
    m = mixture(shift)
    new, own, values = size * m.new, size * m.own, m.values
    both = torch.cat([new, own], dim=-1)
    change = (mixing.read_out(both, values) - mixing.read_out(own, values[:, 12:]))[:, 0]
    first = (mixing.first_order(both, values) - mixing.first_order(own, values[:, 12:]))[:, 0]
    mean, dropped = values.mean(1) - values[:, 12:].mean(1), (new @ values[:, :12])[:, 0]
    whole = (F.cosine_similarity(guess, change) for guess in (first, mean, dropped))
    beyond = (F.cosine_similarity(guess, change - mean) for guess in (first - mean, dropped))
    return Alignment(*whole, *beyond)


@functools.lru_cache
def left_over(shift: int = 0) -> np.ndarray:
    """What the first order leaves of one head and of two, at each of TAUS (25, 2): rms over 100 prompts."""
    p = tasks.linear_regression(B=100, N=8, d_x=4, seed=1 + shift)
    step = learners.gd(*(t - t.mean(1, keepdim=True) for t in p[:2]), p.x_query, eta=1.0)  # Cov(y, x) x_q
    rows = []
    for tau in TAUS:
        plus, minus = (mixing.read_out(sign * p.x_query[:, None] @ p.x.mT / tau, p.y)[:, 0] for sign in (1, -1))
        residuals = plus - p.y.mean(1) - step / tau, plus - minus - 2 * step / tau
        rows.append([r.square().mean().sqrt().item() for r in residuals])
    return np.array(rows)


def unit_keys(shift: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """32 keys and 64 queries of length 1 in 8 dimensions, and values (32, 2)."""
    k, q = (F.normalize(normal(n, 8, seed=n + 100 * shift), dim=-1) for n in (32, 64))
    return k, q, normal(32, 2, seed=3 + 100 * shift)


@functools.lru_cache
def feature_errors(norm: float, shift: int = 0) -> np.ndarray:
    """Error of m = 2^POWERS random features against softmax, keys and queries of this norm: rms over 20 draws."""
    k, q, v = unit_keys(shift)
    true, errors = mixing.read_out(norm**2 * q @ k.T, v), []
    for power in POWERS:
        off = []
        for w in normal(20, 8, 2**power, seed=5 + 100 * shift):
            num, den = (mixing.features(norm * q, w) @ mixing.written(norm * k, v, w).T).split([2, 1], dim=1)
            off.append(num / den - true)
        errors.append(torch.stack(off).square().mean().sqrt().item())
    return np.array(errors)


class Smoothing(NamedTuple):
    """Six examples on a circle, and the points of a grid."""

    x: Tensor  # (6, 1): angles
    y: Tensor  # (6, 1)
    grid: Tensor  # (241, 1)
    k: Tensor  # (6, 2): all of length 1
    q: Tensor  # (241, 2)
    K: Tensor  # (6, 6): Gaussian kernel of bandwidth sqrt(tau)
    k_q: Tensor  # (241, 6)


def smoothing(tau: float) -> Smoothing:
    """Examples of a wave and a slope.

    >>> smoothing(0.1).K.shape
    torch.Size([6, 6])
    """
    x = torch.tensor([-2.6, -1.4, -1.0, 0.4, 0.9, 2.5], dtype=torch.float64)[:, None]
    grid = torch.linspace(-3, 3, 241, dtype=torch.float64)[:, None]
    k, q = (torch.cat([t.cos(), t.sin()], dim=1) for t in (x, grid))
    K, k_q = (kernels.rbf(tau**0.5)(points, k) for points in (k, q))
    return Smoothing(x, torch.sin(1.5 * x) + 0.4 * x, grid, k, q, K, k_q)
