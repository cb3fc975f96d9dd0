"""Checks for the exercises of notebook 09: softmax attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import learners, tasks
from helpers.exercises import ask, fits, number_verdict, verdict
from helpers.theory import kernels, mixing


def check_gate(answer: float) -> None:
    """Notebook 09, exercise 1: the share of twelve demonstrations beside four own tokens, all scores equal.

    >>> check_gate(3.0)
    Not yet: 3 is not it. Hint: it is a share: the demonstrations' weights over all weights.
    """
    if answer is ...:
        return print("Not yet: replace the dots by a number.")
    expected = mixing.gate(torch.zeros(1, 12), torch.zeros(1, 4)).item()
    number_verdict(answer, expected, "it is a share: the demonstrations' weights over all weights.")


def check_pair(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Notebook 09, exercise 2: `answer(k, y, q, tau)` is head(+) - head(-), whose residual falls like tau^-3.

    >>> check_pair(lambda k, y, q, tau: mixing.read_out(q[:, None] @ k.mT / tau, y)[:, 0])
    Not yet: beside (2/tau) Cov(y, k) q there is something that falls like tau^0.00. Hint: two heads, subtracted.
    """
    k, y, q, *_ = tasks.linear_regression(B=50, N=7, d_x=3, noise=0.5, seed=91)
    y = y + 1.0
    step = learners.gd(k - k.mean(1, keepdim=True), y - y.mean(1, keepdim=True), q, eta=1.0)  # Cov(y, k) q
    said = {}
    for tau in (2.0, 30.0, 300.0):
        said[tau] = ask(answer, k, y, q, tau)
        if said[tau] is None or not fits(said[tau], torch.Size([50, 1])):
            return
    early, late = ((said[tau].double() - 2 * step / tau).square().mean().sqrt() for tau in (30.0, 300.0))
    slope = (late / early).log10().item()
    if not abs(slope + 3) < 0.05:
        what = f"there is something that falls like tau^{slope + 0.0:.2f}"
        return print(f"Not yet: beside (2/tau) Cov(y, k) q {what}. Hint: two heads, subtracted.")
    scores = q[:, None] @ k.mT / 2.0
    expected = (mixing.read_out(scores, y) - mixing.read_out(-scores, y))[:, 0]
    verdict(said[2.0], expected, "softmax(scores) minus softmax(-scores), at every temperature.")


def check_fixed_point(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 09, exercise 3: `answer(K, k_q, y)` is what the row-normalised stack tends to at the queries.

    >>> check_fixed_point(lambda K, k_q, y: k_q @ torch.linalg.solve(K, y))
    Not yet: the largest difference is 1.3. Hint: the errors of all layers add up to K^-1 D y.
    """
    generator = torch.Generator().manual_seed(92)
    x = torch.arange(8, dtype=torch.float64)[:, None] + 0.3 * torch.rand(8, 1, generator=generator, dtype=torch.float64)
    y = torch.randn(8, 1, generator=generator, dtype=torch.float64)
    kernel = kernels.rbf(0.6)
    K, k_q = kernel(x, x), kernel(torch.linspace(-1, 9, 30, dtype=torch.float64)[:, None], x)
    said = ask(answer, K, k_q, y)
    if said is None or not fits(said, torch.Size([30, 1])):
        return
    r, f = y, torch.zeros(30, 1, dtype=torch.float64)
    for _ in range(2000):  # the stack itself
        f, r = f + k_q @ r / k_q.sum(1, keepdim=True), r - K @ r / K.sum(1, keepdim=True)
    verdict(said, f, "the errors of all layers add up to K^-1 D y.")
