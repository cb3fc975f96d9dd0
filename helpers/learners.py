"""Explicit learners on a prompt: arithmetic with a name, no attention anywhere.

Every learner of the series is called the same way, `learner(x, y, x_query) -> y_hat`, whatever it is inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from helpers import checks


def gd_weights(x: Tensor, y: Tensor, eta: float | Sequence[float], steps: int = 1, W_0: Tensor | None = None) -> Tensor:
    """The weights (B, d_y, d_x) that gradient descent reaches on the context, one task at a time.

    Each step is W <- W - eta grad L(W), with the in-context loss L(W) = 1/(2N) sum_i |W x_i - y_i|^2, hence
    W <- W - (eta/N) sum_i (W x_i - y_i) x_i^T. `eta` is one step size, or one for each step; `W_0` (d_y, d_x) is
    where every task starts, 0 when None.

    >>> import torch
    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])  # y = 3 x, mean x^2 = 2.5
    >>> gd_weights(x, y, eta=0.4)  # 1/2.5 lands on it
    tensor([[[3.]]])
    """
    checks.prompt(x, y, W_0=W_0)
    return _descend(x, y, eta, steps, W_0)[-1]


def gd(
    x: Tensor,
    y: Tensor,
    x_query: Tensor,
    eta: float | Sequence[float],
    steps: int = 1,
    W_0: Tensor | None = None,
) -> Tensor:
    """Prediction (B, d_y) at x_query after `steps` steps of gradient descent on the context (see `gd_weights`).

    Errors: shapes that do not fit together, an empty context, NaN or infinity, integer or mixed dtypes, a step size
    that is no finite number, a negative number of steps. A step size so large that the run diverges is not an error:
    the numbers show it.

    >>> import torch
    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> gd(x, y, torch.tensor([[10.0]]), eta=0.4)
    tensor([[30.]])
    >>> gd(x, y, torch.tensor([[10.0]]), eta=[0.4, 0.1, 0.1], steps=2)
    Traceback (most recent call last):
    ValueError: eta: expected one step size, or one for each of the 2 steps, got 3.
    """
    return gd_path(x, y, x_query, eta, steps, W_0)[-1]


def gd_path(
    x: Tensor,
    y: Tensor,
    x_query: Tensor,
    eta: float | Sequence[float],
    steps: int = 1,
    W_0: Tensor | None = None,
) -> list[Tensor]:
    """What `gd` predicts on the way: before the first step, after the first, …, after the last.

    >>> import torch
    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> [y_hat.item() for y_hat in gd_path(x, y, torch.tensor([[10.0]]), eta=0.2, steps=2)]
    [0.0, 15.0, 22.5]
    """
    checks.prompt(x, y, x_query, W_0)
    return [(W @ x_query[..., None]).squeeze(-1) for W in _descend(x, y, eta, steps, W_0)]


def _descend(x: Tensor, y: Tensor, eta, steps: int, W_0: Tensor | None) -> list[Tensor]:
    """The weights (B, d_y, d_x) before the first step and after each."""
    B, N, d_x = x.shape
    W_0 = x.new_zeros(y.shape[-1], d_x) if W_0 is None else W_0
    path = [W_0.repeat(B, 1, 1)]
    for eta_k in _step_sizes(eta, steps):
        error = x @ path[-1].mT - y  # (B, N, d_y)
        path.append(path[-1] - eta_k / N * error.mT @ x)
    return path


def _step_sizes(eta, steps: int) -> list:
    steps = checks.count("steps", steps, least=0)
    one_each = isinstance(eta, (list, tuple)) or getattr(eta, "ndim", 0) == 1
    etas = [checks.number("eta", eta_k) for eta_k in (eta if one_each else [eta])]
    if len(etas) == 1:
        return etas * steps
    if len(etas) != steps:
        raise ValueError(f"eta: expected one step size, or one for each of the {steps} steps, got {len(etas)}.")
    return etas
