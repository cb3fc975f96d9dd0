"""A world in which the prompt says which algorithm is right: little noise in half of the prompts, much in the others.

Ridge regression with lambda = noise^2 is best for either half; who is not told must find out in context, or compromise.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from helpers import learners, tasks
from helpers.learners import Learner
from helpers.theory import bayes

NOISES = (0.05**0.5, 2.0)  # standard deviations of the labels' noise
D_X, N, HELD_OUT = 8, 32, 8


@functools.cache
def ridge(noise: float) -> Learner:
    """The best learner for one of the two halves: ridge regression with lambda = noise^2."""
    return lambda x, y, x_query: learners.ridge(x, y, x_query, lam=noise**2)


def compromise(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, 1) of the best learner that is linear in the labels: ridge with the mean of the two variances.

    For fixed inputs, the error of sum_i a_i y_i depends on the labels through E[y y^T] and E[y y_q] only, and these
    are those of a world with one noise variance, the mean.
    """
    return learners.ridge(x, y, x_query, lam=sum(noise**2 for noise in NOISES) / 2)


def validate(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, 1) of the learner who tries both on the last 8 of the 32 pairs (`bayes.pick_ridge`)."""
    return bayes.pick_ridge(x, y, x_query, NOISES, held_out=HELD_OUT)


def weigh(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, 1) of the learner who weighs both by how likely they are (`bayes.ridge_mixture`)."""
    return bayes.ridge_mixture(x, y, x_query, NOISES)


@functools.lru_cache(maxsize=4)
def prompts(half: int, *, B: int = 4000, seed: int = 0) -> tasks.Prompt:
    """Prompts of one half: 0, with little noise; 1, with much."""
    return tasks.linear_regression(B, N, D_X, noise=NOISES[half], seed=seed + 100 * half)


def errors(learner: Learner, *, B: int = 4000, seed: int = 0) -> Tensor:
    """Squared errors (2, B) of a learner at B prompts of each half.

    >>> low, high = errors(ridge(NOISES[0]), B=500).mean(1)
    >>> bool(low < 0.1 < 1 < high)
    True
    """
    return errors_of_both((learner, learner), B=B, seed=seed)


@functools.cache
def errors_of_both(pair: tuple[Learner, Learner], *, B: int = 4000, seed: int = 0) -> Tensor:
    """The same of whoever is told the noise, and is one learner for little of it and another one for much."""
    halves = (prompts(half, B=B, seed=seed) for half in (0, 1))
    return torch.stack([(f(*p.shown) - p.y_query).square()[:, 0] for f, p in zip(pair, halves, strict=True)])


def told(*, B: int = 4000, seed: int = 0) -> Tensor:
    """Squared errors (2, B) of the learner who is told the noise: nobody can do better on average."""
    return errors_of_both((ridge(NOISES[0]), ridge(NOISES[1])), B=B, seed=seed)
