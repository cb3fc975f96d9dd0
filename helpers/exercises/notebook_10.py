"""Checks for the exercises of notebook 10: from tokens to pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from helpers.exercises import ask, fits, number_verdict, verdict
from helpers.models import induction


def check_chance(answer: float) -> None:
    """Notebook 10, exercise 1: the loss in nats of a model that gives each of 50 words the same probability.

    Three digits are enough.

    >>> check_chance(0.02)
    Not yet: 0.02 is not it. Hint: minus the log of the probability of the right word.
    """
    if answer is ...:
        return print("Not yet: replace the dots by a number.")
    number_verdict(answer, math.log(50), "minus the log of the probability of the right word.")


def check_look_back(answer: Callable[[int, int], Tensor]) -> None:
    """Notebook 10, exercise 2: `answer(T, k)` is W_Q (T, T) with which position j scores 1 with position j - k alone.

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
