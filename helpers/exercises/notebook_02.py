"""Checks for the exercises of notebook 02: linear attention is a matrix you write to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import checks
from helpers.exercises import ask, fits, verdict
from helpers.verdicts.notebook_02 import Largest


def check_linear_attention(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 02, exercise 1: `answer(V, K, Q)` is linear attention (d_v, m) of V (d_v, N), K (d_k, N), Q (d_k, m),
    with nothing of size N x m on the way.

    >>> check_linear_attention(lambda V, K, Q: None)
    Not yet: the function returns nothing. Replace the dots.
    >>> check_linear_attention(lambda V, K, Q: K @ V.T @ Q)             # doctest: +ELLIPSIS
    Not yet: your function raised RuntimeError: ...
    """
    generator = torch.Generator().manual_seed(21)
    V, K, Q = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in [(3, 7), (5, 7), (5, 4)])
    expected = torch.stack([sum(V[:, i] * (K[:, i] @ q) for i in range(7)) for q in Q.T], dim=1)
    said = ask(answer, V, K, Q)
    if said is None or not fits(said, expected.shape):
        return
    long = torch.zeros(5, 2000, dtype=torch.float64)  # tokens as many as queries: scores would be 2000 x 2000
    with Largest() as largest:
        again = ask(answer, long, long, long)
    if again is not None and largest.numel >= 2000 * 2000:
        print("Not yet: N x m scores are made on the way. Hint: which product does away with N?")
    elif again is not None:
        verdict(said, expected, "each query is compared with the keys, and what comes out is a sum of values.")


def check_memories(
    error_of_17: float, rank_of_three: int, rank_with_the_fourth: int, rank_with_the_first_twice: int
) -> None:
    """Notebook 02, exercise 2: the relative error of a Hebbian memory with n = 17 and d_k = 32, and the ranks of three
    memories with d_k = 16 and d_v = 8, which the check writes for itself.

    >>> check_memories(17 / 32, 3, 4, 3)
    Not yet: look again at error_of_17, rank_with_the_fourth. Hint: what does each pair add that was not there before?
    """
    answers = {
        "error_of_17": error_of_17,
        "rank_of_three": rank_of_three,
        "rank_with_the_fourth": rank_with_the_fourth,
        "rank_with_the_first_twice": rank_with_the_first_twice,
    }
    for name, answer in answers.items():
        try:
            answers[name] = float(checks.number(name, answer))
        except (TypeError, ValueError):
            return print(f"Not yet: {name}: expected one finite number, got {answer!r}.")
    ranks = [torch.linalg.matrix_rank(W).item() for W in _memories()]
    wrong = [
        name
        for (name, answer), expected in zip(answers.items(), [(17 - 1) / 32, *ranks], strict=True)
        if abs(answer - expected) > 1e-3
    ]
    if wrong:
        hint = "what does each pair add that was not there before?"
        print(f"Not yet: look again at {', '.join(wrong)}. Hint: {hint}")
    else:
        print("✔ Right, all four.")


def _memories() -> list[Tensor]:
    """Three pairs by Hebb; a fourth with key k_1 + k_2; pairs 1, 1, 2, 3 by the delta rule."""
    generator = torch.Generator().manual_seed(22)
    K, V = (torch.randn(d, 4, generator=generator, dtype=torch.float64) for d in (16, 8))
    K = K / K.norm(dim=0)
    K[:, 3] = K[:, 0] + K[:, 1]
    W = torch.zeros(8, 16, dtype=torch.float64)
    for i in (0, 0, 1, 2):
        W = W + torch.outer(V[:, i] - W @ K[:, i], K[:, i])
    return [V[:, :3] @ K[:, :3].T, V @ K.T, W]


def check_overwrite(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 02, exercise 3: `answer(W, k, v)` reads v at k, and what W read at every key orthogonal to k.

    >>> check_overwrite(lambda W, k, v: W + torch.outer(v - W @ k, k))    # doctest: +ELLIPSIS
    Not yet: the largest difference is ... Hint: ...
    """
    generator = torch.Generator().manual_seed(23)
    W, k, v = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in [(4, 6), (6,), (4,)])
    basis = torch.linalg.qr(torch.cat([k[:, None], torch.eye(6, dtype=torch.float64)[:, :5]], dim=1)).Q[:, 1:]
    keys = torch.cat([k[:, None], basis], dim=1)  # k and five keys orthogonal to it: they fix the whole matrix
    expected, given = torch.cat([v[:, None], W @ basis], dim=1), [part.clone() for part in (W, k, v)]
    said = ask(answer, *given)
    if said is None or not fits(said, W.shape):
        return
    if not all(torch.equal(before, after) for before, after in zip((W, k, v), given, strict=True)):
        print("Not yet: your function changed W, k or v in place. Return a new matrix.")
    else:
        hint = "at k the delta rule reads Wk + beta |k|^2 (v - Wk), and beta may depend on k."
        verdict(said @ keys.to(said.dtype), expected, hint)
