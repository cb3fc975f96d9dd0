"""Which steps are best on average over prompts: found by drawing eigenvalues and minimising, with nothing trained.

With tasks w ~ N(0, I) the mean squared error of a run is a sum over eigenvalues of its residual squared; see
`residuals`. So the best constants of k steps are the minimum of a function of k numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import tasks
from helpers.theory import residuals


def eigenvalues(N: int, d_x: int = 10, *, inputs: str = "gaussian", B: int = 10_000, seed: int = 0) -> Tensor:
    """The eigenvalues (B, d_x) of H = sum_i x_i x_i^T, smallest first, in B prompts; those of S are h / N.

    >>> eigenvalues(N=20, d_x=3, B=5).shape
    torch.Size([5, 3])
    """
    x = tasks.linear_regression(B, N, d_x, inputs=inputs, seed=seed).x
    return torch.linalg.eigvalsh(x.mT @ x)


def excess(p: Tensor, noise: float = 0.0, h: Tensor | None = None) -> Tensor:
    """What residuals p (B, d_x) cost in each prompt (B,): sum_a p_a^2 + noise^2 (1 - p_a)^2 / h_a.

    It is E |w - w_k|^2 over tasks and over labels' noise: what is left of the signal, and what noise was let in. The
    second part needs the eigenvalues h of H. A coordinate of variance s^2 makes it s^2 as large for a prediction.

    >>> excess(torch.tensor([[0.5, 0.0]])), excess(torch.tensor([[0.0]]), noise=0.5, h=torch.tensor([[0.25]]))
    (tensor([0.2500]), tensor([1.]))
    """
    left = p.square()
    if noise:
        left = left + noise**2 * (1 - p).square() / h.clamp(min=1e-12)
    return left.sum(dim=-1)


def minimise(loss: Callable[[Tensor], Tensor], start: Sequence[float]) -> tuple[Tensor, float]:
    """Where a smooth function of a few numbers is least, near `start`, and its value there (L-BFGS).

    >>> at, least = minimise(lambda at: (at - 3).square().sum() + 1, [0.0, 5.0])
    >>> [round(number, 6) for number in (*at.tolist(), least)]
    [3.0, 3.0, 1.0]
    """
    at = torch.as_tensor(start, dtype=torch.float64).clone().requires_grad_()
    options = {"max_iter": 200, "history_size": 20, "tolerance_grad": 1e-9, "tolerance_change": 1e-12}
    search = torch.optim.LBFGS([at], line_search_fn="strong_wolfe", **options)

    def value() -> Tensor:
        search.zero_grad()
        now = loss(at)
        now.backward()
        return now

    search.step(value)
    return at.detach(), loss(at).item()


class Steps(NamedTuple):
    """The best steps that are all equal, the best ones that are not, smallest first, and the mean excess of each."""

    equal: float
    untied: list[float]
    excess_equal: float
    excess_untied: float


def steps(lam: Tensor, K: int, *, noise: float = 0.0, h: Tensor | None = None) -> Steps:
    """The best K steps of gradient descent on average over eigenvalues lam (B, d_x) of S; see `excess` for noise.

    The untied ones are searched from a spread of steps: on exact labels, with K >= 2 and more than one eigenvalue,
    equal ones are a saddle, where a search would stay. (With one eigenvalue, or much noise, equal ones can be best.)

    >>> found = steps(torch.tensor([[1.0, 3.0]]).double(), K=2)
    >>> [round(1 / eta, 3) for eta in found.untied], round(found.excess_untied, 6)       # roots at the eigenvalues
    ([3.0, 1.0], 0.0)
    """

    def loss(etas: Tensor) -> Tensor:
        return excess(residuals.gd(lam, etas), noise, h).mean()

    eta, of_equal = minimise(lambda eta: loss(eta.expand(K)), [1 / lam.mean().item()])
    etas, of_untied = minimise(loss, eta * torch.linspace(0.6, 1.6, K))
    return Steps(eta.item(), sorted(etas.tolist()), of_equal, of_untied)


class TiedLayers(NamedTuple):
    """The best constants of one layer of GD++ that is used twice: a = eta/N and gamma; and the excess.

    `flat` is the excess with gamma = 0: two steps of gradient descent.
    """

    a: float
    gamma: float
    excess: float
    flat: float


def two_tied_layers(h: Tensor) -> TiedLayers:
    """The best constants on average over eigenvalues h (B, d_x) of H = X X^T.

    >>> best = two_tied_layers(torch.tensor([[1.0, 3.0]]).double())
    >>> best.excess < 0.2 * best.flat
    True
    """
    unit = h.mean().item()

    def loss(a: Tensor, gamma: Tensor | float) -> Tensor:
        return excess(residuals.gd_pp(h / unit, [a, a], [gamma, gamma])).mean()

    (a, gamma), least = minimise(lambda at: loss(*at), [0.7, 0.1])
    _, flat = minimise(lambda at: loss(at[0], 0.0), [0.6])
    return TiedLayers(a.item() / unit, gamma.item() / unit, least, flat)
