"""Claims of notebook 04: the best single step."""

from __future__ import annotations

import torch

from helpers import constructions, learners, tasks
from helpers.theory import closed_forms
from helpers.verdicts import EXACT, MEASURED, Bounds, Evidence, Number, claim, number, over_prompts, over_seeds

CODE = {"N": 10, "d_x": 10, "inputs": "uniform"}  # the setting of von Oswald et al. 2023, as in their code


def _half_loss(eta: float, c: float = 1.0, B: int = 20_000) -> Number:
    p = tasks.linear_regression(B, **CODE, seed=2)
    x, y, x_query, truth = (c * part for part in p[:4])
    return over_prompts((learners.gd(x, y, x_query, eta) - truth).square() / 2)


@claim(
    MEASURED,
    "The best gradient step has a loss of 0.2 in the setting of the paper: x from U(−1, 1), error not halved.",
    paper="0.2, von Oswald et al. 2023, fig. 2",
    instead="in the setting of its code, U(−½, ½) and halved (margin note P1).",
)
def the_papers_loss():
    eta = closed_forms.best_step(**CODE)
    as_in_text = _half_loss(eta / 4, c=2.0)
    stated = Number(*(2 * value for value in as_in_text[:3]), as_in_text.how)
    return Evidence(*(Bounds(ours, 0.19, 0.22) for ours in (stated, _half_loss(eta))))


@claim(
    MEASURED,
    "The best step needs no search: η* = (1/s²) N/(N + d − 1/5) for uniform inputs, 6.06 here.",
    paper="a line search over 250 values, published code of von Oswald et al. 2023",
)
def the_best_step_is_known():
    def best_on(seed, inputs):
        p = tasks.linear_regression(10_000, N=10, d_x=10, inputs=inputs, seed=seed)
        unit = learners.gd(*p.shown, eta=1.0)  # a step of size eta answers eta * unit: one division finds the best eta
        return ((unit * p.y_query).sum() / unit.square().sum()).item()

    eta = closed_forms.best_step(**CODE)
    found = over_seeds(best_on(seed, "uniform") for seed in range(5))
    return Evidence(Bounds(found, 0.96 * eta, 1.04 * eta), control=number(12 * best_on(0, "gaussian")))


@claim(
    MEASURED,
    "A learned step generalises to inputs of other scales.",
    paper="a curve that rises beyond a scale of 1.5, von Oswald et al. 2023, fig. 2",
    instead="its error is a polynomial of degree 6 in the scale, known in advance: 8.4 for inputs twice as large.",
)
def the_step_does_not_scale():
    ours, eta = _half_loss(closed_forms.best_step(**CODE), c=2.0), closed_forms.best_step(**CODE)
    known = 4 * closed_forms.gd_excess(4 * eta, **CODE) / 2
    return Evidence(Bounds(ours, at_most=4 * _half_loss(eta).high), Bounds(ours, 0.95 * known, 1.05 * known))


@claim(
    MEASURED,
    "With enough examples in the prompt the error of a trained step goes to 0.",
    instead="to d (1 − η)², 0.27 here: the step goes on shrinking as it was made to do for N = 20.",
)
def more_context_meets_a_floor():
    eta, p = closed_forms.best_step(N=20, d_x=5), tasks.linear_regression(B=2000, N=1000, d_x=5, seed=8)
    ours = over_prompts((learners.gd_weights(p.x, p.y, eta) - p.W).square().sum((1, 2)))
    known = closed_forms.gd_excess(eta, N=1000, d_x=5)
    return Evidence(Bounds(ours, at_most=0.05), Bounds(ours, 0.9 * known, 1.1 * known))


@claim(
    EXACT,
    "A layer with a matrix in W_Q takes a preconditioned step; the best matrix is Γ⁻¹ (gap of two expectations).",
    paper="Zhang et al. 2023, thm. 4.1; Ahn et al. 2023, thm. 1",
)
def the_best_matrix():
    """No other matrix does better, and the gradient of the expected error vanishes there."""
    Sigma = torch.diag(torch.tensor([3.0, 1.5, 1.0, 0.5, 0.1], dtype=torch.float64))

    def slope(A):
        steps = torch.eye(25, dtype=torch.float64).view(25, 5, 5)
        excess = [
            closed_forms.preconditioned_excess(A + h * step, Sigma, 12, noise=0.5) for step in steps for h in (1, -1)
        ]
        return max(abs(a - b) for a, b in zip(excess[::2], excess[1::2], strict=True)) / 2  # exact: it is quadratic

    best = closed_forms.preconditioner(Sigma, 12, noise=0.5)
    return Evidence(Bounds(number(slope(best)), at_most=1e-12), control=number(slope(1.1 * best)))


@claim(
    MEASURED,
    "That matrix, put into an attention layer, errs as the formula says: 1.81.",
    paper="derived here, with noise",
)
def the_layer_with_the_best_matrix():
    sizes, noise = torch.tensor([3.0, 1.5, 1.0, 0.5, 0.1], dtype=torch.float64), 0.3**0.5
    Sigma, p = torch.diag(sizes), tasks.linear_regression(20_000, 12, 5, seed=9)
    x, x_query = p.x * sizes.sqrt(), p.x_query * sizes.sqrt()
    y = x @ p.W.mT + noise * tasks.linear_regression(20_000, 12, 1, seed=10).x
    truth = (p.W @ x_query[..., None])[..., 0]

    def error(A):
        layer = constructions.gd_step(1.0, 12, 5)._replace(W_Q=torch.block_diag(A, torch.zeros(1, 1).double()))
        return over_prompts((constructions.learner([layer])(x, y, x_query) - truth).square())

    best = closed_forms.preconditioner(Sigma, 12, noise=noise)
    known = closed_forms.preconditioned_excess(best, Sigma, 12, noise=noise)
    scalar = torch.trace(best @ Sigma) / torch.trace(Sigma) * torch.eye(5, dtype=torch.float64)
    return Evidence(Bounds(error(best), 0.95 * known, 1.05 * known), control=error(scalar))


@claim(
    MEASURED,
    "Scale tells a fixed step from least squares: with inputs twice as large it errs by 7 times the labels’ size.",
    paper="Zhang et al. 2023, section 4.2",
)
def scale_tells_them_apart():
    p, eta = tasks.linear_regression(B=20_000, N=20, d_x=5, seed=6), closed_forms.best_step(20, 5)
    known = closed_forms.gd_excess(4 * eta, 20, 5) / 5
    twice = [2 * part for part in p.shown]
    answers = learners.gd(*twice, eta), learners.least_squares(*twice)
    step, exact = (over_prompts((y_hat - 2 * p.y_query).square() / 20) for y_hat in answers)
    return Evidence(Bounds(step, 0.9 * known, 1.1 * known), control=exact)
