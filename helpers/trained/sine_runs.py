"""The learners of notebook 08, trained on sine tasks: `python -m helpers.trained.sine_runs` makes sine_runs.pt anew.

Both start from the same features and see the same tasks in the same order; only what the context does to the last layer
is different. Three seeds of each, 6 000 iterations, about a minute a run on one core. A folder, given as an
argument, keeps the runs on the way, so that a call that was stopped goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import training
from helpers.models import features
from helpers.models.features import AttentionLearner, DeepLearner, Features, GradientLearner

FILE = Path(__file__).with_suffix(".pt")
KINDS = {"gradient": GradientLearner, "attention": AttentionLearner}
SEEDS = (0, 1, 2)
ITERATIONS, LR = 6000, 1e-2
EVERY = 40  # the loss curve that is kept: means of so many iterations


class Trained(NamedTuple):
    """A trained model, and its loss on the way: means of EVERY iterations, (ITERATIONS / EVERY,)."""

    model: DeepLearner
    losses: Tensor


def untrained(kind: str, seed: int = 0) -> DeepLearner:
    """A new model: "gradient" or "attention". The same seed gives both the same features.

    >>> a, b = untrained("gradient", seed=1), untrained("attention", seed=1)
    >>> torch.equal(a.features.expand, b.features.expand)
    True
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}.")
    return KINDS[kind](Features(seed=seed))


def train(
    model: DeepLearner, iterations: int = ITERATIONS, *, lr: float = LR, seed: int = 0, keep: str | Path | None = None
) -> Tensor:
    """Train a model in place, with Adam and a learning rate that falls along a cosine; its losses (iterations,)."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    scaled = lambda task_seed: 100 * features.loss(model, task_seed)  # noqa: E731  # above Adam's epsilon
    return training.fit(model, scaled, optimizer, iterations, seed=seed, keep=keep).losses / 100


def load(seed: int = 0, *, file: Path = FILE) -> dict[str, Trained]:
    """The trained models of a seed (0, 1 or 2), in float32: {"gradient": …, "attention": …}.

    >>> load()["attention"].model(torch.zeros(4, 10, 1), torch.zeros(4, 10, 1), torch.zeros(4, 1)).shape
    torch.Size([4, 1])
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    saved, found = torch.load(file, weights_only=True), {}
    for kind in KINDS:
        model = untrained(kind)
        model.load_state_dict(saved[f"{kind} {seed}"])
        found[kind] = Trained(model.requires_grad_(False), saved[f"{kind} {seed} losses"])
    return found


def main(folder: str | None = None) -> None:
    torch.set_num_threads(1)
    made = {}
    for seed in SEEDS:
        for kind in KINDS:
            model = untrained(kind, seed)
            losses = train(model, seed=seed, keep=Path(folder) / f"sine_{kind}_{seed}.pt" if folder else None)
            made |= {f"{kind} {seed}": model.state_dict(), f"{kind} {seed} losses": losses.reshape(-1, EVERY).mean(1)}
            print(f"seed {seed}, {kind}: loss {losses[-500:].mean():.2e}")
    torch.save(made, FILE)


if __name__ == "__main__":
    main(*sys.argv[1:])
