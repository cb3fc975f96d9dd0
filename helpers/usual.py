"""torch's global state as this series takes it, whatever the reader's own: float32 by default, on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def usual() -> Iterator[None]:
    """Within (or for a function decorated with it) new tensors are float32 and on the CPU; then all is as it was.

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
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
