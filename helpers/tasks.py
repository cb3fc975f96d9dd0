"""Draw a prompt (context and query) from a family of tasks; lay it out as tokens; read a prediction back.

A prompt is a data set: N pairs (x_i, y_i) of one task, and a query x_q whose label is asked for. The task itself
(the matrix W) is drawn afresh for each prompt, so nothing about it can be stored in weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from helpers import checks
from helpers.usual import usual


class Prompt(NamedTuple):
    """B prompts of N pairs each. `learner(*prompt.shown)` calls any learner of the series.

    x (B, N, d_x), y (B, N, d_y), x_query (B, d_x); where known also the query's true label y_query (B, d_y) and
    the task W (B, d_y, d_x) that made them.
    """

    x: Tensor
    y: Tensor
    x_query: Tensor
    y_query: Tensor | None = None
    W: Tensor | None = None

    @property
    def shown(self) -> tuple[Tensor, Tensor, Tensor]:
        """What a learner may see: (x, y, x_query), and neither the query's label nor the task.

        >>> [tuple(part.shape) for part in linear_regression(B=4, N=20, d_x=10).shown]
        [(4, 20, 10), (4, 20, 1), (4, 10)]
        """
        return self.x, self.y, self.x_query

    def to(self, dtype: torch.dtype) -> Prompt:
        """The same prompts in float32 or float64."""
        return Prompt(*(None if t is None else t.to(dtype) for t in self))

    def first(self, N: int) -> Prompt:
        """The same tasks and queries with only the first N pairs in the context: what a learner knew then."""
        if checks.count("N", N) > self.x.shape[1]:
            raise ValueError(f"N: expected 1 to {self.x.shape[1]}, the pairs that the prompt has, got {N}.")
        return self._replace(x=self.x[:, :N], y=self.y[:, :N])


INPUT_LAWS = {  # name -> draw(shape, generator)
    "gaussian": lambda shape, g: torch.randn(shape, generator=g, dtype=torch.float64),
    "uniform": lambda shape, g: torch.rand(shape, generator=g, dtype=torch.float64) - 0.5,
    "rademacher": lambda shape, g: torch.randint(0, 2, shape, generator=g).double() * 2 - 1,
}
MOMENTS = {"gaussian": (1.0, 3.0), "uniform": (1 / 12, 9 / 5), "rademacher": (1.0, 1.0)}  # variance s2, E x^4 / s2^2


@usual()
def linear_regression(
    B: int, N: int, d_x: int, d_y: int = 1, *, inputs: str = "gaussian", noise: float = 0.0, seed: int = 0
) -> Prompt:
    """B linear tasks: y_i = W x_i + noise * e_i with W and e_i standard normal, in float64.

    `inputs` is the law of each coordinate of x_i and x_query: "gaussian" N(0, 1), "uniform" U(-1/2, 1/2) as in the
    code of von Oswald et al. 2023 (their text says U(-1, 1)), or "rademacher" +1 and -1. `noise` is the standard
    deviation of the labels in the context; the query's true label `y_query` carries none. The same seed gives the
    same prompts; the global random state is not touched.

    >>> prompt = linear_regression(B=4, N=20, d_x=10)
    >>> [tuple(t.shape) for t in prompt]
    [(4, 20, 10), (4, 20, 1), (4, 10), (4, 1), (4, 1, 10)]
    >>> linear_regression(B=4, N=0, d_x=10)
    Traceback (most recent call last):
    ValueError: N: expected a whole number of at least 1, got 0.
    """
    B, N, d_x, d_y = (checks.count(name, n) for name, n in {"B": B, "N": N, "d_x": d_x, "d_y": d_y}.items())
    if checks.number("noise", noise) < 0:
        raise ValueError(f"noise: expected a standard deviation of at least 0, got {noise}.")
    if inputs not in INPUT_LAWS:
        raise ValueError(f"inputs: expected one of {', '.join(INPUT_LAWS)}, got {inputs!r}.")
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    draw, normal = INPUT_LAWS[inputs], INPUT_LAWS["gaussian"]
    W = normal((B, d_y, d_x), generator)
    x_query = draw((B, d_x), generator)
    x = draw((B, N, d_x), generator)
    y = x @ W.mT + noise * normal((B, N, d_y), generator)
    y_query = (W @ x_query[..., None]).squeeze(-1)
    return Prompt(x, y, x_query, y_query, W)


def tokens(prompt: Prompt, W_0: Tensor | None = None) -> Tensor:
    """Lay prompts out as tokens z (B, N+1, d_x+d_y): rows (x_i, y_i), and last the query (x_q, -W_0 x_q).

    The query's label slot is not the unknown label. It starts at minus the prediction of the starting weights W_0
    (d_y, d_x), which is 0 when W_0 is None; `read` turns the sign round (von Oswald et al. 2023, appendix A.1).

    >>> tokens(linear_regression(B=4, N=20, d_x=10)).shape
    torch.Size([4, 21, 11])
    """
    x, y, x_query = prompt.shown
    checks.prompt(x, y, x_query, W_0)
    slot = torch.zeros_like(y[:, 0]) if W_0 is None else -x_query @ W_0.mT  # (B, d_y)
    context = torch.cat([x, y], dim=-1)  # (B, N, d_x+d_y)
    query = torch.cat([x_query, slot], dim=-1)[:, None]  # (B, 1, d_x+d_y)
    return torch.cat([context, query], dim=1)


def read(z: Tensor, d_y: int = 1) -> Tensor:
    """The prediction (B, d_y) that tokens z (B, N+1, D) hold: minus the label slot of the query.

    >>> read(torch.tensor([[[1.0, 2.0], [3.0, -4.0]]]))
    tensor([[4.]])
    """
    checks.tensor("z", z, "B N+1 D")
    d_y = checks.count("d_y", d_y)
    if d_y >= z.shape[-1]:
        raise ValueError(f"d_y: expected less than the token's width {z.shape[-1]}, got {d_y}: no room for x.")
    return -z[:, -1, -d_y:]
