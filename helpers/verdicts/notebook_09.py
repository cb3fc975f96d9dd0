"""Claims of notebook 09: what survives when the softmax is put back."""

from __future__ import annotations

import math

import torch

from helpers import attention, constructions, learners, metrics, tasks
from helpers.theory import closed_forms, kernels, mixing
from helpers.verdicts import EXACT, MEASURED, REPORTED, Bounds, Evidence, claim, identity, number


def _normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _demonstrations_and_own():
    """Scores and values of twelve demonstrations and of four tokens that 500 queries read anyway."""
    K_new, V_new, K_own, V_own, q = (_normal(500, n, 16, seed=i) for i, n in enumerate([12, 12, 4, 4, 3]))
    return q @ K_new.mT / 4, V_new, q @ K_own.mT / 4, V_own


@claim(
    EXACT,
    "With the softmax, too, demonstrations add an update to the zero-shot answer.",
    paper="relaxed to linear attention for this, Dai et al. 2023, section 3",
    instead="they mix: λ Attn(X′) + (1 − λ) Attn(X), with λ = Z′/(Z′ + Z).",
)
def demonstrations_mix():
    new, V_new, own, V_own = _demonstrations_and_own()
    both = mixing.read_out(torch.cat([new, own], dim=-1), torch.cat([V_new, V_own], dim=1))
    demos, zero_shot, lam = (
        mixing.read_out(new, V_new),
        mixing.read_out(own, V_own),
        mixing.gate(new, own)[..., None],
    )
    gaps = [metrics.max_gap(guess, both) for guess in (zero_shot + demos, lam * demos + (1 - lam) * zero_shot)]
    return Evidence(*(Bounds(number(gap), at_most=1e-12) for gap in gaps))


@claim(EXACT, "What adds up is numerator and denominator: the dual form is exact if the normaliser is carried along.")
def carry_the_normaliser():
    k, q, v, w = (_normal(*shape, seed=i) for i, shape in enumerate([(32, 8), (64, 8), (32, 2), (8, 256)]))
    k, q = k / k.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True)

    def features(x):
        return torch.exp(x @ w - x.square().sum(-1, keepdim=True) / 2) / 16

    def written(part):
        return torch.cat([v[part], torch.ones_like(v[part, :1])], dim=1).T @ features(k[part])

    own, new = slice(0, 4), slice(4, 32)
    num, den = (features(q) @ (written(own) + written(new)).T).split([2, 1], dim=1)
    true = mixing.read_out((features(q) @ features(k).T).log(), v)
    old = features(q) @ written(own)[2:].T
    return identity(metrics.max_gap(num / den, true), broken=metrics.max_gap(num / old, true))


@claim(
    EXACT,
    "Softmax attention is the Nadaraya–Watson smoother of bandwidth √τ.",
    paper="kernel smoothing, von Oswald et al. 2023, A.8",
    instead="for keys of one length; others count exp(‖k‖²/2τ) times.",
)
def a_kernel_smoother():
    k, q, v = (_normal(*shape, seed=i) for i, shape in enumerate([(20, 3), (15, 3), (20, 1)]))

    def gap(k):
        weights = kernels.rbf(math.sqrt(0.5))(q, k)
        return number(metrics.max_gap(mixing.read_out(q @ k.T / 0.5, v), weights / weights.sum(1, keepdim=True) @ v))

    return Evidence(*(Bounds(gap(keys), at_most=1e-12) for keys in (k, k / k.norm(dim=1, keepdim=True))))


@claim(
    EXACT,
    "A deep stack of softmax layers, with errors as values, ends at kernel interpolation k_qᵀ K⁻¹ y.",
    paper="what Cheng et al. 2023 have for scores that are not normalised",
    instead="at d_q⁻¹ k_qᵀ K⁻¹ D y, which passes through the examples on another curve.",
)
def the_end_of_the_stack():
    angles = torch.tensor([-2.9, -2.3, -1.9, -1.2, -0.6, 0.1, 0.9, 1.3, 1.8, 2.6], dtype=torch.float64)
    grid, y = torch.linspace(-3, 3, 61, dtype=torch.float64), torch.sin(1.5 * angles)[:, None] + 0.4 * angles[:, None]
    k, q = (torch.stack([t.cos(), t.sin()], dim=1) for t in (angles, grid))
    r, f = y, torch.zeros(61, 1, dtype=torch.float64)
    for _ in range(1000):
        f, r = f + mixing.read_out(q @ k.T / 0.1, r), r - mixing.read_out(k @ k.T / 0.1, r)
    K, k_q = (kernels.rbf(math.sqrt(0.1))(points, k) for points in (k, q))
    rows = K.sum(1, keepdim=True)
    ends = k_q @ torch.linalg.solve(K, y), k_q / k_q.sum(1, keepdim=True) @ torch.linalg.solve(K, rows * y)
    return Evidence(*(Bounds(number(metrics.max_gap(f, end)), at_most=1e-11) for end in ends))


@claim(
    MEASURED,
    "Dropping the softmax is the limit of small scores (cosine with what demonstrations change, at scores of 0.01).",
    paper="“relaxed linear attention”, Dai et al. 2023",
    instead="the limit is a mean and a covariance: v̄ + (1/n) Σ vᵢ(ℓᵢ − ℓ̄).",
)
def dropping_the_softmax():
    new, V_new, own, V_own = _demonstrations_and_own()
    new, own, V = 0.01 * new, 0.01 * own, torch.cat([V_new, V_own], dim=1)
    both = torch.cat([new, own], dim=-1)

    def first_order(scores, values):
        return values.mean(-2, keepdim=True) + (scores - scores.mean(-1, keepdim=True)) @ values / values.shape[-2]

    change = mixing.read_out(both, V) - mixing.read_out(own, V_own)
    guesses = new @ V_new, first_order(both, V) - first_order(own, V_own)
    return Evidence(
        *(Bounds(number(metrics.mean_cosine(g[:, 0], change[:, 0]), "n = 500"), at_least=0.99) for g in guesses)
    )


@claim(
    EXACT,
    "Two heads of opposite sign are a gradient step on centred data, up to τ⁻³ (slope of what is left).",
    paper="≈, von Oswald et al. 2023, A.9, eqs. 18–21",
)
def two_heads_step():
    p = tasks.linear_regression(B=100, N=8, d_x=4, seed=1)
    x, y = (part - part.mean(1, keepdim=True) for part in p[:2])
    step = learners.gd(x, y, p.x_query, eta=1.0)

    def slope(left_over):
        sizes = [left_over(tau).square().mean().sqrt().item() for tau in (50.0, 500.0)]
        return number(math.log10(sizes[1] / sizes[0]))

    def head(sign, tau):
        return mixing.read_out(sign * p.x_query[:, None] @ p.x.mT / tau, p.y)[:, 0]

    pair = slope(lambda tau: head(1, tau) - head(-1, tau) - 2 * step / tau)
    single = slope(lambda tau: head(1, tau) - p.y.mean(1) - step / tau)
    return Evidence(Bounds(pair, -3.05, -2.95), control=single)


@claim(
    MEASURED,
    "Two softmax heads come within 8 % of the best step's loss, one head does not (excess; by hand, best strength).",
    paper="two heads close to GD, one head worse, von Oswald et al. 2023, fig. 12",
)
def two_heads_are_needed():
    p = tasks.linear_regression(8000, 10, 10, inputs="uniform", seed=10**6)
    best = (learners.gd(*p.shown, closed_forms.best_step(10, 10, inputs="uniform")) - p.y_query).square().mean()

    def least(signs):
        losses = []
        for strength in (0.5, 1.0, 2.0, 3.5, 5.0, 7.0, 10.0):
            layer = constructions.two_softmax_heads(constructions.gd_step(1.0, 10, 10), N=10, tau=1 / strength)
            layer = attention.Layer(*(W[:signs] for W in layer))
            read = constructions.learner([layer], attend=attention.softmax)(*p.shown)
            scale = (read * p.y_query).mean() / read.square().mean()
            losses.append(((scale * read - p.y_query).square().mean() / best).item())
        return number(min(losses) - 1, "n = 8,000")

    return Evidence(Bounds(least(2), at_most=0.08), control=least(1))


@claim(
    REPORTED,
    "Trained softmax layers of several heads hold diagonal scores and read-outs that sum to zero.",
    paper="a “debiased” gradient step, J. He et al. 2025",
)
def debiased_steps(): ...
