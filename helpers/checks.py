"""Clear errors at the door: what was expected, what came, and the likely cause.

Tensors cross a door when a prompt is laid out, a learner is called or a layer is applied. Inside, nobody checks
again: numbers that blow up on the way (a step size past 2/lambda_max) are a result, not an error.
"""

from __future__ import annotations

import math
import operator

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
    if value.dtype not in (torch.float32, torch.float64):
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


def finite(**tensors: Tensor) -> None:
    """No NaN and no infinity in any of the named tensors.

    >>> finite(x=torch.tensor([1.0, float("nan")]))
    Traceback (most recent call last):
    ValueError: x: expected finite numbers, got nan: look at the step that made it (a division by 0, a diverged run).
    """
    for name, value in tensors.items():
        good = torch.isfinite(value)
        if not good.all():
            raise ValueError(
                f"{name}: expected finite numbers, got {value[~good][0].item()}: "
                "look at the step that made it (a division by 0, a diverged run)."
            )


def number(name: str, value: float | Tensor) -> float | Tensor:
    """One finite number; a tensor without dimensions stays a tensor, with its gradient.

    >>> number("eta", None)
    Traceback (most recent call last):
    ValueError: eta: expected one finite number, got None.
    """
    try:
        plain = float(value.detach() if isinstance(value, Tensor) else value)
        good = not isinstance(value, str) and math.isfinite(plain) and getattr(value, "ndim", 0) == 0
    except (TypeError, ValueError, RuntimeError):
        good = False
    if not good:
        raise ValueError(f"{name}: expected one finite number, got {value!r}.")
    return value


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


def prompt(x: Tensor, y: Tensor, x_query: Tensor | None = None, W_0: Tensor | None = None) -> dict[str, int]:
    """A prompt as every learner takes it: x (B, N, d_x), y (B, N, d_y), x_query (B, d_x), W_0 (d_y, d_x).

    Query and W_0 are checked where there are any. Returns the sizes B, N, d_x, d_y.

    >>> prompt(torch.zeros(2, 5, 3), torch.zeros(2, 5, 1), torch.zeros(2, 3))
    {'B': 2, 'N': 5, 'd_x': 3, 'd_y': 1}
    """
    shapes = {"x": "B N d_x", "y": "B N d_y", "x_query": "B d_x", "W_0": "d_y d_x"}
    parts = {"x": x, "y": y, "x_query": x_query, "W_0": W_0}
    parts = {name: part for name, part in parts.items() if part is not None or name in ("x", "y")}
    sizes = {}
    for name, part in parts.items():
        sizes |= tensor(name, part, shapes[name], sizes)
    same_dtype(**parts)
    finite(**parts)
    return sizes


def made_for(sizes: dict[str, int], d_x: int, d_y: int) -> None:
    """The pairs of a prompt are of the size that a model was made for; `sizes` as `prompt` returns them.

    >>> made_for({"d_x": 3, "d_y": 1}, d_x=4, d_y=1)
    Traceback (most recent call last):
    ValueError: x, y: expected 4 inputs and 1 labels a pair, got 3 and 1.
    """
    if (sizes["d_x"], sizes["d_y"]) != (d_x, d_y):
        raise ValueError(f"x, y: expected {d_x} inputs and {d_y} labels a pair, got {sizes['d_x']} and {sizes['d_y']}.")
