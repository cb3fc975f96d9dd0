"""Linear-attention layers that are trained on few prompts, or for few tasks, while you wait."""

from __future__ import annotations

import functools

import torch

from helpers import tasks, training
from helpers.models.stacks import LinearTransformer
from helpers.theory import closed_forms, population, whole_layers


@functools.lru_cache
def on_fixed_prompts(M: int, seed: int, *, prompts: int) -> tuple[float, float]:
    """Half-loss on M prompts that a layer was trained on again and again, and its expectation on new ones.

    The setting is that of von Oswald et al. 2023, N = d_x = 10, inputs uniform on (-1/2, 1/2); the weights start from
    `seed`, and the prompts are drawn from the seed `prompts`.

    >>> own, new = on_fixed_prompts(64, 0, prompts=100)
    >>> own < 0.05 < 0.4 < new                                     # 64 prompts are memorised; answering 0 costs 0.42
    True
    """
    p = tasks.linear_regression(M, N=10, d_x=10, inputs="uniform", seed=prompts)
    net = LinearTransformer(10, scale=0.1, seed=seed)
    z = torch.cat([p.x, p.y], dim=-1)
    moments = z.mT @ z  # sum_i z_i z_i^T: all that the layer sees of a context

    def loss(_):
        read, key_query = population.products(net.layers()[0])
        y_hat = -((moments @ read) * (p.x_query @ key_query[:, :10].T)).sum(1)
        return (y_hat - p.y_query[:, 0]).square().mean() / 2

    run = training.fit(net, loss, torch.optim.Adam(net.parameters(), lr=0.02), 300, seed=seed)
    return run.losses[-1].item(), population.half_loss(net.layers()[0], 10, inputs="uniform").item()


@functools.lru_cache
def on_few_tasks(M: int, seed: int) -> dict[str, tuple[float, float]]:
    """Half-losses on M tasks, endless prompts, and on new tasks: trained, the best whole layer, the best matrix.

    d_x = 8, N = 16, unit Gaussian inputs; training on the exact loss, with four free matrices. `seed` draws both the
    tasks and the weights at the start.

    >>> losses = on_few_tasks(16, 0)
    >>> losses["trained"][0] < 1.001 * losses["whole"][0] < losses["matrix"][0]
    True
    """
    W = torch.randn(M, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    net, I = LinearTransformer(8, scale=0.1, seed=seed), torch.eye(8, dtype=torch.float64)
    adam = torch.optim.Adam(net.parameters(), lr=0.03)
    training.fit(net, lambda _: whole_layers.excess(net.layers()[0], W, 16) / 2, adam, 500, seed=seed)
    layers = {
        "trained": net.layers()[0],
        "whole": whole_layers.best_layer(W, 16),
        "matrix": whole_layers.preconditioned_step(closed_forms.preconditioner(I, 16, prior=W.T @ W / M), 16),
    }
    return {
        name: (whole_layers.excess(each, W, 16).item() / 2, population.half_loss(each, 16).item())
        for name, each in layers.items()
    }
