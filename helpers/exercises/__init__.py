"""Checks for the readers' answers, one module a notebook, and what they share.

Each check runs the answer on prompts it has not seen and says what it found. A check never raises, whatever the
answer is or does: it prints what came, and a hint.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks


def ask(answer: Callable, *arguments):
    """What the reader's function says; None, and a line, when it says nothing or fails."""
    try:
        said = answer(*arguments)
    except Exception as error:
        print(f"Not yet: your function raised {type(error).__name__}: {error}")
        return None
    if said is None:
        print("Not yet: the function returns nothing. Replace the dots.")
    return said


def fits(answer, shape: torch.Size) -> bool:
    """Whether the answer is a float tensor of this shape; a line when it is not."""
    fits = isinstance(answer, Tensor) and answer.shape == shape and answer.is_floating_point()
    if not fits:
        got = f"{answer.dtype} {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        print(f"Not yet: expected a tensor of shape {tuple(shape)}, got {got}.")
    return fits


def verdict(answer: Tensor, expected: Tensor, hint: str, *, digits: int = 9) -> None:
    """Right to so many digits, or by how much not; 9 hold an answer to the round-off of float64, 6 of float32."""
    off = (answer.double() - expected).abs().max().item()
    if digits > 6 and off < 1e-5 and answer.dtype != expected.dtype:
        print(f"Not yet: right as far as {answer.dtype} goes, but the numbers you were given are {expected.dtype}.")
    elif off < 10.0**-digits:
        print(f"✔ Right, to within 1e-{digits} on prompts that the check drew for itself.")
    else:
        print(f"Not yet: the largest difference is {off:.2g}. Hint: {hint}")


def number_verdict(answer, expected: float, hint: str, *, tolerance: float = 1e-3) -> None:
    """For answers that are one number, right within a relative tolerance; the expected number is not given away."""
    try:
        off = abs(float(checks.number("answer", answer)) - expected)
    except (TypeError, ValueError):
        return print(f"Not yet: expected one finite number, got {answer!r}.")  # the hint is for those who tried
    if off <= tolerance * max(abs(expected), 1e-12):
        print(f"✔ Right, to within {tolerance:.1%}.")
    else:
        print(f"Not yet: {float(answer):.6g} is not it. Hint: {hint}")
