"""What the frozen GPT of notebook 01 answers, beside its rivals: the measurements that its figures and claims share."""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from helpers import learners, tasks
from helpers.learners import Learner
from helpers.theory import closed_forms
from helpers.trained import regression_gpts


def _gpt(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """The answers (B, N+1, 1) of the GPT, in float32, as it was trained: three times as quick as float64."""
    model = regression_gpts.load().float()
    return model.path(*(part.float() for part in (x, y, x_query))).double()


def rivals(noise: float = 0.0) -> dict[str, Learner]:
    """The learners that the GPT is held against, by name. Ridge is the best there is; without noise, least squares."""

    def best_step(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        return learners.gd(x, y, x_query, closed_forms.best_step(x.shape[1], x.shape[2], noise=noise))

    def ridge(*shown: Tensor) -> Tensor:
        return learners.ridge(*shown, lam=noise**2) if noise else learners.least_squares(*shown)

    return {"best single step": best_step, "least squares": learners.least_squares, "ridge": ridge}


@lru_cache
def read_along(d: int, noise: float, B: int = 1000, *, shift: int) -> dict[str, Tensor]:
    """What each learner says after 0, 1, …, 12 examples of B prompts, each time to the next input; {name: (B, 13)}.

    "truth" are the labels without noise.

    >>> list(read_along(5, 0.0, B=3, shift=0))
    ['truth', 'GPT', 'best single step', 'least squares', 'ridge']
    """
    p = tasks.linear_regression(B=B, N=12, d_x=d, noise=noise, seed=shift)
    inputs = torch.cat([p.x, p.x_query[:, None]], dim=1)
    said = {"truth": (inputs @ p.W.mT)[..., 0], "GPT": _gpt(*p.shown)[..., 0]}
    for name, learner in rivals(noise).items():
        each = [learner(p.x[:, :k], p.y[:, :k], inputs[:, k]) for k in range(1, 13)]
        said[name] = torch.cat([torch.zeros(B, 1, dtype=torch.float64), *each], dim=1)
    return said


def apart(a: str, b: str, d: int = 5, noise: float = 0.0, shift: int = 0) -> Tensor:
    """(B, 13): the squared difference of two learners' answers, over d; of a learner and "truth" it is its error."""
    said = read_along(d, noise, shift=shift)
    return (said[a] - said[b]).square() / d


@cache
def around_the_circle(N: int, noise: float, B: int = 100) -> dict[str, Tensor]:
    """Squared error (B,) of each learner on B prompts in the plane with |w| = 1.5, over the queries with |x_q| = 1.5.

    Three queries 120 degrees apart have, for a linear learner, the mean of the whole circle.
    """
    p = tasks.linear_regression(B=B, N=12, d_x=2, noise=1.0)
    w = 1.5 * p.W / p.W.norm(dim=-1, keepdim=True)
    x, y = p.x[:, :N], (p.x @ w.mT + noise * (p.y - p.x @ p.W.mT))[:, :N]
    turn = torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
    queries = 1.5 * torch.stack([turn.cos(), turn.sin()], dim=1)
    shown, truth = (x.repeat_interleave(3, 0), y.repeat_interleave(3, 0), queries.repeat(B, 1)), queries @ w.mT
    said = {"GPT": _gpt(*shown)[:, -1]}
    said |= {name: learner(*shown) if N else torch.zeros(3 * B, 1) for name, learner in rivals(noise).items()}
    return {name: (answer.view(B, 3, 1) - truth).square().mean((1, 2)) for name, answer in said.items()}


@lru_cache
def seen_before(*, shift: int) -> dict[str, Tensor]:
    """Squared error over d (2080, 13) of the GPT on tasks of its last 160 training batches, and on new ones.

    Inputs are new, and the same for both. The training's tasks W (2080, 1, 5) are drawn again from its seeds.
    """
    last = range(regression_gpts.ITERATIONS - 160, regression_gpts.ITERATIONS)
    seeds = [int(np.random.SeedSequence([0, t]).generate_state(1)[0]) for t in last]  # as training.fit makes them
    drawn = [regression_gpts.prompts(regression_gpts.BATCH, seed) for seed in seeds]
    seen = torch.cat([p.W[coordinates == 5] for p, coordinates in drawn]).double()
    p = tasks.linear_regression(B=len(seen), N=12, d_x=5, seed=77 + shift)
    inputs, found = torch.cat([p.x, p.x_query[:, None]], dim=1), {"W": seen}
    for name, W in [("new tasks", p.W), ("tasks of its training", seen)]:
        labels = inputs @ W.mT
        found[name] = (_gpt(p.x, labels[:, :12], p.x_query) - labels).square()[..., 0] / 5
    return found


SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


@lru_cache
def scaled(*, shift: int) -> dict[str, Tensor]:
    """Squared error over d (5, 300) after 12 examples with inputs times SCALES, as a share of the labels' size."""
    p, eta = tasks.linear_regression(B=300, N=12, d_x=5, seed=9 + shift), closed_forms.best_step(12, 5)
    learn = {
        "GPT": lambda *shown: _gpt(*shown)[:, -1],
        "a step of fixed size": lambda *shown: learners.gd(*shown, eta),
        "least squares": learners.least_squares,
    }
    return {
        name: torch.stack([(f(s * p.x, s * p.y, s * p.x_query) / s - p.y_query).square()[:, 0] / 5 for s in SCALES])
        for name, f in learn.items()
    }
