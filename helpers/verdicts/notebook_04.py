"""Claims of notebook 04: the best single step."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from helpers import constructions, learners, tasks
from helpers.attention import Layer
from helpers.theory import closed_forms, population, whole_layers
from helpers.verdicts import EXACT, MEASURED, PROVED, Bounds, Evidence, claim, number, over_prompts, over_seeds

CODE = {"N": 10, "d_x": 10, "inputs": "uniform"}  # the setting of von Oswald et al. 2023, as in their code
SIZES = (3.0, 1.5, 1.0, 0.5, 0.1)  # variances of the inputs along five directions, for the preconditioned step
N_TASKS, D_TASKS, NOISE_TASKS = 16, 8, 0.5  # the layers that are made for few tasks


@functools.lru_cache(maxsize=4)
def _prompts(B: int, N: int, d_x: int, inputs: str, seed: int) -> tasks.Prompt:
    return tasks.linear_regression(B, N, d_x, inputs=inputs, seed=seed)


def half_losses(eta: float, c: float, shift: int = 0) -> Tensor:
    """Half squared errors of one step, inputs c times as large, averaged over the query by hand: s^2 |w_hat - w|^2."""
    p = _prompts(50_000, **CODE, seed=2 + 1000 * shift)
    W_hat = learners.gd_weights(c * p.x, c * p.y, eta)
    return c**2 / 12 * (W_hat - p.W).square().sum((1, 2)) / 2


@claim(
    MEASURED,
    "The best gradient step has a loss of 0.2 in the setting of the paper: x from U(−1, 1), error not halved.",
    paper="0.2, von Oswald et al. 2023, fig. 2",
    instead="in the setting of its code, U(−½, ½) and halved (margin note P1).",
)
def the_papers_loss(shift: int = 0):
    eta = closed_forms.best_step(**CODE)
    as_in_text, as_in_code = 2 * half_losses(eta / 4, 2.0, shift), half_losses(eta, 1.0, shift)
    twice = over_prompts(half_losses(2 * eta, 1.0, shift))  # the control: as bad as answering 0
    return Evidence(*(Bounds(over_prompts(each), 0.19, 0.22) for each in (as_in_text, as_in_code)), control=twice)


@functools.lru_cache
def found_on(n: int, seed: int, inputs: str = "uniform") -> float:
    """The best step on n prompts, by one division: a step of size eta answers eta * unit, so the error is a parabola.

    >>> round(found_on(1000, seed=0))
    6
    """
    p = tasks.linear_regression(n, N=10, d_x=10, inputs=inputs, seed=seed)
    unit = learners.gd(*p.shown, eta=1.0)
    return ((unit * p.y_query).sum() / unit.square().sum()).item()


@claim(
    PROVED,
    "The best step needs no search: η* = (1/s²) N/(N + d − 1/5) for uniform inputs, 6.06 here.",
    paper="a line search over 250 values, published code of von Oswald et al. 2023",
)
def the_best_step_is_known(shift: int = 0):
    """Control: the best step for Gaussian inputs of the same variance, of which only the kurtosis differs."""
    eta = closed_forms.best_step(**CODE)

    def found(inputs, unit):
        etas = torch.tensor([unit * found_on(10_000, seed + 1000 * shift, inputs) for seed in range(20)])
        return over_prompts(etas)._replace(how="20 x 10,000 prompts")

    return Evidence(Bounds(found("uniform", 1.0), 0.98 * eta, 1.02 * eta), control=found("gaussian", 12.0))


@claim(
    MEASURED,
    "A learned step generalises to inputs of other scales.",
    paper="a curve that rises beyond a scale of 1.5, von Oswald et al. 2023, fig. 2",
    instead="its error is a polynomial of degree 6 in the scale, known in advance: 8.4 for inputs twice as large.",
)
def the_step_does_not_scale(shift: int = 0):
    """Control: a step that was made for inputs twice as large."""
    eta = closed_forms.best_step(**CODE)
    ours, made_for_it = (over_prompts(half_losses(each, 2.0, shift)) for each in (eta, eta / 4))
    known = 4 * closed_forms.gd_excess(4 * eta, **CODE) / 2
    as_good = over_prompts(4 * half_losses(eta, 1.0, shift)).high
    return Evidence(Bounds(ours, at_most=as_good), Bounds(ours, 0.95 * known, 1.05 * known), control=made_for_it)


@claim(
    MEASURED,
    "With enough examples in the prompt the error of a trained step goes to 0.",
    instead="to a floor, 0.28 with 1,000 examples (in the limit d (1 − η)², 0.27): the step shrinks as for N = 20.",
)
def more_context_meets_a_floor(shift: int = 0):
    """Control: a step made for the 1,000 examples that it gets."""
    p = _prompts(2000, 1000, 5, "gaussian", 8 + 1000 * shift)

    def error(made_for):
        eta = closed_forms.best_step(made_for, 5)
        return over_prompts((learners.gd_weights(p.x, p.y, eta) - p.W).square().sum((1, 2)))

    known = closed_forms.gd_excess(closed_forms.best_step(20, 5), N=1000, d_x=5)
    return Evidence(Bounds(error(20), at_most=0.05), Bounds(error(20), 0.9 * known, 1.1 * known), control=error(1000))


@claim(
    PROVED,
    "Scale tells a fixed step from least squares: with inputs twice as large it errs by 7 times the labels’ size.",
    paper="Zhang et al. 2023, section 4.2",
)
def scale_tells_them_apart(shift: int = 0):
    p, eta = _prompts(30_000, 20, 5, "gaussian", 6 + 1000 * shift), closed_forms.best_step(20, 5)
    known = closed_forms.gd_excess(4 * eta, 20, 5) / 5
    step = (learners.gd_weights(2 * p.x, 2 * p.y, eta) - p.W).square().sum((1, 2)) / 5  # all queries of each prompt
    exact = (learners.least_squares(*(2 * part for part in p.shown)) - 2 * p.y_query).square() / 20
    return Evidence(Bounds(over_prompts(step), 0.9 * known, 1.1 * known), control=over_prompts(exact))


@claim(
    EXACT,
    "A layer with a matrix in W_Q takes a preconditioned step; the best matrix is Γ⁻¹ (gap of two expectations).",
    paper="Zhang et al. 2023, thm. 4.1; Ahn et al. 2023, thm. 1",
)
def the_best_matrix():
    """No other matrix does better, and the gradient of the expected error vanishes there."""
    Sigma = torch.diag(torch.tensor(SIZES, dtype=torch.float64))

    def slope(A):
        def excess(step):
            return closed_forms.preconditioned_excess(A + step, Sigma, 12, noise=0.5)

        steps = torch.eye(25, dtype=torch.float64).view(25, 5, 5)
        return max(abs(excess(step) - excess(-step)) for step in steps) / 2  # exact: it is quadratic

    best = closed_forms.preconditioner(Sigma, 12, noise=0.5)
    return Evidence(Bounds(number(slope(best)), at_most=1e-12), control=number(slope(1.1 * best)))


@functools.lru_cache
def errors_of_layer(which: str, shift: int = 0) -> tuple[Tensor, float]:
    """Squared errors with the best "number" or "matrix" on the same prompts, and their mean by the formula."""
    sizes, noise, seed = torch.tensor(SIZES, dtype=torch.float64), 0.3**0.5, 9 + 1000 * shift
    Sigma, law = torch.diag(sizes), {"N": 12, "noise": noise}
    number_times_I = closed_forms.best_multiple(Sigma, **law) * torch.eye(5, dtype=torch.float64)
    A = {"number": number_times_I, "matrix": closed_forms.preconditioner(Sigma, **law)}[which]
    p = _prompts(60_000, 12, 5, "gaussian", seed)
    x, x_query = p.x * sizes.sqrt(), p.x_query * sizes.sqrt()
    y = x @ p.W.mT + noise * _prompts(60_000, 12, 1, "gaussian", seed + 1).x
    y_hat = constructions.learner([whole_layers.preconditioned_step(A, 12)])(x, y, x_query)
    known = closed_forms.preconditioned_excess(A, Sigma, **law)
    return (y_hat - (p.W @ x_query[..., None])[..., 0]).square(), known


@claim(
    PROVED,
    "That matrix, put into an attention layer, errs as the formula says: 1.81, and less than the best number.",
    paper="derived here, with noise",
)
def the_layer_with_the_best_matrix(shift: int = 0):
    (ours, known), (control, _) = (errors_of_layer(which, shift) for which in ("matrix", "number"))
    beyond = Bounds(over_prompts(ours - control), at_most=0)
    return Evidence(
        Bounds(over_prompts(ours), 0.95 * known, 1.05 * known), control=over_prompts(control), beyond=beyond
    )


def layers_for(W: Tensor, weights: Tensor) -> dict[str, tuple[Layer, float]]:
    """Layers that start from W_0 = 0, for weighted tasks W (M, d_x), N = 20, and their excess, exactly.

    "matrix" has the best A in W_Q, "whole" the best of all weights.
    """
    I, prior = torch.eye(W.shape[1], dtype=W.dtype), (weights[:, None] * W).mT @ W
    A, whole = closed_forms.preconditioner(I, 20, prior=prior), whole_layers.best_layer(W, 20, weights=weights)
    layers = {"matrix": whole_layers.preconditioned_step(A, 20), "whole": whole}
    return {name: (each, whole_layers.excess(each, W, 20, weights=weights).item()) for name, each in layers.items()}


@functools.lru_cache
def layers_for_a_mean(length: float) -> dict[str, tuple[Layer, float]]:
    """The same for tasks w ~ N(mu, I) with |mu| = length, d_x = 5."""
    mu = length * torch.eye(5, dtype=torch.float64)[0]
    return layers_for(*whole_layers.gaussian_tasks(mu))


@functools.lru_cache
def errors_for_a_mean(length: float, shift: int = 0) -> dict[str, Tensor]:
    """Squared errors of these layers, and of the step from W_0 = mu, on the same 10,000 prompts."""
    mu = length * torch.eye(5, dtype=torch.float64)[:1]
    p = _prompts(10_000, 20, 5, "gaussian", 12 + 1000 * shift)
    x, y, x_query, truth = p.x, p.y + p.x @ mu.T, p.x_query, p.y_query + p.x_query @ mu.T
    ways = {name: constructions.learner([layer]) for name, (layer, _) in layers_for_a_mean(length).items()}
    ways["from the mean"] = lambda *shown: learners.gd(*shown, closed_forms.best_step(20, 5), W_0=mu)
    return {name: (way(x, y, x_query) - truth).square() for name, way in ways.items()}


@claim(
    MEASURED,
    "A layer that starts from W₀ = 0 can do no better than the best matrix in W_Q, whatever the law of its tasks "
    "(its squared error beyond the matrix’s, |μ| = 4).",
    paper="true for w ~ N(0, I): Mahankali et al. 2023",
    instead="true for tasks as likely as their negatives; with a mean an x block in W_V guesses it, and does better.",
)
def a_whole_layer_beats_the_matrix(shift: int = 0):
    """Control: the same difference for w ~ N(0, I)."""

    def beyond(length):
        errors = errors_for_a_mean(length, shift)
        return over_prompts((errors["whole"] - errors["matrix"]).round(decimals=6))  # a search ends near its optimum

    return Evidence(Bounds(beyond(4.0), at_least=-0.05), Bounds(beyond(4.0), at_most=-0.05), control=beyond(0.0))


@claim(PROVED, "With W₀ = μ in its W_V the error does not depend on the mean: 1.15 at |μ| = 4, as at 0.")
def the_mean_belongs_into_W_0(shift: int = 0):
    errors, known = errors_for_a_mean(4.0, shift), closed_forms.gd_excess(closed_forms.best_step(20, 5), 20, 5)
    ours, whole = errors["from the mean"], errors["whole"]
    stated = Bounds(over_prompts(ours), 0.9 * known, 1.1 * known)
    return Evidence(stated, control=over_prompts(whole), beyond=Bounds(over_prompts(ours - whole), at_most=0))


@functools.lru_cache
def for_few_tasks(M: int, seed: int) -> dict[str, tuple[float, float]]:
    """The expected squared errors of layers made for M tasks: on these tasks, and on new ones, w ~ N(0, I)."""
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(M, D_TASKS, generator=g, dtype=torch.float64)
    I, noise = torch.eye(D_TASKS, dtype=torch.float64), {"noise": NOISE_TASKS}
    A = closed_forms.preconditioner(I, N_TASKS, **noise, prior=W.T @ W / M)
    step, best = whole_layers.preconditioned_step(A, N_TASKS), whole_layers.best_layer(W, N_TASKS, **noise)

    def both(layer):
        own = whole_layers.excess(layer, W, N_TASKS, **noise).item()
        return own, 2 * population.half_loss(layer, N_TASKS, **noise).item()

    return {"matrix": both(step), "whole": both(best)}


@claim(
    MEASURED,
    "A layer made for 64 tasks, eight times their dimension, errs on new tasks within 10 % of one made for all "
    "(its error over the ideal one).",
)
def a_few_times_d_tasks_are_enough(shift: int = 0):
    """Over 6 draws of the tasks. Control: layers made for 8 tasks."""
    law = {"N": N_TASKS, "d_x": D_TASKS, "noise": NOISE_TASKS}
    ideal = closed_forms.gd_excess(closed_forms.best_step(**law), **law)

    def over_ideal(M):
        ratios = [for_few_tasks(M, seed + 1000 * shift)["whole"][1] / ideal for seed in range(6)]
        return over_seeds(ratios)._replace(how="6 sets of tasks")

    return Evidence(Bounds(over_ideal(64), at_most=1.1), control=over_ideal(8))
