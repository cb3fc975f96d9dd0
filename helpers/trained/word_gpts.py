"""Three GPTs of 160,000 weights, trained to learn a task of the toy language from its demonstrations; seeds 0, 1, 2.

    python -m helpers.trained.word_gpts

trains them anew, in 3 to 4 minutes each on one free core, and writes word_gpts_0.pt, …; and then, to compare, the
same models by two other recipes; how all of these went is in word_gpts_curves.pt. If it was stopped, the same command
goes on.

A training sequence is 32 demonstrations of one task. Easy tasks lead on to hard ones: in each batch, as many have 1, 2,
4 and 8 words a class, as many 2 classes and 4; one in seven has labels of fixed meaning. So no curriculum is needed.

The loss is the mean of -log p over the label words, plus that over all other words: what a language model is trained
on, with more weight on the labels. The optimizer is Muon (Jordan et al. 2024) on the matrices of the core, which makes
each update a nearly orthogonal matrix, and AdamW on the rest. Other recipes take AdamW for everything, or the loss on
the labels only.

Muon's weight decay keeps the matrices small (largest singular values near 2 instead of near 10). Without it, the model
learns as much from a prompt, but hardly from fine-tuning: deeper layers see large activations that all prompts share,
so that a step for one demonstration changes the answers to all.
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import kept, shell, training
from helpers.finetuning import toy_language
from helpers.models.gpt import WordGPT

SEEDS = (0, 1, 2)
RECIPES = ("Muon", "AdamW, labels only", "AdamW")  # models of the first are shipped, the others are to compare
ITERATIONS, EVERY = 1000, 25  # trained for so long, looked at so often
SHOTS, PER_KIND, PER_FIXED = 32, 3, 2  # demonstrations a sequence; sequences of a kind in a batch
LR, LR_MUON, DECAY = 2e-3, 0.02, 0.5
FOLDER = Path(__file__).parent
REMEDY = "`python -m helpers.trained.word_gpts` makes it."


def sequences(seed: int) -> Tensor:
    """A training batch (28, 160): 3 fresh tasks each of 2 or 4 classes with 1, 2, 4 or 8 words, and 2 + 2 fixed ones.

    >>> sequences(seed=0).shape
    torch.Size([28, 160])
    """
    kinds = [(PER_KIND, C, m, "fresh") for C in (2, 4) for m in (1, 2, 4, 8)]
    kinds += [(PER_FIXED, C, 8, "fixed") for C in (2, 4)]
    rows = []
    for i, (B, C, m, meaning) in enumerate(kinds):
        task = toy_language.draw(B, C, m, meaning=meaning, held_out=False, seed=seed + i)
        rows.append(toy_language.few_shot(task, SHOTS, Q=1, seed=seed + i).demos.flatten(1))
    return torch.cat(rows)


def loss(model: WordGPT, tokens: Tensor, other_words: bool = True) -> Tensor:
    """Mean -log p of the label words in sequences (B, T); plus, with `other_words`, that of all other words."""
    surprise = F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    is_label = tokens[:, 1:].flatten() >= toy_language.WORDS
    return surprise[is_label].mean() + (surprise[~is_label].mean() if other_words else 0.0)


class Both:
    """Two optimizers, each with weights of its own, used as one."""

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def optimizer(model: WordGPT, recipe: str) -> Both | torch.optim.Optimizer:
    """Muon on the core's matrices and AdamW on all else; or AdamW on everything."""
    adam = {"lr": LR, "betas": (0.9, 0.98), "weight_decay": 0.0}
    if recipe.startswith("AdamW"):
        return torch.optim.AdamW(model.parameters(), **adam)
    matrices = [W for W in model.core.parameters() if W.ndim == 2]
    others = [W for W in model.parameters() if all(W is not matrix for matrix in matrices)]
    return Both(torch.optim.Muon(matrices, LR_MUON, weight_decay=DECAY), torch.optim.AdamW(others, **adam))


def warm_then_down(done: float) -> float:
    """The learning rate rises over the first fiftieth of the run, stays, and falls to 0 over the last third."""
    return min(1.0, 50 * done, 3 * (1 - done))


def train(
    model: WordGPT, iterations: int = ITERATIONS, *, recipe: str = "Muon", seed: int = 0, **fit
) -> training.History:
    """Train a model in place, frozen or not. Watched: `progress` after each EVERY iterations; `fit`: `keep`."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe: expected one of {'; '.join(RECIPES)}, got {recipe!r}.")
    model.requires_grad_(True)
    return training.fit(
        model,
        lambda s: loss(model, sequences(s), other_words="labels only" not in recipe),
        optimizer(model, recipe),
        iterations,
        seed=seed,
        schedule=warm_then_down,
        watch=lambda t: progress(model) if t % EVERY == 0 else None,
        **fit,
    )


def progress(model: WordGPT) -> list[float]:
    """Accuracy after 32 demonstrations, on 64 unseen tasks of 2 classes, and on 64 of 4 (8 words a class)."""
    unseen = [toy_language.few_shot(toy_language.draw(64, C, seed=1), SHOTS, Q=C, seed=1) for C in (2, 4)]
    return [score(model, episode) for episode in unseen]


def score(model: WordGPT, episode: toy_language.Episode) -> float:
    """The share of queries whose label the model finds among its task's labels."""
    return hits(model, episode).double().mean().item()


@torch.no_grad()
def hits(model: WordGPT, episode: toy_language.Episode) -> Tensor:
    """Which queries (B, Q) the model answers right."""
    logits = torch.cat([model(rows)[:, -1] for rows in episode.prompts().split(256)])
    return toy_language.answers(logits, episode) == episode.target


def untrained(seed: int = 0) -> WordGPT:
    """The model before its training: random weights, frozen."""
    return frozen(WordGPT(toy_language.VOCABULARY, seed=seed))


def with_trained_embeddings(seed: int = 0) -> WordGPT:
    """Random weights between the trained model's embedding and its unembedding, frozen."""
    model, trained = untrained(seed), load(seed)
    model.embed, model.unembed = trained.embed, trained.unembed
    return model


def load(seed: int = 0, *, folder: str | Path = FOLDER) -> WordGPT:
    """A trained model that comes with the series, frozen, in float32.

    >>> episode = toy_language.few_shot(toy_language.draw(B=16), k=32)
    >>> score(load(seed=0), episode) > score(load(seed=0), episode.first(0)) + 0.3
    True
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    file = Path(folder) / f"word_gpts_{seed}.pt"
    return frozen(kept.fill(untrained(), kept.read(file, REMEDY), file, REMEDY))


def curves(recipe: str = "Muon", seed: int = 0, *, folder: str | Path = FOLDER) -> tuple[Tensor, Tensor]:
    """How a training went: accuracies (41, 2) after 0, 25, … iterations, as `progress`; losses (40,), means of 25.

    >>> accuracies, losses = curves("AdamW, labels only")
    >>> accuracies.shape, losses.shape
    (torch.Size([41, 2]), torch.Size([40]))
    """
    names = [f"{each} {i}" for each, i in product(RECIPES, SEEDS)]
    if f"{recipe} {seed}" not in names:
        raise ValueError(f"recipe, seed: expected one of {'; '.join(names)}, got {recipe} {seed}.")
    return kept.read(Path(folder) / "word_gpts_curves.pt", REMEDY, holds=names)[f"{recipe} {seed}"]


def frozen(model: WordGPT) -> WordGPT:
    """For use only: no gradients."""
    return model.eval().requires_grad_(False)


def main(folder: str | Path = FOLDER) -> None:
    """Do all runs; write the three models and all curves."""
    torch.set_num_threads(1)
    folder, curves = Path(folder), {}
    for recipe, seed in product(RECIPES, SEEDS):
        start, model = time.process_time(), untrained(seed)
        history = train(model, ITERATIONS, recipe=recipe, seed=seed, keep=folder / f"word_gpts_{recipe}_{seed}.run")
        curves[f"{recipe} {seed}"] = curve(history)
        if recipe == "Muon":
            kept.write(folder / f"word_gpts_{seed}.pt", model.state_dict())
        seen = ", ".join(f"{right:.3f}" for right in history.watched[-1])
        print(f"{recipe}, seed {seed}: {seen}, {time.process_time() - start:.0f} s of CPU", flush=True)
    kept.write(folder / "word_gpts_curves.pt", curves)
    kept.clear(folder, "word_gpts_*.run")


def curve(history: training.History) -> tuple[Tensor, Tensor]:
    """What is kept of a training, as `curves`: what was watched, and the losses as means of EVERY."""
    return torch.tensor(history.watched, dtype=torch.float32, device="cpu"), history.losses.reshape(-1, EVERY).mean(1)


if __name__ == "__main__":
    shell.script(main, FOLDER)
