"""Checks for the exercises of notebook 03: one attention layer is one step of gradient descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import attention, checks, constructions, learners, tasks
from helpers.exercises import ask, fits, verdict


def check_four_matrices(answer: Callable[[float, int, int, int, Tensor], tuple[Tensor, ...]]) -> None:
    """Notebook 03, exercise 1: `answer(eta, N, d_x, d_y, W_0)` is (W_Q, W_K, W_V, P), each (D, D), with which the label
    slot of the query moves from W_0 x_q to (W_0 + Delta W) x_q; tokens are (y ; x), and the query is masked.

    >>> check_four_matrices(lambda *given: None)
    Not yet: the function returns nothing. Replace the dots.
    >>> check_four_matrices(lambda eta, N, d_x, d_y, W_0: constructions.gd_step(eta, N, d_x, d_y, W_0))
    Not yet: the inputs moved, too. Which rows of a token are the label's?
    """
    x, y, x_query = tasks.linear_regression(B=4, N=6, d_x=3, d_y=2, noise=0.3, seed=74).shown
    W_0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(74), dtype=torch.float64)
    said = ask(answer, 0.8, 6, 3, 2, W_0.clone())
    if said is None:
        return
    if not isinstance(said, tuple) or len(said) != 4:
        return print("Not yet: expected four matrices, (W_Q, W_K, W_V, P).")
    if not all(fits(W, torch.Size((5, 5))) for W in said):
        return
    z = torch.cat([torch.cat([y, x], dim=-1), torch.cat([x_query @ W_0.T, x_query], dim=-1)[:, None]], dim=1)
    moved = (attention.linear(z, attention.Layer(*(W.double() for W in said))) - z)[:, -1]
    step = learners.gd(x, y, x_query, 0.8, W_0=W_0) - x_query @ W_0.T
    _tell_apart(moved, step, learners.gd(x, y, x_query, 0.8))


def _tell_apart(moved: Tensor, step: Tensor, step_from_zero: Tensor) -> None:
    """What a wrong update (B, d_y + d_x) of the query's token was: its place, its sign, its size, or its errors."""
    slot, ratio = moved[:, :2], (moved[:, :2] * step).sum() / step.square().sum()
    if moved[:, 2:].abs().max() > 1e-9:
        print("Not yet: the inputs moved, too. Which rows of a token are the label's?")
    elif slot.abs().max() < 1e-9:
        print("Not yet: the query's slot did not move. Do its query and the keys show the same rows?")
    elif min((slot - step_from_zero).abs().max(), (slot + step_from_zero).abs().max()) < 1e-9:
        print("Not yet: that is a step from W = 0. Values are errors, W_0 x - y, not labels.")
    elif (slot + step).abs().max() < 1e-9:
        print("Not yet: the sign. The slot moved by minus Delta W x_q.")
    elif (slot - ratio * step).abs().max() < 1e-9 < (ratio - 1).abs():
        print(f"Not yet: the step is {ratio:.3g} times as long as it should be. Which number scales P?")
    else:
        verdict(slot, step, "multiply out W_V z for a context token, and W_K z for the query's.")


def check_error_of_the_empty_slot(answer: Callable[[Tensor, Tensor, float, int], Tensor]) -> None:
    """Notebook 03, exercise 2: `answer(W_0, x_query, eta, N)` is prediction minus GD's when the query's label slot
    starts at 0 although W_0 is not 0, and the query is read as well. Shape (B, d_y).

    >>> check_error_of_the_empty_slot(lambda W_0, x_query, eta, N: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    x, y, x_query = tasks.linear_regression(B=16, N=6, d_x=3, d_y=2, noise=0.3, seed=71).shown
    W_0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(71), dtype=torch.float64)
    z = tasks.tokens(tasks.Prompt(x, y, x_query))  # no W_0: the slot is 0
    layer = constructions.gd_step(0.8, N=6, d_x=3, d_y=2, W_0=W_0)
    prediction = tasks.read(attention.linear(z, layer, include_query=True), d_y=2)
    expected = prediction - learners.gd(x, y, x_query, 0.8, W_0=W_0)
    hint = "what the slot should have held is missing, and the query's own value, W_0 x_q - 0, is read."
    said = ask(answer, W_0, x_query, 0.8, 6)
    if said is not None and fits(said, expected.shape):
        verdict(said, expected, hint)


def check_cross_entropy_labels(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 03, exercise 3: `answer(onehot, x, W_0)` are the labels (B, N, C) with which the ordinary layer takes
    a gradient step on cross-entropy from W_0.

    >>> check_cross_entropy_labels(lambda onehot, x, W_0: onehot)        # doctest: +ELLIPSIS
    Not yet: the largest difference is ... Hint: ...
    """
    generator = torch.Generator().manual_seed(72)
    x = torch.randn(8, 12, 4, generator=generator, dtype=torch.float64)
    W_0 = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    classes = torch.randint(0, 3, (8, 12), generator=generator)
    onehot = torch.nn.functional.one_hot(classes, 3).double()
    W = W_0.repeat(8, 1, 1).requires_grad_()
    loss = torch.nn.functional.cross_entropy((x @ W.mT).flatten(0, 1), classes.flatten(), reduction="sum") / 12
    (gradient,) = torch.autograd.grad(loss, W)
    hint = "the layer adds (eta/N) sum_i (label_i) x_i^T; compare with minus the gradient of the cross-entropy at W_0."
    labels = ask(answer, onehot, x, W_0)
    if labels is not None and fits(labels, onehot.shape):
        verdict(labels.double().mT @ x / 12, -gradient, hint)


def check_two_step_sizes(answer: Callable[[Tensor], list[float]]) -> None:
    """Notebook 03, exercise 4: `answer(x)` for a context x (N, 2) is the pair of step sizes with which two layers
    give the least-squares prediction exactly.

    >>> check_two_step_sizes(lambda x: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    prompt = tasks.linear_regression(B=8, N=9, d_x=2, noise=0.5, seed=73)
    etas = []
    for x in prompt.x:
        pair = ask(answer, x)
        if pair is None:
            return
        try:
            etas.append([checks.number("eta", eta) for eta in pair])
        except (TypeError, ValueError):
            return print(f"Not yet: expected two finite step sizes for a context, got {pair}.")
        if len(etas[-1]) != 2:
            return print(f"Not yet: expected two step sizes for a context, got {pair}.")
    one_by_one = [
        constructions.learner([constructions.gd_step(float(eta), N=9, d_x=2) for eta in pair])(*(t[None] for t in task))
        for pair, *task in zip(etas, *prompt.shown, strict=True)
    ]
    least_squares = torch.linalg.lstsq(prompt.x, prompt.y).solution  # (B, d_x, d_y)
    expected = (prompt.x_query[:, None] @ least_squares)[:, 0]
    hint = "after a step the error along an eigenvector of x^T x / N is multiplied by 1 - eta * eigenvalue: make it 0."
    verdict(torch.cat(one_by_one), expected, hint)
