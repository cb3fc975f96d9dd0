"""Claims of notebook 09: what survives when the softmax is put back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import metrics, tasks
from helpers.learners import Learner
from helpers.models import heads
from helpers.models.normed import NormedLayer
from helpers.theory import mixing, small_scores
from helpers.theory.small_scores import normal
from helpers.trained import softmax_runs
from helpers.verdicts import (
    EXACT,
    MEASURED,
    PROVED,
    Bounds,
    Evidence,
    claim,
    identity,
    number,
    over_prompts,
    over_seeds,
)
from helpers.verdicts import over_models_and_prompts as over_both


@claim(
    EXACT,
    "With the softmax, too, demonstrations add an update to the zero-shot answer.",
    paper="relaxed to linear attention for this, Dai et al. 2023, section 3",
    instead="they mix: λ Attn(X′) + (1 − λ) Attn(X), with λ = Z′/(Z′ + Z) (control: λ off by 10 %).",
)
def demonstrations_mix(shift: int = 0):
    m = small_scores.mixture(shift)
    both = F.scaled_dot_product_attention(m.q, m.keys, m.values)  # PyTorch's own, on all 16 tokens
    demos, zero_shot = mixing.read_out(m.new, m.values[:, :12]), mixing.read_out(m.own, m.values[:, 12:])
    lam = mixing.gate(m.new, m.own)[..., None]

    def gap(guess):
        return number(metrics.max_gap(guess, both))

    mixed, off = (gap(share * demos + (1 - share) * zero_shot) for share in (lam, 1.1 * lam))
    return Evidence(Bounds(gap(zero_shot + demos), at_most=1e-12), Bounds(mixed, at_most=1e-12), control=off)


@claim(EXACT, "What adds up is numerator and denominator: the dual form is exact if the normaliser is carried along.")
def carry_the_normaliser(shift: int = 0):
    (k, q, v), w = small_scores.unit_keys(shift), normal(8, 256, seed=4 + shift)
    own, demos = mixing.written(k[:4], v[:4], w), mixing.written(k[4:], v[4:], w)
    num, den = (mixing.features(q, w) @ (own + demos).T).split([2, 1], dim=1)
    true = mixing.read_out((mixing.features(q, w) @ mixing.features(k, w).T).log(), v)
    old = mixing.features(q, w) @ own[2:].T  # the denominator without the demonstrations
    return identity(metrics.max_gap(num / den, true), broken=metrics.max_gap(num / old, true))


@claim(
    MEASURED,
    "With keys of norm ½, random features find the softmax at the rate m^(−½), as an average does (slope, 16 to 4,096 "
    "features; control: with norm 3).",
    paper="positive features, Choromanski et al. 2021",
)
def random_features_converge(shift: int = 0):
    short, long = (
        number(np.polyfit(small_scores.POWERS, np.log2(small_scores.feature_errors(norm, shift)), 1)[0], "20 draws")
        for norm in (0.5, 3.0)
    )
    return Evidence(Bounds(short, -0.6, -0.4), control=long)


@claim(
    EXACT,
    "Softmax attention is the Nadaraya–Watson smoother of bandwidth √τ.",
    paper="kernel smoothing, von Oswald et al. 2023, A.8",
    instead="for keys of one length (others count exp(‖k‖²/2τ) times; control: a bandwidth off by 5 %).",
)
def a_kernel_smoother(shift: int = 0):
    k, q, v = (normal(*shape, seed=10 * shift + i) for i, shape in enumerate([(20, 3), (15, 3), (20, 1)]))
    unit = F.normalize(k, dim=1)

    def gap(k, tau=0.5):
        return number(metrics.max_gap(mixing.read_out(q @ k.T / 0.5, v), mixing.nadaraya_watson(q, k, v, tau)))

    return Evidence(Bounds(gap(k), at_most=1e-12), Bounds(gap(unit), at_most=1e-12), control=gap(unit, 1.1 * 0.5))


@claim(
    EXACT,
    "A deep stack of softmax layers, with errors as values, ends at kernel interpolation k_qᵀ K⁻¹ y.",
    paper="what Cheng et al. 2023 have for scores that are not normalised",
    instead="at d_q⁻¹ k_qᵀ K⁻¹ D y, another curve through the same examples (300 layers; control: three).",
)
def the_end_of_the_stack():
    s = small_scores.smoothing(tau=0.1)
    deep, early = (mixing.stack(s.q @ s.k.T / 0.1, s.k @ s.k.T / 0.1, s.y, layers) for layers in (300, 3))
    plain, limit = s.k_q @ torch.linalg.solve(s.K, s.y), mixing.stack_limit(s.K, s.k_q, s.y)
    gaps = [number(metrics.max_gap(*pair)) for pair in ((deep, plain), (deep, limit), (early, limit))]
    return Evidence(Bounds(gaps[0], at_most=1e-9), Bounds(gaps[1], at_most=1e-9), control=gaps[2])


@claim(
    PROVED,
    "Dropping the softmax is the limit of small scores (cosine with what demonstrations change, in %, at scores "
    "of size 0.01).",
    paper="“relaxed linear attention”, Dai et al. 2023",
    instead="the limit is a mean and a covariance: v̄ + (1/n) Σ vᵢ(ℓᵢ − ℓ̄) (the covariance, with the change "
    "less the mean's; control: the sum without softmax, with the same).",
)
def dropping_the_softmax(shift: int = 0):
    found = small_scores.alignment(0.01, shift)  # the mean alone has a cosine of 1 with the change: take it off
    dropped, covariance, control = (
        over_prompts(100 * cosines) for cosines in (found.dropped, found.covariance, found.dropped_beyond)
    )
    return Evidence(Bounds(dropped, at_least=99), Bounds(covariance, at_least=99), control=control)


@claim(
    PROVED,
    "Two heads of opposite sign are a gradient step on centred data, up to τ⁻³ (slope of what is left; control: one).",
    paper="≈, von Oswald et al. 2023, A.9, eqs. 18–21",
)
def two_heads_step(shift: int = 0):
    late = small_scores.left_over(shift)[8:]
    one, two = (number(slope, "n = 100") for slope in np.polyfit(np.log(small_scores.TAUS[8:]), np.log(late), 1)[0])
    return Evidence(Bounds(two, -3.05, -2.95), control=one)


@claim(
    MEASURED,
    "Trained, two softmax heads come within a tenth of the loss of one gradient step, one head does not (excess over "
    "the best step; d = N = 10).",
    paper="two heads close to GD, one head worse, von Oswald et al. 2023, fig. 12",
)
def two_heads_are_needed(shift: int = 0):
    step = softmax_runs.half_losses(softmax_runs.one_step, shift)
    two, one = (softmax_runs.trained_losses(kind, shift) / step.mean() for kind in ("two heads", "one head"))
    excess, control = (over_both(losses - step / step.mean()) for losses in (two, one))
    return Evidence(Bounds(excess, at_most=0.1), control=control, beyond=Bounds(over_both(two - one), at_most=0))


@claim(
    MEASURED,
    "Two numbers describe a trained pair: it answers like r (head(a) − head(−a)), and more so than like the best step "
    "on centred data (squared difference of the answers, in % of their size; a and r from its weights).",
    paper="diagonal scores, read-outs that sum to zero, J. He et al. 2025",
)
def two_numbers_describe_a_pair(shift: int = 0):
    p, models = softmax_runs.held_out(shift), softmax_runs.ends("two heads")
    answers = torch.stack([model(*p.shown)[:, 0] for model in models])
    pairs = torch.stack([heads.pair(*heads.two_numbers(model), p)[:, 0] for model in models])
    step = softmax_runs.centred_step(*p.shown)[:, 0]
    ours, control = (100 * (answers - guess).square() / answers.square().mean() for guess in (pairs, step))
    beyond = Bounds(over_both(ours - control), at_most=0)
    return Evidence(Bounds(over_both(ours), at_most=1.0), control=over_both(control), beyond=beyond)


@claim(
    MEASURED,
    "The scores of a slowly trained pair hold a common part that cancels: off the diagonal, the sum of r₁A₁ and r₂A₂ "
    "is less than half of either (rms, pairs that learned; control: two heads of different pairs).",
    paper="two heads, von Oswald et al. 2023, A.9, figs. 11 and 12",
)
def two_heads_cancel():
    caught = softmax_runs.trapped("two heads, slowly")
    parts = [heads.parts(model) for model in softmax_runs.ends("two heads, slowly")]
    parts = [part for part, out in zip(parts, caught, strict=True) if not out]

    def ratio(first: Tensor, second: Tensor) -> float:
        return (heads.off_diagonal(first + second) / min(map(heads.off_diagonal, (first, second)))).item()

    strangers = [ratio(a[0], b[1]) for a, b in zip(parts, parts[1:], strict=False)]
    return Evidence(Bounds(over_seeds(ratio(*part) for part in parts), at_most=0.5), control=over_seeds(strangers))


@claim(EXACT, "A layer norm hides the length of the query and of each example (control: the same layer without it).")
def a_layer_norm_hides_lengths(shift: int = 0):
    p, model = tasks.linear_regression(64, 10, 10, inputs="uniform", seed=9 + shift), NormedLayer(10, seed=1)
    lengths = 0.5 + normal(64, 10, 1, seed=shift).square()

    def gap(learner: Learner) -> float:
        answer = learner(*p.shown)
        return metrics.max_gap(learner(lengths * p.x, lengths * p.y, 3 * p.x_query), answer) / answer.abs().max().item()

    with torch.no_grad():
        return identity(gap(model), broken=gap(model.inside))


def relative_errors(learner: Learner, alpha: float, shift: int = 0) -> Tensor:
    """Squared errors on prompts whose inputs are alpha times as large, over that of always answering 0, (8000,)."""
    p = softmax_runs.held_out(shift)
    errors = (learner(alpha * p.x, alpha * p.y, alpha * p.x_query) / alpha - p.y_query).square()[:, 0]
    return errors / p.y_query.square().mean()


@claim(
    MEASURED,
    "On very large inputs a layer norm is better than a gradient step, but tends to answering 0 (squared error over "
    "that of answering 0, inputs 20 times as large; control: the step, which diverges).",
    paper="better on very large inputs, von Oswald et al. 2023, A.9, fig. 14",
)
def layer_norm_on_large_inputs(shift: int = 0):
    normed = torch.stack([relative_errors(model, 20.0, shift) for model in softmax_runs.ends("layer norm")])
    step = relative_errors(softmax_runs.one_step, 20.0, shift)[None]
    always_0 = relative_errors(lambda x, y, x_query: 0 * x_query[:, :1], 20.0, shift)[None]
    return Evidence(Bounds(over_both(normed, always_0), 0.95, 1.0), control=over_both(step, always_0))
