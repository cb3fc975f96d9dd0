"""Explicit learners on a prompt: arithmetic with a name, no attention anywhere.

Every learner of the series is called the same way, `learner(x, y, x_query) -> y_hat`, whatever it is inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from helpers import checks


def gd_weights(x: Tensor, y: Tensor, eta: float | Sequence[float], steps: int = 1, W_0: Tensor | None = None) -> Tensor:
    """The weights (B, d_y, d_x) that gradient descent reaches on the context, one task at a time.

    Each step is W <- W - eta grad L(W), with the in-context loss L(W) = 1/(2N) sum_i |W x_i - y_i|^2, hence
    W <- W - (eta/N) sum_i (W x_i - y_i) x_i^T. `eta` is one step size, or one for each step; `W_0` (d_y, d_x) is
    where every task starts, 0 when None.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])      # y = 3 x, mean x^2 = 2.5
    >>> gd_weights(x, y, eta=0.4)                                                   # 1/2.5 lands on it
    tensor([[[3.]]])
    """
    N, etas = x.shape[1], _step_sizes(eta, steps)
    W = x.new_zeros(y.shape[-1], x.shape[-1]) if W_0 is None else W_0
    W = W.expand(len(x), *W.shape)  # (B, d_y, d_x)
    for eta_k in etas:
        error = x @ W.mT - y  # (B, N, d_y)
        W = W - eta_k / N * error.mT @ x
    return W


def gd(
    x: Tensor,
    y: Tensor,
    x_query: Tensor,
    eta: float | Sequence[float],
    steps: int = 1,
    W_0: Tensor | None = None,
) -> Tensor:
    """Prediction (B, d_y) at x_query after `steps` steps of gradient descent on the context (see `gd_weights`).

    Errors: shapes that do not fit together, an empty context, NaN or infinity, integer or mixed dtypes, a negative
    number of steps. A step size so large that the run diverges is not an error: the numbers show it.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> gd(x, y, torch.tensor([[10.0]]), eta=0.4)
    tensor([[30.]])
    >>> gd(x, y, torch.tensor([[10.0]]), eta=[0.4, 0.1, 0.1], steps=2)
    Traceback (most recent call last):
    ValueError: eta: expected one step size, or one for each of the 2 steps, got 3.
    """
    checks.prompt(x, y, x_query, W_0)
    W = gd_weights(x, y, eta, steps, W_0)
    return (W @ x_query[..., None]).squeeze(-1)


def _step_sizes(eta: float | Sequence[float], steps: int) -> list[float]:
    steps = checks.count("steps", steps, least=0)
    checks.finite(eta=eta)
    etas = torch.as_tensor(eta, dtype=torch.float64).flatten().tolist()
    if len(etas) == 1:
        return etas * steps
    if len(etas) != steps:
        raise ValueError(f"eta: expected one step size, or one for each of the {steps} steps, got {len(etas)}.")
    return etas
