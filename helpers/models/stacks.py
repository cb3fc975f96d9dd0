"""The trainable ones: stacks of the series' linear-attention layers, and one layer of softmax attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers import checks
from helpers.attention import Layer
from helpers.usual import usual


class LinearTransformer(nn.Module):
    """`n_layers` layers of one-head linear attention, to be trained; called as `learner(x, y, x_query) -> y_hat`.

    Each layer has W_Q, W_K, W_V, P, all (D, D) with D = d_x + d_y, drawn from N(0, scale^2). `tied` uses one layer
    again and again (the "recurrent" transformer of von Oswald et al. 2023).

    The tokens are those of `tasks.tokens` with W_0 = 0, the query is masked, and the prediction is minus the query's
    label slot, as in `constructions.learner`. It is computed on another road, though: see `weights`.

    >>> model = LinearTransformer(d_x=3, n_layers=2, tied=True)
    >>> model(torch.ones(4, 5, 3).double(), torch.ones(4, 5, 1).double(), torch.ones(4, 3).double()).shape
    torch.Size([4, 1])
    >>> len(model.layers()), sum(W.numel() for W in model.parameters())
    (2, 64)
    """

    @usual()
    def __init__(
        self, d_x: int, d_y: int = 1, n_layers: int = 1, *, tied: bool = False, scale: float = 0.1, seed: int = 0
    ):
        super().__init__()
        self.d_x, self.d_y = checks.count("d_x", d_x), checks.count("d_y", d_y)
        self.n_layers = checks.count("n_layers", n_layers)
        generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
        shape = (4, 1 if tied else n_layers, d_x + d_y, d_x + d_y)
        drawn = checks.number("scale", scale) * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.W_Q, self.W_K, self.W_V, self.P = (nn.Parameter(W) for W in drawn)

    def layers(self) -> list[Layer]:
        """The layers, first to last, as `attention.linear` takes them; with their gradients."""
        each = [Layer(*Ws) for Ws in zip(self.W_Q, self.W_K, self.W_V, self.P, strict=True)]
        return each * (self.n_layers // len(each))

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        """The linear model W (B, d_y, d_x) in the stack: after the context (x, y), it predicts W x_q for any query.

        A layer multiplies every token by the same matrix, z_j <- M z_j with M = I + P W_V S W_K^T W_Q, and it sees
        the context only through the moments S = sum_i z_i z_i^T, which become M S M^T for the next layer. So the
        stack multiplies the query by the product of its M's, and a step costs the same for any N once S is known.
        """
        checks.made_for(checks.prompt(x, y), self.d_x, self.d_y)
        z = torch.cat([x, y], dim=-1)
        S, product = z.mT @ z, None
        for k, (W_Q, W_K, W_V, P) in enumerate(self.layers()):
            M = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device) + (P @ W_V) @ S @ (W_K.mT @ W_Q)
            product = M if product is None else M @ product
            if k + 1 < self.n_layers:
                S = M @ S @ M.mT
        return -product[:, self.d_x :, : self.d_x]

    def forward(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        checks.prompt(x, y, x_query)
        return (self.weights(x, y) @ x_query[..., None]).squeeze(-1)


class SoftmaxLayer(nn.Module):
    """One layer of softmax attention with `n_heads` heads, to be trained; called as `learner(x, y, x_query) -> y_hat`.

    Each head has W_Q, W_K, W_V, P, all (D, D) with D = d_x + d_y, drawn from N(0, scale^2), and scores divided by
    sqrt(D). Tokens, mask and read-out are those of `LinearTransformer`. In one layer only the query's token is read
    at the end, so only that row of the attention is computed:

        y_hat = -sum_h P_h W_V,h sum_i z_i softmax_i(z_i^T W_K,h^T W_Q,h z_q / sqrt(D))        (its last d_y entries)

    >>> model = SoftmaxLayer(d_x=3, n_heads=2)
    >>> model(torch.ones(4, 5, 3).double(), torch.ones(4, 5, 1).double(), torch.ones(4, 3).double()).shape
    torch.Size([4, 1])
    """

    @usual()
    def __init__(self, d_x: int, d_y: int = 1, n_heads: int = 1, *, scale: float = 0.1, seed: int = 0):
        super().__init__()
        self.d_x, self.d_y = checks.count("d_x", d_x), checks.count("d_y", d_y)
        generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
        shape = (4, checks.count("n_heads", n_heads), d_x + d_y, d_x + d_y)
        drawn = checks.number("scale", scale) * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.W_Q, self.W_K, self.W_V, self.P = (nn.Parameter(W) for W in drawn)

    def layer(self) -> Layer:
        """The layer, heads first, as `attention.softmax` takes it; with its gradient."""
        return Layer(self.W_Q, self.W_K, self.W_V, self.P)

    def forward(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        checks.made_for(checks.prompt(x, y, x_query), self.d_x, self.d_y)
        z = torch.cat([x, y], dim=-1)
        key_query = (self.W_K.mT @ self.W_Q)[..., : self.d_x]  # (H, D, d_x): the query's label slot is 0
        queries = (x_query @ key_query.mT).permute(1, 2, 0)  # (B, D, H)
        weights = (z @ queries / z.shape[-1] ** 0.5).softmax(dim=1)  # (B, N, H)
        read = (self.P @ self.W_V)[:, self.d_x :].transpose(0, 1).flatten(1)  # (d_y, H D)
        return -(weights.mT @ z).flatten(1) @ read.mT
