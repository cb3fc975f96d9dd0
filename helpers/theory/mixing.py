"""Reading values by softmax, and what is left of it when new tokens come into the context.

Both functions start from scores, whatever made them: `scores` (…, M, n) of M queries against n tokens, already divided
by sqrt(d_k) or a temperature; a mask is a score of -inf.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import checks


def read_out(scores: Tensor, values: Tensor) -> Tensor:
    """What M queries read: the mean of the values (…, n, d_v), weighted by softmax(scores) (…, M, n) -> (…, M, d_v).

    >>> read_out(torch.zeros(1, 4), torch.eye(4))                       # equal scores: the plain mean
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    >>> read_out(torch.zeros(1, 3), torch.eye(4))
    Traceback (most recent call last):
    ValueError: scores, values: expected as many scores as values, got (1, 3) and (4, 4).
    """
    checks.same_dtype(scores=scores, values=values)
    if values.ndim < 2 or scores.shape[-1:] != values.shape[-2:-1]:
        got = f"{tuple(scores.shape)} and {tuple(values.shape)}"
        raise ValueError(f"scores, values: expected as many scores as values, got {got}.")
    if not values.shape[-2]:
        raise ValueError("values: expected at least one token, got none: a mean of nothing is undefined.")
    return scores.softmax(dim=-1) @ values


def gate(new: Tensor, own: Tensor) -> Tensor:
    """The share lambda (…, M) of the attention that new tokens take, from their scores (…, M, n) and (…, M, m).

        read_out([new; own]) = lambda read_out(new) + (1 - lambda) read_out(own)
        lambda = Z' / (Z' + Z) = sigmoid(LSE(new) - LSE(own)),     Z = sum of exp(score),  LSE = ln Z

    Exact, for any scores and values (He et al. 2022, for the prefix of prefix tuning). Without new tokens
    it is 0.

    >>> gate(torch.zeros(1, 12), torch.zeros(1, 4)), gate(torch.zeros(1, 0), torch.zeros(1, 4))
    (tensor([0.7500]), tensor([0.]))
    >>> gate(torch.zeros(2, 12), torch.zeros(1, 4))
    Traceback (most recent call last):
    ValueError: new, own: expected scores of the same queries, got (2, 12) and (1, 4).
    """
    checks.same_dtype(new=new, own=own)
    if new.shape[:-1] != own.shape[:-1]:
        raise ValueError(
            f"new, own: expected scores of the same queries, got {tuple(new.shape)} and {tuple(own.shape)}."
        )
    if not own.shape[-1]:
        raise ValueError("own: expected at least one token, got none: there is nothing to share with.")
    return torch.sigmoid(new.logsumexp(dim=-1) - own.logsumexp(dim=-1))
