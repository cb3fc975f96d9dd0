"""Layer 2 of notebook 10 behind a textbook's layer 1: `python -m helpers.trained.textbook_runs` makes the weights anew.

The two-layer language models of `induction_runs` with a first layer that reads the previous word, and nothing else,
from the start; trained on the same texts. Three seeds, final weights only. About 40 seconds on one core. If it was
stopped, the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

import torch

from helpers import kept, shell, training
from helpers.models.induction import TextbookFirst
from helpers.trained import induction_runs

FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.textbook_runs` makes it."
SEEDS = (0, 1, 2)
ITERATIONS = induction_runs.ITERATIONS


def untrained(seed: int = 0) -> TextbookFirst:
    """A new model.

    >>> len(untrained().layers())
    2
    """
    return TextbookFirst(induction_runs.V, induction_runs.L, seed=seed)


def train(model: TextbookFirst, iterations: int = ITERATIONS, *, seed: int = 0, **fit) -> training.History:
    """Train a model in place, as `induction_runs.train` does."""
    return induction_runs.train(model, iterations, seed=seed, **fit)


def load(seed: int = 0, *, folder: str | Path = FOLDER) -> TextbookFirst:
    """The trained model of a seed, frozen.

    >>> load(2).attention.shape
    torch.Size([2, 4, 32, 32])
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    file = Path(folder) / FILE.name
    weights = kept.read(file, REMEDY, holds=SEEDS)[seed]
    return kept.fill(untrained(seed), weights, file, REMEDY).requires_grad_(False)


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    folder, made = Path(folder), {}
    for seed in SEEDS:
        model = untrained(seed)
        history = train(model, ITERATIONS, seed=seed, keep=folder / f"textbook_{seed}.run")
        print(f"seed {seed}: loss {history.losses[-100:].mean():.3f}", flush=True)
        made[seed] = {name: W.half() for name, W in model.state_dict().items()}
    kept.write(folder / FILE.name, made)
    kept.clear(folder, "textbook_*.run")


if __name__ == "__main__":
    shell.script(main, FOLDER)
