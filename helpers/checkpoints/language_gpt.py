"""GPTs of 160,000 weights, trained to learn a task of the toy language from its demonstrations; one for each seed."""

from __future__ import annotations

from pathlib import Path

import torch

from helpers import language
from helpers.gpt import LanguageGPT

SEEDS = (0, 1, 2)
FOLDER = Path(__file__).parent


def untrained(seed: int = 0) -> LanguageGPT:
    """The model before training, with random weights, frozen."""
    return frozen(LanguageGPT(language.VOCABULARY, seed=seed))


def with_trained_embeddings(seed: int = 0) -> LanguageGPT:
    """Random weights between the trained model's embedding and unembedding, frozen."""
    model, trained = untrained(seed), load(seed)
    model.embed, model.unembed = trained.embed, trained.unembed
    return model


def load(seed: int = 0, *, folder: str | Path = FOLDER) -> LanguageGPT:
    """The trained model of seed 0, 1 or 2, frozen, in float32."""
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    file = Path(folder) / f"language_gpt_{seed}.pt"
    if not file.exists():
        raise FileNotFoundError(f"there is no {file}: `python -m helpers.checkpoints.language_gpt` makes it.")
    model = LanguageGPT(language.VOCABULARY)
    model.load_state_dict(torch.load(file, weights_only=True))
    return frozen(model)


def frozen(model: LanguageGPT) -> LanguageGPT:
    """For use only: no gradients."""
    return model.eval().requires_grad_(False)
