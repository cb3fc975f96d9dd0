"""What the shipped copying runs show, frame by frame, and how near their models come to gradient steps.

Each measurement is cached, since figures and claims of notebook 10 share it; `shift` draws other prompts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from helpers import attention, learners, tasks
from helpers.models import copying
from helpers.trained import copying_runs

HALF_WAY = (0.41 + copying_runs.GD_LOSS) / 2  # between the losses of answering 0 and of one gradient step


# --- what the trained models answer ---------------------------------------------------------------------------


def two_steps(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """About the best two gradient steps."""
    return learners.gd(x, y, x_query, eta=[4.0, 12.0], steps=2)


def one_step(x: Tensor, y: Tensor, x_query: Tensor, times: float = 1.0) -> Tensor:
    """The best gradient step, or one `times` as long."""
    return learners.gd(x, y, x_query, eta=times * copying_runs.GD_ETA)


@functools.lru_cache
def answers(shift: int = 0) -> tuple[tasks.Prompt, Tensor]:
    """4,096 prompts that no training has seen, and what the trained models of all seeds say to them, (3, 4096)."""
    p = copying_runs.prompts(B=4096, seed=77 + shift)
    return p, torch.stack([copying_runs.load(seed).frame(-1)(*p.shown)[:, 0] for seed in copying_runs.SEEDS])


def apart(learner: learners.Learner, shift: int = 0) -> Tensor:
    """Squared differences of a learner's answers to the trained models', in % of their mean square: (3, 4096)."""
    p, trained = answers(shift)
    return 100 * (trained - learner(*p.shown)[:, 0]).square() / trained.square().mean()


# --- what their first layers do -------------------------------------------------------------------------------


def attends(frame: int, name: str, shift: int = 0) -> Tensor:
    """How much the first layer's tokens attend to a neighbour, see `copying.neighbours`; models by prompts, (3, 32)."""
    p, rows = copying_runs.prompts(B=32, seed=100 + shift), []
    for seed in copying_runs.SEEDS:
        model = copying_runs.load(seed).frame(frame)
        pattern = attention.pattern(model.tokens(*p.shown), model.layers()[0])[:, 0]
        rows.append([copying.neighbours(each[None])[name] for each in pattern])
    return torch.tensor(rows)


def crossing(t: Sequence[float], curve: Tensor) -> float:
    """The first t past the middle between the means of a curve over the first and the last quarter of its run.

    Quarters of time, whatever the distances between the moments t: a steady climb is half-way in the middle.

    >>> t = [0, 10, 20, 40, 50, 60, 70, 80]
    >>> crossing(t, torch.tensor(t) / 80)
    50
    """
    time = torch.as_tensor(t) * 1.0
    quarter = (time[-1] - time[0]) / 4
    start, end = curve[time <= time[0] + quarter].mean(), curve[time >= time[-1] - quarter].mean()
    return t[int(((curve - start) / (end - start) > 0.5).float().argmax())]


@functools.lru_cache
def film_of(seed: int, shift: int = 0) -> Tensor:
    """Of each frame of a copying run: attention of x to its label and back, sensitivities to own, next, previous and
    other tokens; (6, frames)."""
    film, p = copying_runs.load(seed), copying_runs.prompts(B=4, seed=100 + shift)
    rows = []
    for k in range(len(film.at)):
        model = film.frame(k)
        z, first = model.tokens(*p.shown), model.layers()[0]
        shares = copying.neighbours(attention.pattern(z, first)[:, 0])
        rows.append([*shares.values(), *copying.sensitivity(z, first, d=11).values()])
    return torch.tensor(rows).T


def half_ways(seed: int, shift: int = 0) -> list[float]:
    """When loss, attention to the label, and the sensitivity to it and to x's own numbers are half-way."""
    film, (to_label, _, own, after, *_) = copying_runs.load(seed), film_of(seed, shift)
    t = [film.every * (k + 0.5) for k in range(len(film.losses))]
    return [crossing(t, film.losses), *(crossing(film.at, curve) for curve in (to_label, after, own))]


# --- when the loss drops --------------------------------------------------------------------------------------


@functools.lru_cache
def settings() -> dict[str, Tensor]:
    """Loss curves (3, 80) of the shipped runs by what was changed; "as above" for those of the films."""
    usual = torch.stack([copying_runs.load(seed).losses for seed in copying_runs.SEEDS])
    return {"as above": usual} | copying_runs.other_settings()


def drops() -> dict[str, Tensor]:
    """The iterations at which their losses are half-way, (3,); infinity for never."""
    found = {}
    for name, curves in settings().items():
        below = curves < HALF_WAY
        found[name] = (copying_runs.EVERY * below.float().argmax(1)).float().where(below.any(1), torch.inf)
    return found
