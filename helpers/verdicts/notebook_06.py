"""Claims of notebook 06: depth and curvature."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from helpers import constructions, learners, metrics, tasks
from helpers.theory import best_steps, closed_forms, residuals
from helpers.trained import deep_stacks
from helpers.verdicts import (
    EXACT,
    MEASURED,
    PROVED,
    REPORTED,
    Bounds,
    Evidence,
    claim,
    identity,
    number,
    over_models_and_prompts,
    over_prompts,
    over_seeds,
)

ETA = closed_forms.best_step(N=10, d_x=10, inputs="uniform")
PAPER = {10: 0.179, 25: 0.099, 50: 0.056, 100: 0.029}  # gamma of trained stacks by N, reported in A.10
RANGES = {10: (1e-10, 4.6), 25: (0.097, 7.712), 50: (0.666, 10.845), 100: (2.87, 17.196)}  # of eigenvalues, A.10


# --- section 1: a run is a polynomial ---------------------------------------------------------------------------


@functools.lru_cache
def spectrum(shift: int = 0) -> Tensor:
    """Eigenvalues of S in 5,000 prompts, N = 20, d_x = 10, Gaussian."""
    return best_steps.eigenvalues(20, B=5000, seed=shift) / 20


@functools.lru_cache
def steps(K: int, shift: int = 0) -> best_steps.Steps:
    """The best K steps on average over `spectrum`."""
    return best_steps.steps(spectrum(shift), K)


def excess(etas, lam: Tensor) -> Tensor:
    """What steps leave of the error in each prompt."""
    return best_steps.excess(residuals.gd(lam, etas))


@claim(EXACT, "K steps leave the polynomial Π(1 − η_k λ) of the error along each eigenvector.")
def a_run_is_a_polynomial():
    p, etas = tasks.linear_regression(B=50, N=20, d_x=6, seed=1), [0.4, 1.9, 0.7]
    lam, V = torch.linalg.eigh(p.x.mT @ p.x / 20)
    left = p.W - learners.gd_weights(p.x, p.y, etas, steps=3)
    polynomials = [residuals.gd(lam, [off * eta for eta in etas]) for off in (1.0, 1.1)]
    return identity(*(metrics.max_gap(left, p.W @ (V * each[:, None]) @ V.mT) for each in polynomials))


@claim(
    PROVED,
    "On exact labels two or more equal steps are never the best, unless all eigenvalues are alike: they are a saddle "
    "(least curvature of the excess, three steps).",
)
def equal_steps_are_a_saddle(shift=0):
    def least_curvature(etas, seed):
        hessian = torch.func.hessian(lambda etas: excess(etas, spectrum(seed)).mean())
        return torch.linalg.eigvalsh(hessian(torch.tensor(etas, dtype=torch.float64)))[0].item()

    best = {seed + shift: steps(3, seed + shift) for seed in range(3)}
    equal = over_seeds(least_curvature([each.equal] * 3, seed) for seed, each in best.items())
    untied = over_seeds(least_curvature(each.untied, seed) for seed, each in best.items())
    return Evidence(Bounds(equal, at_most=-0.1), control=untied)


@claim(
    MEASURED, "Five untied steps leave less than eight equal ones (difference of the excess; control: five equal ones)."
)
def untied_steps_are_worth_more(shift=0):
    lam = best_steps.eigenvalues(20, B=20_000, seed=100 + shift) / 20
    eight, five = ([steps(K, shift).equal] * K for K in (8, 5))
    untied, eight, five = (excess(etas, lam) for etas in (steps(5, shift).untied, eight, five))
    ours, control, beyond = (over_prompts(each) for each in (untied - eight, five - eight, untied - five))
    return Evidence(Bounds(ours, at_most=0), control=control, beyond=Bounds(beyond, at_most=0))


@claim(
    MEASURED,
    "Three trained layers hold the scalars that three untied steps predict (the largest).",
    paper="1.71 (and 0.42, 0.69), Ahn et al. 2023, fig. 2",
)
def three_untied_steps(shift=0):
    def largest(seed, K):
        return best_steps.steps(best_steps.eigenvalues(20, d_x=5, seed=seed + shift) / 20, K).untied[-1]

    three = over_seeds(largest(seed, 3) for seed in range(3))
    return Evidence(Bounds(three, 0.95 * 1.71, 1.05 * 1.71), control=number(largest(0, 2), "2 steps"))


# --- section 2: one layer, repeated -----------------------------------------------------------------------------


@functools.lru_cache
def sample(seed: int, N: int = 10) -> Tensor:
    """Eigenvalues of X X^T in 10,000 prompts, d_x = 10, uniform."""
    return best_steps.eigenvalues(N, inputs="uniform", seed=seed)


@claim(
    MEASURED,
    "Damped by 0.75, a repeated layer converges on every prompt (prompts in 10,000 that do not).",
    paper="0.75, von Oswald et al. 2023, fig. 10; 0.70, Rossi et al. 2024",
    instead="0.75 is made for the largest eigenvalue of a sample; safe for every prompt is 0.132.",
)
def a_safe_damper(shift=0):
    h_max = torch.cat([sample(seed + shift)[:, -1] for seed in range(6)])
    diverge = [over_prompts(10_000 * (damper * ETA * h_max / 10 > 2).double()) for damper in (0.75, 0.132, 1.0)]
    return Evidence(Bounds(diverge[0], at_most=0), Bounds(diverge[1], at_most=0), diverge[2])


# --- sections 3 to 6: GD++ --------------------------------------------------------------------------------------


@claim(EXACT, "A layer that also shortens the inputs is a step of GD++.", paper="von Oswald et al. 2023, A.10")
def layers_of_gd_pp():
    p = tasks.linear_regression(B=16, N=20, d_x=7, d_y=3, seed=2)
    etas, gammas = [0.9, 1.1, 0.7], [0.012, 0.02, 0.015]
    layers = [constructions.gd_pp_step(*pair, N=20, d_x=7, d_y=3) for pair in zip(etas, gammas, strict=True)]
    y_attn = constructions.learner(layers)(*p.shown)
    steps = [learners.gd_pp(*p.shown, etas, [off * gamma for gamma in gammas], steps=3) for off in (1.0, 1.1)]
    return identity(*(metrics.max_gap(y_attn, step) for step in steps))


@functools.lru_cache
def predicted(N: int, shift: int = 0) -> best_steps.TiedLayers:
    """The best two tied layers for a context length, over `sample`."""
    return best_steps.two_tied_layers(sample(shift, N))


@claim(
    MEASURED,
    "The γ of trained two-layer stacks is the one that minimises the expected loss (largest relative distance).",
    paper="0.179, 0.099, 0.056, 0.029 for N = 10, 25, 50, 100, von Oswald et al. 2023, A.10",
)
def the_trained_gamma_is_predicted(shift=0):
    def off(gammas):
        return max(abs(gammas[N] / PAPER[N] - 1) for N in PAPER)

    ours = over_seeds(off({N: predicted(N, seed + shift).gamma for N in PAPER}) for seed in range(2))
    rival = off({N: residuals.roundest_gamma(*RANGES[N]) for N in PAPER})
    return Evidence(Bounds(ours, at_most=0.05), control=number(rival, "least condition number"))


@claim(EXACT, "Layers whose γ grows ninefold triple an angle: |ρ| ≤ √(L/h)/3ᴷ between 0 and L.")
def nine_times_the_gamma_triples_an_angle():
    angle, L = torch.linspace(1e-3, torch.pi / 2, 1001, dtype=torch.float64), 5.0
    wanted = (3**4 * angle).sin() / (3**4 * angle.sin())
    stacks = [residuals.tripling(of, 4) for of in (L, 1.1 * L)]
    return identity(*(metrics.max_gap(residuals.gd_pp(L * angle.sin() ** 2, *[g] * 2), wanted) for g in stacks))


@functools.lru_cache
def tied_stack(seed: int, shift: int = 0):
    """Two tied layers, trained, and their losses on the way; seeds 0, 1 and 2 are asked for."""
    return deep_stacks.tied_stack(seed, shift)


@claim(
    MEASURED,
    "Two tied layers, trained from scratch, find the predicted γ (ratio to it).",
    paper="0.179, von Oswald et al. 2023, A.10",
)
def training_finds_gamma(shift=0):
    found = [deep_stacks.read_gamma(tied_stack(seed, shift)[0].layers()[0])[0] for seed in range(3)]
    rival = residuals.roundest_gamma(*RANGES[10])
    goal = predicted(10, shift).gamma
    control = number(rival / goal, "least condition number")
    return Evidence(Bounds(over_seeds(gamma / goal for gamma in found), 0.95, 1.05), control=control)


# --- section 7: five layers -------------------------------------------------------------------------------------


@claim(MEASURED, "On most prompts five layers by hand leave less error than five trained ones (on how many, in %).")
def five_by_hand_are_nearer(shift=0):
    trained, ours = deep_stacks.rivals(0.0, shift)["trained"], deep_stacks.by_depth(0.0, shift)
    shares = [100 * (ours[name][4] < trained).double() for name in ("by hand", "gradient descent")]
    by_hand, by_gd = (over_models_and_prompts(share) for share in shares)
    return Evidence(Bounds(by_hand, at_least=50), control=by_gd)


@claim(
    MEASURED,
    "With noise on the labels five layers by hand still beat three (share of prompts).",
    instead="on most prompts three beat five: the last layers invert what is only noise.",
)
def noise_turns_depth_around(shift=0):
    noisy, exact = (deep_stacks.by_depth(noise, shift)["by hand"] for noise in (0.1, 0.0))
    fewer, control = (over_prompts((each[2] < each[4]).double()) for each in (noisy, exact))
    more = fewer._replace(value=1 - fewer.value, low=1 - fewer.high, high=1 - fewer.low)
    return Evidence(Bounds(more, at_least=0.5), Bounds(fewer, at_least=0.5), control)


@claim(
    MEASURED, "Five layers trained with the noise come near ridge, the best in the mean (ratio of mean half-losses)."
)
def training_knows_the_noise(shift=0):
    ridge, by_hand = deep_stacks.rivals(0.1, shift)["ridge"], deep_stacks.by_depth(0.1, shift)["by hand"][4:]
    more = [(each - ridge) / ridge.mean() for each in (deep_stacks.rivals(0.1, shift)["trained"], by_hand)]  # paired
    trained, control = (over_models_and_prompts(1 + each) for each in more)
    return Evidence(Bounds(trained, at_most=1.1), control=control)


# --- section 8: Newton ------------------------------------------------------------------------------------------


def _newton(of_H: bool):
    """Five rounds from M_0 = a H or a I, in 8 prompts: the prompts, H, a and the weights."""
    p = tasks.linear_regression(B=8, N=20, d_x=5, seed=2)
    H, I = p.x.mT @ p.x, torch.eye(5, dtype=torch.float64).expand(8, 5, 5)
    a = 0.9 / torch.linalg.matrix_norm(H, ord=2).max().item() ** (2 if of_H else 1)
    return p, H, a, p.y.mT @ p.x @ residuals.newton(H, a * (H if of_H else I), rounds=5)


@claim(EXACT, "Newton's iteration squares the residual in each round.", paper="Fu et al. 2023")
def newton_squares():
    p, H, a, W = _newton(of_H=True)
    left = torch.eye(5, dtype=torch.float64) - a * H @ H
    return identity(*(metrics.max_gap(p.W - W, p.W @ torch.linalg.matrix_power(left, n)) for n in (2**5, 2 * 5)))


@claim(EXACT, "From M₀ = aI, k rounds of Newton's iteration are 2ᵏ equal steps of gradient descent.")
def newton_is_many_equal_steps():
    p, _, a, W = _newton(of_H=False)
    return identity(*(metrics.max_gap(W, learners.gd_weights(p.x, p.y, 20 * a, steps)) for steps in (2**5, 2 * 5)))


@claim(
    REPORTED,
    "The layers of a 12-layer GPT keep pace with Newton's rounds, about three a layer.",
    paper="d = 20, N = 40, Fu et al. 2023",
)
def a_large_gpt_does_newton(): ...
