"""Claims of notebook 01: what in-context learning is, and how good a small network is at it."""

from __future__ import annotations

import copy

import torch

from helpers import learners, metrics, tasks
from helpers.theory import closed_forms
from helpers.trained import regression_gpts
from helpers.verdicts import EXACT, MEASURED, REPORTED, Bounds, Evidence, Number, claim, identity, number, over_prompts


def _weights(model) -> torch.Tensor:
    return torch.cat([W.flatten() for W in model.state_dict().values()])


@claim(EXACT, "Reading a prompt changes no weight; one step of training does.", paper="definition, Brown et al. 2020")
def reading_changes_no_weight():
    model, prompt = regression_gpts.load(), tasks.linear_regression(B=1, N=12, d_x=5, seed=4)
    before = _weights(model)
    model(*prompt.shown)
    trained = copy.deepcopy(model).requires_grad_(True)
    (trained(*prompt.shown) - prompt.y_query).square().mean().backward()
    torch.optim.SGD(trained.parameters(), lr=1e-4).step()
    return identity(metrics.max_gap(_weights(model), before), metrics.max_gap(_weights(trained).detach(), before))


def _errors_of_the_gpt(k: int) -> Number:
    prompt = tasks.linear_regression(B=1000, N=12, d_x=5).first(k)
    return over_prompts((regression_gpts.load()(*prompt.shown) - prompt.y_query).square() / 5)


@claim(
    MEASURED,
    "A trained GPT learns linear functions from its prompt: error/d at most 0.02 once it has read N = d examples.",
    paper="0.02 at N = d, 0.0006 at N = 2d; d = 20, Garg et al. 2022, fig. 2",
    instead="a GPT with 151,000 weights and d = 5 needs twice as many examples to get below 0.05.",
)
def a_gpt_learns_linear_functions():
    untrained = regression_gpts.RegressionGPT(5, longest=12).double().requires_grad_(False)
    prompt = tasks.linear_regression(B=1000, N=10, d_x=5)
    control = over_prompts((untrained(*prompt.shown) - prompt.y_query).square() / 5)
    stated, later = _errors_of_the_gpt(5), _errors_of_the_gpt(10)
    return Evidence(Bounds(stated, at_most=0.02), Bounds(later, at_most=0.05), control)


@claim(
    MEASURED,
    "That GPT does one step of gradient descent: at N = 10, d = 5 it errs no less than the best single step, 0.375.",
    paper="what the title of von Oswald et al. 2023 might suggest",
)
def the_gpt_is_one_step():
    best = closed_forms.gd_excess(closed_forms.best_step(10, 5), 10, 5) / 5
    return Evidence(Bounds(_errors_of_the_gpt(10), at_least=0.9 * best, at_most=1.1 * best))


@claim(EXACT, "The baseline called averaging is one gradient step with η = 1.", paper="Garg et al. 2022, baseline")
def averaging_is_one_step():
    p = tasks.linear_regression(B=64, N=12, d_x=5, seed=5)
    average = ((p.y * p.x).mean(dim=1) * p.x_query).sum(1, keepdim=True)
    steps = [learners.gd(*p.shown, eta=eta) for eta in (1.0, 1.1)]
    return identity(*(metrics.max_gap(average, step) for step in steps))


@claim(
    MEASURED,
    "One gradient step uses its examples about as well as the Bayes-optimal learner (within a factor of 2).",
    instead="where there is little to know (N = 5, d = 40, noise 2); at N = 2d, noise 0.5 it is 14 times worse.",
)
def one_step_is_nearly_optimal():
    def ratio(N, d, noise):
        p = tasks.linear_regression(B=4000, N=N, d_x=d, noise=noise, seed=3)
        ridge = (learners.ridge_weights(p.x, p.y, lam=noise**2) - p.W).square().sum((1, 2))  # all queries averaged
        best = closed_forms.gd_excess(closed_forms.best_step(N, d, noise=noise), N, d, noise=noise)
        excess = over_prompts(ridge)
        return Number(best / excess.value, best / excess.high, best / excess.low, excess.how)

    return Evidence(Bounds(ratio(20, 10, 0.5), at_most=2), Bounds(ratio(5, 40, 2.0), at_most=2))


@claim(MEASURED, "More examples never hurt least squares.", instead="not near N = d, if labels are noisy.")
def more_examples_never_hurt():
    def excess(N):
        return closed_forms.least_squares_excess(N, 20, noise=0.5)

    def rise(lengths):
        return number(max(excess(b) - excess(a) for a, b in zip(lengths, lengths[1:], strict=False)), "closed form")

    return Evidence(Bounds(rise([5, 10, 15, 18, 24, 30, 40]), at_most=0), Bounds(rise([22, 24, 30, 40]), at_most=0))


@claim(
    MEASURED,
    "Memorised tasks cannot explain it: the best of 10,000 stored tasks is still off by about 0.5 (d = 20).",
    paper="“around 0.5”, Garg et al. 2022",
)
def memory_is_not_enough():
    g = torch.Generator().manual_seed(0)
    stored, new = (torch.randn(n, 20, generator=g, dtype=torch.float64) for n in (10_000, 1000))
    nearest = torch.cdist(new, stored).amin(dim=1).square() / 20
    return Evidence(
        Bounds(over_prompts(nearest), 0.45, 0.55), control=number(torch.cdist(new, stored[:1]).square().mean() / 20)
    )


@claim(
    REPORTED,
    "Accuracy grows with the number of examples, and faster for larger language models.",
    paper="models to 175 billion weights, Brown et al. 2020",
)
def larger_models_learn_faster(): ...
