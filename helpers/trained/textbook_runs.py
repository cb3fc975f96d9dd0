"""Layer 2 of notebook 10 behind a textbook's layer 1: `python -m helpers.trained.textbook_runs` makes the weights anew.

The two-layer language models of `induction_runs` with a first layer that reads the previous word, and nothing else,
from the start; trained on the same texts. Three seeds, final weights only. About 40 seconds on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from helpers import training
from helpers.models.induction import TextbookFirst
from helpers.trained import induction_runs

FILE = Path(__file__).with_suffix(".pt")
SEEDS = (0, 1, 2)


def untrained(seed: int = 0) -> TextbookFirst:
    """A new model.

    >>> len(untrained().layers())
    2
    """
    return TextbookFirst(induction_runs.V, induction_runs.L, seed=seed)


def train(
    model: TextbookFirst, iterations: int = induction_runs.ITERATIONS, *, seed: int = 0, **fit
) -> training.History:
    """Train a model in place, as `induction_runs.train` does."""
    return induction_runs.train(model, iterations, seed=seed, **fit)


def load(seed: int = 0, *, file: Path = FILE) -> TextbookFirst:
    """The trained model of a seed, frozen.

    >>> load(2).attention.shape
    torch.Size([2, 4, 32, 32])
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    model = untrained(seed).requires_grad_(False)
    model.load_state_dict(torch.load(file, weights_only=True)[seed])
    return model


def main(folder: str | None = None) -> None:
    torch.set_num_threads(1)
    made = {}
    for seed in SEEDS:
        model, keep = untrained(seed), Path(folder) / f"textbook_{seed}.run" if folder else None
        history = train(model, seed=seed, keep=keep)
        print(f"seed {seed}: loss {history.losses[-100:].mean():.3f}", flush=True)
        made[seed] = {name: W.half() for name, W in model.state_dict().items()}
    torch.save(made, FILE)


if __name__ == "__main__":
    main(*sys.argv[1:])
