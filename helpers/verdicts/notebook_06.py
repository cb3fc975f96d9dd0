"""Claims of notebook 06: depth and curvature."""

from __future__ import annotations

import functools

import torch

from helpers import constructions, learners, metrics, tasks, training
from helpers.models.stacks import LinearTransformer
from helpers.theory import closed_forms
from helpers.verdicts import (
    EXACT,
    MEASURED,
    REPORTED,
    Bounds,
    Evidence,
    claim,
    identity,
    number,
    over_prompts,
    over_seeds,
)

ETA = closed_forms.best_step(N=10, d_x=10, inputs="uniform")


def _diagonal_prompts(N: int, d_x: int, seed: int, *, inputs: str = "uniform", B: int = 2000):
    """Prompts of d_x pairs with the same eigenvalues as those of N pairs, in coordinates in which X^T X is diagonal."""
    x = tasks.linear_regression(B, N, d_x, inputs=inputs, seed=seed).x
    lengths = torch.linalg.eigvalsh(x.mT @ x).clamp(min=0).sqrt()
    x = torch.diag_embed(lengths)
    return x, x.sum(dim=2, keepdim=True)  # every w_a = 1: what is left of it is the residual at its eigenvalue


def _minimise(loss, start):
    at = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([at], max_iter=100, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def value():
        search.zero_grad()
        now = loss(at)
        now.backward()
        return now

    search.step(value)
    return at.detach()


@claim(EXACT, "A layer that also shortens the inputs is a step of GD++.", paper="von Oswald et al. 2023, A.10")
def layers_of_gd_pp():
    p = tasks.linear_regression(B=16, N=20, d_x=7, d_y=3, seed=2)
    etas, gammas = [0.9, 1.1, 0.7], [0.012, 0.02, 0.015]
    layers = [constructions.gd_pp_step(*pair, N=20, d_x=7, d_y=3) for pair in zip(etas, gammas, strict=True)]
    y_attn = constructions.learner(layers)(*p.shown)
    steps = [learners.gd_pp(*p.shown, etas, [off * gamma for gamma in gammas], steps=3) for off in (1.0, 1.1)]
    return identity(*(metrics.max_gap(y_attn, step) for step in steps))


@claim(EXACT, "K steps leave the polynomial Π(1 − η_k λ) of the error along each eigenvector.")
def a_run_is_a_polynomial():
    x, y = _diagonal_prompts(20, 6, seed=0, B=50)
    etas, lam = [0.4, 1.9, 0.7], (x @ x).diagonal(dim1=1, dim2=2) / 6
    left = 1 - learners.gd_weights(x, y, etas, steps=3)[:, 0]
    wanted = [torch.stack([1 - off * eta * lam for eta in etas]).prod(dim=0) for off in (1.0, 1.1)]
    return identity(*(metrics.max_gap(left, each) for each in wanted))


@claim(
    MEASURED,
    "The γ of trained two-layer stacks is the one that minimises the expected loss (N = 10).",
    paper="0.179, von Oswald et al. 2023, A.10",
)
def the_trained_gamma_is_predicted():
    def best(seed, N=10):
        x, y = _diagonal_prompts(N, 10, seed)

        def loss(at):
            return (1 - learners.gd_pp_weights(x, y, 10 * at[0], at[1], steps=2)).square().sum((1, 2)).mean()

        return _minimise(loss, [1.0, 0.1])[1]

    return Evidence(
        Bounds(over_seeds(best(seed) for seed in range(3)), 0.95 * 0.179, 1.05 * 0.179), control=number(best(0, N=25))
    )


@claim(
    MEASURED,
    "Two tied layers, trained from scratch, find that γ: 0.176 is predicted.",
    paper="0.179, von Oswald et al. 2023, A.10",
)
def training_finds_gamma():
    def trained(seed, iterations):
        model = LinearTransformer(d_x=10, n_layers=2, tied=True, scale=0.1, seed=seed)
        adam = torch.optim.Adam(model.parameters(), lr=0.02)
        for t in range(iterations):
            p = tasks.linear_regression(128, N=10, d_x=10, inputs="uniform", seed=10_000 * seed + t)
            adam.param_groups[0]["lr"] = 0.02 * training.cosine(t / iterations)
            adam.zero_grad()
            (model.weights(p.x, p.y) - p.W).square().sum((1, 2)).mean().backward()
            adam.step()
        layer = model.layers()[0]
        c = (layer.W_K.mT @ layer.W_Q).diagonal()[:10].mean()
        return (-c * (layer.P @ layer.W_V).diagonal()[:10].mean()).item()

    return Evidence(
        Bounds(over_seeds(trained(seed, 1000) for seed in range(3)), 0.158, 0.19), control=number(trained(0, 1))
    )


@claim(
    MEASURED,
    "Three trained layers hold the scalars that three own gradient steps predict (the largest).",
    paper="1.71 (and 0.42, 0.69), Ahn et al. 2023, fig. 2",
)
def three_own_steps():
    def largest(seed, start):
        x, y = _diagonal_prompts(20, 5, seed, inputs="gaussian")

        def loss(etas):  # d_x rows in place of N = 20: eta / N becomes eta / d_x
            return (1 - learners.gd_weights(x, y, list(etas * 5 / 20), steps=len(start))).square().sum((1, 2)).mean()

        return _minimise(loss, start).max()

    three = over_seeds(largest(seed, [0.4, 0.7, 1.5]) for seed in range(3))
    return Evidence(Bounds(three, 0.95 * 1.71, 1.05 * 1.71), control=number(largest(0, [0.5, 1.2]), "2 steps"))


@claim(
    MEASURED,
    "Damped by 0.75, a repeated layer converges on every prompt (fraction that diverges).",
    paper="0.75, von Oswald et al. 2023, fig. 10; 0.70, Rossi et al. 2024",
    instead="0.75 is made for the largest eigenvalue of a sample; safe for every prompt is 0.132.",
)
def a_safe_damper():
    h_max = torch.cat([_largest(seed) for seed in range(6)])
    diverge = [over_prompts((damper * ETA * h_max / 10 > 2).double()) for damper in (0.75, 0.132, 1.0)]
    return Evidence(Bounds(diverge[0], at_most=0), Bounds(diverge[1], at_most=0), diverge[2])


@functools.cache
def _largest(seed: int) -> torch.Tensor:
    x = tasks.linear_regression(10_000, 10, 10, inputs="uniform", seed=seed).x
    return torch.linalg.eigvalsh(x.mT @ x)[:, -1]


@claim(EXACT, "Newton's iteration squares the residual in each round.", paper="Fu et al. 2023")
def newton_squares():
    p = tasks.linear_regression(B=8, N=20, d_x=5, seed=2)
    H = p.x.mT @ p.x
    scaled = 1.98 * H @ H / torch.linalg.matrix_norm(H, ord=2)[:, None, None] ** 2
    left = p.W - learners.newton_weights(p.x, p.y, steps=5)
    power = [p.W @ torch.linalg.matrix_power(torch.eye(5).double() - scaled, n) for n in (2**5, 2 * 5)]
    return identity(*(metrics.max_gap(left, each) for each in power))


@claim(
    REPORTED,
    "The layers of a 12-layer GPT keep pace with Newton's rounds, about three a layer.",
    paper="d = 20, N = 40, Fu et al. 2023",
)
def a_large_gpt_does_newton(): ...
