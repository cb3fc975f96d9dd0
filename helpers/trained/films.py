"""Weights on the way: a training run as a film. Kept in float16, and everything else is computed from them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from helpers import kept, training


class Film(NamedTuple):
    """A training run: the weights after so many iterations, and the loss of all iterations in means of `every`."""

    model: nn.Module  # of the right kind; its own weights do not matter
    at: list[int]  # (S,) iterations
    weights: dict[str, Tensor]  # name -> (S, …), float16
    losses: Tensor  # (iterations / every,)
    every: int

    def frame(self, k: int) -> nn.Module:
        """The model as it was after `at[k]` iterations: a frozen copy, with the weights rounded to float16."""
        model = copy.deepcopy(self.model).requires_grad_(False)
        model.load_state_dict({name: W[k] for name, W in self.weights.items()})
        return model


def camera(model: nn.Module, at: Sequence[int]) -> Callable[[int], dict[str, Tensor] | None]:
    """A `watch` for `training.fit`: a copy of the weights after each of these numbers of iterations.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> watch = camera(model, [0, 10])
    >>> watch(0)["weight"].dtype, watch(5)
    (torch.float16, None)
    """
    return lambda t: {name: W.half() for name, W in model.state_dict().items()} if t in at else None


def develop(history: training.History, at: Sequence[int], every: int) -> dict[str, Any]:
    """What is saved of a run, in plain types: torch reads it back without pickle's risks."""
    frames = history.watched
    if len(frames) != len(at):
        raise ValueError(f"at: expected the {len(frames)} iterations that were watched, got {len(at)}.")
    weights = {name: torch.stack([frame[name] for frame in frames]) for name in frames[0]}
    return {"at": list(at), "weights": weights, "losses": curve(history.losses, every)}


def curve(losses: Tensor, every: int) -> Tensor:
    """Means of `every` iterations.

    >>> curve(torch.tensor([1.0, 3.0, 5.0, 7.0]), every=2)
    tensor([2., 6.])
    """
    return losses.unflatten(-1, (-1, every)).mean(-1)


def film(model: nn.Module, saved: Any, every: int, file: str | Path = "", remedy: str = "") -> Film:
    """The other way round; what was read from a file and is no film of this model is said to be that."""
    found = saved["weights"] if isinstance(saved, dict) and {"at", "weights", "losses"} <= set(saved) else None
    kept.fill(copy.deepcopy(model), found and {name: W[0] for name, W in found.items()}, file, remedy)
    return Film(model, saved["at"], found, saved["losses"], every)
