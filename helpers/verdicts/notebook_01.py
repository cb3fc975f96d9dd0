"""Claims of notebook 01: what in-context learning is, and how good a small network is at it."""

from __future__ import annotations

import copy
import math
from functools import lru_cache

import torch
from torch import Tensor

from helpers import learners, metrics, tasks
from helpers.theory import bayes, closed_forms
from helpers.theory.stored_tasks import best_of
from helpers.trained import regression_gpts
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
    over_prompts,
)
from helpers.verdicts.frozen_gpt import apart, scaled, seen_before


@lru_cache
def two_valleys(*, shift: int) -> dict[int, tuple[Number, float]]:
    """Least squares with d = 20 and noise 0.5, by N: its excess over 2,000 draws, and the closed form."""
    found = {}
    for N in (10, 15, 24, 30, 40):
        p = tasks.linear_regression(B=2000, N=N, d_x=20, noise=0.5, seed=shift)
        off = (learners.least_squares_weights(p.x, p.y) - p.W).square().sum((1, 2))  # the mean over all queries
        found[N] = over_prompts(off), closed_forms.least_squares_excess(N, 20, noise=0.5)
    return found


def _weights(model) -> Tensor:
    return torch.cat([W.flatten() for W in model.state_dict().values()])


@claim(EXACT, "Reading a prompt changes no weight; one step of training does.", paper="definition, Brown et al. 2020")
def reading_changes_no_weight():
    model, prompt = regression_gpts.load(), tasks.linear_regression(B=1, N=12, d_x=5, seed=4)
    before = _weights(model)
    model(*prompt.shown)
    trained = copy.deepcopy(model).requires_grad_(True)
    (trained(*prompt.shown) - prompt.y_query).square().mean().backward()
    torch.optim.SGD(trained.parameters(), lr=0.01).step()
    return identity(metrics.max_gap(_weights(model), before), metrics.max_gap(_weights(trained).detach(), before))


@claim(
    MEASURED,
    "A trained GPT learns linear functions from its prompt: error/d at most 0.02 once it has read N = d examples.",
    paper="0.02 at N = d, 0.0006 at N = 2d; d = 20, Garg et al. 2022, fig. 2",
    instead="a GPT with 151,000 weights and d = 5 needs twice as many examples to get below 0.05.",
)
def a_gpt_learns_linear_functions(shift: int = 0):
    untrained = regression_gpts.frozen(regression_gpts.RegressionGPT(5, longest=12))
    prompt = tasks.linear_regression(B=200, N=10, d_x=5, seed=shift)
    control = over_prompts((untrained(*prompt.shown) - prompt.y_query).square() / 5)
    at_d, later = (over_prompts(apart("GPT", "truth", shift=shift)[:, k]) for k in (5, 10))
    return Evidence(Bounds(at_d, at_most=0.02), Bounds(later, at_most=0.05), control)


@claim(
    MEASURED,
    "That GPT does one step of gradient descent: at N = 10, d = 5 it errs no less than the best single step.",
    paper="what the title of von Oswald et al. 2023 might suggest",
)
def the_gpt_is_one_step(shift: int = 0):
    gain = apart("best single step", "truth", shift=shift) - apart("GPT", "truth", shift=shift)
    return Evidence(Bounds(over_prompts(gain[:, 10])._replace(how="step minus GPT, n = 1,000"), at_most=0.0))


@claim(EXACT, "The baseline called averaging is one gradient step with η = 1.", paper="Garg et al. 2022, baseline")
def averaging_is_one_step():
    p = tasks.linear_regression(B=64, N=12, d_x=5, seed=5)
    average = ((p.y * p.x).mean(dim=1) * p.x_query).sum(1, keepdim=True)
    steps = [learners.gd(*p.shown, eta=eta) for eta in (1.0, 1.1)]
    return identity(*(metrics.max_gap(average, step) for step in steps))


@claim(
    PROVED, "Least squares under noise has two valleys and a peak: its excess is the formula.", paper="double descent"
)
def least_squares_has_two_valleys(shift: int = 0):
    def off(formula):  # the largest distance of a mean from the formula, in standard errors
        found = two_valleys(shift=shift).items()
        return max(abs(mean.value - formula(N)) / ((mean.high - mean.low) / 4) for N, (mean, _) in found)

    exact, wrong = (lambda N, s=s: closed_forms.least_squares_excess(N, 20, noise=s) for s in (0.5, 0.5**0.5))
    return Evidence(Bounds(number(off(exact), "standard errors off"), at_most=4), control=number(off(wrong)))


@claim(PROVED, "More examples never hurt least squares.", instead="not near N = d, if labels are noisy.")
def more_examples_never_hurt():
    def rise(lengths):
        excess = [closed_forms.least_squares_excess(N, 20, noise=0.5) for N in lengths]
        return number(max(b - a for a, b in zip(excess, excess[1:], strict=False)), "closed form")

    return Evidence(Bounds(rise([5, 10, 15, 18, 24, 30, 40]), at_most=0), Bounds(rise([22, 24, 30, 40]), at_most=0))


@claim(PROVED, "No learner does better on average than ridge regression with λ = noise².", paper="Akyürek et al. 2023")
def ridge_is_best(shift: int = 0):
    p = tasks.linear_regression(B=2000, N=20, d_x=10, noise=0.5, seed=3 + shift)
    single = learners.gd_weights(p.x, p.y, closed_forms.best_step(20, 10, noise=0.5))
    others = [single, learners.least_squares_weights(p.x, p.y)]
    others += [learners.ridge_weights(p.x, p.y, lam) for lam in (0.05, 1.25)]
    best, *off = ((W - p.W).square().sum((1, 2)) for W in [learners.ridge_weights(p.x, p.y, 0.25), *others])
    nearest = min(off, key=lambda each: each.mean())  # of the four others
    return Evidence(
        Bounds(over_prompts(best), at_most=0.3), None, over_prompts(nearest), _less((best - nearest) / best.mean())
    )


def _less(difference: Tensor) -> Bounds:
    """All of the paired difference to the control lies below 0."""
    return Bounds(over_prompts(difference), at_most=0)


@claim(
    EXACT, "Ridge regression needs no matrix inverse: it can take its examples one by one.", paper="Sherman–Morrison"
)
def one_by_one_is_ridge():
    p = tasks.linear_regression(B=1, N=30, d_x=10, noise=0.5, seed=3)

    def recursion(one):
        A, w = torch.eye(10).double() / 0.25, torch.zeros(10).double()
        for x, y in zip(p.x[0], p.y[0, :, 0], strict=True):
            g = A @ x / (one + x @ A @ x)
            w, A = w + g * (y - w @ x), A - torch.outer(g, A @ x)
        return metrics.max_gap(w, learners.ridge_weights(p.x, p.y, 0.25)[0, 0])

    return identity(recursion(1.0), broken=recursion(2.0))


@claim(
    MEASURED,
    "One gradient step uses its examples about as well as the Bayes-optimal learner (within a factor of 2).",
    instead="where there is little to know (N = 5, d = 40, noise 2); at N = 2d, noise 0.5 it is 14 times worse.",
)
def one_step_is_nearly_optimal(shift: int = 0):
    def ratio(N, d, noise):
        p = tasks.linear_regression(B=4000, N=N, d_x=d, noise=noise, seed=3 + shift)
        ridge = (learners.ridge_weights(p.x, p.y, lam=noise**2) - p.W).square().sum((1, 2))  # all queries averaged
        best = closed_forms.gd_excess(closed_forms.best_step(N, d, noise=noise), N, d, noise=noise)
        excess = over_prompts(ridge)
        return Number(best / excess.value, best / excess.high, best / excess.low, excess.how)

    return Evidence(Bounds(ratio(20, 10, 0.5), at_most=2), Bounds(ratio(5, 40, 2.0), at_most=2))


@claim(PROVED, "Two learners of equal loss can be far apart: silence and a step of 2η*, by an SPD of 4η*d.")
def equal_loss_other_function(shift: int = 0):
    p, eta = tasks.linear_regression(B=20_000, N=10, d_x=5, seed=shift), closed_forms.best_step(10, 5)
    losses = [closed_forms.gd_excess(step, N=10, d_x=5) for step in (0.0, 2 * eta)]
    far, near = (over_prompts(learners.gd(*p.shown, step).square() / (4 * eta * 5)) for step in (2 * eta, eta))
    slack = 0.1 if abs(losses[0] - losses[1]) < 1e-12 else math.nan  # the losses are equal, or all is void
    return Evidence(Bounds(far._replace(how="of 4η*d, " + far.how), 1 - slack, 1 + slack), control=near)


@claim(MEASURED, "Without noise the GPT's answers are nearer to least squares than to the best single step.")
def it_is_nearest_to_least_squares(shift: int = 0):
    ours, control = (apart("GPT", name, shift=shift)[:, 1:].mean(1) for name in ("least squares", "best single step"))
    return Evidence(Bounds(over_prompts(ours), at_most=0.15), None, over_prompts(control), _less(ours - control))


@claim(MEASURED, "What it says is linear in the query, to within 2 % of the variance.", paper="Akyürek et al. 2023")
def it_is_nearly_linear_in_the_query(shift: int = 0):
    p = tasks.linear_regression(B=30, N=8, d_x=5, seed=3 + shift)
    probes = torch.randn(15, 5, generator=torch.Generator().manual_seed(5 + shift), dtype=torch.float64)

    def bent(model):
        W = metrics.implied_weights(model, p.x, p.y, probes)
        said = model(p.x.repeat_interleave(15, 0), p.y.repeat_interleave(15, 0), probes.repeat(30, 1)).view(30, 15)
        share = over_prompts(100 * (said - (probes @ W.mT)[..., 0]).square().mean(1) / said.square().mean())
        return share._replace(how="% bent, " + share.how)

    untrained = regression_gpts.frozen(regression_gpts.RegressionGPT(5, longest=12))
    return Evidence(Bounds(bent(regression_gpts.load()), at_most=2), control=bent(untrained))


@claim(
    PROVED,
    "Memorised tasks cannot explain it: the best of 10,000 stored tasks is still off by about 0.5 (d = 20).",
    paper="“around 0.5”, Garg et al. 2022",
)
def memory_is_not_enough(shift: int = 0):
    g = torch.Generator().manual_seed(shift)
    stored, new = (torch.randn(n, 20, generator=g, dtype=torch.float64) for n in (10_000, 500))
    nearest, one = (torch.cdist(new, some).amin(dim=1).square() / 20 for some in (stored, stored[:1]))
    formula = best_of(10_000, 20)
    return Evidence(Bounds(over_prompts(nearest), 0.95 * formula, 1.05 * formula), control=over_prompts(one))


@claim(MEASURED, "The GPT does not recognise the tasks of its training: on them it errs by at most 15 % less.")
def it_recognises_no_task(shift: int = 0):
    found = seen_before(shift=shift)
    new, seen = (found[name][:, 1:].mean(1) for name in ("new tasks", "tasks of its training"))
    p, W = tasks.linear_regression(B=100, N=3, d_x=5, seed=77 + shift), found["W"]

    def with_the_table(task):  # a learner who knows all 2,080 of them; three examples are enough for it
        truth = (task @ p.x_query[..., None])[..., 0]
        return (bayes.dmmse(p.x, p.x @ task.mT, p.x_query, W[:, 0], noise=0.05) - truth).square()

    control = with_the_table(p.W), with_the_table(W[:100])
    ours = over_prompts((new - seen) / new.mean())
    return Evidence(Bounds(ours, at_most=0.15), control=over_prompts((control[0] - control[1]) / control[0].mean()))


@claim(MEASURED, "It adapts to the size of its inputs: where they are four times as large, a fixed step errs more.")
def it_adapts_to_the_scale(shift: int = 0):
    found = scaled(shift=shift)
    ours, control = (found[name][-1] for name in ("GPT", "a step of fixed size"))
    return Evidence(Bounds(over_prompts(ours), at_most=1), None, over_prompts(control), _less(ours - control))


@claim(
    MEASURED,
    "With noise on the labels, too, the GPT is about as good as least squares (d = 2, noise 1, 5 to 12 examples).",
    instead="it is worse than even the best single step up to 6 examples, and no better afterwards.",
)
def it_is_least_squares_under_noise(shift: int = 0):
    def minus(name, k):  # the GPT's error less the other's, after the numbers of examples k
        ours, other = (apart(each, "truth", d=2, noise=1.0, shift=shift)[:, k].mean(1) for each in ("GPT", name))
        return over_prompts(ours - other)._replace(how=f"GPT minus it, n = {len(ours):,}")

    stated = minus("least squares", range(5, 13))
    few, many = (minus("best single step", k) for k in (range(1, 7), range(7, 13)))
    no_better = 0 if many.low > -0.02 else math.nan  # or all is void
    return Evidence(Bounds(stated, at_most=0.02), Bounds(few, at_least=no_better))


@claim(
    REPORTED,
    "Accuracy grows with the number of examples, and faster for larger language models.",
    paper="models to 175 billion weights, Brown et al. 2020",
)
def larger_models_learn_faster(): ...
