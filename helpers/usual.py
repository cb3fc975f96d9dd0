"""torch's global state as this series takes it, whatever the reader's own: float32, on the CPU, with gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def usual() -> Iterator[None]:
    """Within it, or in a function decorated with it, new tensors are float32, on the CPU, with gradients if asked for.

    >>> torch.set_default_dtype(torch.float64)
    >>> with usual():
    ...     torch.zeros(1).dtype
    torch.float32
    >>> torch.get_default_dtype(), torch.set_default_dtype(torch.float32)
    (torch.float64, None)
    """
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
