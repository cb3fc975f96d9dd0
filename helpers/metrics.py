"""Numbers that compare two learners."""

from __future__ import annotations

import torch
from torch import Tensor


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
