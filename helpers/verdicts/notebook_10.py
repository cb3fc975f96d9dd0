"""Claims of notebook 10: from raw tokens to pairs. With what its figures measure on the shipped runs."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from helpers import attention, constructions, learners, metrics, probes, tasks
from helpers.attention import Layer
from helpers.models import copying, induction
from helpers.trained import copying_measures as measures
from helpers.trained import copying_runs, induction_runs, textbook_runs
from helpers.verdicts import EXACT, MEASURED, REPORTED, Bounds, Evidence, claim, identity, number, over_seeds
from helpers.verdicts import over_models_and_prompts as over_both


@claim(
    EXACT,
    "With the ones below the diagonal, the copying layer fetches the next token.",
    paper="von Oswald et al. 2023, A.5",
    instead="the previous one, with tokens as columns (margin note P4; control: the ones above the diagonal).",
)
def which_neighbour():
    s = tasks.linear_regression(B=1, N=9, d_x=4).x
    z = torch.cat([s, torch.eye(9, dtype=torch.float64)[None]], dim=-1)
    lower = torch.diag(torch.ones(8, dtype=torch.float64), -1)
    below, above = (
        attention.linear(z, copying.proposition_3(S, d=4), include_query=True)[..., 4:8] for S in (lower, lower.mT)
    )
    following = number(metrics.max_gap(below[:, :-1], s[:, 1:]))
    previous, other = (number(metrics.max_gap(copied[:, 1:], s[:, :-1])) for copied in (below, above))
    return Evidence(Bounds(following, at_most=1e-12), Bounds(previous, at_most=1e-12), control=other)


@claim(
    EXACT,
    "A copying layer and the layer of notebook 03 are one gradient step on raw tokens (control: no copying).",
    paper="proposition 3 and 1",
)
def copy_then_step(shift: int = 0):
    p = tasks.linear_regression(B=32, N=10, d_x=5, seed=1 + shift)
    z = copying.tokens(p, torch.eye(21, dtype=torch.float64))
    step = constructions.widen(constructions.gd_step(eta=0.7, N=10, d_x=5), D=z.shape[-1])
    y_gd = learners.gd(*p.shown, eta=0.7)
    pairs = attention.linear(z, constructions.copying(5, 1, T=21))
    answers = [copying.read(attention.linear(tokens, step), d_x=5) for tokens in (pairs, z)]
    return identity(*(metrics.max_gap(answer, y_gd) for answer in answers))


# --- 3: the copying model -------------------------------------------------------------------------------------


@claim(
    MEASURED,
    "Two trained layers on raw tokens take two gradient steps (squared difference of the answers, in % of their size).",
    paper="one step, von Oswald et al. 2023, fig. 5",
    instead="one step: the first layer is spent on making pairs (control: a step 20 % longer).",
)
def two_layers_one_step(shift: int = 0):
    rivals = measures.two_steps, measures.one_step, functools.partial(measures.one_step, times=1.2)
    two, one, longer = (over_both(measures.apart(learner, shift)) for learner in rivals)
    return Evidence(Bounds(two, at_most=2.0), Bounds(one, at_most=2.0), control=longer)


@claim(
    MEASURED,
    "In that training it is the input that fetches its label: the attention of xᵢ to yᵢ (control: of yᵢ to xᵢ).",
    paper="von Oswald et al. 2023, fig. 5",
)
def the_first_layer_copies(shift: int = 0):
    to_label, to_input = (measures.attends(-1, name, shift) for name in ("next", "previous"))
    beyond = Bounds(over_both(to_label - to_input), at_least=0.3)
    return Evidence(Bounds(over_both(to_label), at_least=0.5), control=over_both(to_input), beyond=beyond)


@claim(
    MEASURED,
    "Loss, attention to the label and sensitivity to it turn at one moment: half-way within 6 % of the run of each "
    "other (latest less earliest, in % of the run; control: with the loss of a run with one-hot positions).",
    paper="von Oswald et al. 2023, fig. 5",
)
def one_moment(shift: int = 0):
    moments = [measures.half_ways(seed, shift) for seed in copying_runs.SEEDS]
    others = measures.drops()["positions = one-hot"].tolist()  # our own seeds all drop at once: no control
    mixed = [[other, *each[1:]] for other, each in zip(others, moments, strict=True)]
    ours, control = (
        over_seeds(100 * (max(each) - min(each)) / copying_runs.ITERATIONS for each in runs)
        for runs in (moments, mixed)
    )
    return Evidence(Bounds(ours, at_most=6.0), control=control)


@claim(
    MEASURED,
    "One-hot positions bring the drop forward (iteration at which the loss is half-way; control: sines and cosines).",
)
def one_hot_positions_drop_early():
    drop = {name: moments.tolist() for name, moments in measures.drops().items()}
    early, usual = drop["positions = one-hot"], drop["as above"]
    return Evidence(Bounds(over_seeds(early), at_most=400), control=over_seeds(usual))


# --- 4, 5: induction ------------------------------------------------------------------------------------------


@claim(
    EXACT,
    "An induction head written by hand is never wrong where words differ (share of errors; control: without "
    "positions).",
    paper="Olsson et al. 2022",
)
def the_head_by_hand(shift: int = 0):
    V, L = induction_runs.V, induction_runs.L
    words, _ = induction.sequences(200, L, V, distinct=True, seed=2 + shift)
    first, second = constructions.induction(V, L, beta=20.0)
    blind = first._replace(W_Q=0 * first.W_Q)
    return identity(*(1 - hits(textbook([layer, second]), words).mean().item() for layer in (first, blind)))


def textbook(layers: list[Layer] | None = None):
    """The hand-made head as a model: words in, scores of the next word out."""
    V, L = induction_runs.V, induction_runs.L
    layers = constructions.induction(V, L, beta=20.0) if layers is None else layers
    return lambda words: induction.run(induction.one_hot(words, V), layers)[0][..., 2 * V : 3 * V]


@functools.lru_cache
def texts(shift: int = 0) -> Tensor:
    """400 texts that no training has seen; words may repeat in a pattern."""
    return induction.sequences(400, induction_runs.L, induction_runs.V, seed=9 + 100 * shift)[0]


def hits(model, words: Tensor) -> Tensor:
    """Where a model is right in the second half of the texts, (B, L/2)."""
    return induction.hits(model(words), words)


def trained(n_layers: int) -> list[nn.Module]:
    """The trained models of so many layers, three seeds."""
    return [induction_runs.load(seed)[n_layers].frame(-1) for seed in induction_runs.SEEDS]


def shares(models, shift: int = 0) -> Tensor:
    """The share right in the second half, models by texts: (M, 400)."""
    return torch.stack([hits(model, texts(shift)).mean(1) for model in models])


@claim(
    MEASURED,
    "Two trained attention layers continue a repeated text, one layer does not (share right in the second half).",
    paper="Olsson et al. 2022",
)
def two_layers_are_needed(shift: int = 0):
    two, one = (shares(trained(n), shift) for n in (2, 1))
    beyond = Bounds(over_both(two - one), at_least=0.4)
    return Evidence(Bounds(over_both(two), at_least=0.75), control=over_both(one), beyond=beyond)


def knows_the_periods(words: Tensor) -> Tensor:
    """A textbook's head that lets only places vote which lie one possible period, 8 to 15 words, back."""
    return induction.vote(words, induction_runs.V, distances=induction_runs.PERIODS)


@claim(
    MEASURED,
    "What the trained head has over the textbook's is that it knows the periods: a vote among matches 8 to 15 words "
    "back is right as often (its own share right less the rule's, in points of 100; control: less the textbook's).",
)
def the_trained_head_knows_the_periods(shift: int = 0):
    own = shares(trained(2), shift)
    periods, plain = (over_both(100 * (own - shares([rule], shift))) for rule in (knows_the_periods, textbook()))
    return Evidence(Bounds(periods, -3.0, 3.0), control=plain)


@claim(
    MEASURED,
    "A first layer that reads the previous word only, as in the textbook, does as well if the second is trained behind "
    "it (share right less that of the trained pair, in points of 100; control: put there without training).",
)
def a_sharp_first_layer_does_as_well(shift: int = 0):
    own, learned = shares(trained(2), shift), shares([textbook_runs.load(seed) for seed in textbook_runs.SEEDS], shift)
    put = shares([functools.partial(induction.with_sharp_notes, model) for model in trained(2)], shift)
    return Evidence(Bounds(over_both(100 * (learned - own)), at_least=-2.0), control=over_both(100 * (put - own)))


# --- 6: causal masks ------------------------------------------------------------------------------------------


def orders_told_apart(attend, depth: int, shift: int = 0) -> Tensor:
    """What `depth` random layers answer to one query after the same ten examples in 200 orders, (200,)."""
    p, g = tasks.linear_regression(B=1, N=10, d_x=4, seed=8 + shift), torch.Generator().manual_seed(shift)
    layers = [Layer(*0.5 * torch.randn(4, 5, 5, generator=g, dtype=torch.float64)) for _ in range(depth)]
    return probes.shuffled(constructions.learner(layers, attend=attend), p, 200)[:, 0, 0]


@claim(EXACT, "One causal softmax layer does not see the order of its examples (control: two layers do).")
def causal_layers_and_order(shift: int = 0):
    return identity(*(orders_told_apart(attention.causal_softmax, depth, shift).std().item() for depth in (1, 2)))


@claim(
    REPORTED,
    "Induction heads appear in language models as a bump in the loss, and are most of their in-context learning.",
    paper="up to 13 billion weights; for large ones correlational, Olsson et al. 2022",
)
def induction_in_large_models(): ...
