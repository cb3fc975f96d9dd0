"""A GPT of 151,000 weights, trained to learn linear functions from a prompt (after Garg et al. 2022).

    python -m helpers.trained.regression_gpts

trains it anew, in about 3 minutes on one free core, and writes regression_gpts.pt. If it was stopped, the same
command goes on.

Each training prompt has a task w ~ N(0, I) of its own and 12 pairs y = w^T x without noise, x ~ N(0, I). One prompt in
five has d = 1, one has d = 2, …, one has d = 5 coordinates that are not 0. That makes for a model which can be looked
at in the plane, and it trains better: the easy prompts lead on to the hard ones, and no curriculum is needed. The loss
is the squared error over d, averaged over the predictions after 0, 1, …, 12 pairs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from helpers import kept, shell, tasks, training
from helpers.models.gpt import RegressionGPT
from helpers.usual import usual

D_X, LONGEST = 5, 12
ITERATIONS, BATCH, LEARNING_RATE = 5000, 65, 2e-3
FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.regression_gpts` makes it."


@usual()
def prompts(B: int, seed: int) -> tuple[tasks.Prompt, Tensor]:
    """B training prompts, and how many coordinates (B,) each one uses: 1, 2, …, 5, 1, 2, … in turn.

    >>> prompt, d = prompts(7, seed=0)
    >>> d
    tensor([1, 2, 3, 4, 5, 1, 2])
    >>> prompt.x[1, 0].sign().abs()
    tensor([1., 1., 0., 0., 0.])
    """
    p = tasks.linear_regression(B, LONGEST, D_X, seed=seed).to(torch.float32)
    d = torch.arange(B) % D_X + 1
    used = torch.arange(D_X) < d[:, None]  # (B, D_X)
    x, x_query = p.x * used[:, None], p.x_query * used
    return tasks.Prompt(x, x @ p.W.mT, x_query, (p.W @ x_query[..., None]).squeeze(-1), p.W), d


def loss(model: RegressionGPT, seed: int) -> Tensor:
    """Mean squared error over d, of the predictions after 0, 1, …, 12 pairs of a fresh batch."""
    p, d = prompts(BATCH, seed)
    truth = torch.cat([p.y, p.y_query[:, None]], dim=1)  # (B, N+1, 1)
    return ((model.path(*p.shown) - truth).square() / d[:, None, None]).mean()


def untrained(seed: int = 0) -> RegressionGPT:
    """A new model.

    >>> sum(W.numel() for W in untrained().parameters())
    151489
    """
    return RegressionGPT(D_X, longest=LONGEST, seed=seed)


def train(model: RegressionGPT, iterations: int = ITERATIONS, *, seed: int = 0, **fit) -> training.History:
    """Train a model in place; `fit` (`watch`, `keep`) as in `training.fit`."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    return training.fit(
        model, lambda s: loss(model, s), optimizer, iterations, seed=seed, schedule=training.warm_then_cosine, **fit
    )


def frozen(model: RegressionGPT) -> RegressionGPT:
    """For use only: no gradients, and float64, so that it takes prompts as `tasks` draws them."""
    return model.double().eval().requires_grad_(False)


def load(*, folder: str | Path = FOLDER) -> RegressionGPT:
    """The trained model that comes with the series, frozen, in float64.

    >>> model = load()
    >>> model(*tasks.linear_regression(B=3, N=12, d_x=5).shown).shape
    torch.Size([3, 1])
    """
    file = Path(folder) / FILE.name
    return frozen(kept.fill(untrained(), kept.read(file, REMEDY), file, REMEDY))


def main(folder: str | Path = FOLDER) -> None:
    torch.set_num_threads(1)
    file, run, model = Path(folder) / FILE.name, Path(folder) / "regression_gpts.run", untrained()
    history = train(model, ITERATIONS, keep=run)
    kept.write(file, model.state_dict())
    kept.clear(folder, run.name)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, loss {history.losses[-200:].mean():.3f}")


if __name__ == "__main__":
    shell.script(main, FOLDER)
