"""Checks for the exercises of notebook 07: the dual form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers.exercises import ask, fits, verdict


def check_coefficients(answer: Callable[[list[float], float, float], tuple[float, list[float]]]) -> None:
    """Notebook 07, exercise 1: `answer(lrs, beta, decay)` is a and [c_1, …, c_T] with W_T = a W_0 + sum_t c_t G_t under
    torch.optim.SGD. Held against the optimizer itself, which trains one weight from a start and with gradients that
    the check draws.

    >>> check_coefficients(lambda lrs, beta, decay: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    draw = {"generator": torch.Generator().manual_seed(71), "dtype": torch.float64}
    said, expected = [], []
    for T, beta, decay in [(1, 0.5, 0.2), (6, 0.0, 0.3), (9, 0.9, 0.0), (12, 0.8, 0.4)]:
        lrs = (0.05 + 0.2 * torch.rand(T, **draw)).tolist()
        pair = ask(answer, list(lrs), beta, decay)
        if pair is None:
            return
        try:
            a, c = pair
            a, c = float(a), [float(each) for each in c]
        except (TypeError, ValueError):
            return print(f"Not yet: expected a number and a list of numbers, got {pair!r}.")
        if len(c) != T:
            return print(f"Not yet: expected {T} coefficients for {T} learning rates, got {len(c)}.")
        W_0, G = torch.randn(1, **draw), torch.randn(T, **draw)
        said.append(a * W_0.item() + torch.tensor(c, dtype=torch.float64) @ G)
        expected.append(_trained(W_0, G, lrs, beta, decay))
    hint = "the velocity keeps what decay put into it, too; and each step has its own learning rate."
    verdict(torch.stack(said).nan_to_num(torch.inf), torch.stack(expected), hint)


def _trained(W_0: Tensor, G: Tensor, lrs: list[float], beta: float, decay: float) -> Tensor:
    W = W_0.clone().requires_grad_()
    optimizer = torch.optim.SGD([W], lr=1.0, momentum=beta, weight_decay=decay)
    for lr, gradient in zip(lrs, G, strict=True):
        optimizer.param_groups[0]["lr"], W.grad = lr, gradient[None]
        optimizer.step()
    return W.detach()[0]


def check_crossover(answer: Callable[[int, int], int]) -> None:
    """Notebook 07, exercise 2: `answer(d_in, d_out)` is the largest number of examples for which the history answers a
    query with no more multiplications than the weights.

    >>> check_crossover(lambda d_in, d_out: d_in * d_out / (d_in + d_out))
    Not yet: for 784 x 100 expected a whole number of examples, got 88.68778280542986.
    """
    for d_in, d_out in [(784, 100), (65, 10), (12, 12), (3, 600), (1, 1)]:
        said = ask(answer, d_in, d_out)
        if said is None:
            return
        where = f"for {d_in} x {d_out}"
        if not isinstance(said, (int, float)) or said != said // 1:
            return print(f"Not yet: {where} expected a whole number of examples, got {said!r}.")
        if not said * (d_in + d_out) <= d_in * d_out < (said + 1) * (d_in + d_out):
            return print(f"Not yet: {where} it is not {said:g}. Hint: one example is one score and one scaled value.")
    print("✔ Right, for each of the sizes that the check tried.")


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
