"""What a run of steps leaves of the error: along each eigenvector of H = X X^T, a polynomial in the eigenvalue.

Labels are exact and the weights start at 0, so after k steps W - W_k = W p(H). (Which p is best
on average: `best_steps`.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor


def gd(lam, etas: Sequence[float]):
    """Gradient descent with steps eta_k: p(lambda) = prod_k (1 - eta_k lambda), for eigenvalues of S = H / N.

    `lam` is a number, an array, a tensor, or a polynomial in one unknown.

    >>> gd(2.0, [0.5, 0.1]), gd(2.0, [0.25, 0.25])
    (0.0, 0.25)
    """
    p = 1 + 0 * lam
    for eta in etas:
        p = p * (1 - eta * lam)
    return p


def gd_pp(h, a: Sequence[float], gammas: Sequence[float]):
    """GD++ with steps a_k = eta_k / N and gamma_k, for eigenvalues h of H (von Oswald et al. 2023, A.10).

        rho <- rho (1 - a h s^2),     s <- s (1 - gamma h s^2)     from  rho = s = 1

    >>> gd_pp(2.0, [0.25, 0.25], [0.0, 0.0]), gd_pp(2.0, [0.25, 0.25], [0.1, 0.1])
    (0.25, 0.33999999999999997)
    """
    rho = s = 1 + 0 * h
    for a_k, gamma_k in zip(a, gammas, strict=True):
        seen = h * s * s
        rho, s = rho * (1 - a_k * seen), s * (1 - gamma_k * seen)
    return rho


def tripling(L: float, K: int) -> list[float]:
    """K layers of GD++ with gamma_k = eta_k / N = 4 9^k / (3 L): with h = L sin^2 t each of them triples the angle t.

        rho_K = sin(3^K t) / (3^K sin t),     |rho_K| <= sqrt(L / h) / 3^K     for h between 0 and L

    >>> [round(gamma, 2) for gamma in tripling(L=5, K=3)]
    [0.27, 2.4, 21.6]
    """
    return [4 * 9**k / (3 * L) for k in range(K)]


def roundest_gamma(low: float, high: float) -> float:
    """The gamma for which h (1 - gamma h)^2 has the least condition number, when h fills the range low to high.

    >>> round(roundest_gamma(0.0, 4.0), 3)
    0.25
    """
    return 1 / (high + math.sqrt(high * low) + low)


def newton(H: Tensor, M: Tensor, rounds: int) -> Tensor:
    """Newton's iteration for the inverse of H (Newton-Schulz): M <- 2 M - M H M, from M, so many rounds.

    Each round squares the residual: I - M_k H = (I - M_0 H)^(2^k).

    >>> import torch
    >>> newton(torch.tensor([[2.0]]), torch.tensor([[0.25]]), rounds=2)  # 1 - 2 M: 1/2, 1/4, 1/16
    tensor([[0.4688]])
    """
    for _ in range(rounds):
        M = 2 * M - M @ H @ M
    return M


def worst(kappa: float, k) -> dict[str, np.ndarray]:
    """The largest relative error after k rounds, for eigenvalues that fill the range from 1 to kappa.

    Each method has the best constants for that range: equal steps 2/(1 + kappa) (Richardson), untied ones at the
    roots of a Chebyshev polynomial, GD++ the tripling with L = kappa (its bound), Newton's iteration from M_0 = a I
    and from M_0 = a H.

    >>> [round(float(error), 2) for error in worst(3.0, 2).values()]
    [0.25, 0.14, 0.19, 0.06, 0.41]
    """
    k, root = np.asarray(k, dtype=float), (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    q, q_H = (kappa - 1) / (kappa + 1), (kappa**2 - 1) / (kappa**2 + 1)
    squarings = np.exp2(np.minimum(k, 60))
    return {
        "GD, equal steps": q**k,
        "GD, untied steps": 2 * root**k / (1 + root ** (2 * k)),
        "GD++ by hand": np.minimum(1, math.sqrt(kappa) * 3.0**-k),
        "Newton from aI": q**squarings,
        "Newton from aH": q_H**squarings,
    }


def rounds(kappa: float, wanted: float = 1e-6) -> dict[str, int]:
    """How many rounds each method of `worst` needs until the largest relative error is `wanted`.

    >>> rounds(100.0)["GD, equal steps"], rounds(100.0)["Newton from aI"]
    (691, 10)
    """
    enough = math.ceil(math.log(1 / wanted) * (kappa + 1) / 2) + 2
    return {name: int(np.argmax(errors <= wanted)) for name, errors in worst(kappa, np.arange(enough)).items()}
