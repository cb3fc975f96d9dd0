"""Claims of notebook 11: in-context learning beside fine-tuning, in three small GPTs and in the papers' numbers."""

from __future__ import annotations

import copy
import functools

import torch

from helpers import metrics
from helpers.finetuning import side_by_side, similarity, small_gpt, toy_language
from helpers.finetuning.side_by_side import Conditions
from helpers.finetuning.small_gpt import Recipe
from helpers.models.gpt import WordGPT
from helpers.trained import filter_gpts, word_gpts
from helpers.verdicts import EXACT, MEASURED, REPORTED, Bounds, Evidence, Number, claim, identity, number, over_seeds

KINDS = {"trained": (word_gpts.load, 0.1), "random": (word_gpts.untrained, 0.3)}  # and the learning rate of each


@functools.cache
def _unseen() -> toy_language.Episode:
    """12 tasks that were never seen, 32 demonstrations and 8 queries each."""
    return toy_language.few_shot(toy_language.draw(B=12, seed=1), k=32, Q=8, seed=1)


@functools.cache
def _three(kind: str, seed: int) -> Conditions:
    model, rate = KINDS[kind]
    return side_by_side.compare(model(seed), _unseen(), Recipe(rate))


def _last_layer(measure: str, three: Conditions) -> float:
    return side_by_side.METRICS[measure](three)[:, :, -1].mean().item()


def _of(kind: str, measure: str) -> Number:
    return over_seeds(_last_layer(measure, _three(kind, seed)) for seed in word_gpts.SEEDS)


@claim(
    MEASURED,
    "A small GPT learns tasks it has never seen from its prompt (accuracy with 32 demonstrations, less zero-shot).",
    paper="20 points on average, 1.3 billion weights, Dai et al. 2023, table 1",
)
def a_gpt_learns_new_tasks():
    def gain(kind, seed):
        three = _three(kind, seed)
        icl, zsl = (side_by_side.accuracy(at, _unseen()).mean().item() for at in (three.icl, three.zsl))
        return icl - zsl

    gains = {kind: over_seeds(gain(kind, seed) for seed in word_gpts.SEEDS) for kind in KINDS}
    return Evidence(Bounds(gains["trained"], at_least=0.2), control=gains["random"])


@claim(
    MEASURED,
    "ICL and fine-tuning on the labels push the last layer's attention the same way, more than in random weights "
    "(SimAOU).",
    paper="0.10 on average, 1.3 billion weights, Deutch et al. 2023, table 2",
)
def the_updates_agree():
    return Evidence(Bounds(_of("trained", "SimAOU"), at_least=0.3), control=_of("random", "SimAOU"))


@claim(
    MEASURED,
    "This agreement shows that both learn the same from the demonstrations (SimAOU; control: shuffled labels).",
    paper="Dai et al. 2023, section 4",
)
def they_learn_the_same():
    shuffled = side_by_side.other_context(_unseen(), "labels shuffled")

    def behind_shuffled(seed):
        icl = small_gpt.in_context(word_gpts.load(seed), shuffled)
        return _last_layer("SimAOU", _three("trained", seed)._replace(icl=icl))

    control = over_seeds(behind_shuffled(seed) for seed in word_gpts.SEEDS)
    return Evidence(Bounds(_of("trained", "SimAOU"), at_least=0.3), control=control)


@claim(
    MEASURED,
    "In the last layer what tells the queries of a task apart agrees, too (SimAOU per query, fine-tuned on the labels; "
    "control: random weights).",
    paper="not in the papers",
)
def per_query():
    return Evidence(
        Bounds(_of("trained", "SimAOU, per query"), at_least=0.25), control=_of("random", "SimAOU, per query")
    )


@claim(
    MEASURED,
    "Averaged over all layers it does so, too, at least twice as well as in random weights (trained over random).",
    paper="not in the papers",
)
def per_query_in_all_layers():
    def mean(kind):
        scores = (side_by_side.METRICS["SimAOU, per query"](_three(kind, seed)) for seed in word_gpts.SEEDS)
        return over_seeds(each.mean() for each in scores)

    return Evidence(Bounds(_over(mean("trained"), mean("random")), at_least=2))


def _over(a: Number, b: Number) -> Number:
    """The ratio of two numbers, in the widest interval that theirs allow."""
    return Number(a.value / b.value, a.low / b.high, a.high / b.low, "3 seeds each")


@claim(
    MEASURED,
    "Untrained models score as high as trained ones (SimAOU in the last layer, fine-tuned on the labels: random over "
    "trained, at least 0.8).",
    paper="0.09 and 0.05 on SST2, 0.18 and 0.17 on MR, Deutch et al. 2023, table 1",
)
def untrained_match_trained():
    return Evidence(Bounds(_over(_of("random", "SimAOU"), _of("trained", "SimAOU")), at_least=0.8))


@claim(
    REPORTED,
    "A normalised SimAOU of 0.19 to 0.23 shows agreement.",
    paper="0.186 and 0.225, Dai et al. 2023, table 3; cannot be told from no agreement without the updates' lengths",
)
def the_normalised_measure(): ...


@claim(
    EXACT,
    "Updates that have nothing in common score ½√((1 − a)(1 − a′)) by the normalised measure, a = 1/√(1 + ρ²).",
    paper="1/4 for ρ = √3, Deutch et al. 2023, section 3.1",
)
def the_floor():
    z, r, s = torch.eye(3, dtype=torch.float64)
    scores = similarity.sim_aou(z + 1.7 * r, z + 0.6 * s, z, normalised=True)
    floors = [similarity.aou_floor(*torch.tensor([1.7 * off, 0.6], dtype=torch.float64)) for off in (1.0, 1.1)]
    return identity(*(abs(scores - floor).item() for floor in floors))


@claim(
    MEASURED,
    "Fine-tuning on the labels brings attention maps nearer to those of ICL (SimAM after it, less before, mean over "
    "layers).",
    paper="0.34 before, 0.44 after, 1.3 billion weights, Dai et al. 2023, table 4",
)
def attention_maps():
    def gain(seed):
        after, before = (side_by_side.METRICS[name](_three("trained", seed)) for name in ("SimAM", "SimAM, before FT"))
        return (after - before).mean()

    return Evidence(Bounds(over_seeds(gain(seed) for seed in word_gpts.SEEDS), at_least=0.02))


@claim(
    EXACT,
    "SimAM compares what attention does.",
    paper="Dai et al. 2023, section 4.3",
    instead="with the mean of each row taken out; a bias on all keys moves SimAM, and no attention.",
)
def simam_has_a_gauge():
    g = torch.Generator().manual_seed(0)
    m_icl, m_ft = (torch.randn(50, 12, generator=g, dtype=torch.float64) for _ in range(2))
    shift = torch.randn(50, 1, generator=g, dtype=torch.float64)

    def moved(centred):
        scores = [similarity.sim_am(m_icl + by, m_ft + by, centred=centred) for by in (0, shift)]
        return number(metrics.max_gap(*scores))

    return Evidence(*(Bounds(moved(centred), at_most=1e-12) for centred in (False, True)))


@claim(
    REPORTED,
    "ICL corrects what fine-tuning corrects (Rec2FTP).",
    paper="85.6 %, 1.3 billion weights, Dai et al. 2023, table 2; chance, from its counts, is 69.8 %",
)
def recall_above_chance(): ...


@claim(
    EXACT,
    "Fine-tuning's update of a layer comes from below, as in-context learning's does (change when the layer above is "
    "another).",
    paper="layer causality, Deutch et al. 2023, section 4",
    instead="ICL's does; the gradient comes down from all layers above.",
)
def layer_causality():
    model = WordGPT(toy_language.VOCABULARY, d_model=16, n_layers=2, n_heads=2).double().requires_grad_(False)
    other = copy.deepcopy(model)
    other.core.blocks[1].mlp[0].weight.mul_(-1)
    few = _unseen().first(4)
    few = toy_language.Episode(*(part[:2] for part in few))
    tuned, icl = [], []
    for each in (model, other):
        weights, _ = small_gpt.finetune(each, few.demos, Recipe(0.3))
        tuned.append(weights["blocks.0.W_QKV.weight"])
        icl.append(small_gpt.in_context(each, few).updates[:, :, 0])
    return Evidence(*(Bounds(number(metrics.max_gap(*pair)), at_most=1e-12) for pair in (tuned, icl)))


@claim(
    EXACT,
    "What demonstrations change at a layer is what its attention reads from them: λ (A(X′) − A(X)).",
    paper="the query as if it came unchanged, Dai et al. 2023, section 3.2",
    instead="and what layers below did to the query's own tokens; in the last layer that is the larger part.",
)
def the_query_changes_too():
    few = toy_language.Episode(*(part[:2] for part in _unseen()))
    parts = side_by_side.effects(word_gpts.load(0).double(), few)
    size = parts.total.norm()
    left = [(parts.total - known).norm() / size for known in (parts.direct, parts.direct + parts.indirect)]
    return Evidence(*(Bounds(number(rest), at_most=1e-12) for rest in left))


def _gain_of_layer_causal(measure: str, kind: str) -> Number:
    """The last layer's measure after layer-causal steps, less that after GD, at the same rate."""
    make, rate = KINDS[kind]

    def gain(seed):
        ft = side_by_side.after_finetuning(make(seed), _unseen(), Recipe(rate, rule="layer-causal (code)"))
        three = _three(kind, seed)
        return _last_layer(measure, three._replace(ft=ft)) - _last_layer(measure, three)

    return over_seeds(gain(seed) for seed in word_gpts.SEEDS)


@claim(
    MEASURED,
    "Layer-causal gradient descent is nearer to ICL than gradient descent (SimAOU of the last layer, less that of GD).",
    paper="0.167 and 0.102, 1.3 billion weights, Deutch et al. 2023, table 2",
)
def layer_causal_is_nearer():
    trained, random = (_gain_of_layer_causal("SimAOU", kind) for kind in KINDS)
    return Evidence(Bounds(trained, at_least=0.05), control=random)


@claim(
    MEASURED,
    "It is nearer in what tells one query from another, too (SimAOU per query of the last layer, less that of GD).",
)
def layer_causal_is_nearer_per_query():
    trained, random = (_gain_of_layer_causal("SimAOU, per query", kind) for kind in KINDS)
    return Evidence(Bounds(trained, at_least=0.05), control=random)


def _gain_of_filters(*kinds: str) -> Number:
    """What a filter of the values adds to the accuracy with 4 classes and 32 demonstrations, in three seeds each."""

    def right(kind, seed):
        return filter_gpts.load(kind, seed)[2][1, :, -1].mean()

    return over_seeds(right(kind, seed) - right("none", seed) for kind in kinds for seed in word_gpts.SEEDS)


@claim(
    MEASURED,
    "GPTs with momentum attention learn more from a prompt (accuracy with 4 classes, less that without).",
    paper="54.7 and 51.9 %, 350 million weights, Dai et al. 2023, table 5",
    instead="with β = 0.5; with β = 0.9 they learn less, or nothing.",
)
def moattn_learns_more():
    both = _gain_of_filters("MoAttn, β = 0.5", "MoAttn, β = 0.9")._replace(how="3 seeds for each β")
    stated, instead = (Bounds(gain, at_least=0.05) for gain in (both, _gain_of_filters("MoAttn, β = 0.5")))
    return Evidence(stated, instead, control=_gain_of_filters("4 taps, learned"))


@claim(
    MEASURED,
    "It is the momentum that helps (the same with β = 0.5; control: a plain mean of the 4 values before).",
)
def it_is_the_momentum():
    gain, control = (_gain_of_filters(kind) for kind in ("MoAttn, β = 0.5", "mean of 4"))
    return Evidence(Bounds(gain, at_least=0.05), control=control)


@claim(
    REPORTED,
    "In GPTs of 1.3 and 2.7 billion weights in-context learning acts as implicit fine-tuning.",
    paper="Dai et al. 2023; disputed: Shen et al. 2023, Deutch et al. 2023",
)
def implicit_fine_tuning(): ...
