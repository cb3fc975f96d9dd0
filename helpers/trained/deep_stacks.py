"""The deep stacks of notebook 06. Two tied layers are trained there; five untied ones were, beforehand, and are loaded.

`python -m helpers.trained.deep_stacks` makes deep_stacks.pt anew: five layers of linear attention, each with its own
four matrices, on prompts of N = d_x = 10 uniform inputs, once with exact labels and once with noise on them. Three
seeds of each, about a minute and a half a run on one core. If it was stopped, the same command goes on.

Five layers are a polynomial of high degree, so a prompt with an unusual eigenvalue can have a loss of 10^10 during
training, and one such gradient would spoil Adam's running averages: the gradient's norm is clipped.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from helpers import kept, learners, shell, tasks, training
from helpers.attention import Layer
from helpers.models.stacks import LinearTransformer
from helpers.theory import best_steps, residuals

FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.deep_stacks` makes it."
SEEDS, NOISES = (0, 1, 2), (0.0, 0.1)
ITERATIONS, B, LR, CLIP = 6000, 512, 1e-2, 0.1


def prompts(B: int, *, noise: float = 0.0, seed: int = 0) -> tasks.Prompt:
    """Prompts as these stacks see them: N = d_x = 10, inputs U(-1/2, 1/2), noise on the labels.

    >>> prompts(4).x.shape
    torch.Size([4, 10, 10])
    """
    return tasks.linear_regression(B, N=10, d_x=10, inputs="uniform", noise=noise, seed=seed)


def half_losses(W: Tensor, prompt: tasks.Prompt) -> Tensor:
    """Half the squared error of linear models W (B, 1, 10), averaged over all queries that each prompt could ask: (B,).

    >>> half_losses(prompts(4).W, prompts(4))
    tensor([0., 0., 0., 0.], dtype=torch.float64)
    """
    return (W - prompt.W).square().sum(dim=(1, 2)) / 24  # an input coordinate has variance 1/12


def untrained(seed: int = 0) -> LinearTransformer:
    """A new stack of five layers."""
    return LinearTransformer(d_x=10, n_layers=5, scale=0.1, seed=seed)


def train(
    model: LinearTransformer, iterations: int = ITERATIONS, *, noise: float = 0.0, seed: int = 0, **fit
) -> training.History:
    """Train a stack in place, with Adam, a clipped gradient and a rate that falls along a cosine; `fit` (`watch`,
    `keep`) as in `training.fit`."""
    adam = torch.optim.Adam(model.parameters(), LR)

    def clip(*_):
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)

    adam.register_step_pre_hook(clip)

    def loss(task_seed: int) -> Tensor:
        prompt = prompts(B, noise=noise, seed=task_seed)
        return half_losses(model.weights(prompt.x, prompt.y), prompt).mean()

    return training.fit(model, loss, adam, iterations, seed=seed, **fit)


def tied_stack(seed: int = 0, shift: int = 0) -> tuple[LinearTransformer, Tensor]:
    """Two tied layers, trained from random matrices in a few seconds, and their losses; `shift` moves the prompts."""
    model = LinearTransformer(d_x=10, n_layers=2, tied=True, scale=0.1, seed=seed)

    def loss(task_seed: int) -> Tensor:
        prompt = prompts(256, seed=task_seed)
        return half_losses(model.weights(prompt.x, prompt.y), prompt).mean()

    run = training.fit(model, loss, torch.optim.Adam(model.parameters(), lr=0.02), iterations=800, seed=seed + shift)
    return model.requires_grad_(False), run.losses


def read_gamma(layer: Layer) -> tuple[float, float]:
    """gamma and eta/N of a layer of GD++, read off the products W_K^T W_Q and P W_V, which no gauge can change.

    >>> from helpers import constructions
    >>> [round(number, 3) for number in read_gamma(constructions.gd_pp_step(eta=0.9, gamma=0.012, N=20, d_x=7))]
    [0.012, 0.045]
    """
    key_query, output = layer.W_K.mT @ layer.W_Q, layer.P @ layer.W_V
    c = key_query.diagonal()[:-1].mean()
    return (-c * output.diagonal()[:-1].mean()).item(), (-c * output[-1, -1]).item()


def load(noise: float = 0.0, *, folder: str | Path = FOLDER) -> list[LinearTransformer]:
    """The trained stacks for one level of noise (0.0 or 0.1), one for each seed.

    >>> load(noise=0.1)[0].weights(*prompts(4, noise=0.1).shown[:2]).shape
    torch.Size([4, 1, 10])
    """
    if noise not in NOISES:
        raise ValueError(f"noise: expected one of {NOISES}, got {noise!r}.")
    file, names = Path(folder) / FILE.name, [f"noise {float(noise)} seed {seed}" for seed in SEEDS]
    saved = kept.read(file, REMEDY, holds=names)
    return [kept.fill(untrained(), saved[name], file, REMEDY).requires_grad_(False) for name in names]


# --- what they are compared with --------------------------------------------------------------------------------


def tripled(prompt: tasks.Prompt, L: float, k: int) -> Tensor:
    """The linear models (B, 1, 10) in k layers of GD++ by hand, which triple an angle: `residuals.tripling`."""
    g = residuals.tripling(L, k)
    return learners.gd_pp_weights(prompt.x, prompt.y, [10 * a for a in g], g, k)


@functools.lru_cache
def by_depth(noise: float, shift: int = 0) -> dict[str, Tensor]:
    """Half-losses on 4,000 new prompts after 1 to 5 layers (5, B): of the best untied steps of gradient descent (for
    5,000 other prompts), and of layers by hand with L = 5."""
    h = best_steps.eigenvalues(10, inputs="uniform", B=5000, seed=50 + shift)
    new, depths = prompts(4000, noise=noise, seed=60 + shift), range(1, 6)
    etas = [best_steps.steps(h / 10, k, noise=noise, h=h).untied for k in depths]
    found = {"gradient descent": [learners.gd_weights(new.x, new.y, etas[k - 1], k) for k in depths]}
    found["by hand"] = [tripled(new, 5, k) for k in depths]
    return {name: torch.stack([half_losses(W, new) for W in found[name]]) for name in found}


@functools.lru_cache
def rivals(noise: float, shift: int = 0) -> dict[str, Tensor]:
    """Half-losses on the same prompts: of the trained stacks (3, B), five layers by hand with L = 25, ridge (1, B)."""
    new = prompts(4000, noise=noise, seed=60 + shift)
    found = {
        "trained": [model.weights(new.x, new.y) for model in load(noise)],
        "by hand, L = 25": [tripled(new, 25, 5)],
    }
    found["ridge"] = [learners.ridge_weights(new.x, new.y, noise**2 or 1e-12)]
    return {name: torch.stack([half_losses(W, new) for W in found[name]]) for name in found}


# --- how they were made -----------------------------------------------------------------------------------------


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    folder, made = Path(folder), {}
    for noise in NOISES:
        for seed in SEEDS:
            model, run = untrained(seed), folder / f"deep_{noise}_{seed}.run"
            losses = train(model, ITERATIONS, noise=noise, seed=seed, keep=run).losses
            made[f"noise {noise} seed {seed}"] = model.state_dict()
            print(f"noise {noise}, seed {seed}: median loss of the last 500 batches {losses[-500:].median():.4f}")
    kept.write(folder / FILE.name, made)
    kept.clear(folder, "deep_*.run")


if __name__ == "__main__":
    shell.script(main, FOLDER)
