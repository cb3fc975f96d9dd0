"""Learners that know where tasks come from: a finite list of tasks, or a choice of noise levels.

Each is the mean of a posterior, so no learner does better on average if its knowledge is right. All are called
`learner(x, y, x_query, …) -> y_hat`; labels have one output, d_y = 1, and Gaussian noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from helpers import attention, checks, learners
from helpers.attention import Layer


def draw_list(M: int, d_x: int, seed: int = 0) -> Tensor:
    """A list of M tasks w ~ N(0, I) (M, d_x), in float64.

    >>> draw_list(64, 8).shape
    torch.Size([64, 8])
    """
    g = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    return torch.randn(checks.count("M", M), checks.count("d_x", d_x), generator=g, dtype=torch.float64)


def dmmse(x: Tensor, y: Tensor, x_query: Tensor, W: Tensor, noise: float) -> Tensor:
    """Prediction (B, 1) of the learner who knows that the task is one of W (M, d_x), each as likely as the others.

        y_hat = sum_m p_m w_m^T x_q,      p = softmax(-SSE_m / (2 noise^2)),      SSE_m = sum_i (y_i - w_m^T x_i)^2

    The "discrete minimum mean squared error estimator" of Raventós et al. 2023. `noise` is the labels' standard
    deviation. On tasks of the list nobody does better; a task that is not on it is answered by what is near.

    >>> W = torch.tensor([[1.0], [3.0]])
    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])  # w = 3
    >>> dmmse(x, y, torch.tensor([[10.0]]), W, noise=0.5)
    tensor([[30.]])
    >>> dmmse(x, 2 / 3 * y, torch.tensor([[10.0]]), W, noise=0.5)              # w = 2 is not on the list
    tensor([[20.]])
    """
    _check(x, y, x_query, W, noise)
    errors = (y - x @ W.mT).square().sum(dim=1)  # (B, M)
    return (torch.softmax(-errors / (2 * noise**2), dim=-1) @ W * x_query).sum(-1, keepdim=True)


def dmmse_by_attention(x: Tensor, y: Tensor, x_query: Tensor, W: Tensor, noise: float) -> Tensor:
    """The same prediction by a softmax attention layer that reads the *tasks*, not the examples.

    Write SSE_m = |y|^2 - 2 w_m^T (X^T y) + w_m^T X^T X w_m. The first term is the same for all m, and a softmax does
    not see it. The rest is an inner product: a token for each task, with the key (w_m, w_m w_m^T) and the value w_m;
    and one token for the prompt, with the query (X^T y, -1/2 X^T X) / noise^2, the statistics of the context.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[2.0], [4.0]]])
    >>> dmmse_by_attention(x, y, torch.tensor([[10.0]]), torch.tensor([[1.0], [3.0]]), noise=0.5)
    tensor([[20.]])
    """
    _check(x, y, x_query, W, noise)
    (B, _, d_x), M, d_k = x.shape, len(W), W.shape[1] * (W.shape[1] + 1)
    keys = torch.cat([W, (W[:, :, None] * W[:, None]).flatten(1)], dim=1)  # (M, d_k)
    query = torch.cat([(x.mT @ y).flatten(1), -(x.mT @ x).flatten(1) / 2], dim=1) / noise**2  # (B, d_k)
    task_tokens = torch.cat([keys, W], dim=1).expand(B, M, d_k + d_x)
    prompt_token = torch.cat([query, torch.zeros_like(x_query)], dim=1)[:, None]
    read = torch.eye(d_k + d_x, dtype=x.dtype, device=x.device)
    layer = Layer(W_Q=math.sqrt(d_k) * read[:d_k], W_K=read[:d_k], W_V=read[d_k:], P=read[:, d_k:])
    w = attention.softmax(torch.cat([task_tokens, prompt_token], dim=1), layer)[:, -1, d_k:]
    return (w * x_query).sum(-1, keepdim=True)


def noise_posterior(x: Tensor, y: Tensor, noises: Sequence[float]) -> Tensor:
    """How likely each of some noise levels is after the context (B, K), for tasks w ~ N(0, I) and equal odds before.

    With w averaged out, the labels are y ~ N(0, X X^T + noise^2 I).

    >>> x, w = torch.randn(1, 30, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([[1.0], [2.0]])
    >>> noise_posterior(x, x @ w, noises=[0.1, 2.0]).round(decimals=3)
    tensor([[1., 0.]])
    """
    sizes, logs = checks.prompt(x, y), []
    for noise in noises:
        _above_zero(noise)
        factor = torch.linalg.cholesky(x @ x.mT + noise**2 * torch.eye(sizes["N"], dtype=x.dtype, device=x.device))
        fit = (y * torch.cholesky_solve(y, factor)).sum((1, 2)) / 2
        logs.append(-fit - factor.diagonal(dim1=1, dim2=2).log().sum(1))
    return torch.softmax(torch.stack(logs, dim=1), dim=1)


def ridge_mixture(x: Tensor, y: Tensor, x_query: Tensor, noises: Sequence[float]) -> Tensor:
    """Prediction (B, 1) of the best learner when the noise is one of several levels, and nobody says which.

    Ridge regression with lambda = noise^2 for each level, weighted by `noise_posterior`. The weights depend on the
    labels, so the whole is not linear in them, though each ridge is.

    >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [6.0]]])
    >>> ridge_mixture(x, y, torch.tensor([[10.0]]), noises=[1.0]), learners.ridge(x, y, torch.tensor([[10.0]]), lam=1.0)
    (tensor([[25.]]), tensor([[25.]]))
    """
    each = [learners.ridge(x, y, x_query, lam=noise**2) for noise in noises]
    return (torch.cat(each, dim=1) * noise_posterior(x, y, noises)).sum(1, keepdim=True)


def pick_ridge(x: Tensor, y: Tensor, x_query: Tensor, noises: Sequence[float], held_out: int) -> Tensor:
    """Prediction (B, 1) of the learner who tries: ridge for each noise level without the last `held_out` pairs, then
    that which errs least on these, fitted to all pairs ("post-ICL validation", Bai et al. 2023).

    >>> x, y = torch.tensor([[[1.0], [2.0], [1.0]]]), torch.tensor([[[3.0], [6.0], [3.0]]])
    >>> pick_ridge(x, y, torch.tensor([[10.0]]), noises=[0.01, 4.0], held_out=1).round()
    tensor([[30.]])
    """
    N = checks.prompt(x, y, x_query)["N"]
    fit = N - checks.count("held_out", held_out)
    if fit < 1:
        raise ValueError(f"held_out: expected fewer than the {N} pairs of the context, got {held_out}.")
    errors, answers = [], []
    for noise in noises:
        W = learners.ridge_weights(x[:, :fit], y[:, :fit], lam=noise**2)
        errors.append((x[:, fit:] @ W.mT - y[:, fit:]).square().sum((1, 2)))
        answers.append(learners.ridge(x, y, x_query, lam=noise**2))
    best = torch.stack(errors, dim=1).argmin(dim=1, keepdim=True)
    return torch.cat(answers, dim=1).gather(1, best)


def _check(x: Tensor, y: Tensor, x_query: Tensor, W: Tensor, noise: float) -> None:
    sizes = checks.prompt(x, y, x_query)
    checks.tensor("W", W, "M d_x", {"d_x": sizes["d_x"]})
    checks.same_dtype(x=x, W=W)
    checks.finite(W=W)
    if sizes["d_y"] != 1:
        raise ValueError(f"y: expected one output, d_y = 1, got {sizes['d_y']}: call it once for each.")
    _above_zero(noise)


def _above_zero(noise: float) -> None:
    if checks.number("noise", noise) <= 0:
        raise ValueError(f"noise: expected a standard deviation above 0, got {noise}.")
