"""Claims of notebook 08: beyond straight lines."""

from __future__ import annotations

import torch

from helpers import constructions, metrics, tasks
from helpers.models import features
from helpers.theory import kernels
from helpers.trained import sine_runs
from helpers.verdicts import EXACT, MEASURED, Bounds, Evidence, claim, identity, number, over_seeds


@claim(
    EXACT,
    "An MLP followed by the layer is one gradient step on the MLP's features.",
    paper="von Oswald et al. 2023, prop. 2",
)
def features_then_a_step():
    m = features.Features(width=12, hidden=20, seed=0).double().requires_grad_(False)
    p = features.sines(B=16, N=10, seed=1)[0]
    W_0 = 0.1 * torch.randn(1, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def by_attention(eta):
        layers = [constructions.gd_step(eta, 10, 12, W_0=W_0)]
        return constructions.learner(layers, W_0)(m(p.x), p.y, m(p.x_query))

    def by_gradient(x, y, x_query):
        grad = torch.func.grad(lambda W: (m(x) @ W.T - y).square().sum() / (2 * len(x)))
        return (W_0 - 0.01 * grad(W_0)) @ m(x_query)

    wanted = torch.stack([by_gradient(*task) for task in zip(*p.shown, strict=True)])
    return identity(*(metrics.max_gap(by_attention(eta), wanted) for eta in (0.01, 0.011)))


@claim(
    EXACT,
    "Layers with a kernel for a score are gradient descent on functions; T of them are a filter on eigenvalues.",
    paper="Cheng et al. 2023",
)
def functional_gradient_descent():
    p = tasks.linear_regression(B=4, N=9, d_x=2, seed=1)
    x_query, kernel = p.x_query[:, None], kernels.rbf(0.7)
    by_layers = kernels.functional_gd(p.x, p.y, x_query, kernel, 0.2, steps=60)[0]
    filters = [kernels.filtered(p.x, p.y, x_query, kernels.rbf(h), 0.2, 60) for h in (0.7, 0.77)]
    return identity(*(metrics.max_gap(by_layers, each) for each in filters))


@claim(
    MEASURED,
    "The kernel that made the data predicts best (least ratio of another kernel's error to its own).",
    paper="Cheng et al. 2023",
)
def the_matching_kernel_wins():
    points = 2 * torch.rand(300, 21, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    four = [kernels.linear, kernels.rbf(0.3), kernels.rbf(1.0), kernels.rbf(3.0)]

    def least_ratio(seed, own=(0, 1, 2, 3)):
        rows = []
        for of_data in four:
            f = kernels.draw(points, of_data, lam=1e-6, seed=seed)
            answers = [kernels.gp(points[:, :-1], f[:, :-1], points[:, -1:], k, 1e-6)[0] for k in four]
            rows.append(torch.stack([(answer - f[:, -1:]).square().mean() for answer in answers]))
        errors, each = torch.stack(rows), torch.arange(4)
        ratios = errors / errors[each, list(own)][:, None]
        ratios[each, list(own)] = torch.inf
        return ratios.min()

    another = number(least_ratio(0, own=(1, 2, 3, 0)), "to a kernel that did not")
    return Evidence(Bounds(over_seeds(least_ratio(seed) for seed in range(3)), at_least=1.0), control=another)


@claim(
    EXACT,
    "The score of softmax, exp(xᵀx′), is the Gaussian kernel up to a constant (spread of the ratio).",
    instead="on a sphere; elsewhere it favours long keys.",
)
def exp_is_gaussian():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def spread(x):
        return number((kernels.exponential()(x, x) / kernels.rbf(1.0)(x, x) / torch.e - 1).abs().max())

    return Evidence(*(Bounds(spread(points), at_most=1e-12) for points in (x, x / x.norm(dim=1, keepdim=True))))


def _loss(model, seed: int) -> float:
    with torch.no_grad():
        return features.loss(model, seed=900 + seed, B=2048, queries=256).item()


@claim(
    MEASURED,
    "On sine waves a trained MLP with one attention layer equals a meta-learned MLP with one gradient step "
    "(ratio of the losses within 10 %).",
    paper="two curves that meet, von Oswald et al. 2023, fig. 4",
)
def sine_waves():
    def ratio(seed, load):
        pair = load(seed)
        return _loss(pair["attention"], seed) / _loss(pair["gradient"], seed)

    def trained(seed):
        return {kind: each.model for kind, each in sine_runs.load(seed).items()}

    def half_trained(seed):
        return trained(seed) | {"gradient": sine_runs.untrained("gradient", seed)}

    ours = over_seeds(ratio(seed, trained) for seed in sine_runs.SEEDS)
    return Evidence(Bounds(ours, 0.88, 1.1), control=number(ratio(0, half_trained)))


@claim(
    MEASURED,
    "Both have learned one and the same kernel, cos(x − x′) (least cosine similarity).",
    instead="",
)
def the_learned_kernel():
    points = torch.linspace(-5, 5, 101)[:, None]
    wanted = torch.cos(points - points.T)[None]

    def alike(features):
        m = features(points).detach()
        return metrics.mean_cosine((m @ m.T)[None], wanted)

    ours = over_seeds(alike(sine_runs.load(seed)["gradient"].model.features) for seed in sine_runs.SEEDS)
    return Evidence(Bounds(ours, at_least=0.95), control=number(alike(sine_runs.untrained("gradient").features)))
