"""Inputs and labels in separate tokens, and a two-layer transformer that has to make pairs of them first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers import attention, checks, tasks
from helpers.attention import Layer
from helpers.usual import usual

BASE = 10_000.0  # of the wavelengths of sinusoids, as in Vaswani et al. 2017


@usual()
def sinusoids(T: int, width: int) -> Tensor:
    """Positions (T, width): sines and cosines of j / BASE^(2k / width), for k = 0, …, width/2 - 1.

    >>> sinusoids(3, 2)[:, 0]                                           # sin 0, sin 1, sin 2
    tensor([0.0000, 0.8415, 0.9093], dtype=torch.float64)
    """
    T, width = checks.count("T", T), checks.count("width", width)
    if width % 2:
        raise ValueError(f"width: expected an even number, a sine and a cosine of each wavelength, got {width}.")
    angles = torch.arange(T).double()[:, None] / BASE ** (torch.arange(0, width, 2) / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def tokens(prompt: tasks.Prompt, positions: Tensor) -> Tensor:
    """Lay prompts out as 2N+1 tokens, x_1, y_1, x_2, y_2, …, x_q: z (B, 2N+1, d_x + d_y + width of the positions).

    An input's token is (x_j, 0, p), a label's (0, y_j, p), and the last the query's, (x_q, 0, p); `positions`
    (2N+1, width) are the p.

    >>> prompt = tasks.linear_regression(B=4, N=3, d_x=2)
    >>> z = tokens(prompt, torch.eye(7).double())
    >>> z.shape, z[0, 0, :3].count_nonzero(), z[0, 1, :3].count_nonzero()
    (torch.Size([4, 7, 10]), tensor(2), tensor(1))
    """
    x, y, x_query = prompt.shown
    sizes = checks.prompt(x, y, x_query)
    checks.tensor("positions", positions, "2N+1 width", {"2N+1": 2 * sizes["N"] + 1})
    checks.same_dtype(x=x, positions=positions)
    data = x.new_zeros(sizes["B"], len(positions), sizes["d_x"] + sizes["d_y"])
    data[:, :-1:2, : sizes["d_x"]], data[:, 1::2, sizes["d_x"] :], data[:, -1, : sizes["d_x"]] = x, y, x_query
    return torch.cat([data, positions.expand(sizes["B"], -1, -1)], dim=-1)


def read(z: Tensor, d_x: int, d_y: int = 1) -> Tensor:
    """The prediction (B, d_y) that such tokens hold: minus the label slot of the query, as in `tasks.read`.

    >>> read(torch.tensor([[[1.0, 0.0, 5.0], [0.0, 2.0, 6.0], [3.0, -4.0, 7.0]]]), d_x=1)
    tensor([[4.]])
    """
    return -z[:, -1, d_x : d_x + d_y]


def proposition_3(S: Tensor, d: int) -> Layer:
    """The copying layer as it is printed: von Oswald et al. 2023, proposition 3, for tokens s_j | p_j, p_j one-hot.

        W_K = [[0, 0],   W_Q = [[0,  0 ],   W_V = [[0,  0],   P = I          blocks d | T
               [0, I]]          [0, S^T]]          [I, -S]]

    Where S (T, T) moves position i to j, token j reads token i and writes s_i (of d <= T entries) over its position.

    >>> z = torch.cat([torch.tensor([[[3.0], [5.0]]]).double(), torch.eye(2).double()[None]], dim=-1)
    >>> lower = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double()
    >>> attention.linear(z, proposition_3(lower, d=1), include_query=True)[0, 1]       # the second has read the first
    tensor([5., 3., 0.], dtype=torch.float64)
    """
    T = checks.tensor("S", S, "T T")["T"]
    I, (W_Q, W_K, W_V) = torch.eye(d + T, dtype=S.dtype), S.new_zeros(3, d + T, d + T)
    W_K[d:, d:], W_Q[d:, d:], W_V[d : 2 * d, :d], W_V[d:, d:] = I[d:, d:], S.mT, I[:d, :d], -S
    return Layer(W_Q, W_K, W_V, P=I)


class CopyingTransformer(nn.Module):
    """A layer of softmax attention, then one of linear attention; called as `learner(x, y, x_query) -> y_hat`.

    The model of von Oswald et al. 2023, figure 5, on `tokens` with `positions` (2N+1, width), such as `sinusoids`. Each
    layer has W_Q, W_K, W_V, P, all (D, D) with D = d_x + d_y + width, drawn from N(0, scale^2); float32.
    The second layer is computed for the query alone, which reads all other tokens: nothing else of it is used.

    >>> model = CopyingTransformer(d_x=3, positions=sinusoids(11, 10))
    >>> model(torch.ones(4, 5, 3), torch.ones(4, 5, 1), torch.ones(4, 3)).shape
    torch.Size([4, 1])
    """

    @usual()
    def __init__(self, d_x: int, d_y: int = 1, *, positions: Tensor, scale: float = 0.1, seed: int = 0):
        super().__init__()
        self.d_x, self.d_y = checks.count("d_x", d_x), checks.count("d_y", d_y)
        width = checks.tensor("positions", positions, "2N+1 width")["width"]
        self.register_buffer("positions", positions.float(), persistent=False)
        D, generator = d_x + d_y + width, torch.Generator().manual_seed(checks.count("seed", seed, least=0))
        drawn = checks.number("scale", scale) * torch.randn(2, 4, D, D, generator=generator)
        self.first, self.second = (nn.Parameter(W) for W in drawn)

    def layers(self) -> tuple[Layer, Layer]:
        """The softmax layer and the linear layer."""
        return Layer(*self.first), Layer(*self.second)

    def tokens(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        """The tokens that the first layer reads."""
        checks.made_for(checks.prompt(x, y, x_query), self.d_x, self.d_y)
        return tokens(tasks.Prompt(x, y, x_query), self.positions)

    def forward(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        first, second = self.layers()
        z = attention.softmax(self.tokens(x, y, x_query), first)
        context, query = z[:, :-1], z[:, -1:]
        scores = (query @ second.W_Q.mT) @ (context @ second.W_K.mT).mT
        return read(query + scores @ (context @ second.W_V.mT) @ second.P.mT, self.d_x, self.d_y)


def neighbours(pattern: Tensor) -> dict[str, float]:
    """Of the first layer's attention (B, T, T-1): how much goes from an input's token to the label after it, and from
    a label's to the input before it. Means over pairs and prompts.

    >>> neighbours(torch.tensor([[[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]]))     # x_1, y_1, x_q read x_1, y_1
    {'next': 0.75, 'previous': 0.5}
    """
    checks.tensor("pattern", pattern, "B T T-1")
    return {name: pattern.diagonal(to, 1, 2)[:, ::2].mean().item() for name, to in [("next", 1), ("previous", -1)]}


@usual()
def sensitivity(z: Tensor, layer: Layer, d: int) -> dict[str, float]:
    """How strongly what `attention.softmax` adds to an input's token x_j depends on the data in other tokens.

    The Frobenius norm of the derivative of the update by the first d coordinates (x and y) of a token: the token
    itself ("own"), the label after it ("next"), the label before it ("previous"), all others ("other"); means over the
    pairs from the second on, and over prompts z (B, T, D). After von Oswald et al. 2023, figure 5.

    >>> z = torch.randn(1, 7, 4, generator=torch.Generator().manual_seed(0)).double()
    >>> zero, I = torch.zeros(4, 4).double(), torch.eye(4).double()
    >>> found = sensitivity(z, Layer(zero, zero, I, I), d=2)           # attends to all 6 alike: sqrt(2) / 6 each
    >>> {name: round(value, 4) for name, value in found.items()}
    {'own': 0.2357, 'next': 0.2357, 'previous': 0.2357, 'other': 0.2357}
    """

    def update(data: Tensor, rest: Tensor) -> Tensor:
        z = torch.cat([data, rest], dim=-1)[None]
        return (attention.softmax(z, layer) - z)[0, :-1:2]  # what is added to the tokens of the inputs

    jacobian = torch.func.vmap(torch.func.jacrev(update))(z[..., :d], z[..., d:])  # (B, N, D, T, d)
    norms = jacobian.square().sum((2, 4)).sqrt()[:, 1:, :-1]  # (B, N-1, T-1)
    names = torch.full(norms.shape[1:], 3)
    for which, offset in enumerate((0, 1, -1)):
        names[torch.arange(len(names)), 2 * torch.arange(1, len(names) + 1) + offset] = which
    return {name: norms[:, names == k].mean().item() for k, name in enumerate(["own", "next", "previous", "other"])}
