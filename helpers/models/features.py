"""A linear learner on features that are learned: curves, by the same step, W m(x) in place of W x.

Two models with the same parts. Both turn every input into features m(x) and start from the same kind of W_0; one then
takes a step of gradient descent on the context, the other lets a trained attention layer read it. Each is called as
`learner(x, y, x_query) -> y_hat`, like all learners of the series.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from helpers import checks
from helpers.attention import Layer
from helpers.tasks import Prompt
from helpers.usual import usual


@usual()
def sines(B: int, N: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Prompt, Tensor, Tensor]:
    """B tasks y = a sin(x + phi), and a prompt of N pairs for each: x and the query uniform on (-5, 5).

    The amplitude is uniform on (0.1, 0.5) and the phase uniform on (0, pi), *independent* of it. (In the published
    code of von Oswald et al. 2023, one random key draws both, and so a = 0.1 + 0.4 phi / pi.) Returns the prompt,
    the amplitudes (B, 1) and the phases (B, 1).

    >>> prompt, amplitude, phase = sines(B=4, N=10)
    >>> [tuple(t.shape) for t in prompt[:4]], tuple(phase.shape)
    ([(4, 10, 1), (4, 10, 1), (4, 1), (4, 1)], (4, 1))
    """
    B, N = checks.count("B", B), checks.count("N", N)
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    amplitude = 0.1 + 0.4 * torch.rand((B, 1), generator=generator, dtype=torch.float64)
    phase = math.pi * torch.rand((B, 1), generator=generator, dtype=torch.float64)
    x_query, x = (10 * torch.rand(shape, generator=generator, dtype=torch.float64) - 5 for shape in [(B, 1), (B, N, 1)])
    y, y_query = amplitude[..., None] * torch.sin(x + phase[..., None]), amplitude * torch.sin(x_query + phase)
    return Prompt(x, y, x_query, y_query).to(dtype), amplitude.to(dtype), phase.to(dtype)


class Features(nn.Module):
    """m(x): a number in, `width` out. Linear 1 -> width, then an MLP width -> hidden -> width with a GELU, added to it.

    >>> Features()(torch.zeros(3, 7, 1)).shape
    torch.Size([3, 7, 40])
    """

    @usual()
    def __init__(self, width: int = 40, hidden: int = 160, seed: int = 0):
        super().__init__()
        self.width, hidden = checks.count("width", width), checks.count("hidden", hidden)
        generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
        sizes = [(width, 1), (hidden, width), (width, hidden)]
        draws = [torch.randn(size, generator=generator) / math.sqrt(size[1]) for size in sizes]
        self.embed, self.expand, self.contract = (nn.Parameter(W) for W in draws)
        self.shift = nn.Parameter(2 * torch.randn(width, generator=generator))  # kinks of the GELU across (-5, 5)
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        e = x @ self.embed.mT + self.shift
        return 0.3 * (e + nn.functional.gelu(e @ self.expand.mT + self.bias) @ self.contract.mT)  # 0.3: a calm start


class DeepLearner(nn.Module):
    """Features m and a linear model on them that starts at W_0 (d_y, width); `weights` says where it goes."""

    @usual()
    def __init__(self, features: Features, d_y: int = 1):
        super().__init__()
        self.features = features
        self.W_0 = nn.Parameter(torch.zeros(checks.count("d_y", d_y), features.width))

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        """The linear model W (B, d_y, width) after the context: the prediction is W m(x_q), for any query."""
        raise NotImplementedError

    def forward(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        checks.prompt(x, y, x_query)
        return (self.weights(x, y) @ self.features(x_query)[..., None]).squeeze(-1)

    def curves(self, x: Tensor, y: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions at all points of a grid (M, 1): before the context is read (M, d_y), and after (B, M, d_y)."""
        checks.prompt(x, y)
        m = self.features(grid)
        return m @ self.W_0.mT, m @ self.weights(x, y).mT


class GradientLearner(DeepLearner):
    """One step of gradient descent on 1/(2N) sum_i |W m(x_i) - y_i|^2 from W_0, of a fixed size.

    Training m and W_0 through the step is meta-learning (Finn et al. 2017), with only the last layer adapted.

    >>> model = GradientLearner(Features(), eta=1.0)
    >>> model(*sines(B=4, N=10, dtype=torch.float32)[0].shown).shape
    torch.Size([4, 1])
    """

    @usual()
    def __init__(self, features: Features, d_y: int = 1, eta: float = 1.0):
        super().__init__(features, d_y)
        self.eta = checks.number("eta", eta)

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        m = self.features(x)
        return self.W_0 + self.eta / x.shape[1] * (y - m @ self.W_0.mT).mT @ m


class AttentionLearner(DeepLearner):
    """One layer of linear attention on tokens (m(x_i), y_i); the query's is (m(x_q), -W_0 m(x_q)), and is masked.

    A layer uses its matrices only through the products W_K^T W_Q = A and P W_V, and of the latter only the label rows
    R count, since only the query's label slot is read. So A (D, D) and R (d_y, D), D = width + d_y, are what is
    trained. Both start as they are if all four matrices are the identity. No error is written into that, and its step
    has the wrong sign: the prediction is minus the slot, so it is gradient *ascent*.

    >>> model = AttentionLearner(Features())
    >>> model(*sines(B=4, N=10, dtype=torch.float32)[0].shown).shape
    torch.Size([4, 1])
    """

    @usual()
    def __init__(self, features: Features, d_y: int = 1):
        super().__init__(features, d_y)
        eye = torch.eye(features.width + d_y)
        self.A, self.R = nn.Parameter(eye.clone()), nn.Parameter(eye[-d_y:].clone())

    def layer(self, N: int) -> Layer:
        """The layer as `attention.linear` takes it; P holds 1/N, as in `constructions.gd_step`."""
        D, d_y = self.A.shape[0], self.W_0.shape[0]
        eye = torch.eye(D, dtype=self.A.dtype, device=self.A.device)
        W_V = torch.cat([self.R.new_zeros(D - d_y, D), self.R])
        return Layer(W_Q=self.A, W_K=eye, W_V=W_V, P=eye / checks.count("N", N))

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        z = torch.cat([self.features(x), y], dim=-1)  # (B, N, D)
        update = ((z @ self.R.mT).mT @ z / x.shape[1]) @ self.A  # (B, d_y, D): the query's slot gets update @ z_q
        on_features, on_slot = update.split([self.W_0.shape[1], self.W_0.shape[0]], dim=-1)
        return self.W_0 + on_slot @ self.W_0 - on_features


class SineAndCosine(nn.Module):
    """m(x) = (sin x, cos x): with these two features every sine of the task is linear, and nothing is learned."""

    width = 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.sin(), x.cos()], dim=-1)


def by_hand(eta: float = 1.8) -> GradientLearner:
    """One gradient step on sine and cosine, from the mean task: W_0 = (E a cos phi, E a sin phi) = (0, 0.6 / pi).

    >>> by_hand().W_0
    Parameter containing:
    tensor([[0.0000, 0.1910]])
    """
    model = GradientLearner(SineAndCosine(), eta=eta).requires_grad_(False)
    model.W_0.copy_(torch.tensor([[0.0, 0.6 / math.pi]]))
    return model


def losses(model: DeepLearner, seed: int, *, B: int = 256, N: int = 10, queries: int = 64) -> Tensor:
    """Half the mean squared error on B sine tasks (B,), each asked at the same `queries` inputs, uniform on (-5, 5).

    Many queries on one context cost little, since the model is linear in m(x_q), and make a less noisy gradient.

    >>> losses(GradientLearner(Features()), seed=0).shape
    torch.Size([256])
    """
    dtype = model.W_0.dtype
    prompt, amplitude, phase = sines(B, N, seed=seed, dtype=dtype)
    x_query = sines(queries, 1, seed=seed + 2**32)[0].x_query.to(dtype)
    _, after = model.curves(prompt.x, prompt.y, x_query)
    return (after[..., 0] - amplitude * torch.sin(x_query.mT + phase)).square().mean(dim=1) / 2


def loss(model: DeepLearner, seed: int, *, B: int = 256, N: int = 10, queries: int = 64) -> Tensor:
    """The mean of `losses`: what training brings down.

    >>> loss(GradientLearner(Features()), seed=0).ndim
    0
    """
    return losses(model, seed, B=B, N=N, queries=queries).mean()
