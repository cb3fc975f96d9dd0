"""The softmax layers of notebook 09 on the way: `python -m helpers.trained.softmax_runs` makes softmax_runs.pt anew.

One head, two heads and linear attention, twelve seeds each, with the weights at eleven moments; and, at the end only,
the same from smaller weights, a pair of heads trained slowly, and a layer norm in front. About 3 minutes on one core.
If it was stopped, the same command goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from helpers import kept, learners, shell, tasks, training
from helpers.learners import Learner
from helpers.models.normed import NormedLayer
from helpers.models.stacks import LinearTransformer, SoftmaxLayer
from helpers.theory import closed_forms, mixing
from helpers.trained import films

FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.softmax_runs` makes it."
D_X, N = 10, 10
AT = (0, 20, 40, 80, 120, 160, 240, 320, 400, 600, 800)
EVERY = 20  # the loss curves that are kept: means of so many iterations


class Setting(NamedTuple):
    """What is trained, and how: `make(D_X, scale=…, seed=…)`, learning rate, first weights, frames, seeds."""

    make: Callable[..., nn.Module]
    lr: float = 0.03
    scale: float = 0.1
    at: tuple[int, ...] = AT  # the last is the number of iterations
    seeds: range = range(12)


one_head, two_heads = (functools.partial(SoftmaxLayer, n_heads=n) for n in (1, 2))
SETTINGS = {
    "one head": Setting(one_head),
    "two heads": Setting(two_heads),
    "linear": Setting(LinearTransformer),
    "one head, scale 0.03": Setting(one_head, scale=0.03, at=(0, 800)),
    "one head, scale 0.01": Setting(one_head, scale=0.01, at=(0, 800)),
    "two heads, scale 0.03": Setting(two_heads, scale=0.03, at=(0, 800)),
    "two heads, slowly": Setting(two_heads, lr=0.003, at=(0, 600), seeds=range(6)),
    "layer norm": Setting(NormedLayer, lr=0.02, at=(0, 400), seeds=range(6)),
}


def prompts(B: int, seed: int) -> tasks.Prompt:
    """The tasks of von Oswald et al. 2023: N = d = 10, inputs from U(-1/2, 1/2); float32.

    >>> prompts(B=3, seed=0).x.shape
    torch.Size([3, 10, 10])
    """
    return tasks.linear_regression(B, N, D_X, inputs="uniform", seed=seed).to(torch.float32)


def untrained(kind: str, seed: int = 0) -> nn.Module:
    """A new model of a kind, float32.

    >>> untrained("two heads").W_Q.shape
    torch.Size([2, 11, 11])
    """
    _check(kind)
    return SETTINGS[kind].make(D_X, scale=SETTINGS[kind].scale, seed=seed).float()


def train(model: nn.Module, iterations: int = AT[-1], *, lr: float = 0.03, seed: int = 0, **fit) -> training.History:
    """Train a model in place on half the mean squared error of 512 prompts, with Adam and a learning rate that falls
    along a cosine; `fit` (`watch`, `keep`) as in `training.fit`. The same seed gives the same prompts to all kinds."""

    def loss(task_seed: int) -> Tensor:
        p = prompts(512, task_seed)
        return (model(*p.shown) - p.y_query).square().mean() / 2

    return training.fit(model, loss, torch.optim.Adam(model.parameters(), lr), iterations, seed=seed, **fit)


def load(kind: str, seed: int = 0, *, folder: str | Path = FOLDER) -> films.Film:
    """The film of a training.

    >>> film = load("two heads", seed=3)
    >>> film.at[-1], film.frame(-1).W_Q.shape
    (800, torch.Size([2, 11, 11]))
    """
    _check(kind)
    if seed not in SETTINGS[kind].seeds:
        raise ValueError(f"seed: expected one of 0 to {SETTINGS[kind].seeds[-1]}, got {seed!r}.")
    file = Path(folder) / FILE.name
    return films.film(untrained(kind), _read(file)[kind].get(seed), EVERY, file, REMEDY)


def ends(kind: str) -> list[nn.Module]:
    """The trained models of a kind, one for each seed, frozen.

    >>> len(ends("one head"))
    12
    """
    _check(kind)
    return [load(kind, seed).frame(-1) for seed in SETTINGS[kind].seeds]


# --- what they lose -------------------------------------------------------------------------------------------


@functools.lru_cache
def held_out(shift: int = 0) -> tasks.Prompt:
    """8,000 prompts that no training has seen; each shift draws others."""
    return prompts(8000, seed=10**6 + shift)


def half_losses(learner: Learner, shift: int = 0) -> Tensor:
    """Half the squared error of a learner on each of the held-out prompts, (8000,).

    >>> round(half_losses(lambda x, y, x_query: 0 * x_query[:, :1]).mean().item(), 1)      # always 0
    0.4
    """
    p = held_out(shift)
    return (learner(*p.shown) - p.y_query).square()[:, 0] / 2


@functools.lru_cache
def trained_losses(kind: str, shift: int = 0) -> Tensor:
    """The same for all trained models of a kind, (M, 8000)."""
    return torch.stack([half_losses(model, shift) for model in ends(kind)])


def one_step(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """The rival: one gradient step of the best size (notebook 04)."""
    return learners.gd(x, y, x_query, closed_forms.best_step(N, D_X, inputs="uniform"))


def centred_step(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """One gradient step of the best size on centred data."""
    eta, _ = mixing.best_centred_step(N, D_X, inputs="uniform")
    return learners.gd(x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True), x_query, eta)


def trapped(kind: str) -> Tensor:
    """Which models of a kind are caught: their loss is hardly below that of always answering 0; (M,)."""
    return trained_losses(kind).mean(1) > 0.9 * held_out().y_query.square().mean() / 2


@functools.lru_cache
def _read(file: Path) -> dict:
    return kept.read(file, REMEDY, holds=SETTINGS)


def _check(kind: str) -> None:
    if kind not in SETTINGS:
        raise ValueError(f"kind: expected one of {', '.join(SETTINGS)}; got {kind!r}.")


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    folder, made = Path(folder), {kind: {} for kind in SETTINGS}
    for kind, seed in [(kind, seed) for kind, setting in SETTINGS.items() for seed in setting.seeds]:
        setting, model = SETTINGS[kind], untrained(kind, seed)
        watch, run = films.camera(model, setting.at), folder / f"softmax_{kind.replace(' ', '_')}_{seed}.run"
        history = train(model, setting.at[-1], lr=setting.lr, seed=seed, watch=watch, keep=run)
        made[kind][seed] = films.develop(history, setting.at, EVERY)
        print(f"{kind}, seed {seed}: loss {history.losses[-20:].mean():.4f}", flush=True)
    kept.write(folder / FILE.name, made)
    kept.clear(folder, "softmax_*.run")
    for read_before in (_read, trained_losses):
        read_before.cache_clear()


if __name__ == "__main__":
    shell.script(main, FOLDER)
