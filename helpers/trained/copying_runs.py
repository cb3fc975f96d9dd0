"""The copying model of notebook 10 on the way: `python -m helpers.trained.copying_runs` makes copying_runs.pt anew.

Three seeds, with the weights at 34 moments each, and the loss curves of runs in other settings, which show what makes
the drop come early or late. About 7 minutes on one core. If it was stopped, the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from helpers import kept, shell, tasks, training
from helpers.models import copying
from helpers.models.copying import CopyingTransformer
from helpers.theory import closed_forms
from helpers.trained import films
from helpers.usual import usual

FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.copying_runs` makes it."
D_X, N = 10, 10
GD_ETA = closed_forms.best_step(N, D_X, inputs="uniform")
GD_LOSS = closed_forms.gd_excess(GD_ETA, N, D_X, inputs="uniform") / 2  # of one step of gradient descent: 0.2062
SEEDS = (0, 1, 2)
ITERATIONS = 1600
HOLDS = ("films", "others")
AT = [*range(0, 500, 100), *range(500, 1000, 25), *range(1000, ITERATIONS + 1, 75)]
EVERY = 20  # the loss curves that are kept: means of so many iterations
USUAL = {"positions": "sinusoids", "lr": 0.01, "B": 512, "scale": 0.1}
OTHERS = {"positions": ["one-hot"], "lr": [0.005, 0.02], "B": [128, 256], "scale": [0.05, 0.2]}
with usual():
    POSITIONS = {"sinusoids": copying.sinusoids(2 * N + 1, 10), "one-hot": torch.eye(2 * N + 1)}


def prompts(B: int, seed: int) -> tasks.Prompt:
    """The tasks of von Oswald et al. 2023: N = d = 10, inputs from U(-1/2, 1/2); float32.

    >>> prompts(B=3, seed=0).x.shape
    torch.Size([3, 10, 10])
    """
    return tasks.linear_regression(B, N, D_X, inputs="uniform", seed=seed).to(torch.float32)


def untrained(seed: int = 0, *, positions: str = USUAL["positions"], scale: float = USUAL["scale"]):
    """A new model.

    >>> untrained().first.shape
    torch.Size([4, 21, 21])
    """
    return CopyingTransformer(D_X, positions=POSITIONS[positions], scale=scale, seed=seed)


def train(
    model: CopyingTransformer,
    iterations: int = ITERATIONS,
    *,
    lr: float = USUAL["lr"],
    B: int = USUAL["B"],
    seed: int = 0,
    **fit,
) -> training.History:
    """Train a model in place on half the mean squared error, with Adam and a learning rate that falls along a cosine;
    `fit` (`watch`, `keep`) as in `training.fit`."""

    def loss(task_seed: int) -> Tensor:
        p = prompts(B, task_seed)
        return (model(*p.shown) - p.y_query).square().mean() / 2

    return training.fit(model, loss, torch.optim.Adam(model.parameters(), lr), iterations, seed=seed, **fit)


def load(seed: int = 0, *, folder: str | Path = FOLDER) -> films.Film:
    """The film of a seed's training (0, 1 or 2).

    >>> film = load()
    >>> film.at[:3], film.frame(-1).first.shape
    ([0, 100, 200], torch.Size([4, 21, 21]))
    """
    if seed not in SEEDS:
        raise ValueError(f"seed: expected one of {SEEDS}, got {seed!r}.")
    file = Path(folder) / FILE.name
    return films.film(untrained(), kept.read(file, REMEDY, holds=HOLDS)["films"].get(seed), EVERY, file, REMEDY)


def other_settings(*, folder: str | Path = FOLDER) -> dict[str, Tensor]:
    """Loss curves (seeds, ITERATIONS / EVERY) of runs with one thing changed, by its name and value.

    >>> list(other_settings())[:2]
    ['positions = one-hot', 'lr = 0.005']
    """
    return kept.read(Path(folder) / FILE.name, REMEDY, holds=HOLDS)["others"]


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    made = {"films": {}, "others": {}}
    for seed in SEEDS:
        made["films"][seed] = films.develop(_run(USUAL, seed, folder), AT, EVERY)
    for name, values in OTHERS.items():
        for value in values:
            runs = [_run(USUAL | {name: value}, seed, folder) for seed in SEEDS]
            made["others"][f"{name} = {value}"] = films.curve(torch.stack([run.losses for run in runs]), EVERY)
    kept.write(Path(folder) / FILE.name, made)
    kept.clear(folder, "copying_*.run")


def _run(setting: dict, seed: int, folder: str | Path) -> training.History:
    model = untrained(seed, positions=setting["positions"], scale=setting["scale"])
    run = Path(folder) / f"copying_{'_'.join(map(str, setting.values()))}_{seed}.run"
    watch = films.camera(model, AT)
    history = train(model, ITERATIONS, lr=setting["lr"], B=setting["B"], seed=seed, watch=watch, keep=run)
    print(f"{setting}, seed {seed}: loss {history.losses[-100:].mean():.4f}", flush=True)
    return history


if __name__ == "__main__":
    shell.script(main, FOLDER)
