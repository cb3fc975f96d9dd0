"""A list of tasks, or all tasks: what two learners that were made for a list do on tasks that are not on it."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.tasks import Prompt
from helpers.theory import bayes, closed_forms


def listed_errors(prompt: Prompt, W: Tensor, noise: float) -> Tensor:
    """Squared errors (B,) of the best learner for the tasks W (M, d_x), `bayes.dmmse`.

    >>> from helpers import tasks
    >>> prompt = tasks.linear_regression(B=200, N=16, d_x=2, noise=0.5)
    >>> one, many = (listed_errors(prompt, bayes.draw_list(M, 2), noise=0.5).mean() for M in (1, 1000))
    >>> bool(many < 0.1 < 1 < one)
    True
    """
    return (bayes.dmmse(*prompt.shown, W, noise) - prompt.y_query).square()[:, 0]


def layer_excess(W: Tensor, N: int, noise: float) -> float:
    """Expected squared error on new tasks of the linear-attention layer that is best for the tasks W (M, d_x).

    All that it can know of them is one matrix, (1/M) sum_m w_m w_m^T (notebook 04); inputs are x ~ N(0, I).

    >>> one, many = (layer_excess(bayes.draw_list(M, 8), N=16, noise=0.5) for M in (1, 4096))
    >>> many < 0.5 * one
    True
    """
    M, d_x = W.shape
    eye = torch.eye(d_x, dtype=W.dtype)
    A = closed_forms.preconditioner(eye, N, noise=noise, prior=W.mT @ W / M)
    return float(closed_forms.preconditioned_excess(A, eye, N, noise=noise))
