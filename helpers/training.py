"""The outer loop: any model, any loss -> history; with seeds, progress, and a file to go on from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from helpers import checks, progress

SAVES = 20  # in a run that is kept: what is lost by an interruption is at most a twentieth


class History(NamedTuple):
    """What a run leaves behind, besides the trained model."""

    losses: Tensor  # (iterations,): the loss before each iteration's update
    watched: list  # what `watch` returned, where it was not None


def cosine(done: float) -> float:
    """The learning rate falls from 1 to 0 along half a cosine: quick at first, then quiet.

    >>> [round(cosine(done), 2) for done in (0, 0.5, 1)]
    [1.0, 0.5, 0.0]
    """
    return (1 + math.cos(math.pi * done)) / 2


def warm_then_cosine(done: float) -> float:
    """It rises over the first twentieth of the run, then falls to 0 along the cosine.

    >>> [round(warm_then_cosine(done), 2) for done in (0, 0.025, 0.5, 1)]
    [0.0, 0.5, 0.5, 0.0]
    """
    return min(1.0, 20 * done) * cosine(done)


def constant(done: float) -> float:
    """The learning rate stays."""
    return 1.0


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    optimizer: torch.optim.Optimizer,
    iterations: int,
    *,
    seed: int = 0,
    schedule: Callable[[float], float] = cosine,
    watch: Callable[[int], Any] | None = None,
    keep: str | Path | None = None,
) -> History:
    """Train: `iterations` times, draw a batch, take the loss, let the optimizer step.

    - `loss(seed)` is a scalar tensor. It draws its tasks from the seed it is given, a new one each iteration, made
      from `seed` and the iteration's number alone; so the same seed gives the same run.
    - `schedule(done)` multiplies the optimizer's learning rate; `done` goes from 0 to 1.
    - `watch(t)` is called after t = 0, 1, …, iterations updates; what it returns is collected unless it is None.
    - `keep` names a file in which the run is saved on the way. The same call again goes on from there, and ends
      bit for bit where an undisturbed run would have. A finished run is read back at once.

    A loss that is no longer finite stops the run with a FloatingPointError.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> run = fit(model, lambda seed: (model.weight - 3).square().sum(), torch.optim.SGD(model.parameters(), 0.5), 10)
    >>> len(run.losses), round(model.weight.item(), 2)
    (10, 3.0)
    """
    iterations = checks.count("iterations", iterations)
    run = _Run(model, optimizer, iterations, checks.count("seed", seed, least=0), keep)
    if watch and run.t == 0:
        run.saw(watch(0))
    with progress.bar(iterations, start=run.t) as bar:
        while run.t < iterations:
            for group, rate in zip(optimizer.param_groups, run.of["rates"], strict=True):
                group["lr"] = rate * schedule(run.t / iterations)
            optimizer.zero_grad()
            value = loss(int(np.random.SeedSequence([seed, run.t]).generate_state(1)[0]))
            if not value.isfinite():
                raise FloatingPointError(
                    f"loss: {value.item()} after {run.t} iterations: is the learning rate too high?"
                )
            value.backward()
            optimizer.step()
            run.losses[run.t] = value.detach()
            run.t += 1
            if watch:
                run.saw(watch(run.t))
            run.save()
            bar.update()
    return History(run.losses, run.watched)


class _Run:
    """How far a run has come, and its file."""

    def __init__(self, model, optimizer, iterations: int, seed: int, keep: str | Path | None):
        self.model, self.optimizer, self.keep = model, optimizer, Path(keep) if keep else None
        shapes = {name: list(W.shape) for name, W in model.state_dict().items()}
        rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self.of = {"iterations": iterations, "seed": seed, "rates": rates, "shapes": shapes}
        self.t, self.losses, self.watched = 0, torch.zeros(iterations), []
        self.every = math.ceil(iterations / SAVES)
        if self.keep and not self.keep.parent.is_dir():
            raise FileNotFoundError(f"keep: there is no folder {self.keep.parent}: make it first, or name another.")
        if self.keep and self.keep.exists():
            self._load()

    def saw(self, what) -> None:
        if what is not None:
            self.watched.append(what)

    def save(self) -> None:
        """Written beside the file and moved over it, so that there is always a whole one."""
        if self.keep and (self.t % self.every == 0 or self.t == len(self.losses)):
            now = {"of": self.of, "t": self.t, "losses": self.losses, "watched": self.watched}
            now |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            beside = self.keep.with_name(self.keep.name + ".part")
            torch.save(now, beside)
            os.replace(beside, self.keep)

    def _load(self) -> None:
        saved = torch.load(self.keep, weights_only=True)
        if saved["of"] != self.of:
            differs = ", ".join(name for name in self.of if saved["of"].get(name) != self.of[name])
            raise ValueError(
                f"keep: {self.keep} holds another run (it differs in {differs}): delete it or use a new name."
            )
        self.t, self.losses, self.watched = saved["t"], saved["losses"], saved["watched"]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
