"""Checks for the exercises of notebook 08: beyond straight lines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks, learners
from helpers.exercises import ask, fits, number_verdict, verdict
from helpers.models import features
from helpers.theory import kernels


def check_filter(answer: float) -> None:
    """Notebook 08, exercise 1: what three layers with eta = 1 put in the place of 1/lambda, at lambda = 0.5.

    >>> check_filter(2.0)
    Not yet: 2 is not it. Hint: (1 - (1 - eta lambda)^T) / lambda; at T -> infinity it would be 1/lambda = 2.
    """
    expected = kernels.spectral_filter(torch.tensor(0.5, dtype=torch.float64), eta=1.0, steps=3).item()
    hint = "(1 - (1 - eta lambda)^T) / lambda; at T -> infinity it would be 1/lambda = 2."
    if answer is ...:
        return print("Not yet: replace the dots by a number.")
    number_verdict(answer, expected, hint)


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


def check_sine_features(answer: Callable[[Tensor], Tensor]) -> None:
    """Notebook 08, exercise 3: `answer(x)` for x (..., 1) are two features (..., 2), with which every sine of the
    task is W m(x).

    >>> check_sine_features(lambda x: x)
    Not yet: expected a tensor of shape (64, 2, 2), got torch.float64 (64, 2, 1).
    """
    (x, y, x_query, y_query, _), *_ = features.sines(B=64, N=2, seed=83)
    keep = torch.sin(x[:, 0, 0] - x[:, 1, 0]).abs() > 0.1  # two inputs half a wave apart tell the same
    m = ask(answer, x)
    if m is None or not fits(m, torch.Size([64, 2, 2])):
        return
    m_query = ask(answer, x_query)
    if m_query is None or not fits(m_query, torch.Size([64, 2])):
        return
    if not (m.isfinite().all() and m_query.isfinite().all()):
        return print("Not yet: the features hold NaN or infinity.")
    prediction = learners.least_squares(m.double(), y, m_query.double())
    verdict(prediction[keep], y_query[keep], "sin(x + phi) = cos(phi) sin(x) + sin(phi) cos(x).")
