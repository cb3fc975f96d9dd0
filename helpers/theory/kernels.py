"""Learning with a kernel: gradient descent in a space of functions, and what it tends to.

A kernel k(x, x') says how much an example at x speaks for a query at x'. Kernels here are functions on whole sets,
`kernel(a, b)`: a (…, n, d_x) and b (…, m, d_x) -> (…, n, m). All learners are called `learner(x, y, x_query, …)` with
any number of queries, x_query (B, M, d_x), and answer (B, M, d_y): a curve costs no more than a point.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks

Kernel = Callable[[Tensor, Tensor], Tensor]


def linear(a: Tensor, b: Tensor) -> Tensor:
    """k(x, x') = x^T x', the score of linear attention.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor([[3., 2.]])
    """
    return a @ b.mT


def exponential(tau: float = 1.0) -> Kernel:
    """k(x, x') = exp(x^T x' / tau), the score of softmax attention before it is normalised.

    >>> exponential()(torch.zeros(1, 2), torch.ones(1, 2))
    tensor([[1.]])
    """
    _above_zero("tau", tau)
    return lambda a, b: torch.exp(a @ b.mT / tau)


def rbf(bandwidth: float = 1.0) -> Kernel:
    """k(x, x') = exp(-|x - x'|^2 / (2 bandwidth^2)), the Gaussian kernel: near examples count, far ones do not.

    >>> rbf(bandwidth=2.0)(torch.zeros(1, 1), torch.tensor([[0.0], [2.0]]))      # 1 and exp(-1/2)
    tensor([[1.0000, 0.6065]])
    """
    _above_zero("bandwidth", bandwidth)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        difference = a[..., :, None, :] - b[..., None, :, :]  # subtracted first: exact where points are close
        return torch.exp(-difference.square().sum(-1) / (2 * bandwidth**2))

    return kernel


def functional_gd(
    x: Tensor, y: Tensor, x_query: Tensor, kernel: Kernel, eta: float, steps: int = 1
) -> tuple[Tensor, Tensor]:
    """Gradient descent on a function, from f = 0: f(.) <- f(.) + eta sum_i (y_i - f(x_i)) k(x_i, .)

    It is the gradient of 1/2 sum_i (f(x_i) - y_i)^2 in the space of functions that belongs to the kernel, and a stack
    of attention layers with scores k(x_i, x_j) and with the residuals y_i - f(x_i) as values (Cheng et al. 2023).
    eta multiplies the sum, without 1/N. Returns f at the queries (B, M, d_y) and the residuals (B, N, d_y) at the end.

    >>> x, y = torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]])
    >>> f, residuals = functional_gd(x, y, x, rbf(), eta=0.5, steps=3)
    >>> f.item(), residuals.item()                                               # 1/2 + 1/4 + 1/8
    (0.875, 0.125)
    """
    _check(x, y, x_query)
    eta = checks.number("eta", eta)
    K, k_q = kernel(x, x), kernel(x_query, x)  # (B, N, N), (B, M, N)
    residuals, f = y, torch.zeros_like(k_q @ y)
    for _ in range(checks.count("steps", steps, least=0)):
        f, residuals = f + eta * k_q @ residuals, residuals - eta * K @ residuals
    return f, residuals


def spectral_filter(eigenvalues: Tensor, eta: float, steps: int) -> Tensor:
    """What `steps` steps put in the place of 1/lambda: (1 - (1 - eta lambda)^steps) / lambda.

    It grows from eta steps (at lambda = 0) to 1/lambda: directions with a large eigenvalue are learned at once, those
    with a small one late, which is what a ridge penalty would do. `steps` may be a large number; nothing is iterated.

    >>> spectral_filter(torch.tensor([1.0, 0.5, 0.0]), eta=1.0, steps=2)
    tensor([1.0000, 1.5000, 2.0000])
    """
    steps, eta = checks.count("steps", steps, least=0), checks.number("eta", eta)
    checks.finite(eigenvalues=eigenvalues)
    step = eta * eigenvalues
    inside = step < 0.5  # there 1 - (1 - s)^T loses its digits when s is small
    small = -torch.expm1(steps * torch.log1p(-torch.where(inside, step, 0.0)))
    learned = torch.where(inside, small, 1 - (1 - step) ** steps)
    tiny = eigenvalues.abs() < torch.finfo(eigenvalues.dtype).tiny
    return torch.where(tiny, eta * steps, learned / torch.where(tiny, 1.0, eigenvalues))


def filtered(x: Tensor, y: Tensor, x_query: Tensor, kernel: Kernel, eta: float, steps: int) -> Tensor:
    """What `functional_gd` answers at the queries (B, M, d_y), for any number of steps at the price of one.

        f(x_q) = k_q^T U diag(spectral_filter(lambda)) U^T y      with  K = U diag(lambda) U^T

    >>> x, y = torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]])
    >>> round(filtered(x, y, x, rbf(), eta=0.5, steps=3).item(), 6)
    0.875
    """
    _check(x, y, x_query)
    eigenvalues, U = torch.linalg.eigh(kernel(x, x))
    weights = spectral_filter(eigenvalues, eta, steps)
    return kernel(x_query, x) @ (U @ (weights[..., None] * (U.mT @ y)))


def gp(x: Tensor, y: Tensor, x_query: Tensor, kernel: Kernel, lam: float = 0.0) -> tuple[Tensor, Tensor]:
    """Mean (B, M, d_y) and variance (B, M) of the Gaussian process with this kernel, given the context.

        mean = k_q^T (K + lam I)^-1 y        variance = k(x_q, x_q) - k_q^T (K + lam I)^-1 k_q

    `lam` is the variance of the labels' noise. If the data comes from the process, no learner has a smaller expected
    squared error than the mean. lam = 0 needs a K that can be inverted.

    >>> x, y = torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]])
    >>> [round(part.item(), 3) for part in gp(x, y, x, rbf(), lam=0.25)]         # 1 / 1.25 and 1 - 1 / 1.25
    [0.8, 0.2]
    """
    _check(x, y, x_query)
    if checks.number("lam", lam) < 0:
        raise ValueError(f"lam: expected a variance of at least 0, got {lam}.")
    K, k_q = kernel(x, x), kernel(x_query, x)
    K = K + lam * torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    factor, failed = torch.linalg.cholesky_ex(K)
    if failed.any():
        raise ValueError(
            f"K: expected a kernel matrix that can be inverted, got a singular one with lam = {lam}: are there equal "
            "inputs, or inputs much closer than the bandwidth? A small lam, such as 1e-9, helps."
        )
    solved = torch.cholesky_solve(torch.cat([y, k_q.mT], dim=-1), factor)  # (B, N, d_y + M)
    d_y = y.shape[-1]
    prior = kernel(x_query[..., None, :], x_query[..., None, :])[..., 0, 0]
    return k_q @ solved[..., :d_y], prior - (k_q.mT * solved[..., d_y:]).sum(-2)


def draw(points: Tensor, kernel: Kernel, *, lam: float = 1e-9, seed: int = 0) -> Tensor:
    """Values (B, n, 1) at the points (B, n, d_x) of functions that are drawn from the kernel's Gaussian process.

    lam is added to the diagonal, so that a kernel matrix which rounding made singular can be factored.

    >>> draw(torch.zeros(2, 3, 1).double(), rbf()).shape
    torch.Size([2, 3, 1])
    """
    sizes = checks.tensor("points", points, "B n d_x")
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    normal = torch.randn((sizes["B"], sizes["n"], 1), generator=generator, dtype=torch.float64, device="cpu").to(points)
    eigenvalues, U = torch.linalg.eigh(kernel(points, points))
    return U @ ((eigenvalues.clamp(min=0) + lam).sqrt()[..., None] * normal)


def _check(x: Tensor, y: Tensor, x_query: Tensor) -> None:
    sizes = checks.prompt(x, y)
    checks.tensor("x_query", x_query, "B M d_x", {"B": sizes["B"], "d_x": sizes["d_x"]})
    checks.same_dtype(x=x, x_query=x_query)
    checks.finite(x_query=x_query)


def _above_zero(name: str, value: float) -> None:
    if checks.number(name, value) <= 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}.")
