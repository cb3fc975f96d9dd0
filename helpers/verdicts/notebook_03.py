"""Claims of notebook 03: one attention layer is one step of gradient descent."""

from __future__ import annotations

import torch

from helpers import attention, constructions, learners, metrics, probes, tasks
from helpers.verdicts import EXACT, Bounds, Evidence, claim, identity, number

PROP_1 = "von Oswald et al. 2023, proposition 1"


def _prompt_and_start(seed: int = 1):
    prompt = tasks.linear_regression(B=16, N=11, d_x=7, d_y=3, noise=0.5, seed=seed)
    return prompt, torch.randn(3, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _stack(etas, W_0, **how):
    return constructions.learner([constructions.gd_step(eta, 11, 7, 3, W_0) for eta in etas], W_0, **how)


def unmasked(z, layer):
    """Linear attention whose query is read, too."""
    return attention.linear(z, layer, include_query=True)


def depth_gap(k: int, *, from_zero: bool = False, attend=attention.linear, off: float = 1.0) -> float:
    """The largest gap between k hand-built layers and k steps of gradient descent, each with a step size of its own.

    They start at W_0 = 0 or at another one; `off` multiplies the layers' step sizes, but not those of the steps.
    """
    prompt, W_0 = _prompt_and_start(seed=6)
    W_0, etas = 0 * W_0 if from_zero else W_0, [0.5, 0.3, 0.6, 0.1, 0.4, 0.2, 0.5, 0.3][:k]
    layers = _stack([off * eta for eta in etas], W_0, attend=attend)
    return metrics.max_gap(layers(*prompt.shown), learners.gd(*prompt.shown, etas, steps=k, W_0=W_0))


# --- the claims -------------------------------------------------------------------------------------------------


@claim(EXACT, "One layer of linear attention is one step of gradient descent.", paper=PROP_1)
def one_layer_is_one_step():
    prompt, W_0 = _prompt_and_start()
    y_gd = learners.gd(*prompt.shown, eta=0.7, W_0=W_0)
    return identity(*(metrics.max_gap(_stack([eta], W_0)(*prompt.shown), y_gd) for eta in (0.7, 0.77)))


@claim(EXACT, "Moving the line and moving the points are one step: the loss is the same.", paper=PROP_1)
def move_the_points():
    prompt, W_0 = _prompt_and_start()
    W = learners.gd_weights(prompt.x, prompt.y, eta=0.7, W_0=W_0)
    z = attention.linear(tasks.tokens(prompt, W_0), constructions.gd_step(0.7, 11, 7, 3, W_0))
    by_line = (prompt.x @ W.mT - prompt.y).square().mean()
    by_points = [(prompt.x @ W_0.mT - y).square().mean() for y in (z[:, :-1, 7:], prompt.y)]
    return identity(*((by_line - loss).abs().item() for loss in by_points))


@claim(EXACT, "The layer holds a linear model: its answer is linear in the query.")
def the_layer_holds_a_line():
    prompt, layer = tasks.linear_regression(B=64, N=15, d_x=4, noise=0.4, seed=8), constructions.gd_step(0.9, 15, 4)
    bends = (
        probes.bend_in_query(constructions.learner([layer], attend=attend), prompt)
        for attend in (attention.linear, attention.softmax)
    )
    return identity(*bends)


@claim(
    EXACT,
    "It does not matter whether the query is read, too.",
    paper="the review does not mention the mask",
    instead="in one layer with W₀ = 0 (margin note S4).",
)
def the_query_may_be_read():
    prompt, W_0 = _prompt_and_start()

    def gap(start):
        z, layer = tasks.tokens(prompt, start), constructions.gd_step(0.7, 11, 7, 3, start)
        return number(metrics.max_gap(unmasked(z, layer), attention.linear(z, layer)))

    return Evidence(Bounds(gap(W_0), at_most=1e-12), Bounds(gap(0 * W_0), at_most=1e-12))


@claim(EXACT, "Reading the query shifts the prediction by −(2η/N)‖x_q‖²W₀x_q.", paper="derived here")
def what_reading_the_query_costs():
    prompt, W_0 = _prompt_and_start()
    shift = _stack([0.7], W_0, attend=unmasked)(*prompt.shown) - _stack([0.7], W_0)(*prompt.shown)
    formula = -2 * 0.7 / 11 * prompt.x_query.square().sum(1, keepdim=True) * (prompt.x_query @ W_0.T)
    return identity(metrics.max_gap(shift, formula), broken=metrics.max_gap(shift, 1.1 * formula))


@claim(
    EXACT,
    "A stack of k layers is k steps, each with a step size of its own.",
    paper="von Oswald et al. 2023, section 3",
)
def k_layers_are_k_steps():
    return identity(depth_gap(8), broken=depth_gap(8, attend=unmasked))


@claim(
    EXACT,
    "Multiply W_K and W_V by any matrix R, and nothing changes.",
    paper="a short cut that suggests itself",
    instead="with R⁻ᵀ in W_Q and R⁻¹ in P.",
)
def gauge_freedom():
    prompt, W_0 = _prompt_and_start(seed=7)
    g = torch.Generator().manual_seed(4)
    R, R_v = (torch.randn(10, 10, generator=g, dtype=torch.float64) for _ in range(2))
    layer, z = constructions.gd_step(0.7, 11, 7, 3, W_0), tasks.tokens(prompt, W_0)
    one_sided = layer._replace(W_K=R @ layer.W_K, W_V=R @ layer.W_V)
    others = one_sided, constructions.change_gauge(layer, R, R_v, scale=-3.0)
    wanted = attention.linear(z, layer)
    stated, corrected = (
        number(metrics.max_gap(attention.linear(z, other), wanted) / wanted.abs().max()) for other in others
    )
    return Evidence(Bounds(stated, at_most=1e-12), Bounds(corrected, at_most=1e-12))


@claim(EXACT, "The same layer, fed with centred one-hot labels, is a step on the softmax cross-entropy from W₀ = 0.")
def a_step_on_cross_entropy():
    g = torch.Generator().manual_seed(9)
    x, x_query = torch.randn(1, 24, 5, generator=g).double(), torch.randn(1, 5, generator=g).double()
    classes = torch.randint(0, 4, (24,), generator=g)
    onehot = torch.nn.functional.one_hot(classes, 4).double()[None]
    layer = constructions.learner([constructions.gd_step(eta=2.0, N=24, d_x=5, d_y=4)])
    gradient = torch.func.grad(lambda W: torch.nn.functional.cross_entropy(x[0] @ W.T, classes))
    logits = -2.0 * x_query @ gradient(torch.zeros(4, 5, dtype=torch.float64)).T
    return identity(*(metrics.max_gap(layer(x, y, x_query), logits) for y in (onehot - 1 / 4, onehot)))


@claim(EXACT, "Two ReLU heads are one linear head.", paper="Bai et al. 2023, its device")
def two_relu_heads():
    prompt, W_0 = _prompt_and_start()
    layer, z = constructions.gd_step(0.7, 11, 7, 3, W_0), tasks.tokens(prompt, W_0)
    wanted = attention.linear(z, layer)
    heads = constructions.two_relu_heads(layer), layer
    return identity(*(metrics.max_gap(attention.relu(z, each), wanted) for each in heads))
