"""What the tests of claims share: Monte Carlo at 4 standard errors, covariances, and averages that are exact.

Three nodes a coordinate are exact for polynomials of degree 5, and the squared error of one step has degree 4.
"""

import itertools

import numpy as np
import torch


def mean_and_error(samples):
    return samples.mean().item(), samples.std().item() / len(samples) ** 0.5


def agree(formula, samples):
    mean, error = mean_and_error(samples)
    return abs(formula - mean) < 4 * error


def differ(formula, samples):
    mean, error = mean_and_error(samples)
    return abs(formula - mean) > 8 * error


def diagonal(*sizes):
    return torch.diag(torch.tensor(sizes, dtype=torch.float64))


def rotated(sizes, seed):
    random = torch.randn(len(sizes), len(sizes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    Q = torch.linalg.qr(random).Q
    return Q @ diagonal(*sizes) @ Q.T


NODES = {
    "gaussian": (np.polynomial.hermite_e.hermegauss(3), 1.0),
    "uniform": (np.polynomial.legendre.leggauss(3), 0.5),
    "rademacher": ((np.array([-1.0, 1.0]), np.ones(2)), 1.0),
}


def all_contexts(N, d_x, inputs):
    """Every context (…, N, d_x) on the quadrature's grid, and its weight."""
    (nodes, weights), scale = NODES[inputs]
    pick = torch.tensor(list(itertools.product(range(len(nodes)), repeat=N * d_x)))
    x = torch.tensor(scale * nodes)[pick].reshape(-1, N, d_x)
    return x, torch.tensor(weights / weights.sum())[pick].prod(1)


def average_excess(A, x, weights, Sigma, Omega, noise):
    """E (x_q^T A m - w^T x_q)^2 over the contexts on the grid; w, noise and x_q averaged by their covariances."""
    S = x.mT @ x / x.shape[1]
    rest = torch.eye(len(A)).double() - A @ S
    cov = rest @ Omega @ rest.mT + noise**2 / x.shape[1] * A @ S @ A.mT
    return (weights * torch.einsum("ij,bji->b", Sigma, cov)).sum().item()
