"""Checks for the exercises of notebook 07: the dual form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks
from helpers.exercises import ask, fits, number_verdict, verdict


def check_first_coefficient(answer: Callable[[float, float, int], float]) -> None:
    """Notebook 07, exercise 1: `answer(lr, beta, T)` is what the first of T gradients counts in W_T, under
    torch.optim.SGD with momentum. Held against the optimizer itself, on a weight that starts at 0 and gets the
    gradients 1, 0, 0, …

    >>> check_first_coefficient(lambda lr, beta, T: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    hint = "add up what the first gradient does to W in step 1, 2, …, T: -lr, -lr beta, …"
    said, expected = [], []
    for lr, beta, T in [(0.05, 0.9, 60), (0.2, 0.5, 4), (0.1, 0.0, 7)]:
        one = ask(answer, lr, beta, T)
        if one is None:
            return
        try:
            said.append(float(checks.number("c_1", one)))
        except (TypeError, ValueError):
            return print(f"Not yet: expected one finite number, got {one!r}.")
        W = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([W], lr=lr, momentum=beta)
        for t in range(T):
            W.grad = torch.full_like(W, float(t == 0))
            optimizer.step()
        expected.append(W.item())
    verdict(*(torch.tensor(numbers, dtype=torch.float64) for numbers in (said, expected)), hint)


def check_crossover(answer: Callable[[int, int], float]) -> None:
    """Notebook 07, exercise 2: `answer(d_in, d_out)` is the number of examples at which both forms cost the same.

    >>> check_crossover(lambda d_in, d_out: d_in)
    Not yet: 784 is not it. Hint: T (d_in + d_out) multiplications on one side, d_in d_out on the other.
    """
    said = ask(answer, 784, 100)
    if said is not None:
        hint = "T (d_in + d_out) multiplications on one side, d_in d_out on the other."
        number_verdict(said, 78400 / 884, hint)


def check_contexts(answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
    """Notebook 07, exercise 3: `answer(X)` for a context X (d, M) is a pair of contexts: one with four times X's
    fine-tuning update, one with the same update although its tokens are others.

    >>> check_contexts(lambda X: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    draw = {"generator": torch.Generator().manual_seed(77), "dtype": torch.float64}
    X, V, K, delta_V, delta_K = (torch.randn(*shape, **draw) for shape in [(6, 4), *[(3, 6)] * 4])

    def update(X: Tensor) -> Tensor:
        return ((V + delta_V) @ X) @ ((K + delta_K) @ X).T - (V @ X) @ (K @ X).T

    said = ask(answer, X.clone())
    if said is None:
        return
    if not isinstance(said, (tuple, list)) or len(said) != 2:
        return print(f"Not yet: expected a pair of contexts, got {type(said).__name__}.")
    if not all(fits(context, X.shape) for context in said):
        return
    four_times, same = (context.double() for context in said)
    if torch.cdist(same.T, X.T).min() < 1e-6:
        return print("Not yet: the second context shares a token with X. Hint: turn all tokens into others, together.")
    hint = "the update holds the context only as X X^T: what makes this 4 times as large, what leaves it?"
    verdict(torch.stack([update(four_times), update(same)]), torch.stack([4 * update(X), update(X)]), hint)
