"""The expected loss of one linear-attention layer in closed form, and training on it: no task is ever drawn.

Tasks are w ~ N(0, I) with labels y_i = w^T x_i + noise * e_i (`tasks.linear_regression` with d_y = 1), and x has
independent coordinates, of which only the variance and the kurtosis matter. Half-loss convention, as in the code of
von Oswald et al. 2023: half the squared error at the query, against its label without noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers import checks, tasks
from helpers.attention import Layer


class Trained(NamedTuple):
    """A layer trained on the expected loss, and how it got there: values before each update and after the last."""

    layer: Layer
    losses: np.ndarray  # (steps+1,) half-loss
    etas: np.ndarray  # (steps+1,) learned step size, see `learned_step`


def half_loss(layer: Layer, N: int, *, inputs: str = "gaussian", noise: float = 0.0) -> Tensor:
    """Half the expected squared error of a layer with one head on prompts of N pairs, exactly; a scalar with gradient.

    The layer predicts -(u^T, c) E [A; b^T] x_q, where (u^T, c) is the last row of P W_V, [A; b^T] the first d_x
    columns of W_K^T W_Q, and E = sum_i z_i z_i^T. With B = c A^T + b u^T, S = X^T X and labels without noise,

        2 loss / s2 = d_x + 2 N s2 tr B + k |B|^2                              E |(I + B S) w|^2
                      + E |A^T S u|^2 + 2 c t b^T A^T u + c^2 |b|^2 f          E |A^T S u + c b w^T S w|^2

    where E S^2 = k I, E S tr S = t I and f = E tr(S)^2 + 2 d_x k. Noise adds its own terms (see `_coefficients`).
    Derived here. The second line is never negative and the first is least at B = -(eta*/N) I, so no such layer does
    better than the best step of gradient descent.

    >>> from helpers import constructions
    >>> from helpers.theory import closed_forms
    >>> layer = constructions.gd_step(eta=2.0, N=10, d_x=4)
    >>> exact = half_loss(layer, N=10, inputs="uniform", noise=0.3).item()
    >>> abs(exact - closed_forms.gd_excess(2.0, N=10, d_x=4, inputs="uniform", noise=0.3) / 2) < 1e-12
    True
    """
    read, key_query = products(layer)
    k = _coefficients(N, len(read) - 1, inputs, noise)
    return _half_loss(key_query[:-1, :-1], key_query[-1, :-1], read[:-1], read[-1], k)


def products(layer: Layer) -> tuple[Tensor, Tensor]:
    """What the prediction of a layer depends on: the last row of P W_V, shape (D,), and W_K^T W_Q, (D, D).

    Of the latter it needs the first D - 1 columns only, since the query's label slot is 0.
    """
    if not isinstance(layer, Layer) or layer.P.ndim != 2:
        raise ValueError("layer: expected a Layer with one head: several heads have no closed form here.")
    D = checks.tensor("P", layer.P, "D d_v")["D"]
    checks.tensor("W_Q", layer.W_Q, "d_k D", {"D": D})
    if D < 2:
        raise ValueError("layer: expected tokens of width 2 or more, an input and a label, got 1.")
    return layer.P[-1] @ layer.W_V, layer.W_K.mT @ layer.W_Q


def learned_step(layer: Layer, N: int) -> float:
    """The step size eta in a layer: its prediction is nearest to w^T (eta/N) S x_q, eta = -(N/d_x) tr(c A^T + b u^T).

    It does not depend on the gauge. For the construction it is the eta that was put in.

    >>> from helpers import constructions
    >>> round(learned_step(constructions.gd_step(eta=0.7, N=20, d_x=5), N=20), 12)
    0.7
    """
    read, key_query = products(layer)
    N, d_x = checks.count("N", N), len(read) - 1
    return -N / d_x * (read[-1] * key_query[:-1, :-1].trace() + key_query[-1, :-1] @ read[:-1]).item()


def train(
    N: int,
    d_x: int,
    *,
    inputs: str = "gaussian",
    noise: float = 0.0,
    steps: int = 200,
    lr: float = 0.05,
    scale: float = 0.1,
    seed: int = 0,
) -> Trained:
    """Train one layer on the expected loss with Adam, the rate falling from `lr` to 0 along half a cosine.

    Trained are the two products, W_K^T W_Q and N s2 times the last row of P W_V (so that all settings have weights
    of one size), from normal entries of size `scale`. A step takes some 0.1 ms for any N: the gradient is written
    out (a test holds it against automatic differentiation of `half_loss`).

    >>> trained = train(N=10, d_x=10, inputs="uniform")
    >>> print(f"{trained.etas[-1]:.2f} {trained.losses[-1]:.4f}")        # eta* = 6.0606, loss* = 0.206229
    6.06 0.2062
    """
    k, steps = _coefficients(N, d_x, inputs, noise), checks.count("steps", steps)
    unit = N * k["s2"]
    rng = np.random.default_rng(checks.count("seed", seed, least=0))
    weights = checks.number("scale", scale) * rng.standard_normal((d_x + 2, d_x + 1))  # d_x + 1 rows [A, 0; b^T, 0]
    weights[:-1, -1] = 0  # the query's label slot is 0: nothing reads this column
    mean, square, losses, etas = np.zeros_like(weights), np.zeros_like(weights), [], []
    for t in range(steps + 1):
        A, b, u, c = weights[:-2, :-1], weights[-2, :-1], weights[-1, :-1] / unit, weights[-1, -1] / unit
        losses.append(_half_loss(A, b, u, c, k))
        etas.append(-N / d_x * (c * A.trace() + b @ u))
        if t < steps:
            gradient = np.zeros_like(weights)
            gradient[:-2, :-1], gradient[-2, :-1], to_u, to_c = _gradient(A, b, u, c, k)
            gradient[-1] = np.append(to_u, to_c) / unit
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            corrected = np.sqrt(square / (1 - 0.999 ** (t + 1))) + 1e-8
            rate = lr * (1 + np.cos(np.pi * t / steps)) / 2
            weights = weights - rate * mean / (1 - 0.9 ** (t + 1)) / corrected
    return Trained(_as_layer(weights, unit), np.array(losses), np.array(etas))


def _as_layer(weights: np.ndarray, unit: float) -> Layer:
    eye, weights = torch.eye(weights.shape[1], dtype=torch.float64, device="cpu"), torch.from_numpy(weights)
    value = torch.zeros_like(eye)
    value[-1] = weights[-1] / unit
    return Layer(W_Q=weights[:-1].clone(), W_K=eye, W_V=value, P=eye.clone())


def _coefficients(N: int, d_x: int, inputs: str, noise: float) -> dict[str, float]:
    """What the loss needs to know about prompts; of the inputs, the moments s2 = E x^2 and m4 = E x^4."""
    N, d = checks.count("N", N), checks.count("d_x", d_x)
    if checks.number("noise", noise) < 0:
        raise ValueError(f"noise: expected a standard deviation of at least 0, got {noise}.")
    if inputs not in tasks.MOMENTS:
        raise ValueError(f"inputs: expected one of {', '.join(tasks.MOMENTS)}, got {inputs!r}.")
    s2, kurtosis = tasks.MOMENTS[inputs]
    s4, m4, v = s2**2, kurtosis * s2**2, noise**2
    k = N * (m4 + (d - 1) * s4) + N * (N - 1) * s4  # E S^2 = k I
    t = N * (m4 - s4) + N**2 * d * s4  # E S tr S = t I, E tr(S)^2 = d t
    return {
        "s2": s2,
        "d": d,
        "tr B": 2 * N * s2,
        "|B|^2": k + v * N * s2,
        "|A^T u|^2": N * (N + 1) * s4,  # the three terms of E |A^T S u|^2
        "|u|^2 |A|^2": N * s4,
        "sum u_a^2 |A_a|^2": N * (m4 - 3 * s4),
        "c b^T A^T u": 2 * (t + v * N**2 * s2),
        "c^2 |b|^2": d * t + 2 * d * k + v * (2 * N**2 + 4 * N) * d * s2 + v**2 * (N**2 + 2 * N),
    }


def _half_loss(A, b, u, c, k):
    """The formula, for numpy and torch alike."""
    B, Au = c * A.T + b[:, None] * u, A.T @ u
    model = k["d"] + k["tr B"] * B.trace() + k["|B|^2"] * (B * B).sum()
    stray = k["|A^T u|^2"] * (Au @ Au) + k["|u|^2 |A|^2"] * (u @ u) * (A * A).sum()
    stray = stray + k["sum u_a^2 |A_a|^2"] * ((u * u) @ (A * A).sum(1))
    stray = stray + k["c b^T A^T u"] * c * (b @ Au) + k["c^2 |b|^2"] * c * c * (b @ b)
    return k["s2"] / 2 * (model + stray)


def _gradient(A, b, u, c, k):
    """The gradient of `_half_loss` with respect to A, b, u and c."""
    B, Au, rows = c * A.T + np.outer(b, u), A.T @ u, (A * A).sum(1)
    to_B = k["tr B"] * np.eye(len(u)) + 2 * k["|B|^2"] * B
    p, q, r = 2 * k["|A^T u|^2"], 2 * k["|u|^2 |A|^2"], 2 * k["sum u_a^2 |A_a|^2"]
    x, y = k["c b^T A^T u"], 2 * k["c^2 |b|^2"]
    to_A = c * to_B.T + p * np.outer(u, Au) + (q * (u @ u) + r * u**2)[:, None] * A + x * c * np.outer(u, b)
    to_b = to_B @ u + x * c * Au + y * c**2 * b
    to_u = to_B.T @ b + p * A @ Au + (q * rows.sum() + r * rows) * u + x * c * A @ b
    to_c = (to_B * A.T).sum() + x * b @ Au + y * c * (b @ b)
    return tuple(k["s2"] / 2 * part for part in (to_A, to_b, to_u, to_c))
