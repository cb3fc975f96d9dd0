"""One layer of linear attention that sees its tokens through a layer norm, as the layers of a transformer do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import checks
from helpers.models.stacks import LinearTransformer
from helpers.usual import usual


class NormedLayer(nn.Module):
    """Pre-norm linear attention, one layer, to be trained; called as `learner(x, y, x_query) -> y_hat`.

    Each token z of width d_x + d_y becomes gain * (z - mean z) / std z + bias, mean and std over the entries of z; then
    comes the layer of `LinearTransformer`. Only the query's row is computed. There is no epsilon in the division: the
    answer does not change when the query, or a pair (x_i, y_i), is multiplied by a number above 0.

    >>> model, x, y = NormedLayer(d_x=3), torch.rand(4, 5, 3).double(), torch.rand(4, 5, 1).double()
    >>> torch.allclose(model(7 * x, 7 * y, 5 * x[:, 0]), model(x, y, x[:, 0]))
    True
    """

    @usual()
    def __init__(self, d_x: int, d_y: int = 1, *, scale: float = 0.1, seed: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(checks.count("d_x", d_x) + checks.count("d_y", d_y), eps=0.0).double()
        self.inside = LinearTransformer(d_x, d_y, scale=scale, seed=seed)

    def forward(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        d_x, d_y, layer = self.inside.d_x, self.inside.d_y, self.inside.layers()[0]
        checks.made_for(checks.prompt(x, y, x_query), d_x, d_y)
        z, z_query = self.norm(torch.cat([x, y], dim=-1)), self.norm(F.pad(x_query, (0, d_y)))
        scores = z @ (z_query @ (layer.W_K.mT @ layer.W_Q).mT)[..., None]  # (B, N, 1)
        return -(scores.mT @ z @ (layer.P @ layer.W_V)[d_x:].mT)[:, 0]
