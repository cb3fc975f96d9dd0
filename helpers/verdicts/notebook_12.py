"""Claims of notebook 12: order, scale, task diversity, depth, model selection, sparsity."""

from __future__ import annotations

import torch

from helpers import attention, constructions, learners, metrics, probes, tasks
from helpers.theory import bayes, closed_forms
from helpers.trained import depth_gpts, regression_gpts
from helpers.verdicts import (
    EXACT,
    MEASURED,
    REPORTED,
    Bounds,
    Evidence,
    Number,
    claim,
    identity,
    number,
    over_prompts,
    over_seeds,
)


def _order_prompt():
    return tasks.linear_regression(B=20, N=12, d_x=5, seed=1)


def _spread(learner) -> Number:
    return number(probes.order_spread(learner, _order_prompt(), shuffles=60), "n = 20, 60 orders")


def _full_batch(x, y, x_query):
    return learners.gd(x, y, x_query, closed_forms.best_step(12, 5))


def _one_pass(x, y, x_query):
    return learners.online_gd(x, y, x_query, eta=0.1)


@claim(
    EXACT,
    "In-context learning does not depend on the order of the examples.",
    paper="sets of examples, as in most of the theory",
    instead="one attention layer does not, nor does full-batch gradient descent; our GPT does.",
)
def icl_is_order_free():
    layer = constructions.learner([constructions.gd_step(0.6, 12, 5)], attend=attention.causal_linear)
    exact = max((_spread(each) for each in (_full_batch, layer)), key=lambda spread: spread.value)
    return Evidence(Bounds(_spread(regression_gpts.load()), at_most=1e-12), Bounds(exact, at_most=1e-12))


@claim(
    EXACT,
    "Gradient descent does not depend on the order of the examples, so order sensitivity refutes it.",
    paper="ICL's spread is 3 to 5 times that of GD on LLaMa-7B, Shen et al. 2023",
    instead="full-batch gradient descent; one pass of SGD does depend on it, and so do two causal GD layers.",
)
def order_refutes_gd():
    two = constructions.learner([constructions.gd_step(0.4, 12, 5)] * 2, attend=attention.causal_linear)
    return Evidence(
        Bounds(_spread(_one_pass), at_most=1e-12), Bounds(_spread(_full_batch), at_most=1e-12), control=_spread(two)
    )


def _gpts(n_layers: int, measure) -> Number:
    return over_seeds(measure(depth_gpts.load(n_layers, seed)) for seed in depth_gpts.SEEDS)


def _small_prompts(B: int = 400):
    return tasks.linear_regression(B, N=10, d_x=4, seed=99)


@claim(
    MEASURED,
    "A GPT that was trained on regression carries a fixed gradient step (its relative error at three times the scale).",
    paper="trained linear layers do, von Oswald et al. 2023, fig. 2",
)
def the_gpt_has_a_fixed_step():
    p, eta = _small_prompts(), closed_forms.best_step(10, 4)
    step = probes.relative_error(lambda *prompt: learners.gd(*prompt, eta), p, c=3.0)
    return Evidence(Bounds(_gpts(3, lambda gpt: probes.relative_error(gpt, p, c=3.0)), at_least=0.5 * step))


@claim(
    MEASURED,
    "It solves least squares: its relative error does not depend on the scale (at three times it, over at one).",
    paper="close to least squares at the scale of training, Garg et al. 2022",
)
def the_gpt_is_least_squares():
    p = _small_prompts()
    ratio = _gpts(3, lambda gpt: probes.relative_error(gpt, p, c=3.0) / probes.relative_error(gpt, p))
    return Evidence(Bounds(ratio, at_most=1.5))


@claim(
    MEASURED, "Its answers are linear in the labels, as those of GD, ridge and least squares are (bend at most 0.01)."
)
def the_gpt_is_linear_in_the_labels():
    p = _small_prompts()
    return Evidence(Bounds(_gpts(3, lambda gpt: probes.bend_in_labels(gpt, p)), at_most=0.01))


@claim(
    EXACT,
    "The best learner for a finite list of tasks is softmax attention over the tasks.",
    paper="derived here; dMMSE: Raventós et al. 2023",
)
def dmmse_is_attention():
    p = tasks.linear_regression(B=40, N=9, d_x=3, noise=0.5, seed=2)
    W = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direct = bayes.dmmse(*p.shown, W, noise=0.5)
    return identity(*(metrics.max_gap(bayes.dmmse_by_attention(*p.shown, W, noise), direct) for noise in (0.5, 0.55)))


@claim(
    MEASURED,
    "With 64 training tasks (d = 8) a learner does as well on new tasks as with infinitely many (excess, at most 5 %).",
    paper="2¹⁴ to 2¹⁵ tasks, 8-layer GPT, Raventós et al. 2023",
    instead="a linear-attention layer does; the best learner for those 64 tasks is some 20 times worse than ridge.",
)
def a_few_tasks_are_enough():
    p, eye = tasks.linear_regression(B=500, N=16, d_x=8, noise=0.5, seed=5), torch.eye(8, dtype=torch.float64)
    ridge = (learners.ridge(*p.shown, lam=0.25) - p.y_query).square().mean()
    ideal = closed_forms.gd_excess(closed_forms.best_step(16, 8, noise=0.5), 16, 8, noise=0.5)

    def ratios(seed):
        W = torch.randn(64, 8, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)
        listed = (bayes.dmmse(*p.shown, W, noise=0.5) - p.y_query).square().mean() / ridge
        A = closed_forms.preconditioner(eye, 16, noise=0.5, prior=W.T @ W / 64)
        return listed, closed_forms.preconditioned_excess(A, eye, 16, noise=0.5) / ideal

    listed, layer = torch.tensor([ratios(seed) for seed in range(30)]).T
    listed, layer = (over_prompts(each - 1)._replace(how="30 lists") for each in (listed, layer))
    return Evidence(Bounds(listed, at_most=0.05), Bounds(layer, at_most=0.05))


@claim(
    REPORTED,
    "Between 2¹⁴ and 2¹⁵ training tasks a GPT changes from a learner for its list of tasks to ridge regression.",
    paper="8 layers, d = 8, N = 16, noise² = 0.25, Raventós et al. 2023",
)
def a_threshold_of_diversity(): ...


RIVALS = {
    "always 0": lambda x, y, x_query: torch.zeros_like(y[:, 0]),
    "one gradient step": lambda x, y, x_query: learners.gd(
        x, y, x_query, closed_forms.best_step(x.shape[1], x.shape[2])
    ),
    "ridge, λ = 1": lambda x, y, x_query: learners.ridge(x, y, x_query, lam=1.0),
    "ridge, λ = 0.1": lambda x, y, x_query: learners.ridge(x, y, x_query, lam=0.1),
    "least squares": learners.least_squares,
}


def distances(gpt) -> list[float]:
    """How far a GPT's answers are from those of each of the RIVALS after six pairs, over d."""
    p = _small_prompts(B=1000).first(6)
    answer = gpt(*p.shown)
    return [metrics.squared_prediction_difference(answer, rival(*p.shown)) / 4 for rival in RIVALS.values()]


def _nearest(n_layers: int) -> Number:
    return _gpts(n_layers, lambda gpt: _place(distances(gpt)[1:]))


def _place(apart: list[float]) -> int:
    return min(range(len(apart)), key=apart.__getitem__)


@claim(
    MEASURED,
    "The deeper a GPT, the better the learner it is nearest to, of one gradient step, ridge with λ = 1, with λ = 0.1, "
    "least squares (least number of places that a layer moves it up this list).",
    paper="1 layer GD, 2 to 4 ridge, 8 and more least squares, Akyürek et al. 2022, fig. 3",
)
def depth_moves_the_nearest_learner():
    one, two, three = (_nearest(n_layers) for n_layers in depth_gpts.DEPTHS)
    least = min(two.low - one.high, three.low - two.high)
    untrained = [_place(distances(depth_gpts.untrained(n).double())[1:]) for n in depth_gpts.DEPTHS]
    control = min(b - a for a, b in zip(untrained, untrained[1:], strict=False))
    return Evidence(Bounds(number(least, "3 seeds each"), at_least=1), control=number(control, "untrained"))


@claim(
    MEASURED,
    "Of all learners, a one-layer GPT is nearest to one gradient step (its distance over that of the next, at most 1).",
    paper="1 layer GD, though “not well approximated”, Akyürek et al. 2022, fig. 3",
    instead="of these four; always answering 0 is nearer for two of three seeds.",
)
def one_layer_is_nearest_to_the_step():
    def ratio(gpt, others):
        apart = distances(gpt)
        return apart[1] / min(apart[i] for i in others)

    of_all, of_four = (_gpts(1, lambda gpt, o=others: ratio(gpt, o)) for others in ((0, 2, 3, 4), (2, 3, 4)))
    return Evidence(Bounds(of_all, at_most=1), Bounds(of_four, at_most=1), _gpts(2, lambda gpt: ratio(gpt, (2, 3, 4))))


NOISES = (0.05**0.5, 2.0)


def selection(learner) -> torch.Tensor:
    """Squared errors (2, 4000) of a learner at each of the two noise levels; d = 8, N = 32."""
    each = [tasks.linear_regression(4000, 32, 8, noise=noise, seed=i) for i, noise in enumerate(NOISES)]
    return torch.stack([(learner(*p.shown) - p.y_query).square()[:, 0] for p in each])


def _over_told(learner) -> Number:
    """How much larger the mean error is than that of the learner who is told the noise, as a part of it."""
    low, high = (selection(lambda *p, lam=noise**2: learners.ridge(*p, lam=lam)) for noise in NOISES)
    told = torch.stack([low[0], high[1]]).mean()
    return over_prompts(selection(learner).mean(0) / told - 1)


def _ratio(learner) -> Number:
    return number(_over_told(learner).value, "n = 8,000")


def _compromise(x, y, x_query):
    return learners.ridge(x, y, x_query, lam=sum(noise**2 for noise in NOISES) / 2)


@claim(
    MEASURED,
    "In context, choosing λ by validation on 8 of 32 examples comes within 2 % of being told the noise (excess over "
    "that error).",
    paper="near Bayes for many examples, Bai et al. 2023",
)
def selection_by_validation():
    return Evidence(Bounds(_ratio(lambda *p: bayes.pick_ridge(*p, NOISES, held_out=8)), at_most=0.02))


@claim(
    MEASURED,
    "In context, weighing both λ by their posterior comes within 2 % of being told it (control: λ between them).",
)
def selection_by_weighing():
    return Evidence(
        Bounds(_ratio(lambda *p: bayes.ridge_mixture(*p, NOISES)), at_most=0.02), control=_ratio(_compromise)
    )


@claim(
    MEASURED,
    "Who beats ridge with each of the two λ has selected a model in context (by how much it beats the better one).",
    paper="validate and pick, Bai et al. 2023",
)
def beating_both_shows_selection():
    means = [selection(lambda *p, lam=noise**2: learners.ridge(*p, lam=lam)).mean() for noise in NOISES]
    pick = 1 - selection(lambda *p: bayes.pick_ridge(*p, NOISES, held_out=8)).mean() / min(means)
    compromise = 1 - selection(_compromise).mean() / min(means)
    return Evidence(Bounds(number(pick, "n = 8,000"), at_least=0.03), control=number(compromise))


@claim(
    EXACT,
    "Gradient descent, ridge and least squares are linear in the labels; a learner that weighs tasks or models is not.",
)
def linear_in_the_labels():
    p = tasks.linear_regression(B=50, N=12, d_x=4, noise=0.5, seed=4)
    linear = [*list(RIVALS.values())[1:], lambda *prompt: learners.gd(*prompt, 0.3, steps=5), _one_pass]
    W = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weighing = [lambda *prompt: bayes.dmmse(*prompt, W, 0.5), lambda *prompt: bayes.ridge_mixture(*prompt, NOISES)]
    bends = [[probes.bend_in_labels(each, p) for each in kind] for kind in (linear, weighing)]
    return identity(max(bends[0]), broken=min(bends[1]))


def _zeros(*matrices: torch.Tensor) -> Number:
    return number(torch.cat([W.flatten() for W in matrices]).abs().lt(1e-9).double().mean())


@claim(
    EXACT,
    "A layer that does gradient descent has sparse matrices W_K and W_Q, so dense ones rule it out (share of zeros).",
    paper="more than 99.99 % against less than 60 %, LLaMa-7B, Shen et al. 2023",
    instead="sparse is the product W_KᵀW_Q; a change of gauge makes the factors dense, and no answer moves.",
)
def dense_weights_rule_it_out():
    g = torch.Generator().manual_seed(4)
    R, R_v = (torch.randn(11, 11, generator=g, dtype=torch.float64) for _ in range(2))
    layer = constructions.change_gauge(constructions.gd_step(0.7, 20, 10), R, R_v)
    factors, products = _zeros(layer.W_K, layer.W_Q), _zeros(layer.W_K.mT @ layer.W_Q)
    return Evidence(Bounds(factors, at_least=0.9), Bounds(products, at_least=0.9))


@claim(
    REPORTED,
    "Gradient descent on a language model needs some 512 examples to reach what 8 do in its prompt.",
    paper="LLaMa-7B, Shen et al. 2023",
)
def examples_that_gd_needs(): ...
