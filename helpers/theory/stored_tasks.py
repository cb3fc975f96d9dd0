"""How good a learner could be that only looks tasks up: the best of M stored ones, in closed form."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from helpers import checks


def best_of(M: float, d: int) -> float:
    """The expected squared error, over d, of the best of M stored tasks w_m ~ N(0, I), which an oracle picks.

        error = 1/d E_w min_m |w_m - w|^2 = 1/d E_w int_0^inf (1 - F(t))^M dt

    F is the noncentral chi-squared law of |w_m - w|^2 for a given w ~ N(0, I). The argument is Garg et al.'s (2022).

    >>> [round(best_of(1, d), 2) for d in (1, 20)]       # two independent vectors: E |w_1 - w|^2 = 2 d
    [2.0, 2.0]
    >>> round(best_of(10_000, 20), 1)
    0.5
    """
    if checks.number("M", M) < 1:
        raise ValueError(f"M: expected at least one stored task, got {M}.")
    t, F, common = _distances(checks.count("d", d))
    return torch.trapezoid(common @ torch.exp(M * torch.log1p(-F)), t).item() / d


@lru_cache
def _distances(d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Grids: t; F(t) for tasks w of 81 lengths; and how common each length is."""
    t = torch.linspace(0, (8 * d + 80) ** 0.25, 400, dtype=torch.float64) ** 4  # finer where it is small
    h = torch.linspace(0, math.sqrt(d) + 5, 81, dtype=torch.float64) ** 2 / 2  # |w|^2 / 2
    j = torch.arange(int(h[-1] + 8 * h[-1] ** 0.5) + 10, dtype=torch.float64)
    poisson = (torch.xlogy(j, h[:, None]) - h[:, None] - torch.lgamma(j + 1)).exp()
    F = poisson @ torch.special.gammainc(d / 2 + j[:, None], t / 2)  # a Poisson mixture of chi-squared laws
    common = (torch.xlogy(torch.tensor((d - 1) / 2, dtype=torch.float64), h) - h).exp()
    common[0] /= 2  # the end of the trapezoidal rule; it counts where d = 1
    return t, F.clamp(max=1 - 1e-15), common / common.sum()
