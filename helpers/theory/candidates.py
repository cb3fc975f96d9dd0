"""Explicit learners that a black box may be nearest to, and how far its answers are from theirs.

Akyürek et al. 2022 name a trained transformer after the learner that its answers are nearest to. So the name depends
on who is on the list; here those of the paper stand beside two runs of gradient descent and the learner that has
nothing to say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import learners
from helpers.learners import Learner
from helpers.tasks import Prompt
from helpers.theory import closed_forms


def one_step(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, d_y) of one step of gradient descent, of the size that is best for Gaussian inputs."""
    return learners.gd(x, y, x_query, closed_forms.best_step(x.shape[1], x.shape[2]))


CANDIDATES: dict[str, Learner] = {
    "always 0": lambda x, y, x_query: torch.zeros_like(y[:, 0]),
    "one gradient step": one_step,
    "three short steps": lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.1, steps=3),
    "five steps": lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.4, steps=5),
    "ridge, λ = 1": lambda x, y, x_query: learners.ridge(x, y, x_query, lam=1.0),
    "ridge, λ = 0.1": lambda x, y, x_query: learners.ridge(x, y, x_query, lam=0.1),
    "least squares": learners.least_squares,
}
PUBLISHED = ("one gradient step", "ridge, λ = 1", "ridge, λ = 0.1", "least squares")  # in the order of the paper


def distances(learner: Learner, prompt: Prompt) -> dict[str, Tensor]:
    """The squared difference of a learner's answers to those of each candidate, over d_x, at each prompt (B,).

    Its mean over prompts is the "squared prediction difference" (SPD) of Akyürek et al. 2022.

    >>> from helpers import tasks
    >>> apart = distances(learners.least_squares, tasks.linear_regression(B=5, N=6, d_x=4))
    >>> min(apart, key=lambda name: apart[name].mean()), apart["always 0"].shape
    ('least squares', torch.Size([5]))
    """
    answers, d_x = learner(*prompt.shown), prompt.x.shape[-1]
    return {name: (answers - each(*prompt.shown)).square().sum(1) / d_x for name, each in CANDIDATES.items()}
