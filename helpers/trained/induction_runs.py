"""The language models of notebook 10 on the way: `python -m helpers.trained.induction_runs` makes them anew.

One layer and two layers, three seeds of each, with the weights at 21 moments. About 40 seconds on one core. If it was
stopped, the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

import torch

from helpers import kept, shell, training
from helpers.models import induction
from helpers.models.induction import AttentionOnly
from helpers.trained import films

FOLDER = Path(__file__).parent
REMEDY = "`python -m helpers.trained.induction_runs` makes it."
V, L, PERIODS = 20, 32, (8, 15)
SEEDS, LAYERS = (0, 1, 2), (1, 2)
ITERATIONS, BATCH, LR = 1200, 64, 3e-3
AT = [*range(0, 600, 40), *range(600, ITERATIONS + 1, 120)]
EVERY = 10  # the loss curves that are kept: means of so many iterations


def untrained(n_layers: int, seed: int = 0) -> AttentionOnly:
    """A new model of one or two layers.

    >>> len(untrained(2).layers())
    2
    """
    return AttentionOnly(V, L, n_layers=n_layers, seed=seed)


def train(
    model: AttentionOnly, iterations: int = ITERATIONS, *, periods: tuple[int, int] = PERIODS, seed: int = 0, **fit
) -> training.History:
    """Train a model in place to predict each next word; `fit` (`watch`, `keep`) as in `training.fit`."""

    def loss(batch_seed: int):
        words, _ = induction.sequences(BATCH, L, V, periods=periods, seed=batch_seed)
        return induction.losses(model(words), words).mean()

    optimizer = torch.optim.Adam(model.parameters(), LR, betas=(0.9, 0.98))
    return training.fit(model, loss, optimizer, iterations, seed=seed, schedule=training.warm_then_cosine, **fit)


def load(seed: int = 0, *, folder: str | Path = FOLDER) -> dict[int, films.Film]:
    """The films of a seed's two models (0, 1 or 2), by their number of layers.

    >>> {n_layers: film.frame(-1).attention.shape for n_layers, film in load().items()}
    {1: torch.Size([1, 4, 32, 32]), 2: torch.Size([2, 4, 32, 32])}
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    file = Path(folder) / f"induction_runs_{seed}.pt"
    saved = kept.read(file, REMEDY, holds=LAYERS)
    return {n_layers: films.film(untrained(n_layers), saved[n_layers], EVERY, file, REMEDY) for n_layers in LAYERS}


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    folder = Path(folder)
    for seed in SEEDS:
        made = {}
        for n_layers in LAYERS:
            model, run = untrained(n_layers, seed), folder / f"induction_{n_layers}_{seed}.run"
            history = train(model, ITERATIONS, seed=seed, watch=films.camera(model, AT), keep=run)
            made[n_layers] = films.develop(history, AT, EVERY)
            print(f"seed {seed}, {n_layers} layers: loss {history.losses[-100:].mean():.3f}", flush=True)
        kept.write(folder / f"induction_runs_{seed}.pt", made)
    kept.clear(folder, "induction_*.run")


if __name__ == "__main__":
    shell.script(main, FOLDER)
