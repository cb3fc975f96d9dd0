"""Checks for the readers' answers. Each runs the answer on prompts it has not seen and says what it found.

A check never raises for a wrong or missing answer: it prints what came, and a hint.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import attention, constructions, learners, tasks


def _verdict(answer: Tensor | None, expected: Tensor, hint: str) -> None:
    if answer is None:
        print("Not yet: the function returns nothing. Replace the dots.")
    elif not isinstance(answer, Tensor) or answer.shape != expected.shape:
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        print(f"Not yet: expected a tensor of shape {tuple(expected.shape)}, got {shape}.")
    elif torch.allclose(answer.double(), expected, rtol=0, atol=1e-9):
        print("✔ Right, to within 1e-9 on prompts that the check drew for itself.")
    else:
        off = (answer.double() - expected).abs().max().item()
        print(f"Not yet: the largest difference is {off:.2g}. Hint: {hint}")


def _prompt_and_start(seed: int = 71) -> tuple[tasks.Prompt, Tensor]:
    prompt = tasks.linear_regression(B=16, N=6, d_x=3, d_y=2, noise=0.3, seed=seed)
    W_0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return prompt, W_0


def check_error_of_the_empty_slot(answer: Callable[[Tensor, Tensor, float, int], Tensor]) -> None:
    """Notebook 03, exercise 1: `answer(W_0, x_query, eta, N)` is prediction minus GD's when the query's label slot
    starts at 0 although W_0 is not 0, and the query is read as well. Shape (B, d_y).

    >>> check_error_of_the_empty_slot(lambda W_0, x_query, eta, N: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    (x, y, x_query, *_), W_0 = _prompt_and_start()
    z = tasks.tokens(tasks.Prompt(x, y, x_query))  # no W_0: the slot is 0
    layer = constructions.gd_step(0.8, N=6, d_x=3, d_y=2, W_0=W_0)
    prediction = tasks.read(attention.linear(z, layer, include_query=True), d_y=2)
    expected = prediction - learners.gd(x, y, x_query, 0.8, W_0=W_0)
    hint = "what the slot should have held is missing, and the query's own value, W_0 x_q - 0, is read."
    _verdict(answer(W_0, x_query, 0.8, 6), expected, hint)


def check_cross_entropy_labels(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 03, exercise 2: `answer(onehot, x, W_0)` are the labels (B, N, C) with which the ordinary layer takes
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
    labels = answer(onehot, x, W_0)
    if not isinstance(labels, Tensor) or labels.shape != onehot.shape:
        return _verdict(labels, onehot, hint)
    return _verdict(labels.double().mT @ x / 12, -gradient, hint)


def check_two_step_sizes(answer: Callable[[Tensor], list[float]]) -> None:
    """Notebook 03, exercise 3: `answer(x)` for a context x (N, 2) is the pair of step sizes with which two layers
    give the least-squares prediction exactly.

    >>> check_two_step_sizes(lambda x: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    prompt = tasks.linear_regression(B=8, N=9, d_x=2, noise=0.5, seed=73)
    etas = [answer(x) for x in prompt.x]
    if any(pair is None for pair in etas):
        return _verdict(None, prompt.y_query, "")
    if not all(hasattr(pair, "__len__") and len(pair) == 2 for pair in etas):
        return print(f"Not yet: expected two step sizes for a context, got {etas[0]}.")
    one_by_one = [
        constructions.learner([constructions.gd_step(float(eta), N=9, d_x=2) for eta in pair])(*(t[None] for t in task))
        for pair, *task in zip(etas, *prompt[:3], strict=True)
    ]
    least_squares = torch.linalg.lstsq(prompt.x, prompt.y).solution  # (B, d_x, d_y)
    expected = (prompt.x_query[:, None] @ least_squares)[:, 0]
    hint = "after a step the error along an eigenvector of x^T x / N is multiplied by 1 - eta * eigenvalue: make it 0."
    return _verdict(torch.cat(one_by_one), expected, hint)
