"""Checks for the exercises of notebook 09: softmax attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import learners, tasks
from helpers.exercises import ask, fits, verdict
from helpers.theory import mixing
from helpers.theory.small_scores import normal


def _two(said, *shapes: tuple[int, ...]) -> bool:
    """Whether the answer is two tensors of these shapes; a line when it is not."""
    if said is None:
        return False
    if not isinstance(said, tuple | list) or len(said) != len(shapes):
        print(f"Not yet: expected two tensors, got {type(said).__name__}.")
        return False
    return all(fits(part, torch.Size(shape)) for part, shape in zip(said, shapes, strict=True))


def check_join(answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Notebook 09, exercise 1: `answer(read_1, lse_1, read_2, lse_2)` joins what was read from two blocks of tokens.

    Reads are (M, d_v), their ln Z (M,); so are the two that come back. Blocks are joined one after the other, the last
    time with scores so large that exp overflows.

    >>> check_join(lambda read_1, lse_1, read_2, lse_2: (read_1 + read_2, lse_1 + lse_2))
    Not yet: the largest difference is 4.8. Hint: a weighted mean of the two reads; Z adds up, ln Z does not.
    """
    for scale in (1.0, 500.0):
        scores, values = scale * normal(6, 20, seed=91), normal(20, 3, seed=92)
        blocks = list(zip(scores.split([3, 1, 5, 4, 7], dim=1), values.split([3, 1, 5, 4, 7]), strict=True))
        read, lse = mixing.read_out(*blocks[0]), blocks[0][0].logsumexp(dim=1)
        for block in blocks[1:]:
            said = ask(answer, read, lse, mixing.read_out(*block), block[0].logsumexp(dim=1))
            if not _two(said, (6, 3), (6,)):
                return
            read, lse = said
        if scale > 1 and not (read.isfinite().all() and lse.isfinite().all()):
            return print("Not yet: right for small scores, but exp overflows for large ones. Which numbers are safe?")
        expected = torch.cat([mixing.read_out(scores, values), scores.logsumexp(dim=1, keepdim=True)], dim=1)
        found = torch.cat([read, lse[:, None]], dim=1)
        if scale > 1 or not (found.double() - expected).abs().max() < 1e-9:
            hint = "a weighted mean of the two reads; Z adds up, ln Z does not."
            return verdict(found, expected, hint)


def check_quiet(answer: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Notebook 09, exercise 2: `answer(k, q)` is keys and queries (N, D) and (M, D), any D, whose softmax attention is
    the Gaussian smoother of keys k and queries q, of any lengths, at every temperature.

    >>> check_quiet(lambda k, q: (k, q))
    Not yet: the largest difference is 1.2. Hint: what does a key have to carry along, so that its length drops out?
    """
    for d, tau in [(1, 1.0), (5, 0.4), (5, 3.0)]:
        k, q, y = 2 * normal(12, d, seed=93), normal(7, d, seed=94), normal(12, 1, seed=95)
        said = ask(answer, k, q)
        width = said[0].shape[-1] if isinstance(said, tuple | list) and hasattr(said[0], "shape") else d
        if not _two(said, (12, width), (7, width)):
            return
        found, expected = mixing.read_out(said[1] @ said[0].mT / tau, y), mixing.nadaraya_watson(q, k, y, tau)
        if (d, tau) == (5, 3.0) or not (found.double() - expected).abs().max() < 1e-9:
            hint = "what does a key have to carry along, so that its length drops out?"
            return verdict(found, expected, hint)


def check_four_heads(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Notebook 09, exercise 3: `answer(k, y, q, tau)` is (2/tau) Cov(y, k) q by four heads, up to tau^-5.

    >>> check_four_heads(lambda k, y, q, tau: mixing.read_out(q[:, None] @ k.mT / tau, y)[:, 0])
    Not yet: beside (2/tau) Cov(y, k) q there is something that falls like tau^0.00.
    """
    k, y, q, *_ = tasks.linear_regression(B=50, N=7, d_x=3, noise=0.5, seed=91)
    y, taus, off = y + 1.0, (25.0, 50.0), []
    step = learners.gd(k - k.mean(1, keepdim=True), y - y.mean(1, keepdim=True), q, eta=1.0)  # Cov(y, k) q
    for tau in taus:
        said = ask(answer, k, y, q, tau)
        if said is None or not fits(said, torch.Size([50, 1])):
            return
        off.append((said.double() - 2 * step / tau).square().mean().sqrt())
    if off[1] < 1e-13:
        return print("Not yet: that is the covariance itself. What do four heads make of it?")
    slope = (off[1] / off[0]).log2().item()
    if not abs(slope + 5) < 0.1:
        return print(f"Not yet: beside (2/tau) Cov(y, k) q there is something that falls like tau^{slope + 0.0:.2f}.")
    print("✔ Right: the third order is gone, and what is left falls like tau^-5.")
