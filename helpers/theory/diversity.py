"""A list of tasks, or all tasks: what two learners that were made for a list do on tasks that are not on it."""

from __future__ import annotations

from torch import Tensor

from helpers.tasks import Prompt
from helpers.theory import bayes, population, whole_layers


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

    All of its weights are free (`whole_layers.best_layer`), new tasks are w ~ N(0, I) and inputs x ~ N(0, I). For
    M <= d_x the best layer is not unique, and what it does on new tasks is anybody's guess: an error.

    >>> few, many = (layer_excess(bayes.draw_list(M, 8), N=16, noise=0.5) for M in (16, 4096))
    >>> many < 0.8 * few
    True
    """
    M, d_x = W.shape
    if M <= d_x:
        raise ValueError(f"W: expected more tasks than coordinates, got {M} for {d_x}: the best layer is not unique.")
    return 2 * population.half_loss(whole_layers.best_layer(W, N, noise=noise), N, noise=noise).item()
