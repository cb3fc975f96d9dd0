"""Checks for the exercises of notebook 10: from tokens to pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import attention, tasks
from helpers.attention import Layer
from helpers.exercises import ask, fits, verdict
from helpers.models import copying, induction


def check_look_back(answer: Callable[[int, int], Tensor]) -> None:
    """Notebook 10, exercise 1: `answer(T, k)` is W_Q (T, T) with which position j scores 1 with position j - k alone.

    >>> check_look_back(lambda T, k: torch.eye(T))
    Not yet: the largest difference is 1. Hint: entry (i, j) is the score of key i with query j: 1 where i = j - k.
    """
    said, wanted = [], []
    for T, k in [(5, 1), (7, 3), (6, -1), (4, 0), (9, 8)]:
        W_Q = ask(answer, T, k)
        if W_Q is None or not fits(W_Q, torch.Size([T, T])):
            return
        said.append(W_Q.flatten())
        wanted.append(torch.tensor([float(i == j - k) for i in range(T) for j in range(T)], dtype=torch.float64))
    if not torch.cat(said).isfinite().all():
        return print("Not yet: the matrix holds NaN or infinity.")
    hint = "entry (i, j) is the score of key i with query j: 1 where i = j - k."
    verdict(torch.cat(said), torch.cat(wanted), hint)


def check_pairs(answer: Callable[[int, int, int], Layer]) -> None:
    """Notebook 10, exercise 2: `answer(d_x, d_y, T)` is a layer that turns (x_j, 0, p) into (x_j, y_j, p), and leaves
    all other tokens as they are, in `attention.linear` with one-hot positions p.

    >>> from helpers import constructions
    >>> check_pairs(lambda d_x, d_y, T: constructions.copying(d_x, d_y, T))
    Not yet: the label slots of the inputs are still empty.
    """
    for d_x, d_y, N in [(1, 1, 6), (3, 2, 4)]:
        prompt, T = tasks.linear_regression(5, N, d_x, d_y, seed=103), 2 * N + 1
        z = copying.tokens(prompt, torch.eye(T, dtype=torch.float64))
        said = ask(lambda d_x=d_x, d_y=d_y, T=T, z=z: _written(answer(d_x, d_y, T), z))
        if said is None or not fits(said, z.shape):
            return
        wrong = _what_is_wrong(said, prompt, d_x, d_y)
        if wrong:
            return print(f"Not yet: {wrong}")
    print("✔ Right: each input has its own label, and nothing else has changed.")


def _written(layer: Layer | None, z: Tensor) -> Tensor | None:
    return None if layer is None else attention.linear(z, Layer(*layer)) - z


def _what_is_wrong(written: Tensor, prompt: tasks.Prompt, d_x: int, d_y: int) -> str | None:
    """In words, from what a layer adds to the tokens; None if it is the labels, where they belong."""
    slots, y = written[:, :-1:2, d_x : d_x + d_y], prompt.y
    if not written.isfinite().all():
        return "the layer makes NaN or infinity."
    if slots.abs().max() < 1e-9:
        return "the label slots of the inputs are still empty."
    if (slots[:, 1:] - y[:, :-1]).abs().max() < 1e-9:
        return "each input has the label of the example before it. Which way does S shift?"
    times = ((slots * y).sum() / y.square().sum()).item()
    if (slots - times * y).abs().max() > 1e-9:
        return "what stands in the label slots of the inputs is not their label, nor a multiple of it."
    if abs(times - 1) > 1e-9:
        return f"in the label slots of the inputs stands {times:.3g} times the label."
    elsewhere = written.clone()
    elsewhere[:, :-1:2, d_x : d_x + d_y] = 0
    if elsewhere.abs().max() > 1e-9:
        return "the labels are where they belong, but the layer writes something elsewhere, too."
    return None


def check_induction(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Notebook 10, exercise 3: `answer(words, V)` is the share of each word among those that followed earlier
    occurrences of the present word, (B, L, V).

    >>> check_induction(lambda words, V: torch.zeros(*words.shape, V))
    Not yet: the largest difference is 1. Hint: read the words whose previous word is the present one, no later than it.
    """
    V = 7
    words, _ = induction.sequences(20, 24, V, periods=(4, 11), seed=103)
    said = ask(answer, words.clone(), V)
    if said is None or not fits(said, torch.Size([20, 24, V])):
        return
    if not said.isfinite().all():
        return print("Not yet: the answer holds NaN or infinity. A row without a match has the sum 0.")
    wanted = torch.zeros(20, 24, V, dtype=torch.float64)
    for b, text in enumerate(words.tolist()):
        for t, word in enumerate(text):
            followers = [text[j + 1] for j in range(t) if text[j] == word]
            for follower in followers:
                wanted[b, t, follower] += 1 / len(followers)
    hint = "read the words whose previous word is the present one, no later than it."
    verdict(said, wanted, hint, digits=6)  # words carry no dtype: float32 is a fair choice
