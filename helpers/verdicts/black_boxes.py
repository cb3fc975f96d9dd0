"""What notebook 12 asks of trained GPTs and of learners by hand: other orders, other scales, and who is nearest.

Figures and claims call these functions; what is expensive is kept. `shift` moves the seeds of the prompts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from helpers import attention, constructions, learners, probes, tasks
from helpers.learners import Learner
from helpers.theory import candidates, closed_forms
from helpers.trained import depth_gpts, regression_gpts
from helpers.verdicts.evidence import Number, number, over_models_and_prompts

# --- order ------------------------------------------------------------------------------------------------------


@functools.cache
def gpt() -> Learner:
    """The GPT of notebook 01, trained on regression with d = 5."""
    return regression_gpts.load()


def full_batch(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, 1) of one step of gradient descent on all pairs at once, of the best size for N and d_x."""
    return learners.gd(x, y, x_query, closed_forms.best_step(*x.shape[1:]))


def one_pass(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Prediction (B, 1) of one visit to each pair, in order."""
    return learners.online_gd(x, y, x_query, eta=0.1)


def causal(layers: int, N: int = 12) -> Learner:
    """A stack of gradient steps by hand in which each token reads those before it only (d_x = 5)."""
    return constructions.learner([constructions.gd_step(0.4, N, 5)] * layers, attend=attention.causal_linear)


def order_prompt(shift: int = 0) -> tasks.Prompt:
    """Twenty prompts of twelve pairs with five coordinates."""
    return tasks.linear_regression(B=20, N=12, d_x=5, seed=1 + shift)


@functools.cache
def orders(learner: Learner, shift: int = 0) -> Tensor:
    """What a learner answers to 60 orders of each context (60, 20)."""
    return probes.shuffled(learner, order_prompt(shift), shuffles=60)[..., 0]


def spread(answers: Tensor) -> Number:
    """The standard deviation of the answers over orders, as a part of their size."""
    ratio = over_models_and_prompts(answers.var(0)[None], answers.square().mean(0)[None])
    return root(ratio)._replace(how=f"n = {answers.shape[1]}, {answers.shape[0]} orders")


def exact_spread(learner: Learner) -> float:
    """The same number where it is round-off, or far from it."""
    return probes.order_spread(learner, order_prompt(), shuffles=60)


def root(ratio: Number) -> Number:
    """Of a ratio of mean squares, the ratio of sizes."""
    return Number(*(max(each, 0.0) ** 0.5 for each in ratio[:3]), ratio.how)


# --- scale ------------------------------------------------------------------------------------------------------


def small_prompts(shift: int = 0, B: int = 400) -> tasks.Prompt:
    """Prompts such as the small GPTs were trained on: ten pairs without noise, d = 4."""
    return tasks.linear_regression(B, N=10, d_x=4, seed=99 + shift)


def three_gpts(ask: Callable[[Learner], Tensor], n_layers: int = 3) -> Tensor:
    """What is asked of the GPTs of so many layers and of three seeds (3, …)."""
    return torch.stack([ask(depth_gpts.load(n_layers, seed)) for seed in depth_gpts.SEEDS])


@functools.cache
def errors_at(c: float, shift: int = 0) -> Tensor:
    """Squared errors of the GPTs of three layers at c times the scale, in units of c² (3, 400)."""
    return three_gpts(lambda gpt: probes.squared_errors(gpt, small_prompts(shift), c))


def bend(shift: int = 0) -> Number:
    """How far their answers are from being linear in the labels (`probes.labels_added`), as a part of their size."""
    answers = three_gpts(lambda gpt: torch.stack(probes.labels_added(gpt, small_prompts(shift), seed=shift)))
    got, expected = answers[..., 0].unbind(1)  # (3, 400)
    return root(over_models_and_prompts((got - expected).square(), expected.square()))


# --- who is nearest ---------------------------------------------------------------------------------------------


@functools.cache
@torch.no_grad()
def apart(n_layers: int, shift: int = 0, trained: bool = True) -> dict[str, Tensor]:
    """How far the answers of three GPTs are from each candidate's, after six pairs, at each of 2,000 prompts (3, B)."""
    p, make = small_prompts(shift, B=2000).first(6), depth_gpts.load if trained else depth_gpts.untrained
    each = [candidates.distances(make(n_layers, seed).double(), p) for seed in depth_gpts.SEEDS]
    return {name: torch.stack([of_one[name] for of_one in each]) for name in candidates.CANDIDATES}


def lead(n_layers: int, name: str, among: Iterable[str], shift: int = 0, trained: bool = True) -> Number:
    """By how much such GPTs are nearer to one candidate than to the nearest of the others (below 0: farther)."""
    of_each = apart(n_layers, shift, trained)
    other = min((of_each[each] for each in among if each != name), key=torch.mean)
    return over_models_and_prompts(other - of_each[name])


# --- choosing in context, and weights ---------------------------------------------------------------------------


def part(more: Tensor, of: Tensor) -> Number:
    """The mean of squared errors (2, B) as a part of that of others, in per cent, both halves pooled."""
    return over_models_and_prompts(100 * more.mean(0)[None], of.mean(0)[None])._replace(how=f"n = {more.numel():,}")


def zeros(*matrices: Tensor) -> Number:
    """Which part of the entries is 0."""
    return number(torch.cat([W.flatten() for W in matrices]).abs().lt(1e-9).double().mean())


@functools.cache
def two_gauges() -> tuple[attention.Layer, attention.Layer]:
    """A step of gradient descent by hand, and the same layer in another gauge (N = 20, d_x = 10)."""
    g, layer = torch.Generator().manual_seed(4), constructions.gd_step(0.7, 20, 10)
    R, R_v = (torch.randn(11, 11, generator=g, dtype=torch.float64) for _ in range(2))
    return layer, constructions.change_gauge(layer, R, R_v)
