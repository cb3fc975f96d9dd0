"""The outer loop: any model, any loss -> history; with seeds, progress, and a file to go on from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from helpers import checks, kept, progress

SAVES = 20  # in a run that is kept: what is lost by an interruption is at most a twentieth
OPTIONS = ("betas", "momentum", "dampening", "weight_decay", "nesterov", "eps", "amsgrad", "maximize")  # of optimizers


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
      bit for bit where an undisturbed run would have. A finished run is read back at once. What `watch` returns must
      then be plain: numbers, text, tensors, lists and dicts of these. Whether all can be kept is tried at the start.

    A loss that is no longer finite stops the run with a FloatingPointError.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> run = fit(model, lambda seed: (model.weight - 3).square().sum(), torch.optim.SGD(model.parameters(), 0.5), 10)
    >>> len(run.losses), round(model.weight.item(), 2)
    (10, 3.0)
    """
    iterations, seed = checks.count("iterations", iterations), checks.count("seed", seed, least=0)
    if torch.is_inference_mode_enabled():
        raise RuntimeError("torch.inference_mode is on, in which nothing can be trained: leave it before.")
    with torch.enable_grad():  # even where the reader switched gradients off for all
        return _fit(_Run(model, optimizer, iterations, seed, keep), loss, schedule, watch)


def _fit(run: _Run, loss, schedule, watch) -> History:
    if watch and run.t == 0:
        run.saw(watch(0))
    run.tries()
    with progress.bar(run.iterations, start=run.t) as bar:
        while run.t < run.iterations:
            for group, rate in zip(run.optimizer.param_groups, run.rates, strict=True):
                group["lr"] = rate * schedule(run.t / run.iterations)
            run.optimizer.zero_grad()
            value = loss(int(np.random.SeedSequence([run.seed, run.t]).generate_state(1)[0]))
            _can_be_followed(value, run.t)
            value.backward()
            run.optimizer.step()
            run.losses[run.t] = value.detach()
            run.t += 1
            if watch:
                run.saw(watch(run.t))
            run.save()
            bar.update()
    return History(run.losses, run.watched)


def _can_be_followed(loss: Tensor, t: int) -> None:
    if not loss.requires_grad:
        raise ValueError("loss: it depends on no weight that can be trained: call model.requires_grad_(True).")
    if not loss.isfinite():
        raise FloatingPointError(f"loss: {loss.item()} after {t} iterations: is the learning rate too high?")


class _Run:
    """How far a run has come, and its file."""

    def __init__(self, model, optimizer, iterations: int, seed: int, keep: str | Path | None):
        self.model, self.optimizer, self.iterations, self.seed = model, optimizer, iterations, seed
        self.rates = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.t, self.watched = 0, []
        self.losses = torch.zeros(iterations, dtype=torch.float32, device="cpu")
        self.keep = kept.Kept(keep, "run", self._of()) if keep else None
        if self.keep and (saved := self.keep.read()):
            self.t, self.losses, self.watched = saved["t"], saved["losses"], saved["watched"]
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])

    def _of(self) -> dict[str, Any]:
        """What must be the same for a file to be this run's."""
        weights = {name: f"{list(W.shape)} {W.dtype}" for name, W in self.model.state_dict().items()}
        options = [{name: group[name] for name in group if name in OPTIONS} for group in self.optimizer.param_groups]
        run = {"iterations": self.iterations, "seed": self.seed, "rates": self.rates, "shapes": weights}
        return run | {"optimizer": [type(self.optimizer).__name__, *options]}

    def saw(self, what: Any) -> None:
        if what is not None:
            self.watched.append(kept.plain(f"watch, after {self.t} iterations", what) if self.keep else what)

    def tries(self) -> None:
        """Before the work starts, whether it can be kept; a finished run needs no place to write."""
        if self.keep and self.t < self.iterations:
            self.keep.tried(**self._now())

    def save(self) -> None:
        if self.keep and (self.t % math.ceil(self.iterations / SAVES) == 0 or self.t == self.iterations):
            self.keep.write(**self._now())

    def _now(self) -> dict[str, Any]:
        now = {"t": self.t, "losses": self.losses, "watched": self.watched}
        return now | {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
