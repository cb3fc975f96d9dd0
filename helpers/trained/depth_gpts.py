"""Nine small GPTs, one, two and three layers deep and three seeds each, trained on linear tasks with d = 4.

    python -m helpers.trained.depth_gpts

trains them anew, in about 8 minutes of one core, and writes depth_gpts.pt. If it was stopped, the same command goes on.
The weights are kept in half precision: what is loaded is what is measured.

All see the same prompts in the same order: tasks w ~ N(0, I), 10 pairs y = w^T x without noise, x ~ N(0, I). The loss
is the squared error over d, averaged over the predictions after 0, 1, …, 10 pairs. (Akyürek et al. 2022 compare trained
transformers of several depths with explicit learners in this way; theirs are larger.)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from helpers import checks, kept, shell, tasks, training
from helpers.models.gpt import RegressionGPT
from helpers.trained.regression_gpts import frozen

FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.depth_gpts` makes it."
DEPTHS, SEEDS = (1, 2, 3), (0, 1, 2)
D_X, LONGEST, D_MODEL = 4, 10, 32
ITERATIONS, BATCH, LEARNING_RATE = 4000, 64, 3e-3


def untrained(n_layers: int, seed: int = 0) -> RegressionGPT:
    """A new model.

    >>> sum(W.numel() for W in untrained(n_layers=1).parameters())
    13569
    """
    return RegressionGPT(D_X, longest=LONGEST, d_model=D_MODEL, n_layers=n_layers, n_heads=4, seed=seed)


def loss(model: RegressionGPT, seed: int) -> Tensor:
    """Mean squared error over d, of the predictions after 0, 1, …, 10 pairs of a fresh batch."""
    p = tasks.linear_regression(BATCH, LONGEST, D_X, seed=seed).to(torch.float32)
    truth = torch.cat([p.y, p.y_query[:, None]], dim=1)  # (B, N+1, 1)
    return (model.path(*p.shown) - truth).square().mean() / D_X


def train(model: RegressionGPT, iterations: int = ITERATIONS, *, seed: int = 0, **fit) -> training.History:
    """Train a model in place; `fit` (`watch`, `keep`) as in `training.fit`."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    return training.fit(
        model, lambda s: loss(model, s), optimizer, iterations, seed=seed, schedule=training.warm_then_cosine, **fit
    )


def load(n_layers: int, seed: int = 0, *, folder: str | Path = FOLDER) -> RegressionGPT:
    """A trained model of 1, 2 or 3 layers and seed 0, 1 or 2, frozen, in float64.

    >>> model = load(n_layers=2)
    >>> model(*tasks.linear_regression(B=3, N=10, d_x=4).shown).shape
    torch.Size([3, 1])
    """
    if n_layers not in DEPTHS or seed not in SEEDS:
        raise ValueError(f"n_layers, seed: expected one of {DEPTHS} and of {SEEDS}, got {n_layers!r} and {seed!r}.")
    file, name = Path(folder) / FILE.name, f"{checks.count('n_layers', n_layers)} layers, seed {seed}"
    return frozen(kept.fill(untrained(n_layers), kept.read(file, REMEDY, holds=[name])[name], file, REMEDY))


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    folder, made = Path(folder), {}
    for seed in SEEDS:
        for n_layers in DEPTHS:
            model, name = untrained(n_layers, seed), f"{n_layers} layers, seed {seed}"
            history = train(model, ITERATIONS, seed=seed, keep=folder / f"depth_{n_layers}_{seed}.run")
            made[name] = {part: W.half() for part, W in model.state_dict().items()}
            print(f"{name}: loss {history.losses[-200:].mean():.3f}", flush=True)
    kept.write(folder / FILE.name, made)
    kept.clear(folder, "depth_*.run")


if __name__ == "__main__":
    shell.script(main, FOLDER)
