"""Numbers that compare two learners."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.learners import Learner


def max_gap(a: Tensor, b: Tensor) -> float:
    """The largest difference anywhere, max |a - b|; NaN where either holds one, or both the same infinity.

    >>> max_gap(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    0.5
    """
    _check(a, b)
    return (a - b).abs().max().item()


def gap_in_roundoff(a: Tensor, b: Tensor) -> float:
    """The largest difference in units of the dtype's round-off at the size of the numbers.

    max |a - b| / (eps * max(1, |a|, |b|)), with eps = 2.2e-16 for float64, 1.2e-7 for float32. A few units are what
    two correct ways to sum the same numbers differ by.

    >>> gap_in_roundoff(torch.tensor([1.0]), torch.tensor([1.0 - 2**-22]))
    2.0
    """
    _check(a, b)
    size = max(1.0, a.abs().max().item(), b.abs().max().item())
    return max_gap(a, b) / (torch.finfo(a.dtype).eps * size)


def mean_cosine(a: Tensor, b: Tensor) -> float:
    """How well directions agree: the cosine of a[i] and b[i], each flattened, averaged over i.

    It is blind to length: any step size gives 1 for two multiples of one gradient. Look at `mean_distance`, too.

    >>> mean_cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
    0.5
    """
    _check(a, b)
    return torch.cosine_similarity(a.flatten(1), b.flatten(1)).mean().item()


def mean_distance(a: Tensor, b: Tensor) -> float:
    """The Euclidean distance of a[i] and b[i], each flattened, averaged over i.

    For weights it is the "model difference" of von Oswald et al. 2023 (figure 2), for predictions with d_y = 1 their
    "prediction difference", mean |a - b|.

    >>> mean_distance(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    1.0
    """
    _check(a, b)
    return (a - b).flatten(1).norm(dim=1).mean().item()


def squared_prediction_difference(a: Tensor, b: Tensor) -> float:
    """Mean |a[i] - b[i]|^2: how far two learners' predictions are apart as functions (SPD, Akyurek et al. 2022).

    Two learners can have the same loss and a large SPD: each is wrong in its own way.

    >>> squared_prediction_difference(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]))
    2.0
    """
    _check(a, b)
    return (a - b).flatten(1).square().sum(1).mean().item()


def implied_weights(learner: Learner, x: Tensor, y: Tensor, probes: Tensor) -> Tensor:
    """The weights (B, d_y, d_x) of the linear model that comes nearest to what a learner answers at the probes.

    `probes` (M, d_x), M >= d_x, are put to the learner as queries, after each context; the weights are the
    least-squares fit to its answers. Exact for a learner that is linear in the query. (ILWD of Akyurek et al. 2022 is
    the distance of two learners' implied weights.)

    >>> twice_the_first = lambda x, y, x_query: 2 * x_query[:, :1]
    >>> implied_weights(twice_the_first, torch.zeros(3, 5, 2), torch.zeros(3, 5, 1), torch.eye(2))[0]
    tensor([[2., 0.]])
    """
    B, (M, d_x) = len(x), probes.shape
    if torch.linalg.matrix_rank(probes) < d_x:
        raise ValueError(f"probes: expected at least {d_x} independent ones, got {M} of rank below: draw more.")
    answers = learner(x.repeat_interleave(M, 0), y.repeat_interleave(M, 0), probes.repeat(B, 1))
    return (torch.linalg.pinv(probes) @ answers.unflatten(0, (B, M))).mT


def _check(a: Tensor, b: Tensor) -> None:
    for t in (a, b):
        if not isinstance(t, Tensor) or not t.is_floating_point() or t.numel() == 0:
            got = f"{t.dtype} of shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise TypeError(f"expected two float tensors that are not empty, got {got}.")
    if a.shape != b.shape:
        raise ValueError(
            f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}: "
            "they would be broadcast against each other."
        )
    if a.dtype != b.dtype:
        raise TypeError(f"expected one dtype, got {a.dtype} and {b.dtype}: the coarser one sets the round-off.")
