"""What notebook 11 measures, each cell once: its figures, its claims and its tests read the same numbers from here.

A cell of the experiment is a kind of weights, a seed, a recipe of fine-tuning, a prompt and a number of demonstrations.
Values have one row for each of M models and one column for each of B tasks, since both were sampled.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from torch import Tensor

from helpers.finetuning import attribution, rules, scale, side_by_side, similarity, small_gpt, toy_language
from helpers.finetuning.inside import State
from helpers.finetuning.side_by_side import METRICS, Conditions
from helpers.finetuning.small_gpt import Recipe
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT
from helpers.trained import filter_gpts, word_gpts
from helpers.verdicts import Bounds, Evidence, over_models_and_prompts

SEEDS = word_gpts.SEEDS
KINDS = {"trained": word_gpts.load, "random": word_gpts.untrained}
LOSSES = small_gpt.LOSSES
RATES = {  # of 0.03, 0.1, 0.3, 1 and 3 the best by accuracy on 16 other tasks: `best_rate` below
    ("trained", "label"): 0.1,
    ("trained", "all tokens"): 0.3,
    ("random", "label"): 1.0,
    ("random", "all tokens"): 1.0,
}
SHOTS = 32
AOU, PER_QUERY, LAST = "SimAOU", "SimAOU, per query", -1
cached = lru_cache(maxsize=256)


def contrast(ours: Tensor, control: Tensor, at_least: float, *, more: float = 0.0) -> Evidence:
    """Evidence from values (M, B) of ours and of its control, and their paired difference, which must exceed `more`."""
    mean = over_models_and_prompts
    beyond = Bounds(mean(ours - control), at_least=more)
    return Evidence(Bounds(mean(ours), at_least=at_least), control=mean(control), beyond=beyond)


# --- the cells --------------------------------------------------------------------------------------------------


@cached
def model(kind: str, seed: int) -> WordGPT:
    """A GPT of 160,000 weights, trained or random."""
    return KINDS[kind](seed)


@cached
def episode(shift: int = 0) -> Episode:
    """24 tasks of two classes that were never seen, 32 demonstrations and 8 queries each."""
    return toy_language.few_shot(toy_language.draw(24, seed=1 + shift), SHOTS, Q=8, seed=1 + shift)


@cached
def prompt(control: str = "the same", shift: int = 0, k: int = SHOTS) -> Episode:
    """The same queries behind other demonstrations: of `side_by_side.CONTROLS`, or one of these with ", in reverse"."""
    which, _, order = control.partition(", ")
    few = side_by_side.other_context(episode(shift), which, seed=shift).first(k)
    return few._replace(demos=few.demos.flip(1)) if order == "in reverse" else few


@cached
def in_context(kind: str, seed: int, control: str = "the same", shift: int = 0, k: int = SHOTS) -> State:
    """The model behind that prompt; k = 0 is zero-shot."""
    return small_gpt.in_context(model(kind, seed), prompt(control, shift, k))


@cached
def tuned(kind: str, seed: int, recipe: Recipe, control: str = "the same", shift: int = 0, k: int = SHOTS) -> State:
    """The model after fine-tuning on the demonstrations of that prompt."""
    return side_by_side.after_finetuning(model(kind, seed), prompt(control, shift, k), recipe)


def recipe(kind: str, loss: str = "label") -> Recipe:
    """Fine-tuning at the rate that was chosen for these weights and this loss."""
    return Recipe(RATES[kind, loss], loss=loss)


def conditions(
    kind: str, seed: int, loss: str = "label", control: str = "the same", shift: int = 0, *, of: Recipe | None = None
) -> Conditions:
    """Zero-shot; fine-tuned on the true demonstrations, by the recipe `of` if it is given; and behind some prompt."""
    zsl, icl = in_context(kind, seed, shift=shift, k=0), in_context(kind, seed, control, shift)
    return Conditions(zsl, tuned(kind, seed, of or recipe(kind, loss), shift=shift), icl, own=4)


def best_rate(kind: str, loss: str) -> float:
    """The learning rate of RATES, found on tasks that nothing else uses (model selection on held-out tasks)."""
    others = toy_language.few_shot(toy_language.draw(16, seed=2), SHOTS, Q=16, seed=2)
    models = [model(kind, seed) for seed in SEEDS]
    return side_by_side.best_rate(models, others, Recipe(loss=loss), (0.03, 0.1, 0.3, 1.0, 3.0))


# --- similarity, and its excess ---------------------------------------------------------------------------------


def alike(
    measure: str, kind: str, loss: str = "label", control: str = "the same", shift: int = 0, *, of: Recipe | None = None
) -> Tensor:
    """A measure of `side_by_side.METRICS`, (M, B, L): the mean over queries."""
    every = (conditions(kind, seed, loss, control, shift, of=of) for seed in SEEDS)
    return torch.stack([METRICS[measure](each).mean(1) for each in every])


def excess(measure: str, kind: str, loss: str = "label", control: str = "others of the task", shift: int = 0) -> Tensor:
    """The measure, less the measure behind another prompt, paired (M, B, L): what these demonstrations do for it."""
    return alike(measure, kind, loss, shift=shift) - alike(measure, kind, loss, control, shift)


def accuracies(kind: str, loss: str = "label", shift: int = 0) -> Tensor:
    """Zero-shot, fine-tuned, in context: (3, M, B)."""
    every = [conditions(kind, seed, loss, shift=shift)[:3] for seed in SEEDS]
    each = [[side_by_side.accuracy(way, episode(shift)) for way in ways] for ways in every]
    return torch.stack([torch.stack(ways) for ways in each], dim=1)


@cached
def excess_with(k: int, measure: str = PER_QUERY, shift: int = 0, *, less: bool = True) -> Tensor:
    """The same in the last layer of trained models with k demonstrations, fine-tuned on the label (M, B).

    Not `less`: the measure itself, behind the demonstrations that the fine-tuning saw.
    """
    found = []
    for seed in SEEDS:
        zsl, ft = (
            in_context("trained", seed, shift=shift, k=0),
            tuned("trained", seed, recipe("trained"), shift=shift, k=k),
        )
        behind = (in_context("trained", seed, control, shift, k) for control in ("the same", "others of the task"))
        same, others = (METRICS[measure](Conditions(zsl, ft, icl, own=4)).mean(1)[..., LAST] for icl in behind)
        found.append(same - others if less else same)
    return torch.stack(found)


def excess_of_finetuning(shift: int = 0) -> Tensor:
    """The excess (M, B) of a fine-tuning beside itself at a third of the rate: per query, last layer.

    If ICL *were* fine-tuning, but for the rate, it could hardly score more.
    """
    found = []
    for seed in SEEDS:
        zsl = in_context("trained", seed, shift=shift, k=0)
        ft = tuned("trained", seed, recipe("trained"), shift=shift)
        twins = (tuned("trained", seed, Recipe(0.03), each, shift) for each in ("the same", "others of the task"))
        same, other = (METRICS[PER_QUERY](Conditions(zsl, ft, twin, own=4)).mean(1)[..., LAST] for twin in twins)
        found.append(same - other)
    return torch.stack(found)


def excess_of_readers(shift: int = 0) -> Tensor:
    """The same excess (1, B, 1) for two learners that store demonstrations as such (a positive control).

    Each demonstration has a random code of its own. One learner reads off the code of the demonstration that shares
    most words with the query; the other sums all codes, weighted by the shared words. Per query, as `per_query`.
    """
    found, g = {}, torch.Generator().manual_seed(shift)
    for control in ("the same", "others of the task"):
        x, _, x_query = toy_language.as_numbers(prompt(control, shift))
        matches = torch.einsum("rkw,rw->rk", x, x_query).view(24, 8, SHOTS)
        codes = torch.randn(24, SHOTS, 1, 64, generator=g, dtype=x.dtype)
        found[control] = rules.reads_the_nearest(codes, matches), rules.written_by_each(codes, matches)
    (nearest, written), (other, _) = (
        [update - update.mean(1, keepdim=True) for update in pair] for pair in found.values()
    )
    each = (torch.cosine_similarity(reader, written, dim=-1).mean(1) for reader in (nearest, other))
    return torch.stack([next(each) - next(each)])


def over_sizes(measure: str, size: int | None = None, *, case: str | None = None) -> Tensor:
    """The last layer's excess over other demonstrations, of the runs on the H200: one value a run and case."""
    runs = [record for record in scale.load() if record["machine"] == "NVIDIA H200"]
    found = [
        found[measure]["excess"][-1][0]
        for record in runs
        for name, found in record["cases"].items()
        if size in (None, record["weights"]) and case in (None, name)
    ]
    return torch.tensor(found)


# --- who is listened to; and the filters of values ----------------------------------------------------------------

FORMS = {"queries": ("queries q′ᵀq", 160), "keys": ("inputs x′ᵀx", 160), "gradients": ("gradients", 32)}


@cached
def orders(shift: int = 0) -> dict[str, Tensor]:
    """Kendall's tau (M, B, L) between attention's order in context and others (attribution), for 2 queries a task.

    For each of FORMS with ("icl", form) and without ("content", form) the penalty for distance; each followed by
    ", null" with the next task's demonstrations at the same places. "penalty": that of the penalty alone. Of the
    content, by demonstration: "class", whose order is only who has the query's label, and "within", gradients in it.
    """
    whole, found = episode(shift), {}
    few = whole._replace(query=whole.query[:, :2], target=whole.target[:, :2])  # one of each class
    for seed in SEEDS:
        heard = attribution.attributions(model("trained", seed), few, recipe("trained"))
        by_demo = {name: getattr(heard, name).unflatten(-1, (SHOTS, -1)).sum(-1) for name in ("icl", "content")}
        of_class = attribution.of_right_class(few)[:, :, None].expand_as(heard.gradients).to(heard.content.dtype)
        pairs = {"class": (by_demo["content"], of_class), "penalty": (heard.icl, heard.icl - heard.content)}
        for order in by_demo:
            for form in FORMS:
                mine = by_demo[order] if form == "gradients" else getattr(heard, order)
                pairs[order, form] = mine, getattr(heard, form)
        taus = {name: similarity.kendall(*pair) for name, pair in pairs.items()}
        nulls = {
            (*name, "null"): similarity.kendall(a, b.roll(1, 0)) for name, (a, b) in pairs.items() if name[1] in FORMS
        }
        within = {"within": similarity.kendall(by_demo["content"], heard.gradients, of_class)}
        for name, tau in (taus | nulls | within).items():
            found.setdefault(name, []).append(tau.nanmean(1))
    return {name: torch.stack(each) for name, each in found.items()}


def with_filter(kind: str) -> Tensor:
    """What a filter adds to the accuracy with 4 classes and 32 demonstrations, (M, B); from a shipped file."""
    filtered, plain = (torch.stack([filter_gpts.load(each, s)[2][1, :, -1] for s in SEEDS]) for each in (kind, "none"))
    return filtered - plain


# --- causality ----------------------------------------------------------------------------------------------------


def below(way: str) -> list[Tensor]:
    """What a layer's update is, in context ("ICL") or by a step ("FT"), before and after the layer above is changed."""
    small = WordGPT(toy_language.VOCABULARY, d_model=16, n_layers=2, n_heads=2).double().requires_grad_(False)
    other, few = copy.deepcopy(small), episode().first(4).tasks(2)
    other.core.blocks[1].mlp[0].weight.mul_(-1)
    if way == "ICL":
        return [small_gpt.in_context(each, few).updates[:, :, 0] for each in (small, other)]
    return [small_gpt.finetune(each, few.demos, Recipe(0.3))[0]["blocks.0.W_QKV.weight"] for each in (small, other)]
