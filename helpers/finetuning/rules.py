"""Rules that anybody can follow, for few-shot tasks in words: counting, matching words, the nearest demonstration.

Each is a learner: x (B, N, W) counts words, y (B, N, 1) is ±1, x_query (B, W); the answer (B, 1) is the evidence for
+1, whatever its scale (`toy_language.as_numbers` makes such prompts). None of them has weights to train.
"""

from __future__ import annotations

import torch
from torch import Tensor


def naive_bayes(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Naive Bayes (multinomial, Laplace's rule): log-odds of the classes from how often each has used each word.

    >>> x, y = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[1.0], [-1.0]]])
    >>> naive_bayes(x, y, torch.tensor([[1.0, 0.0]]))                                     # log (3/4) / (1/4)
    tensor([[1.0986]])
    """
    found = []
    for sign in (1, -1):
        mine = (y == sign).to(x.dtype)  # (B, N, 1)
        seen = (mine * x).sum(1) + 1  # (B, W): each word counts once more
        of_words = (seen / seen.sum(1, keepdim=True)).log()
        of_class = (mine.sum((1, 2)) + 1).log()  # (B,)
        found.append((of_words * x_query).sum(1) + of_class)
    return (found[0] - found[1])[:, None]


def soft_match(x: Tensor, y: Tensor, x_query: Tensor, sharpness: float = 1.0) -> Tensor:
    """Kernel regression (Nadaraya-Watson): the mean label, weighted by exp(sharpness * shared words).

    This is one head of softmax attention whose scores are word matches.

    >>> x, y = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[1.0], [-1.0]]])
    >>> soft_match(x, y, torch.tensor([[1.0, 0.0]]))                                      # tanh of 1
    tensor([[0.7616]])
    """
    weight = (sharpness * x @ x_query[:, :, None]).softmax(1)  # (B, N, 1)
    return (weight * y).sum(1)


def nearest(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """The nearest neighbour: the label of the demonstration that shares most words; the mean label, where several do.

    >>> x, y = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[1.0], [-1.0]]])
    >>> nearest(x, y, torch.tensor([[1.0, 0.0]]))
    tensor([[1.]])
    """
    shared = x @ x_query[:, :, None]  # (B, N, 1)
    best = (shared == shared.amax(1, keepdim=True)).to(y.dtype)
    return (best * y).sum(1) / best.sum(1)


# --- a positive control: two learners that do depend on their demonstrations ---------------------------------------


def reads_the_nearest(values: Tensor, matches: Tensor) -> Tensor:
    """An update read off the demonstration that shares most words with the query: values (B, k, L, d) -> (B, Q, L, d).

    `matches` (B, Q, k) counts the shared words.

    >>> values = torch.eye(3).view(1, 3, 1, 3)
    >>> reads_the_nearest(values, torch.tensor([[[0.0, 1.0, 4.0]]]))
    tensor([[[[0., 0., 1.]]]])
    """
    best = (matches == matches.amax(-1, keepdim=True)).to(values.dtype)
    return torch.einsum("bqk,bkld->bqld", best / best.sum(-1, keepdim=True), values)


def written_by_each(values: Tensor, matches: Tensor) -> Tensor:
    """An update by a weight change that the demonstrations wrote, dW = sum_i v_i x_i^T (Hebb): (B, Q, L, d).

    dW x_q = sum_i v_i (x_i^T x_q), the dual form, with values (B, k, L, d) and matches x_i^T x_q (B, Q, k).

    >>> values = torch.eye(3).view(1, 3, 1, 3)
    >>> written_by_each(values, torch.tensor([[[0.0, 1.0, 4.0]]]))
    tensor([[[[0., 1., 4.]]]])
    """
    return torch.einsum("bqk,bkld->bqld", matches, values)
