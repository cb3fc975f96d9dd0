"""Expected errors of learners in closed form, over tasks w ~ N(0, I), labels y = w^T x + noise.

`excess` is E (y_hat - w^T x_q)^2, the mean over prompts of the squared error against the query's true label: no
factor 1/2, and the query's own noise is not in it. One output, d_y = 1. `noise` is the standard deviation of the
labels in the context. Always answering 0 has the excess d_x * s2, where s2 is the variance of an input coordinate.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from helpers import checks, tasks


def best_step(N: int, d_x: int, *, inputs: str = "gaussian", noise: float = 0.0) -> float:
    """The step size eta* with which one step of gradient descent from 0 has the least expected error.

        eta* = N / (s2 (N + c)),   c = d_x + k4 - 2 + noise^2 / s2

    s2 and k4 are variance and kurtosis E x^4 / s2^2 of the law of the inputs (`tasks.MOMENTS`). Derived from the
    moments of `gd_excess`, of which it is the minimum. The sum over examples, y_i x_i, is multiplied by eta*/N.

    >>> best_step(N=10, d_x=5)                                # 10 / (10 + 5 + 1)
    0.625
    >>> round(best_step(N=10, d_x=10, inputs="uniform"), 4)   # the setting of von Oswald et al. 2023
    6.0606
    >>> best_step(N=0, d_x=5)
    Traceback (most recent call last):
    ValueError: N: expected a whole number of at least 1, got 0.
    """
    N, d_x, noise = _setting(N, d_x, noise)
    s2, _ = _moments(inputs)
    return N / (s2 * (N + _c(d_x, inputs, noise)))


def gd_excess(eta: float | np.ndarray, N: int, d_x: int, *, inputs: str = "gaussian", noise: float = 0.0):
    """Excess of one step of gradient descent of size eta from 0: a parabola in eta. A float, or an array like `eta`.

        excess(eta) = s2 d_x [1 - 2 eta s2 + (eta s2)^2 (N + c) / N],   c = d_x + k4 - 2 + noise^2 / s2
        excess(eta*) = s2 d_x c / (N + c)

    It holds for coordinates that are independent with mean 0, variance s2 and kurtosis k4: with S = X^T X / N, the
    prediction is eta w^T S x_q + noise, and E tr S = d_x s2, E |S|^2 = s2^2 d_x (N + d_x + k4 - 2) / N.

    >>> gd_excess(0.625, N=10, d_x=5)
    1.875
    >>> round(gd_excess(120 / 19.8, N=10, d_x=10, inputs="uniform") / 2, 6)   # the "0.2" of von Oswald et al. 2023
    0.206229
    >>> gd_excess(np.array([0.0, 0.625, 1.25]), N=10, d_x=5)
    array([5.   , 1.875, 5.   ])
    """
    N, d_x, noise = _setting(N, d_x, noise)
    s2, _ = _moments(inputs)
    if not isinstance(eta, np.ndarray):
        eta = float(checks.number("eta", eta))
    elif not np.isfinite(eta).all():
        raise ValueError("eta: expected finite step sizes, got an array with NaN or infinity.")
    step = eta * s2
    return s2 * d_x * (1 - 2 * step + step**2 * (N + _c(d_x, inputs, noise)) / N)


def least_squares_excess(N: int, d_x: int, *, noise: float = 0.0) -> float:
    """Excess of least squares on Gaussian inputs; the solution of least norm where N < d_x.

        N < d_x - 1:  d_x - N + noise^2 N / (d_x - N - 1)        N > d_x + 1:  noise^2 d_x / (N - d_x - 1)

    In between it is infinite, unless there is no noise: then it is d_x - N, or 0. The traces of an inverse Wishart
    matrix stand behind both; one peak between two valleys is called double descent.

    >>> [round(least_squares_excess(N, d_x=20, noise=0.5), 3) for N in (10, 20, 40)]
    [10.278, inf, 0.263]
    >>> least_squares_excess(12, d_x=20), least_squares_excess(20, d_x=20)
    (8.0, 0.0)
    """
    N, d_x, noise = _setting(N, d_x, noise)
    if noise == 0:
        return float(max(d_x - N, 0))
    if abs(N - d_x) <= 1:
        return math.inf
    return d_x - N + noise**2 * N / (d_x - N - 1) if N < d_x else noise**2 * d_x / (N - d_x - 1)


def ridge_excess(N: int, d_x: int, *, noise: float) -> float:
    """Excess of ridge regression with lambda = noise^2, the Bayes-optimal learner here, for Gaussian inputs.

    In the limit of large N and d_x (Marchenko and Pastur's law of the eigenvalues) it is the positive root of

        excess^2 + (N - d_x + noise^2) excess - d_x noise^2 = 0

    and without noise that of least squares, d_x - N or 0. It is an approximation, and too small. Measured against
    Monte Carlo for 1 <= N/d_x <= 2, at worst, with noise 1: 9 % at d_x = 5, 7 % at 10, 3 % at 50; with noise 0.5:
    18 %, 14 %, 7 %. With noise 0.1 and N = d_x + 1 it is only half of the truth at d_x = 5, and 28 % short at 50.

    >>> round(ridge_excess(N=20, d_x=10, noise=0.5), 3)
    0.238
    >>> ridge_excess(N=12, d_x=20, noise=0.0), ridge_excess(N=30, d_x=20, noise=0.0)
    (8.0, 0.0)
    """
    N, d_x, noise = _setting(N, d_x, noise)
    b = N - d_x + noise**2
    root = math.sqrt(b**2 + 4 * d_x * noise**2)
    return (root - b) / 2 if b <= 0 else 2 * d_x * noise**2 / (root + b)  # two forms of one root; neither cancels


def preconditioner(Sigma: Tensor, N: int, *, noise: float = 0.0, prior: Tensor | None = None) -> Tensor:
    """The matrix A (d_x, d_x) with which x_q^T A (1/N) sum_i y_i x_i has the least excess, for x ~ N(0, Sigma).

        A = Omega Gamma^-1,   Gamma = (1 + 1/N) Sigma Omega + (tr(Sigma Omega) + noise^2) / N I

    `prior` is Omega = E w w^T, the second moment of the tasks, I when None. For that and without noise it is in Zhang,
    Frei and Bartlett 2023 and in Ahn et al. 2023; the rest is derived here, from E S Omega S = (1 + 1/N) Sigma Omega
    Sigma + (tr(Sigma Omega) / N) Sigma, S = X^T X / N. For M tasks w_m, each as likely as the others, Omega is their
    mean of w_m w_m^T. Where Sigma = Omega = I, A is eta* I.

    >>> preconditioner(torch.eye(5), N=10)[0]
    tensor([0.6250, 0.0000, 0.0000, 0.0000, 0.0000])
    >>> preconditioner(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), N=10)
    Traceback (most recent call last):
    ValueError: Sigma: expected a covariance, got a matrix that is not symmetric.
    """
    inverse = torch.linalg.inv(_gamma(Sigma, N, noise, prior))
    return inverse if prior is None else prior @ inverse


def preconditioned_excess(
    A: Tensor, Sigma: Tensor, N: int, *, noise: float = 0.0, prior: Tensor | None = None
) -> float:
    """Excess of the prediction x_q^T A (1/N) sum_i y_i x_i for any A (d_x, d_x), with x ~ N(0, Sigma), E w w^T = Omega.

        excess(A) = tr Sigma (Omega - A Sigma Omega - Omega Sigma A^T + A Gamma Sigma A^T)

    with Gamma and `prior` as in `preconditioner`. A = eta I is one step of gradient descent. An A that was made for
    one prior can be put to tasks of another.

    >>> Sigma = torch.diag(torch.tensor([3.0, 1.5, 1.0, 0.5, 0.1]).double())
    >>> round(preconditioned_excess(preconditioner(Sigma, N=12, noise=0.5), Sigma, N=12, noise=0.5), 3)
    1.805
    """
    Gamma = _gamma(Sigma, N, noise, prior)
    checks.tensor("A", A, "d_x d_x", {"d_x": len(Sigma)})
    checks.same_dtype(A=A, Sigma=Sigma)
    checks.finite(A=A)
    Omega = torch.eye(len(Sigma), dtype=Sigma.dtype, device=Sigma.device) if prior is None else prior
    return torch.trace(Sigma @ (Omega - A @ Sigma @ Omega - Omega @ Sigma @ A.T + A @ Gamma @ Sigma @ A.T)).item()


def best_multiple(Sigma: Tensor, N: int, *, noise: float = 0.0, prior: Tensor | None = None) -> float:
    """The step size eta with which A = eta I has the least `preconditioned_excess`.

        eta = tr(Sigma^2 Omega) / tr(Sigma Gamma Sigma)

    >>> round(best_multiple(torch.eye(5).double(), N=10), 4), best_step(N=10, d_x=5)
    (0.625, 0.625)
    """
    Gamma = _gamma(Sigma, N, noise, prior)
    top = Sigma @ Sigma if prior is None else Sigma @ Sigma @ prior
    return (torch.trace(top) / torch.trace(Sigma @ Gamma @ Sigma)).item()


def _gamma(Sigma: Tensor, N: int, noise: float, prior: Tensor | None) -> Tensor:
    d_x = _covariance("Sigma", Sigma)
    N, d_x, noise = _setting(N, d_x, noise)
    spread = Sigma
    if prior is not None:
        checks.tensor("prior", prior, "d_x d_x", {"d_x": d_x})
        checks.same_dtype(Sigma=Sigma, prior=prior)
        _covariance("prior", prior)
        spread = Sigma @ prior
    eye = torch.eye(d_x, dtype=Sigma.dtype, device=Sigma.device)
    return (1 + 1 / N) * spread + (torch.trace(spread) + noise**2) / N * eye


def _covariance(name: str, matrix: Tensor) -> int:
    d_x = checks.tensor(name, matrix, "d_x d_x")["d_x"]
    checks.finite(**{name: matrix})
    if not torch.allclose(matrix, matrix.T):
        raise ValueError(f"{name}: expected a covariance, got a matrix that is not symmetric.")
    eigenvalues = torch.linalg.eigvalsh(matrix)
    if eigenvalues[-1] <= 0 or eigenvalues[0] < -1e-6 * eigenvalues[-1]:
        raise ValueError(f"{name}: expected a covariance, got a matrix with a negative eigenvalue, or with none but 0.")
    return d_x


def _setting(N: int, d_x: int, noise: float) -> tuple[int, int, float]:
    if checks.number("noise", noise) < 0:
        raise ValueError(f"noise: expected a standard deviation of at least 0, got {noise}.")
    return checks.count("N", N), checks.count("d_x", d_x), float(noise)


def _moments(inputs: str) -> tuple[float, float]:
    if inputs not in tasks.MOMENTS:
        raise ValueError(f"inputs: expected one of {', '.join(tasks.MOMENTS)}, got {inputs!r}.")
    return tasks.MOMENTS[inputs]


def _c(d_x: int, inputs: str, noise: float) -> float:
    s2, k4 = _moments(inputs)
    return d_x + k4 - 2 + noise**2 / s2
