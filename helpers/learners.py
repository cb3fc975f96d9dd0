"""Explicit learners on a prompt: arithmetic with a name, no attention anywhere.

Every learner of the series is called the same way, `learner(x, y, x_query) -> y_hat`, whatever it is inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from helpers import checks

Learner = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, y, x_query) -> y_hat, as every competitor is called


def gd_weights(x: Tensor, y: Tensor, eta: float | Sequence[float], steps: int = 1, W_0: Tensor | None = None) -> Tensor:
    """The weights (B, d_y, d_x) that gradient descent reaches on the context, one task at a time.

    Each step is W <- W - eta grad L(W), with the in-context loss L(W) = 1/(2N) sum_i |W x_i - y_i|^2, hence
    W <- W - (eta/N) sum_i (W x_i - y_i) x_i^T. `eta` is one step size, or one for each step; `W_0` (d_y, d_x) is
    where every task starts, 0 when None.

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

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> [y_hat.item() for y_hat in gd_path(x, y, torch.tensor([[10.0]]), eta=0.2, steps=2)]
    [0.0, 15.0, 22.5]
    """
    checks.prompt(x, y, x_query, W_0)
    return [_apply(W, x_query) for W in _descend(x, y, eta, steps, W_0)]


def _descend(x: Tensor, y: Tensor, eta, steps: int, W_0: Tensor | None) -> list[Tensor]:
    """The weights (B, d_y, d_x) before the first step and after each."""
    B, N, d_x = x.shape
    W_0 = x.new_zeros(y.shape[-1], d_x) if W_0 is None else W_0
    path = [W_0.repeat(B, 1, 1)]
    for eta_k in _one_each("eta", eta, steps):
        error = x @ path[-1].mT - y  # (B, N, d_y)
        path.append(path[-1] - eta_k / N * error.mT @ x)
    return path


def _one_each(name: str, value, steps: int) -> list:
    """One number for each step, from one number for all or a list of them."""
    steps = checks.count("steps", steps, least=0)
    many = isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1
    numbers = [checks.number(name, v) for v in (value if many else [value])]
    if len(numbers) == 1:
        return numbers * steps
    if len(numbers) != steps:
        what = "step size" if name == "eta" else "number"
        raise ValueError(f"{name}: expected one {what}, or one for each of the {steps} steps, got {len(numbers)}.")
    return numbers


def online_gd_weights(x: Tensor, y: Tensor, eta: float) -> Tensor:
    """The weights (B, d_y, d_x) after one visit to each pair, in the order of the context, from W = 0.

        W <- W - eta (W x_i - y_i) x_i^T,     i = 1, …, N

    A step of gradient descent on the loss of the last pair, 1/2 |W x_i - y_i|^2, also called stochastic gradient
    descent (SGD) with one pass, the delta rule, or Widrow and Hoff's. Each error is taken at the weights of its own
    step, so the order of the pairs counts. `gd_weights` takes one step on all of them at once, and has a 1/N.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> online_gd_weights(x, y, eta=0.1), online_gd_weights(x, 2 * y.flip(1), eta=0.1)
    (tensor([[[1.3800]]]), tensor([[[1.9200]]]))
    """
    sizes, eta = checks.prompt(x, y), checks.number("eta", eta)
    W = x.new_zeros(sizes["B"], sizes["d_y"], sizes["d_x"])
    for x_i, y_i in zip(x[..., None].unbind(1), y[..., None].unbind(1), strict=True):  # (B, d_x, 1), (B, d_y, 1)
        W = W - eta * (W @ x_i - y_i) @ x_i.mT
    return W


def online_gd(x: Tensor, y: Tensor, x_query: Tensor, eta: float) -> Tensor:
    """Prediction (B, d_y) at x_query after one visit to each pair, in order (see `online_gd_weights`)."""
    checks.prompt(x, y, x_query)
    return _apply(online_gd_weights(x, y, eta), x_query)


# --- with curvature -------------------------------------------------------------------------------------------


def gd_pp_weights(
    x: Tensor, y: Tensor, eta: float | Sequence[float], gamma: float | Sequence[float], steps: int = 1
) -> Tensor:
    """The weights (B, d_y, d_x) that GD++ reaches from W = 0 (von Oswald et al. 2023, appendix A.10).

    Each step is a gradient step on the labels, and besides shortens the inputs where the data is long:

        y_j <- y_j - (eta/N) sum_i y_i x_i^T x_j,      x_j <- x_j - gamma sum_i x_i x_i^T x_j

    for the query, too (its label slot starts at 0). gamma multiplies the sum without 1/N, as in the paper; both
    sums are over the tokens as they were before the step. gamma = 0 is gradient descent.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> gd_pp_weights(x, y, eta=0.2, gamma=0.0, steps=2), gd_weights(x, y, eta=0.2, steps=2)
    (tensor([[[2.2500]]]), tensor([[[2.2500]]]))
    """
    sizes = checks.prompt(x, y)
    now_x, now_y, N = x, y, sizes["N"]
    eye = torch.eye(sizes["d_x"], dtype=x.dtype, device=x.device)
    shrink = eye.repeat(sizes["B"], 1, 1)  # the query's x-part is shrink @ x_q
    W = torch.zeros_like(y.mT @ x)
    for eta_k, gamma_k in zip(_one_each("eta", eta, steps), _one_each("gamma", gamma, steps), strict=True):
        label_map, input_map = eta_k / N * now_y.mT @ now_x, gamma_k * now_x.mT @ now_x
        W = W + label_map @ shrink
        shrink = shrink - input_map @ shrink
        now_x, now_y = now_x - now_x @ input_map, now_y - now_x @ label_map.mT
    return W


def gd_pp(
    x: Tensor,
    y: Tensor,
    x_query: Tensor,
    eta: float | Sequence[float],
    gamma: float | Sequence[float],
    steps: int = 1,
) -> Tensor:
    """Prediction (B, d_y) at x_query after `steps` steps of GD++ (see `gd_pp_weights`).

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> gd_pp(x, y, torch.tensor([[10.0]]), eta=0.4, gamma=0.1)
    tensor([[30.]])
    """
    checks.prompt(x, y, x_query)
    return _apply(gd_pp_weights(x, y, eta, gamma, steps), x_query)


def newton_weights(x: Tensor, y: Tensor, steps: int = 1) -> Tensor:
    """Weights (B, d_y, d_x) from `steps` rounds of Newton's iteration for the inverse of S = sum_i x_i x_i^T.

        M <- 2 M - M S M   from   M = a S,   a = 1.98 / lambda_max(S)^2;      W = (sum_i y_i x_i^T) M

    I - M_k S = (I - a S^2)^(2^k): in the end each round doubles the number of right digits (Fu et al. 2023 compare
    trained transformers with it). It goes to the weights of `least_squares`, for any a below 2 / lambda_max^2.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> newton_weights(x, y, steps=12)
    tensor([[[3.]]])
    """
    checks.prompt(x, y)
    S = x.mT @ x
    M = 1.98 * S / torch.linalg.matrix_norm(S, ord=2)[:, None, None] ** 2
    for _ in range(checks.count("steps", steps, least=0)):
        M = 2 * M - M @ S @ M
    return y.mT @ x @ M


def newton(x: Tensor, y: Tensor, x_query: Tensor, steps: int = 1) -> Tensor:
    """Prediction (B, d_y) at x_query after `steps` rounds of Newton's iteration (see `newton_weights`)."""
    checks.prompt(x, y, x_query)
    return _apply(newton_weights(x, y, steps), x_query)


# --- in closed form -------------------------------------------------------------------------------------------


def ridge_weights(x: Tensor, y: Tensor, lam: float) -> Tensor:
    """The weights (B, d_y, d_x) of ridge regression, the minimum of sum_i |W x_i - y_i|^2 + lam |W|^2.

    W = Y^T X (X^T X + lam I)^-1 with X (N, d_x). With lam = noise^2 / Var(w) it is the mean of the posterior: no
    learner does better on average over tasks w ~ N(0, I) with Gaussian noise.

    >>> ridge_weights(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]]), lam=5.0)
    tensor([[[1.5000]]])
    """
    checks.prompt(x, y)
    if checks.number("lam", lam) <= 0:
        raise ValueError(f"lam: expected a number above 0, got {lam}: without a penalty, use least_squares.")
    S = x.mT @ x
    return torch.linalg.solve(S + lam * torch.eye(S.shape[-1], dtype=S.dtype, device=S.device), x.mT @ y).mT


def ridge(x: Tensor, y: Tensor, x_query: Tensor, lam: float) -> Tensor:
    """Prediction (B, d_y) of ridge regression at x_query (see `ridge_weights`)."""
    checks.prompt(x, y, x_query)
    return _apply(ridge_weights(x, y, lam), x_query)


def least_squares_weights(x: Tensor, y: Tensor) -> Tensor:
    """The weights (B, d_y, d_x) that minimise sum_i |W x_i - y_i|^2; where many do (N < d_x), the smallest of them.

    >>> least_squares_weights(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[3.0]]]))  # one point, two unknowns
    tensor([[[1.5000, 1.5000]]])
    """
    checks.prompt(x, y)
    return (torch.linalg.pinv(x) @ y).mT


def least_squares(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, d_y) of least squares at x_query (see `least_squares_weights`)."""
    checks.prompt(x, y, x_query)
    return _apply(least_squares_weights(x, y), x_query)


def _apply(W: Tensor, x_query: Tensor) -> Tensor:
    return (W @ x_query[..., None]).squeeze(-1)
