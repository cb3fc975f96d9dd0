"""Checks for the exercises of notebook 08: beyond straight lines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks, learners
from helpers.exercises import ask, fits, verdict
from helpers.theory import kernels


def check_ridge_step(answer: Callable) -> None:
    """Notebook 08, exercise 1: `answer(f, f_query, K, k_q, y, eta, r)` is a step of functional gradient descent whose
    limit is kernel ridge regression; it returns the new (f, f_query). Held against coefficients of the examples after
    three steps, and against the Gaussian process after very many.

    >>> check_ridge_step(lambda *arguments: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    draw, eta, r = {"generator": torch.Generator().manual_seed(81), "dtype": torch.float64}, 0.2, 0.5
    x, x_query, y = (torch.randn(*shape, **draw) for shape in [(9, 2), (4, 2), (9, 1)])
    kernel = kernels.rbf(0.8)
    K, k_q, alpha = kernel(x, x), kernel(x_query, x), torch.zeros_like(y)
    f, f_query, said, wanted = torch.zeros_like(y), torch.zeros(4, 1, dtype=torch.float64), [], []
    for t in range(400):
        pair = ask(answer, f.clone(), f_query.clone(), K.clone(), k_q.clone(), y.clone(), eta, r)
        if pair is None:
            return
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            return print(f"Not yet: expected a pair, the new f and f_query, got {type(pair).__name__}.")
        if not (fits(pair[0], f.shape) and fits(pair[1], f_query.shape)):
            return
        f, f_query = (part.double() for part in pair)
        alpha = (1 - eta * r) * alpha + eta * (y - K @ alpha)  # f = sum_i alpha_i k(x_i, .)
        if t == 2:
            said, wanted = [f, f_query], [K @ alpha, k_q @ alpha]
    limit = kernels.gp(x[None], y[None], x_query[None], kernel, r)[0][0]
    hint = "r shrinks the whole function in each step, at the examples and at the queries; eta multiplies both parts."
    verdict(torch.cat([*said, f_query]).nan_to_num(torch.inf), torch.cat([*wanted, limit]), hint)


def check_sphere(answer: Callable[[float, float], tuple[float, float]]) -> None:
    """Notebook 08, exercise 2: `answer(radius, tau)` is (c, h) with exp(x^T x' / tau) = c rbf(h)(x, x') on a sphere of
    that radius.

    >>> check_sphere(lambda radius, tau: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    generator = torch.Generator().manual_seed(81)
    x = torch.nn.functional.normalize(torch.randn(6, 12, 4, generator=generator, dtype=torch.float64), dim=-1)
    said, wanted = [], []
    for k, (radius, tau) in enumerate([(1.0, 1.0), (2.0, 1.0), (1.0, 0.5), (3.0, 4.0), (0.5, 2.0), (1.5, 0.8)]):
        pair = ask(answer, radius, tau)
        if pair is None:
            return
        try:
            c, h = (float(checks.number("answer", value)) for value in pair)
        except (TypeError, ValueError):
            return print(f"Not yet: expected two finite numbers, c and the bandwidth, got {pair!r}.")
        if h <= 0:
            return print(f"Not yet: expected a bandwidth above 0, got {h:.3g}.")
        points = radius * x[k]
        wanted.append(kernels.exponential(tau)(points, points))
        said.append(c * kernels.rbf(h)(points, points))
    scale = torch.stack(wanted).amax((1, 2), keepdim=True)
    verdict(torch.stack(said) / scale, torch.stack(wanted) / scale, "|x - x'|^2 = 2 r^2 - 2 x^T x' on the sphere.")


def check_wave_features(answer: Callable[[Tensor], Tensor]) -> None:
    """Notebook 08, exercise 3: `answer(x)` for x (..., 1) are three features (..., 3), with which a sin(2x + phi) + b
    is W m(x) for all a, phi and b.

    >>> check_wave_features(lambda x: x)
    Not yet: expected a tensor of shape (64, 3, 3), got torch.float64 (64, 3, 1).
    """
    draw = {"generator": torch.Generator().manual_seed(83), "dtype": torch.float64}
    x, (a, phi, b) = 10 * torch.rand(64, 4, 1, **draw) - 5, torch.randn(3, 64, 1, 1, **draw)
    y = a * torch.sin(2 * x + phi) + b
    m = ask(answer, x[:, :3])
    if m is None or not fits(m, torch.Size([64, 3, 3])):
        return
    m_query = ask(answer, x[:, 3])
    if m_query is None or not fits(m_query, torch.Size([64, 3])):
        return
    if not (m.isfinite().all() and m_query.isfinite().all()):
        return print("Not yet: the features hold NaN or infinity.")
    known = torch.cat([torch.sin(2 * x), torch.cos(2 * x), x**0], dim=-1)[:, :3]
    keep = torch.linalg.cond(known) < 50  # three inputs that tell the task apart
    prediction = learners.least_squares(m.double(), y[:, :3], m_query.double())
    verdict(prediction[keep], y[keep, 3], "write out sin(2x + phi); and b is W times a feature that does not change.")
