"""One linear-attention layer with all of its weights free, for tasks of any law: its expected error, and the least.

`closed_forms` knows the best gradient step, `population` the whole layer for tasks w ~ N(0, I). Here tasks are a list
of w, each with a weight: a few fixed tasks, or the nodes of a quadrature, exact for w ~ N(mu, I). Inputs are unit
Gaussian, labels y_i = w^T x_i + noise * e_i, and the error is E (y_hat - w^T x_q)^2, without a factor 1/2.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from helpers import checks
from helpers.attention import Layer
from helpers.theory.population import products


def gaussian_tasks(mu: Tensor) -> tuple[Tensor, Tensor]:
    """Tasks w ~ N(mu, I) as a Gauss-Hermite quadrature: nodes (3^d_x, d_x) and their weights, which sum to 1.

    Three nodes a direction are exact for polynomials of degree 5; the error of a layer has degree 4 in w.

    >>> W, weights = gaussian_tasks(torch.tensor([2.0, 0.0]).double())
    >>> W.shape, round((weights @ (W[:, 0] - 2) ** 4).item(), 9)                # the fourth moment of a Gaussian is 3
    (torch.Size([9, 2]), 3.0)
    """
    d_x = checks.tensor("mu", mu, "d_x")["d_x"]
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(3))
    pick = torch.tensor(list(itertools.product(range(3), repeat=d_x)))
    return nodes[pick] + mu, (weights / weights.sum())[pick].prod(1)


def skewed_tasks(d_x: int) -> tuple[Tensor, Tensor]:
    """Tasks of mean 0 and covariance I of which w and -w are not equally likely: nodes (2 * 3^(d_x-1), d_x), weights.

    The first coordinate is 4 with probability 1/17, else -1/4; the others are N(0, 1), by `gaussian_tasks`.

    >>> W, weights = skewed_tasks(2)
    >>> [round((weights @ W[:, 0] ** k).item(), 9) for k in (1, 2, 3)]
    [0.0, 1.0, 3.75]
    """
    rest, weights = gaussian_tasks(torch.zeros(checks.count("d_x", d_x, least=2) - 1, dtype=torch.float64))
    first = torch.tensor([4.0, -0.25], dtype=torch.float64).repeat_interleave(len(rest))
    return torch.cat([first[:, None], rest.repeat(2, 1)], dim=1), torch.cat([weights / 17, weights * 16 / 17])


def excess(layer: Layer, W: Tensor, N: int, *, noise: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Expected squared error of a layer with one head on tasks W (M, d_x), exactly; a scalar with gradient.

    The layer holds a linear model of which Theta (d_x + 1, d_x), the first columns of W_K^T W_Q, and (u^T, c), the
    last row of P W_V, are all that counts (`population.products`). In a task w it errs by w + Theta^T H_w, with

        H_w = sum_i z_i (z_i^T (u; c)),   z_i = (x_i; w^T x_i + noise e_i)

    and E |w + Theta^T H_w|^2 needs the mean and the covariance of H_w only, both moments of a Gaussian (`_moments`).
    `weights` (M,) are the probabilities of the tasks, all alike when None.

    >>> from helpers import constructions
    >>> from helpers.theory import closed_forms
    >>> W, weights = gaussian_tasks(torch.zeros(3).double())
    >>> exact = excess(constructions.gd_step(0.7, N=10, d_x=3), W, 10, noise=0.5, weights=weights).item()
    >>> abs(exact - closed_forms.gd_excess(0.7, N=10, d_x=3, noise=0.5)) < 1e-12
    True
    """
    read, key_query = products(layer)
    W, N, noise, weights = _setting(W, N, noise, weights, len(read) - 1)
    Theta = key_query[:, :-1]
    constant, slope, bend = _moments(read, W, N, noise, weights)
    return constant + 2 * (Theta * slope).sum() + (Theta * (bend @ Theta)).sum()


def best_layer(W: Tensor, N: int, *, noise: float = 0.0, weights: Tensor | None = None, seeds: int = 2) -> Layer:
    """The layer with the least `excess` on tasks W (M, d_x): P = W_K = I, and the rest in W_Q and W_V.

    For a given (u; c) the error is a parabola in Theta, whose bottom is one linear system. So what has to be searched
    is the direction of (u; c) only: L-BFGS with exact gradients (torch.optim.LBFGS), from u = 0, where the layer is a
    preconditioned step, and from `seeds` random directions; the lowest end is kept. That none lies lower is not
    proved. With d_x tasks or fewer the best layer is not unique.

    >>> W, weights = gaussian_tasks(torch.zeros(4).double())
    >>> layer = best_layer(W, N=10, weights=weights)                    # nothing beats the step: 4 * 5 / (10 + 4 + 1)
    >>> round(excess(layer, W, 10, weights=weights).item(), 6)
    1.333333
    """
    W, N, noise, weights = _setting(W, N, noise, weights, None)
    d_x, generator = W.shape[1], torch.Generator().manual_seed(0)
    starts = torch.randn(1 + checks.count("seeds", seeds, least=0), d_x + 1, generator=generator, dtype=torch.float64)
    starts[0] = torch.cat([1e-3 * starts[0, :-1], torch.ones(1)])  # nearly u = 0, which may be a saddle
    ends = [_descend(start, W, N, noise, weights) for start in starts]
    read = min(ends, key=lambda read: _least(read, W, N, noise, weights).item())
    _, slope, bend = _moments(read, W, N, noise, weights)
    Theta = -torch.linalg.lstsq(bend, slope, driver="gelsd").solution
    eye = torch.eye(d_x + 1, dtype=torch.float64)
    return Layer(W_Q=torch.nn.functional.pad(Theta, (0, 1)), W_K=eye, W_V=torch.outer(eye[-1], read), P=eye.clone())


def preconditioned_step(A: Tensor, N: int) -> Layer:
    """The layer that answers x_q^T A (1/N) sum_i y_i x_i: the gradient step of size 1 with A^T (d_x, d_x) in W_Q.

    >>> step = preconditioned_step(torch.tensor([[0.5, 0.2], [0.0, 0.5]]), N=20)
    >>> step.W_Q[1], step.P[-1]
    (tensor([0.2000, 0.5000, 0.0000]), tensor([0.0000, 0.0000, 0.0500]))
    """
    d_x = checks.tensor("A", A, "d_x d_x")["d_x"]
    slot, I = torch.zeros(1, 1, dtype=A.dtype), torch.eye(d_x + 1, dtype=A.dtype)
    W_Q, W_K = torch.block_diag(A.mT, slot), torch.block_diag(I[:d_x, :d_x], slot)
    return Layer(W_Q, W_K, W_V=-torch.outer(I[-1], I[-1]), P=I / checks.count("N", N))


def _descend(start: Tensor, W: Tensor, N: int, noise: float, weights: Tensor) -> Tensor:
    at = start.clone().requires_grad_()
    search = torch.optim.LBFGS([at], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def value():
        search.zero_grad()
        now = _least(at, W, N, noise, weights)
        now.backward()
        return now

    search.step(value)
    return at.detach() / at.detach().norm()


def _least(read: Tensor, W: Tensor, N: int, noise: float, weights: Tensor) -> Tensor:
    """The bottom of the parabola in Theta; it does not depend on the length of `read`."""
    constant, slope, bend = _moments(read / read.norm(), W, N, noise, weights)
    ridge = 1e-12 * bend.diagonal().mean() * torch.eye(len(bend), dtype=bend.dtype)  # one task alone: singular
    return constant - (slope * torch.linalg.solve(bend + ridge, slope)).sum()


def _moments(read: Tensor, W: Tensor, N: int, noise: float, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E |w|^2, E H_w w^T (d_x + 1, d_x) and E H_w H_w^T, over contexts, noise and tasks.

    z is Gaussian with covariance K_w, so that with r = (u; c), E H = N K r and
    E H H^T = N (N + 1) K r r^T K + N (r^T K r) K (Isserlis).
    """
    d_x = W.shape[1]
    stretch = torch.cat([torch.eye(d_x, dtype=W.dtype).expand(len(W), d_x, d_x), W[:, None]], dim=1)  # z = stretch x
    K = stretch @ stretch.mT
    K[:, -1, -1] += noise**2
    Kr = K @ read  # (M, d_x + 1)
    slope = N * (weights[:, None] * Kr).mT @ W
    bend = N * (N + 1) * (weights[:, None] * Kr).mT @ Kr + N * torch.einsum("m,mij->ij", weights * (Kr @ read), K)
    return weights @ W.square().sum(1), slope, bend


def _setting(W: Tensor, N: int, noise: float, weights: Tensor | None, d_x: int | None):
    M = checks.tensor("W", W, "M d_x", {} if d_x is None else {"d_x": d_x})["M"]
    if checks.number("noise", noise) < 0:
        raise ValueError(f"noise: expected a standard deviation of at least 0, got {noise}.")
    weights = torch.full((M,), 1 / M, dtype=W.dtype) if weights is None else weights
    checks.tensor("weights", weights, "M", {"M": M})
    checks.same_dtype(W=W, weights=weights)
    return W, checks.count("N", N), float(noise), weights
