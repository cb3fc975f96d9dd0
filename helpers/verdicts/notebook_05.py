"""Claims of notebook 05: training finds the gradient step."""

from __future__ import annotations

import functools

import numpy as np
import torch

from helpers import attention, constructions, learners, metrics, tasks
from helpers.theory import closed_forms, flow, population
from helpers.trained import linear_runs
from helpers.verdicts import (
    EXACT,
    MEASURED,
    PROVED,
    REPORTED,
    Bounds,
    Evidence,
    Number,
    claim,
    identity,
    number,
    over_seeds,
)

N, D_X = 10, 10
SEEDS = (0, 1, 2)
LAM = (3.0, 1.5, 1.0, 0.5, 0.1)  # variances of the inputs along five directions, for the staircase
WIDE = ((3.0, 0.3), (4.0, 0.5))  # with a wide gap between two sizes


@functools.lru_cache
def trained(seed: int, N: int = N, d_x: int = D_X, inputs: str = "uniform", steps: int = 300) -> population.Trained:
    """A layer trained on the expected loss, from random weights."""
    return population.train(N, d_x, inputs=inputs, steps=steps, seed=seed)


def best(N: int = N, d_x: int = D_X, inputs: str = "uniform") -> float:
    """The best step size."""
    return closed_forms.best_step(N, d_x, inputs=inputs)


def half_loss(eta: float, N: int = N, d_x: int = D_X, inputs: str = "uniform") -> float:
    """Expected half-loss of one gradient step."""
    return closed_forms.gd_excess(eta, N, d_x, inputs=inputs) / 2


@claim(
    MEASURED,
    "A trained linear-attention layer ends at the loss of the best gradient step, 0.206 (its loss over the step’s).",
    paper="0.2, von Oswald et al. 2023, fig. 2",
)
def training_ends_at_the_loss_of_the_step(shift: int = 0):
    """On the same prompts. Control: the layers before training."""
    p = tasks.linear_regression(5000, N, D_X, inputs="uniform", seed=31 + 1000 * shift)

    def error(learner):
        return (learner(*p.shown) - p.y_query).square().mean().item()

    by_step = error(lambda *shown: learners.gd(*shown, best()))
    after, before = (
        over_seeds(error(constructions.learner([layer(seed)])) / by_step for seed in SEEDS)
        for layer in (lambda seed: trained(seed).layer, untrained)
    )
    return Evidence(Bounds(after, 0.999, 1.001), control=before)


def untrained(seed: int) -> attention.Layer:
    """The random weights at which training starts."""
    return population.train(N, D_X, inputs="uniform", steps=1, lr=0.0, seed=seed).layer


@claim(
    PROVED,
    "For w as likely as −w and E wwᵀ ∝ I no linear layer does better than the best gradient step (the least excess "
    "of 200 around it, in thousandths of its loss).",
    paper="Mahankali et al. 2023; Ahn et al. 2023",
)
def nothing_is_better(shift: int = 0):
    """Control: a step that is 10 % too long."""

    def least(eta):  # of 200 layers around the step
        loss, g = half_loss(eta), torch.Generator().manual_seed(shift)
        by_hand, over = constructions.gd_step(eta, N, D_X), []
        for scale in (1e-3, 0.1):
            for _ in range(100):
                moved = (W + scale * torch.randn(W.shape, generator=g, dtype=W.dtype) for W in by_hand)
                over.append(population.half_loss(attention.Layer(*moved), N, inputs="uniform").item() - loss)
        return 1000 * min(over) / loss

    return Evidence(Bounds(number(least(best()), "200 layers"), at_least=0), control=number(least(1.1 * best())))


@claim(
    MEASURED,
    "Its weights hold the step: the entry of P W_V that should be −η*/N = −0.606 is (in per cent of it).",
    paper="von Oswald et al. 2023, appendix A.3",
)
def the_step_is_in_the_weights(shift: int = 0):
    """`shift` moves the random weights at which training starts. Control: these weights."""

    def entry(layer):
        read, key_query = population.products(layer)
        return -100 * N / best() * (key_query[:D_X, :D_X].diagonal().mean() * read[-1]).item()

    seeds = [seed + 10 * shift for seed in SEEDS]
    ours = over_seeds(entry(trained(seed).layer) for seed in seeds)
    before = over_seeds(entry(untrained(seed)) for seed in seeds)
    return Evidence(Bounds(ours, 98, 102), control=before)


@claim(
    MEASURED,
    "A cosine of 1 between the two linear models shows that the trained layer takes the gradient step.",
    paper="cosine near 1, von Oswald et al. 2023, fig. 2",
)
def the_cosine_shows_it(shift: int = 0):
    """Control: a step three times too long, whose cosine is 1 as well."""
    p = tasks.linear_regression(2000, N, D_X, inputs="uniform", seed=7 + 1000 * shift)
    step = learners.gd_weights(p.x, p.y, best())

    def model(layer):  # the weights of the linear model in the layer, by asking it for each unit vector
        return metrics.implied_weights(constructions.learner([layer]), p.x, p.y, torch.eye(D_X, dtype=torch.float64))

    ours = over_seeds(metrics.mean_cosine(model(trained(seed).layer), step) for seed in SEEDS)
    three_times_too_long = metrics.mean_cosine(model(constructions.gd_step(3 * best(), N, D_X)), step)
    return Evidence(Bounds(ours, at_least=0.999), control=number(three_times_too_long))


@claim(
    PROVED,
    "The wait before the loss falls is known beforehand: ln(η*√d/a² − 1)/(2√d) for merged key and query and unit "
    "Gaussian inputs (what it takes, over the formula).",
    paper="plateaus in von Oswald et al. 2023, appendix A.11; the law: Zhang, Singh, Latham and Saxe 2025",
)
def the_plateau_is_foretold():
    """Gradient flow, followed in steps, from three starts. Control: the formula for another dimension."""

    def over_formula(scale, d_x):
        path = flow.follow([1.0] * D_X, N, flow.balanced(scale, D_X), until=4.0)
        return path.half_time() / flow.half_time(scale, N, d_x)

    ratios = [over_formula(scale, D_X) for scale in (0.1, 0.01, 0.001)]
    ours = Number(sum(ratios) / 3, min(ratios), max(ratios), "3 starts")
    return Evidence(Bounds(ours, 0.9999, 1.0001), control=number(over_formula(0.01, 5)))


@functools.lru_cache
def wait_with_noise(lr: float, batch: int, shift: int = 0) -> np.ndarray:
    """The waits of 6 runs of SGD on sampled prompts (merged, from 0.01), over that of the flow."""
    rng = np.random.default_rng([shift, batch, round(1e6 * lr)])
    return flow.sampled_half_times(0.01, N, D_X, lr=lr, batch=batch, runs=6, rng=rng) / flow.half_time(0.01, N, D_X)


@claim(
    MEASURED,
    "Sampling noise lengthens the plateau (the wait over that of the flow; batches of 16).",
    instead="only where steps are long: the extra wait vanishes with step/batch, faster than in proportion.",
)
def noise_lengthens_the_wait(shift: int = 0):
    """Stated: at a small rate. Restated: at ten times that rate, of which the small rate is the control."""
    slow, quick = (over_seeds(wait_with_noise(lr, 16, shift)) for lr in (3e-4, 3e-3))
    return Evidence(Bounds(slow, at_least=1.1), Bounds(quick, at_least=1.1), control=slow)


@functools.lru_cache
def race(seed: int | None = None, lam: tuple[float, ...] = LAM) -> flow.Path:
    """Gradient flow for inputs of variances lam, N = 20: merged, or separate from the random start of a seed."""
    start = flow.balanced(0.01, len(lam)) if seed is None else flow.separate(0.01, len(lam), seed)
    return flow.follow(lam, 20, start, until=80.0, dt=0.02)


@claim(
    MEASURED,
    "The loss of one layer falls once (plateaus on the way down, inputs of five sizes).",
    paper="both: Zhang, Singh, Latham and Saxe 2025",
    instead="separate W_K and W_Q go down a staircase, from saddle to saddle; merged, it falls in one go for these "
    "sizes, and pauses once where two sizes lie far apart.",
)
def the_loss_falls_once(shift: int = 0):
    """`shift` moves the random starts. Control of the restated form: key and query merged, for these sizes and WIDE."""
    steps = over_seeds(race(seed + 10 * shift).plateaus() for seed in SEEDS)
    merged = [race(lam=lam).plateaus() for lam in (LAM, *WIDE)]
    control = Number(sum(merged) / len(merged), min(merged), max(merged), f"merged, {len(merged)} laws of inputs")
    return Evidence(Bounds(steps, at_most=0), Bounds(steps, at_least=2), control=control)


@functools.lru_cache
def caught(N: int, d_x: int, shift: int = 0, inputs: str = "uniform") -> int:
    """How many of 8 random starts end more than 3 % of the possible gain above the best step."""
    zero, low = (half_loss(eta, N, d_x, inputs) for eta in (0.0, best(N, d_x, inputs)))
    ends = [trained(seed + 10 * shift, N, d_x, inputs).losses[-1] for seed in range(8)]
    return int(sum(end - low > 0.03 * (zero - low) for end in ends))


@claim(
    MEASURED,
    "Training finds the best step (starts that do not, of 8).",
    instead="where prompts are short for their dimension: all starts at d = 10, N = 10; with d = 2 at N = 10, or d = 6 "
    "at N = 300, some are caught in a valley of their own.",
)
def training_finds_it(shift: int = 0):
    """`shift` moves the random starts."""
    counts = [caught(10, 2, shift), caught(300, 6, shift)]
    long = Number(sum(counts) / 2, min(counts), max(counts), "2 settings")
    return Evidence(Bounds(long, at_most=0), Bounds(number(caught(10, 10, shift), "8 starts"), at_most=0), control=long)


@claim(EXACT, "Scale the labels, and the errors of the step scale with them.", paper="von Oswald et al. 2023, fig. 2")
def scaled_labels():
    p = tasks.linear_regression(64, N, D_X, inputs="uniform", seed=3)
    answers = [learners.gd(p.x, c * p.y, p.x_query, best()) - c * p.y_query for c in (1.0, 3.0)]
    by_inputs = learners.gd(3 * p.x, 3 * p.y, 3 * p.x_query, best()) - 3 * p.y_query
    return identity(*(metrics.max_gap(each, 3 * answers[0]) for each in (answers[1], by_inputs)))


@claim(
    MEASURED,
    "Trained on a fixed set of prompts, the layer is the gradient step all the same (new prompts: half-loss over its).",
    paper="aligned from 2,048 prompts on: von Oswald et al. 2023, fig. 16",
    instead="from 2,048 prompts on, nearly; 128 are memorised.",
)
def few_prompts_are_memorised(shift: int = 0):
    def over_the_step(M):
        runs = [linear_runs.on_fixed_prompts(M, seed, prompts=100 + seed + 1000 * shift) for seed in (0, 1)]
        return over_seeds(new / half_loss(best()) for _, new in runs)

    few, many = over_the_step(128), over_the_step(2048)
    return Evidence(Bounds(few, at_most=1.2), Bounds(many, at_most=1.2), control=few)


@claim(
    MEASURED,
    "Trained on few tasks, the layer ends at the best preconditioned step (16 tasks, half-loss on them over its).",
    instead="lower: at the best of all its weights, which have an x block in W_V (over that layer’s).",
)
def few_tasks_are_memorised_a_little(shift: int = 0):
    """`shift` moves the tasks. Control: the best preconditioned step over the best whole layer."""
    each = [linear_runs.on_few_tasks(16, seed + 10 * shift) for seed in SEEDS]

    def over(name, other):
        return over_seeds(losses[name][0] / losses[other][0] for losses in each)

    stated = Bounds(over("trained", "matrix"), 0.999, 1.001)
    return Evidence(stated, Bounds(over("trained", "whole"), 0.999, 1.001), control=over("matrix", "whole"))


@claim(REPORTED, "Trained weights of real models look like the construction.", paper="disputed: Shen et al. 2023")
def real_weights_look_like_it(): ...
