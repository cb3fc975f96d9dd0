"""Gradient flow on the expected loss of one linear-attention layer: how its step grows from small weights.

The layer answers x_q^T A m with m the mean of y_i x_i over a context of N pairs, x ~ N(0, diag(lam)), w ~ N(0, I),
and the loss is half of `closed_forms.preconditioned_excess`. What is trained are the factors of A, and they decide
how the loss falls (Zhang, Singh, Latham and Saxe, ICML 2025, "Training dynamics of in-context learning in linear
attention"): with A = c M, key and query merged into one matrix M, all directions of the inputs start at once, and the
loss falls in one go unless their sizes lie far apart; with A = c W_K^T W_Q, key and query separate, it goes down a
staircase, from saddle to saddle, one direction after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from helpers import checks


class Path(NamedTuple):
    """A trajectory of gradient flow, at n + 1 equal times."""

    t: np.ndarray  # (n+1,)
    A: np.ndarray  # (n+1, d_x, d_x)
    learned: np.ndarray  # (n+1, d_x): A_ii Gamma_ii, the share of its final value that each direction has reached
    excess: np.ndarray  # (n+1,): the squared error, without a factor 1/2
    balance: np.ndarray  # (n+1,): c^2 minus the squared entries of the first matrix; the flow conserves it

    def half_time(self) -> float:
        """The first time at which half of the final A is learned (mean over directions), by interpolation; or inf."""
        share = self.learned.mean(1)
        if share[0] >= 0.5 or not (share >= 0.5).any():
            return 0.0 if share[0] >= 0.5 else math.inf
        k = int(np.argmax(share >= 0.5))
        part = (0.5 - share[k - 1]) / (share[k] - share[k - 1])
        return float(self.t[k - 1] + part * (self.t[k] - self.t[k - 1]))

    def plateaus(self) -> int:
        """How often the loss slows down and speeds up again on its way, after its first fall by 1 %."""
        speed = -np.diff(self.excess)
        speed = speed[np.argmax(self.excess[1:] < 0.99 * self.excess[0]) :]
        lower, higher = (sign * np.diff(speed) > 1e-9 * speed.max() for sign in (-1, 1))
        turns = np.sign(higher.astype(int) - lower.astype(int))
        turns = turns[turns != 0]
        return int(((turns[:-1] < 0) & (turns[1:] > 0)).sum())


def balanced(scale: float, d_x: int) -> tuple[float, np.ndarray]:
    """A start with merged key and query: c = scale and M = scale / sqrt(d_x) I, so that c^2 = |M|^2.

    >>> c, M = balanced(0.1, d_x=4)
    >>> print(f"{c} {M[0, 0]:.2f} {c**2 - (M**2).sum():.1f}")
    0.1 0.05 0.0
    """
    return checks.number("scale", scale), scale / checks.count("d_x", d_x) ** 0.5 * np.eye(d_x)


def separate(scale: float, d_x: int, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """A random start with separate key and query: W_K and W_Q with normal entries of size scale, and c = |W_K|.

    >>> c, W_K, W_Q = separate(0.1, d_x=4, seed=0)
    >>> print(W_K.shape, f"{abs(c**2 - (W_K**2).sum()):.1f}")
    (4, 4) 0.0
    """
    W_K, W_Q = scale * np.random.default_rng(seed).standard_normal((2, d_x, d_x))
    return float(np.linalg.norm(W_K)), W_K, W_Q


def follow(
    lam: Sequence[float], N: int, start: tuple, *, until: float, dt: float = 0.02, noise: float = 0.0, keep: int = 1
) -> Path:
    """Follow the flow of `start`, (c, M) or (c, W_K, W_Q), from t = 0; each `keep`-th step is returned.

        A = c M             M' = c R                               c' = <M, R>
        A = c W_K^T W_Q     W_K' = c W_Q R^T,  W_Q' = c W_K R      c' = <W_K^T W_Q, R>

    R = Sigma (I - A Gamma) Sigma is minus the slope of the loss in A, with Sigma = diag(lam) and Gamma as in
    `closed_forms.preconditioner`. Steps of size dt by the classical Runge-Kutta method: the error is of order dt^4.

    >>> path = follow([1.0] * 4, 10, balanced(0.1, 4), until=5.0)                   # ends at eta* = 10 / (10 + 4 + 1)
    >>> print(f"{path.A[-1, 0, 0]:.3f} {path.half_time():.3f} {half_time(0.1, 10, 4):.3f}")
    0.667 1.221 1.221
    """
    lam, N = np.asarray(lam, dtype=float), checks.count("N", N)
    if lam.ndim != 1 or not (lam > 0).all():
        raise ValueError(f"lam: expected variances above 0, a list of numbers, got {lam}.")
    if len(start) not in (2, 3):
        raise ValueError(f"start: expected (c, M) or (c, W_K, W_Q), got {len(start)} parts.")
    Gamma = (1 + 1 / N) * lam + (lam.sum() + noise**2) / N
    at, paths = [np.asarray(part, dtype=float) for part in start], []
    n = math.ceil(until / dt / keep)
    for k in range(n * keep + 1):
        if k % keep == 0:
            paths.append((_matrix(at), at[0] ** 2 - (at[1] ** 2).sum()))
        at = _runge_kutta(at, dt, lam, Gamma)
    A, balance = (np.array(part) for part in zip(*paths, strict=True))
    excess = lam.sum() - 2 * (A.diagonal(0, 1, 2) * lam**2).sum(1) + (lam[:, None] * A**2 * Gamma * lam).sum((1, 2))
    return Path(dt * keep * np.arange(n + 1), A, A.diagonal(0, 1, 2) * Gamma, excess, balance)


def logistic(scale: float, N: int, d_x: int, t: np.ndarray, *, noise: float = 0.0) -> np.ndarray:
    """The step size eta(t), where A = eta(t) I, from the `balanced` start, for unit Gaussian inputs: a logistic law.

        eta(t) = eta* / (1 + (eta*/eta_0 - 1) exp(-2 sqrt(d_x) t)),   eta_0 = scale^2 / sqrt(d_x)

    The law is in Zhang, Singh, Latham and Saxe 2025. For inputs of variance s2, time runs s2^2 times as fast.

    >>> logistic(0.1, 10, 4, np.array([0.0, 100.0])).round(3)
    array([0.005, 0.667])
    """
    end, start, rate = _law(scale, N, d_x, noise)
    return end / (1 + (end / start - 1) * np.exp(-rate * t))


def half_time(scale: float, N: int, d_x: int, *, noise: float = 0.0) -> float:
    """The time at which the `logistic` law has half of eta*: ln(eta*/eta_0 - 1) / (2 sqrt(d_x)); 0 if it starts there.

    >>> round(half_time(0.01, 10, 10), 2)
    1.52
    """
    end, start, rate = _law(scale, N, d_x, noise)
    return math.log(end / start - 1) / rate if end > 2 * start else 0.0


def sampled_half_times(
    scale: float, N: int, d_x: int, *, lr: float, batch: int, runs: int, rng: np.random.Generator
) -> np.ndarray:
    """The same start under plain SGD on sampled prompts: the times (lr times steps) to half of eta*, (runs,); or inf.

    All weights of the merged layer are free, Theta (d_x + 1, d_x) and the row (u^T, c) that reads, and the loss is
    half the squared error at the query of `batch` prompts, new for each step; runs that diverge, or need more than
    five times the time of the law, count as inf. A start that has half of eta* already takes no time.

    >>> times = sampled_half_times(0.1, 10, 4, lr=0.003, batch=64, runs=3, rng=np.random.default_rng(0))
    >>> print(abs(times / half_time(0.1, 10, 4) - 1).max() < 0.15)
    True
    """
    if half_time(scale, N, d_x) == 0:
        return np.zeros(runs)
    Theta, read = np.zeros((runs, d_x + 1, d_x)), np.zeros((runs, d_x + 1))
    (_, Theta[:, :d_x]), read[:, -1] = balanced(scale, d_x), -scale
    end, times = _law(scale, N, d_x, 0.0)[0], np.full(runs, np.inf)
    for step in range(1, round(5 * half_time(scale, N, d_x) / lr)):
        x = rng.standard_normal((runs, batch, N + 1, d_x))
        z = np.concatenate(
            [x, x @ rng.standard_normal((runs, batch, d_x, 1))], axis=-1
        )  # tokens; the last is the query
        x_query, y_query, z = x[:, :, -1], z[:, :, -1, -1], z[:, :, :-1]
        values, scores = z @ read[:, None, :, None], z @ (x_query @ Theta.mT)[..., None]  # (runs, batch, N, 1)
        error = -(values * scores).mean((2, 3)) - y_query
        to_Theta = -(error[..., None] * (values.mT @ z)[:, :, 0]).mT @ x_query / (N * batch)
        to_read = -(error[..., None] * (scores.mT @ z)[:, :, 0]).mean(1) / N
        Theta, read = Theta - lr * to_Theta, read - lr * to_read
        eta = -(Theta[:, :d_x].trace(axis1=1, axis2=2) * read[:, -1] + (Theta[:, -1] * read[:, :-1]).sum(1)) / d_x
        times = np.where(np.isinf(times) & (eta > end / 2), lr * step, times)
        if np.isfinite(times).all() or not np.isfinite(eta).any():
            break
    return times


def _law(scale: float, N: int, d_x: int, noise: float) -> tuple[float, float, float]:
    return N / (N + d_x + 1 + noise**2), scale**2 / d_x**0.5, 2 * d_x**0.5


def _matrix(at: list[np.ndarray]) -> np.ndarray:
    return at[0] * (at[1] if len(at) == 2 else at[1].T @ at[2])


def _slope(at: list[np.ndarray], lam: np.ndarray, Gamma: np.ndarray) -> list[np.ndarray]:
    R = lam[:, None] * (np.eye(len(lam)) - _matrix(at) * Gamma) * lam
    if len(at) == 2:
        c, M = at
        return [(M * R).sum(), c * R]
    c, W_K, W_Q = at
    return [(W_K.T @ W_Q * R).sum(), c * W_Q @ R.T, c * W_K @ R]


def _runge_kutta(at: list[np.ndarray], dt: float, lam: np.ndarray, Gamma: np.ndarray) -> list[np.ndarray]:
    slopes, here = [], at
    for ahead in (dt / 2, dt / 2, dt, None):
        slopes.append(_slope(here, lam, Gamma))
        if ahead is not None:
            here = [part + ahead * slope for part, slope in zip(at, slopes[-1], strict=True)]
    return [part + dt / 6 * (a + 2 * b + 2 * c + d) for part, a, b, c, d in zip(at, *slopes, strict=True)]
