"""Claims of notebook 08: beyond straight lines."""

from __future__ import annotations

import copy
import functools

import torch

from helpers import constructions, metrics, tasks
from helpers.models import features
from helpers.theory import kernels
from helpers.trained import sine_runs
from helpers.verdicts import (
    EXACT,
    MEASURED,
    PROVED,
    Bounds,
    Evidence,
    claim,
    identity,
    number,
    over_models_and_prompts,
    over_seeds,
)


@claim(
    EXACT,
    "An MLP followed by the layer is one gradient step on the MLP's features.",
    paper="von Oswald et al. 2023, prop. 2",
)
def features_then_a_step():
    m = features.Features(width=12, hidden=20, seed=0).double().requires_grad_(False)
    p = features.sines(B=16, N=10, seed=1)[0]
    W_0 = 0.1 * torch.randn(1, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def by_attention(eta):
        layers = [constructions.gd_step(eta, 10, 12, W_0=W_0)]
        return constructions.learner(layers, W_0)(m(p.x), p.y, m(p.x_query))

    def by_gradient(x, y, x_query):
        grad = torch.func.grad(lambda W: (m(x) @ W.T - y).square().sum() / (2 * len(x)))
        return (W_0 - 0.01 * grad(W_0)) @ m(x_query)

    wanted = torch.stack([by_gradient(*task) for task in zip(*p.shown, strict=True)])
    return identity(*(metrics.max_gap(by_attention(eta), wanted) for eta in (0.01, 0.02)))


@claim(
    EXACT,
    "Layers with a kernel for a score are gradient descent on functions; T of them are a filter on eigenvalues.",
    paper="Cheng et al. 2023",
)
def functional_gradient_descent():
    p = tasks.linear_regression(B=4, N=9, d_x=2, seed=1)
    x_query, kernel = p.x_query[:, None], kernels.rbf(0.7)
    by_layers = kernels.functional_gd(p.x, p.y, x_query, kernel, 0.2, steps=60)[0]
    filters = [kernels.filtered(p.x, p.y, x_query, kernels.rbf(h), 0.2, 60) for h in (0.7, 0.77)]
    return identity(*(metrics.max_gap(by_layers, each) for each in filters))


@claim(EXACT, "With more and more layers a stack with a kernel for a score tends to the mean of a Gaussian process.")
def many_layers_are_a_gaussian_process():
    p = tasks.linear_regression(B=4, N=9, d_x=2, seed=1)
    limit = kernels.gp(p.x, p.y, p.x_query[:, None], kernels.rbf(0.4))[0]
    stacks = [kernels.filtered(p.x, p.y, p.x_query[:, None], kernels.rbf(0.4), 0.5, T) for T in (10**6, 10)]
    return identity(*(metrics.max_gap(stack, limit) for stack in stacks))


FOUR = {"linear": kernels.linear} | {f"h = {h}": kernels.rbf(h) for h in (0.3, 1.0, 3.0)}


@functools.lru_cache
def kernel_errors(seed: int) -> torch.Tensor:
    """Mean squared errors (4, 4) at a 21st point: rows, the kernel that drew 600 tasks; columns, that which answers."""
    points = 2 * torch.rand(600, 21, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    return errors_of(points, FOUR, seed=seed)


def errors_of(points: torch.Tensor, four: dict, *, lam: float = 1e-6, seed: int = 0) -> torch.Tensor:
    """The same at given points, for any kernels; the labels have noise of variance lam."""
    x, query, rows = points[:, :-1], points[:, -1:], []
    for of_data in four.values():
        f = kernels.draw(points, of_data, lam=lam, seed=seed)  # all of a task's values, with their noise
        answers = [kernels.gp(x, f[:, :-1], query, k, lam)[0] for k in four.values()]
        rows.append(torch.stack([(answer - f[:, -1:]).square().mean() for answer in answers]))
    return torch.stack(rows)


@claim(
    PROVED,
    "The kernel that made the data predicts best (least ratio of another kernel's error to its own).",
    paper="Cheng et al. 2023",
)
def the_matching_kernel_wins(shift=0):
    def least_ratio(seed, own=(0, 1, 2, 3)):
        errors, each = kernel_errors(seed), torch.arange(4)
        ratios = errors / errors[each, list(own)][:, None]
        ratios[each, list(own)] = torch.inf
        return ratios.min()

    another = number(least_ratio(shift, own=(1, 2, 3, 0)), "to a kernel that did not")
    ours = over_seeds(least_ratio(seed + shift) for seed in range(3))
    return Evidence(Bounds(ours, at_least=1.0), control=another)


@claim(
    EXACT,
    "The score of softmax, exp(xᵀx′), is the Gaussian kernel up to a constant (spread of the ratio).",
    instead="on a sphere; elsewhere it favours long keys.",
)
def exp_is_gaussian():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def spread(x):
        return number((kernels.exponential()(x, x) / kernels.rbf(1.0)(x, x) / torch.e - 1).abs().max())

    return Evidence(*(Bounds(spread(points), at_most=1e-12) for points in (x, x / x.norm(dim=1, keepdim=True))))


# --- the sine task ----------------------------------------------------------------------------------------------


@functools.lru_cache
def sine_losses(shift: int = 0) -> dict[str, torch.Tensor]:
    """Losses on 4,000 new tasks (3 seeds of models, B), by name of the learner."""

    def of(models):
        with torch.no_grad():
            return torch.stack([features.losses(model, seed=900 + shift, B=4000, queries=128) for model in models])

    pairs = [sine_runs.load(seed) for seed in sine_runs.SEEDS]
    blind = [copy.deepcopy(pair["attention"].model).requires_grad_(False) for pair in pairs]
    for model in blind:
        model.A[:-1, -1] = 0  # the score no longer depends on the query's label slot, -W_0 m(x_q)
    learners = {kind: [pair[kind].model for pair in pairs] for kind in sine_runs.KINDS} | {"blind": blind}
    learners["first guess"] = [copy.deepcopy(pair["gradient"].model) for pair in pairs]
    for model in learners["first guess"]:
        model.eta = 0.0  # what the trained start says before it reads a prompt
    return {name: of(models) for name, models in (learners | {"by hand": [features.by_hand()] * 3}).items()}


def ratio(ours: torch.Tensor, other: torch.Tensor):
    """The ratio of two mean losses (M, B), from the paired differences."""
    return over_models_and_prompts(1 + (ours - other) / other.mean())


@claim(
    MEASURED,
    "On sine waves a trained MLP with one attention layer equals a meta-learned MLP with one gradient step "
    "(ratio of the losses, within 15 %).",
    paper="two curves that meet, von Oswald et al. 2023, fig. 4",
)
def sine_waves(shift=0):
    losses = sine_losses(shift)
    unread = ratio(losses["first guess"], losses["gradient"])
    return Evidence(Bounds(ratio(losses["attention"], losses["gradient"]), 0.85, 1.15), control=unread)


@claim(MEASURED, "The forty trained features do what sine and cosine by hand do (ratio of the losses, within 10 %).")
def forty_features_are_two(shift=0):
    losses = sine_losses(shift)
    unread = ratio(losses["first guess"], losses["by hand"])
    return Evidence(Bounds(ratio(losses["gradient"], losses["by hand"]), 0.9, 1.1), control=unread)


@claim(MEASURED, "The attention layer is ahead, and by its first guess (ratio; the control is blind to the guess).")
def the_lead_is_the_first_guess(shift=0):
    losses = sine_losses(shift)
    seeing, blind = (ratio(losses[name], losses["gradient"]) for name in ("attention", "blind"))
    beyond = over_models_and_prompts((losses["attention"] - losses["blind"]) / losses["gradient"].mean())
    return Evidence(Bounds(seeing, at_most=1), control=blind, beyond=Bounds(beyond, at_most=0))


@claim(MEASURED, "Both have learned one and the same kernel, cos(x − x′) (least cosine similarity).")
def the_learned_kernel():
    points = torch.linspace(-5, 5, 101)[:, None]
    wanted = torch.cos(points - points.T)[None]

    def alike(model):
        m = model.features(points).detach()
        scores = m @ m.T if not hasattr(model, "A") else -model.R[0, -1] * m @ model.A[:-1, :-1] @ m.T
        return metrics.mean_cosine(scores.detach()[None], wanted)

    models = [sine_runs.load(seed)[kind].model for seed in sine_runs.SEEDS for kind in sine_runs.KINDS]
    untrained = max(alike(sine_runs.untrained(kind)) for kind in sine_runs.KINDS)
    return Evidence(Bounds(over_seeds(alike(model) for model in models), at_least=0.9), control=number(untrained))


@functools.lru_cache
def beyond_training(a: float, shift: int = 0) -> dict[str, torch.Tensor]:
    """Root mean squared errors on 400 tasks of amplitude a (3 seeds of models, B), phases and inputs as in training."""
    prompt, amplitude, phase = features.sines(400, 10, seed=40 + shift, dtype=torch.float32)
    line, scale = torch.linspace(-5, 5, 161)[:, None], a / amplitude
    truth, found = a * torch.sin(line.mT + phase), {}
    for kind in sine_runs.KINDS:
        models = [sine_runs.load(seed)[kind].model for seed in sine_runs.SEEDS]
        curves = [model.curves(prompt.x, scale[..., None] * prompt.y, line)[1][..., 0] for model in models]
        found[kind] = torch.stack([(curve - truth).square().mean(dim=1).sqrt() for curve in curves]).detach()
    return found


@claim(
    MEASURED,
    "Attention is hurt more than the gradient step when amplitudes grow three times beyond those of the training "
    "(its error, relative to the step's).",
)
def larger_amplitudes(shift=0):
    ours, control = (
        ratio(*(beyond_training(a, shift)[kind] for kind in ("attention", "gradient"))) for a in (1.5, 0.3)
    )
    return Evidence(Bounds(ours, at_least=1.0), control=control)
