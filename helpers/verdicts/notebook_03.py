"""Claims of notebook 03: one attention layer is one step of gradient descent."""

from __future__ import annotations

import torch

from helpers import attention, constructions, learners, metrics, tasks
from helpers.verdicts import EXACT, Bounds, Evidence, claim, identity, number

PROP_1 = "von Oswald et al. 2023, proposition 1"


def _prompt_and_start(seed: int = 1):
    prompt = tasks.linear_regression(B=16, N=11, d_x=7, d_y=3, noise=0.5, seed=seed)
    return prompt, torch.randn(3, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _stack(etas, W_0, **how):
    return constructions.learner([constructions.gd_step(eta, 11, 7, 3, W_0) for eta in etas], W_0, **how)


@claim(EXACT, "One layer of linear attention is one step of gradient descent.", paper=PROP_1)
def one_layer_is_one_step():
    prompt, W_0 = _prompt_and_start()
    y_gd = learners.gd(*prompt.shown, eta=0.7, W_0=W_0)
    return identity(*(metrics.max_gap(_stack([eta], W_0)(*prompt.shown), y_gd) for eta in (0.7, 0.77)))


@claim(
    EXACT,
    "A stack of k layers is k steps, each with a step size of its own.",
    paper="von Oswald et al. 2023, section 3",
)
def k_layers_are_k_steps():
    prompt, W_0 = _prompt_and_start(seed=6)
    etas = [0.5, 0.3, 0.6, 0.1]
    y_gd = learners.gd(*prompt.shown, etas, steps=4, W_0=W_0)

    def unmasked(z, layer):
        return attention.linear(z, layer, include_query=True)

    stacks = [_stack(etas, W_0), _stack(etas, W_0, attend=unmasked)]
    return identity(*(metrics.max_gap(stack(*prompt.shown), y_gd) for stack in stacks))


@claim(EXACT, "Moving the line and moving the points are one step: the loss is the same.", paper=PROP_1)
def move_the_points():
    prompt, W_0 = _prompt_and_start()
    W = learners.gd_weights(prompt.x, prompt.y, eta=0.7, W_0=W_0)
    z = attention.linear(tasks.tokens(prompt, W_0), constructions.gd_step(0.7, 11, 7, 3, W_0))
    by_line = (prompt.x @ W.mT - prompt.y).square().mean()
    by_points = [(prompt.x @ W_0.mT - y).square().mean() for y in (z[:, :-1, 7:], prompt.y)]
    return identity(*((by_line - loss).abs().item() for loss in by_points))


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
        return number(metrics.max_gap(attention.linear(z, layer, include_query=True), attention.linear(z, layer)))

    return Evidence(Bounds(gap(W_0), at_most=1e-12), Bounds(gap(0 * W_0), at_most=1e-12))


@claim(
    EXACT,
    "Multiply W_K and W_V by any matrix R, and nothing changes.",
    paper="a recipe in circulation (margin note P8)",
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
