"""What is in the heads of a trained softmax layer: scores, read-outs, and the two numbers that describe a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import tasks
from helpers.models.stacks import SoftmaxLayer


def scores(model: SoftmaxLayer) -> tuple[Tensor, Tensor]:
    """Of each head: the score matrix A (H, D, d_x), key by query, and the read-out (H, D) for d_y = 1.

        A_h = W_K^T W_Q / sqrt(D),     read-out_h = -(last row of P W_V):     y_hat = sum_h read-out_h . (what h reads)

    >>> A, read = scores(SoftmaxLayer(d_x=3, n_heads=2))
    >>> A.shape, read.shape
    (torch.Size([2, 4, 3]), torch.Size([2, 4]))
    """
    D = model.W_K.shape[-1]
    return (model.W_K.mT @ model.W_Q)[..., : D - 1] / D**0.5, -(model.P @ model.W_V)[:, -1]


def parts(model: SoftmaxLayer) -> Tensor:
    """r_h A_h (H, D, d_x): each head's scores times its read-out of the labels. Their sum is the step to first order.

    >>> parts(SoftmaxLayer(d_x=3, n_heads=2)).shape
    torch.Size([2, 4, 3])
    """
    A, read = scores(model)
    return read[:, -1, None, None] * A


def off_diagonal(A: Tensor) -> Tensor:
    """Root mean square of the entries off the diagonal of A (…, D, d): of its first d rows.

    >>> off_diagonal(torch.tensor([[5.0, 1.0], [-1.0, 5.0], [7.0, 7.0]]))
    tensor(1.)
    """
    d = A.shape[-1]
    return (A[..., :d, :] * (1 - torch.eye(d, dtype=A.dtype))).square().sum((-1, -2)).div(d * (d - 1)).sqrt()


def two_numbers(model: SoftmaxLayer) -> tuple[float, float]:
    """Strength a and read-out r of a pair, means over its heads: it is about r (head(a) - head(-a)).

    >>> a, r = two_numbers(SoftmaxLayer(d_x=3, n_heads=2))
    >>> r > 0
    True
    """
    A, read = scores(model)
    r, d = read[:, -1], A.shape[-1]
    return (A[:, :d].diagonal(dim1=1, dim2=2).mean(1) * r.sign()).mean().item(), r.abs().mean().item()


def head(a: float, prompt: tasks.Prompt) -> Tensor:
    """What one ideal head reads: the labels with the weights softmax_i(a x_i^T x_q), (B, d_y).

    >>> head(0.0, tasks.Prompt(torch.ones(1, 2, 3), torch.tensor([[[1.0], [3.0]]]), torch.ones(1, 3)))
    tensor([[2.]])
    """
    return ((a * prompt.x_query[:, None] @ prompt.x.mT).softmax(dim=-1) @ prompt.y)[:, 0]


def pair(a: float, r: float, prompt: tasks.Prompt) -> Tensor:
    """Two ideal heads: r (head(a) - head(-a)), (B, d_y).

    >>> pair(0.0, 2.0, tasks.linear_regression(B=1, N=5, d_x=3)).item()
    0.0
    """
    return r * (head(a, prompt) - head(-a, prompt))
