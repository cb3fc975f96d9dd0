"""Claims of notebook 12: order, scale, task diversity, depth, model selection, sparsity."""

from __future__ import annotations

import functools

import torch

from helpers import learners, metrics, probes, tasks
from helpers.theory import bayes, candidates, closed_forms, diversity, selection
from helpers.trained import depth_gpts
from helpers.verdicts import (
    EXACT,
    MEASURED,
    PROVED,
    REPORTED,
    Bounds,
    Evidence,
    claim,
    identity,
    number,
    over_models_and_prompts,
    over_prompts,
)
from helpers.verdicts import black_boxes as boxes


@claim(
    MEASURED,
    "In-context learning does not depend on the order of the examples: the answers of a GPT that was trained on "
    "regression move by at most 1 % of their size.",
    paper="sets of examples, as in most of the theory",
)
def icl_is_order_free(shift: int = 0):
    ours, one_pass = (boxes.spread(boxes.orders(each, shift)) for each in (boxes.gpt(), boxes.one_pass))
    return Evidence(Bounds(ours, at_most=0.01), control=one_pass)


@claim(EXACT, "A causal layer by hand does not feel the order of the examples; a stack of two does.")
def one_causal_layer_is_order_free():
    return identity(*(boxes.exact_spread(boxes.causal(layers)) for layers in (1, 2)))


@claim(
    EXACT,
    "Gradient descent does not depend on the order of the examples, so order sensitivity refutes it.",
    paper="ICL's spread is 3 to 5 times that of GD on LLaMa-7B, Shen et al. 2023",
    instead="full-batch gradient descent; one pass of SGD does depend on it, and so do two causal GD layers.",
)
def order_refutes_gd():
    learners_by_hand = (boxes.full_batch, boxes.one_pass, boxes.causal(2))
    batch, one_pass, two = (number(boxes.exact_spread(each)) for each in learners_by_hand)
    return Evidence(Bounds(one_pass, at_most=1e-12), Bounds(batch, at_most=1e-12), control=two)


@claim(
    MEASURED,
    "A GPT that was trained on regression carries a fixed gradient step (how many times its error the step has at "
    "three times the scale, at most 2).",
    paper="trained linear layers do, von Oswald et al. 2023, fig. 2",
)
def the_gpt_has_a_fixed_step(shift: int = 0):
    step = probes.squared_errors(candidates.one_step, boxes.small_prompts(shift), c=3.0)[None]
    return Evidence(Bounds(over_models_and_prompts(step, boxes.errors_at(3.0, shift)), at_most=2))


@claim(
    MEASURED,
    "It solves least squares: its error is the same part of the labels at every scale (at three times it, over at one, "
    "at most 1.5).",
    paper="close to least squares at the scale of training, Garg et al. 2022",
)
def the_gpt_is_least_squares(shift: int = 0):
    at_three, at_one = (boxes.errors_at(c, shift) for c in (3.0, 1.0))
    return Evidence(Bounds(over_models_and_prompts(at_three, at_one), at_most=1.5))


@claim(
    MEASURED, "Its answers are linear in the labels, as those of GD, ridge and least squares are (bend at most 0.01)."
)
def the_gpt_is_linear_in_the_labels(shift: int = 0):
    return Evidence(Bounds(boxes.bend(shift), at_most=0.01))


@claim(
    EXACT,
    "The best learner for a finite list of tasks is softmax attention over the tasks.",
    paper="derived here; dMMSE: Raventós et al. 2023",
)
def dmmse_is_attention():
    p, W = tasks.linear_regression(B=40, N=9, d_x=3, noise=0.5, seed=2), bayes.draw_list(50, 3, seed=0)
    direct = bayes.dmmse(*p.shown, W, noise=0.5)
    return identity(*(metrics.max_gap(bayes.dmmse_by_attention(*p.shown, W, noise), direct) for noise in (0.5, 0.55)))


@claim(
    MEASURED,
    "With 64 training tasks (d = 8) a learner does as well on new tasks as with infinitely many (excess, at most 5 %).",
    paper="2¹⁴ to 2¹⁵ tasks, 8-layer GPT, Raventós et al. 2023",
    instead="a linear-attention layer does; the best learner for those 64 tasks is some 20 times worse than ridge.",
)
def a_few_tasks_are_enough(shift: int = 0):
    p = tasks.linear_regression(B=500, N=16, d_x=8, noise=0.5, seed=5 + shift)
    lists = [bayes.draw_list(64, 8, seed=100 * (1 + shift) + k) for k in range(30)]
    ridge = (learners.ridge(*p.shown, lam=0.25) - p.y_query).square().mT
    listed = torch.stack([diversity.listed_errors(p, W, noise=0.5) for W in lists])
    layer = torch.tensor([diversity.layer_excess(W, N=16, noise=0.5) for W in lists])
    ideal = closed_forms.gd_excess(closed_forms.best_step(16, 8, noise=0.5), 16, 8, noise=0.5)
    listed = over_models_and_prompts(listed - ridge, ridge)._replace(how="30 lists x 500 prompts")
    layer = over_prompts(layer / ideal - 1)._replace(how="30 lists")
    return Evidence(Bounds(listed, at_most=0.05), Bounds(layer, at_most=0.05), control=listed)


@claim(
    REPORTED,
    "Between 2¹⁴ and 2¹⁵ training tasks a GPT changes from a learner for its list of tasks to ridge regression.",
    paper="8 layers, d = 8, N = 16, noise² = 0.25, Raventós et al. 2023",
)
def a_threshold_of_diversity(): ...


@claim(
    MEASURED,
    "One layer more and the nearest learner is the next: one gradient step, ridge with λ = 1, with λ = 0.1, least "
    "squares (by how much it is nearer than another of them, in SPD / d, for the depth where that is least).",
    paper="1 layer GD, 2 to 4 ridge, 8 and more least squares, Akyürek et al. 2022, fig. 3",
    instead="from two layers to three the nearest of these four does move, from λ = 1 to λ = 0.1; with one layer the "
    "step and ridge are about equally far.",
)
def depth_moves_the_nearest_learner(shift: int = 0):
    leads = [boxes.lead(n, candidates.PUBLISHED[n - 1], candidates.PUBLISHED, shift) for n in depth_gpts.DEPTHS]
    stated, restated = (min(each, key=lambda one: one.low) for each in (leads, leads[1:]))
    raw = [boxes.lead(n, candidates.PUBLISHED[n - 1], candidates.PUBLISHED, shift, trained=False) for n in (2, 3)]
    return Evidence(Bounds(stated, at_least=0), Bounds(restated, at_least=0), control=min(raw))


@claim(
    MEASURED,
    "Of all learners on our list, a one-layer GPT is nearest to one gradient step (by how much, in SPD / d).",
    paper="1 layer GD, though “not well approximated”, Akyürek et al. 2022, fig. 3",
    instead="three short steps (η = 0.1), which are not on the published list, are nearer than all others.",
)
def one_layer_is_nearest_to_the_step(shift: int = 0):
    asked = ((1, "one gradient step"), (1, "three short steps"), (2, "three short steps"))
    step, short, two_layers = (boxes.lead(n, name, candidates.CANDIDATES, shift) for n, name in asked)
    return Evidence(Bounds(step, at_least=0), Bounds(short, at_least=0), control=two_layers)


@claim(
    MEASURED,
    "A two-layer GPT is nearer to ridge with λ = 1 than to five gradient steps (how many times as far these are, above "
    "1; control: a learner that takes them).",
)
def two_layers_are_nearer_to_ridge(shift: int = 0):
    p = boxes.small_prompts(shift, B=2000).first(6)
    takes_them = candidates.distances(candidates.CANDIDATES["five steps"], p)
    of_each = boxes.apart(2, shift), {name: each[None] for name, each in takes_them.items()}
    ours, control = (over_models_and_prompts(far["five steps"], far["ridge, λ = 1"]) for far in of_each)
    return Evidence(Bounds(ours, at_least=1), control=control)


@claim(
    MEASURED,
    "In context, choosing λ by validation on 8 of 32 examples comes within 2 % of being told the noise (excess over "
    "that error, in %).",
    paper="near Bayes for many examples, Bai et al. 2023",
)
def selection_by_validation(shift: int = 0):
    told = selection.told(seed=shift)
    return Evidence(Bounds(boxes.part(selection.errors(selection.validate, seed=shift) - told, told), at_most=2))


@claim(
    MEASURED,
    "In context, weighing both λ by their posterior comes within 2 % of being told it (excess, in %; control: λ "
    "between them).",
)
def selection_by_weighing(shift: int = 0):
    told = selection.told(seed=shift)
    weigh, between = (selection.errors(each, seed=shift) for each in (selection.weigh, selection.compromise))
    ours, control = (boxes.part(each - told, told) for each in (weigh, between))
    beyond = Bounds(boxes.part(weigh - between, told), at_most=0)
    return Evidence(Bounds(ours, at_most=2), control=control, beyond=beyond)


@claim(
    MEASURED,
    "Who beats ridge with each of the two λ has selected a model in context (by how much validation beats the better "
    "one, in %; control: λ between them, which selects nothing).",
    paper="validate and pick, Bai et al. 2023",
)
def beating_both_shows_selection(shift: int = 0):
    better = min((selection.errors(selection.ridge(noise), seed=shift) for noise in selection.NOISES), key=torch.mean)
    pick, between = (selection.errors(each, seed=shift) for each in (selection.validate, selection.compromise))
    ours, control = (boxes.part(better - each, better) for each in (pick, between))
    beyond = Bounds(boxes.part(between - pick, better), at_least=0)
    return Evidence(Bounds(ours, at_least=0), control=control, beyond=beyond)


@claim(
    PROVED,
    "No learner that is linear in the labels does better than ridge with the mean of the noise variances (excess of "
    "the best of four that try, in %, at least 0; control: one that weighs).",
)
def the_mean_is_the_best_compromise(shift: int = 0):
    best = selection.errors(selection.compromise, seed=shift)
    others = [*map(selection.ridge, (*selection.NOISES, 1.0)), functools.partial(learners.gd, eta=0.6, steps=4)]
    nearest = min((selection.errors(each, seed=shift) for each in others), key=torch.mean)
    weigh = boxes.part(selection.errors(selection.weigh, seed=shift) - best, best)
    return Evidence(Bounds(boxes.part(nearest - best, best), at_least=0), control=weigh)


@claim(
    EXACT,
    "Gradient descent, ridge and least squares are linear in the labels; a learner that weighs tasks or models is not.",
)
def linear_in_the_labels():
    p, W = tasks.linear_regression(B=50, N=12, d_x=4, noise=0.5, seed=4), bayes.draw_list(12, 4, seed=0)
    linear = [each for name, each in candidates.CANDIDATES.items() if name != "always 0"] + [boxes.one_pass]
    weighing = [functools.partial(bayes.dmmse, W=W, noise=0.5), selection.weigh]
    bends = [[probes.bend_in_labels(each, p) for each in kind] for kind in (linear, weighing)]
    return identity(max(bends[0]), broken=min(bends[1]))


@claim(
    EXACT,
    "A layer that does gradient descent has sparse matrices W_K and W_Q, so dense ones rule it out (share of zeros).",
    paper="more than 99.99 % against less than 60 %, LLaMa-7B, Shen et al. 2023",
    instead="sparse is the product W_KᵀW_Q; a change of gauge makes the factors dense, and no answer moves.",
)
def dense_weights_rule_it_out():
    layer, dense = boxes.two_gauges()
    factors, product = boxes.zeros(dense.W_K, dense.W_Q), boxes.zeros(dense.W_K.mT @ dense.W_Q)
    one_changed = boxes.zeros(dense.W_K.mT @ layer.W_Q)  # only one factor in the new gauge: another layer
    return Evidence(Bounds(factors, at_least=0.9), Bounds(product, at_least=0.9), control=one_changed)


@claim(
    REPORTED,
    "Gradient descent on a language model needs some 512 examples to reach what 8 do in its prompt.",
    paper="LLaMa-7B, Shen et al. 2023",
)
def examples_that_gd_needs(): ...
