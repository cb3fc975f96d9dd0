"""The learners of notebook 08, trained on sine tasks: `python -m helpers.trained.sine_runs` makes sine_runs.pt anew.

Both start from the same features and see the same tasks in the same order; only what the context does to the last layer
is different. Three seeds of each, 6 000 iterations, about a minute a run on one core. If it was stopped, the same
command goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import kept, shell, training
from helpers.models import features
from helpers.models.features import AttentionLearner, DeepLearner, Features, GradientLearner

FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.sine_runs` makes it."
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
    model: DeepLearner, iterations: int = ITERATIONS, *, lr: float = LR, seed: int = 0, **fit
) -> training.History:
    """Train a model in place, with Adam and a learning rate that falls along a cosine; `fit` as in `training.fit`."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    scaled = lambda task_seed: 100 * features.loss(model, task_seed)  # noqa: E731  # above Adam's epsilon
    history = training.fit(model, scaled, optimizer, iterations, seed=seed, **fit)
    return history._replace(losses=history.losses / 100)


def load(seed: int = 0, *, folder: str | Path = FOLDER) -> dict[str, Trained]:
    """The trained models of a seed (0, 1 or 2), in float32: {"gradient": …, "attention": …}.

    >>> load()["attention"].model(torch.zeros(4, 10, 1), torch.zeros(4, 10, 1), torch.zeros(4, 1)).shape
    torch.Size([4, 1])
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    file, names = Path(folder) / FILE.name, [f"{kind} {seed}{part}" for kind in KINDS for part in ("", " losses")]
    saved, found = kept.read(file, REMEDY, holds=names), {}
    for kind in KINDS:
        model = kept.fill(untrained(kind), saved[f"{kind} {seed}"], file, REMEDY)
        found[kind] = Trained(model.requires_grad_(False), saved[f"{kind} {seed} losses"])
    return found


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    folder, made = Path(folder), {}
    for seed in SEEDS:
        for kind in KINDS:
            model = untrained(kind, seed)
            losses = train(model, ITERATIONS, seed=seed, keep=folder / f"sine_{kind}_{seed}.run").losses
            made |= {f"{kind} {seed}": model.state_dict(), f"{kind} {seed} losses": losses.reshape(-1, EVERY).mean(1)}
            print(f"seed {seed}, {kind}: loss {losses[-500:].mean():.2e}", flush=True)
    kept.write(folder / FILE.name, made)
    kept.clear(folder, "sine_*.run")


if __name__ == "__main__":
    shell.script(main, FOLDER)
