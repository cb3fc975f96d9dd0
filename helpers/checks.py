"""Clear errors at the door: what was expected, what came, and the likely cause.

Tensors cross a door when a prompt is laid out, a learner is called or a layer is applied. Inside, nobody checks
again: numbers that blow up on the way (a step size past 2/lambda_max) are a result, not an error.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor


def tensor(name: str, value: Tensor, shape: str, sizes: dict[str, int] | None = None) -> dict[str, int]:
    """Hold `value` against a shape written in names, such as `"B N d_x"`; return the size of each name.

    `sizes` are the names that are known already: they must agree. Every dimension must be at least 1.

    >>> tensor("x", torch.zeros(4, 3, 2), "B N d_x")
    {'B': 4, 'N': 3, 'd_x': 2}
    >>> tensor("y", torch.zeros(4, 5, 1), "B N d_y", {"B": 4, "N": 3})
    Traceback (most recent call last):
    ValueError: y: expected (B, N, d_y) with B=4, N=3, got (4, 5, 1): it differs in N.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(value).__name__}: wrap it in torch.tensor(…).")
    names, sizes = shape.split(), dict(sizes or {})
    known = ", ".join(f"{n}={sizes[n]}" for n in dict.fromkeys(names) if n in sizes)
    expected = f"{name}: expected ({', '.join(names)})" + (f" with {known}" if known else "")
    got = tuple(value.shape)
    if len(got) != len(names):
        raise ValueError(f"{expected}, got {got}: {len(got)} dimensions instead of {len(names)}; is one missing?")
    for n, size in zip(names, got, strict=True):
        if size == 0:
            raise ValueError(f"{expected}, got {got}: {n} = 0, but at least 1 is needed.")
        if sizes.setdefault(n, size) != size:
            raise ValueError(f"{expected}, got {got}: it differs in {n}.")
    if not value.is_floating_point():
        raise TypeError(f"{name}: expected float32 or float64, got {value.dtype}: call .double() on it.")
    return {n: sizes[n] for n in names}


def same_dtype(**tensors: Tensor) -> None:
    """All of the named tensors share one dtype.

    >>> same_dtype(x=torch.zeros(1), y=torch.zeros(1).double())
    Traceback (most recent call last):
    TypeError: expected one dtype, got x float32, y float64: convert with .to(torch.float64).
    """
    if len({t.dtype for t in tensors.values()}) > 1:
        got = ", ".join(f"{name} {str(t.dtype).removeprefix('torch.')}" for name, t in tensors.items())
        raise TypeError(f"expected one dtype, got {got}: convert with .to(torch.float64).")


def finite(**values: Tensor | float | Sequence[float]) -> None:
    """No NaN and no infinity in any of the named values.

    >>> finite(eta=float("nan"))
    Traceback (most recent call last):
    ValueError: eta: expected finite numbers, got nan: look at the step that made it (a division by 0, a diverged run).
    """
    for name, value in values.items():
        bad = torch.as_tensor(value)
        bad = bad[~torch.isfinite(bad)]
        if len(bad):
            raise ValueError(
                f"{name}: expected finite numbers, got {bad[0].item()}: "
                "look at the step that made it (a division by 0, a diverged run)."
            )


def count(name: str, value: int, least: int = 1) -> int:
    """A whole number of things, at least `least`.

    >>> count("steps", -1, least=0)
    Traceback (most recent call last):
    ValueError: steps: expected a whole number of at least 0, got -1.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or whole < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}.")
    return whole


def prompt(x: Tensor, y: Tensor, x_query: Tensor, W_0: Tensor | None = None) -> dict[str, int]:
    """A prompt as every learner takes it: x (B, N, d_x), y (B, N, d_y), x_query (B, d_x), W_0 (d_y, d_x) or None.

    Returns the sizes B, N, d_x, d_y.

    >>> prompt(torch.zeros(2, 5, 3), torch.zeros(2, 5, 1), torch.zeros(2, 3))
    {'B': 2, 'N': 5, 'd_x': 3, 'd_y': 1}
    """
    parts = {"x": x, "y": y, "x_query": x_query} | ({} if W_0 is None else {"W_0": W_0})
    sizes = tensor("x", x, "B N d_x")
    sizes |= tensor("y", y, "B N d_y", sizes)
    sizes |= tensor("x_query", x_query, "B d_x", sizes)
    if W_0 is not None:
        tensor("W_0", W_0, "d_y d_x", sizes)
    same_dtype(**parts)
    finite(**parts)
    return sizes
