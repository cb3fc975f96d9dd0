"""In-context learning beside fine-tuning, task by task: accuracy, all measures of similarity, negative controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.finetuning import similarity, small_gpt, toy_language
from helpers.finetuning.inside import State
from helpers.finetuning.small_gpt import Recipe
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT
from helpers.usual import usual


class Conditions(NamedTuple):
    """The three experimental conditions: the same queries (B, Q) zero-shot, fine-tuned, in context; `own` tokens each.

    `similarity` takes ICL first, then FT, then ZSL.
    """

    zsl: State
    ft: State
    icl: State
    own: int

    def updates(self) -> tuple[Tensor, Tensor, Tensor]:
        """h_ICL, h_FT, h_ZSL, each (B, Q, L, d)."""
        return self.icl.updates, self.ft.updates, self.zsl.updates

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """m_ICL, m_FT, m_ZSL, each (B, Q, L, H, own): of the query's own tokens, without the penalty for distance.

        The penalty is the same in all three; left in, it makes them alike.
        """
        return tuple(part.scores[..., -self.own :] for part in (self.icl, self.ft, self.zsl))


def compare(model: WordGPT, episode: Episode, recipe: Recipe, *, after: bool = False) -> Conditions:
    """Ask the episode's queries zero-shot, after fine-tuning on its demonstrations, and with them in context.

    `after` measures one token later, as the published code does (`small_gpt.in_context`).
    """
    ft = after_finetuning(model, episode, recipe, after=after)
    zsl = small_gpt.in_context(model, episode.first(0), after=after)
    return Conditions(zsl, ft, small_gpt.in_context(model, episode, after=after), zsl.scores.shape[-1])


def after_finetuning(model: WordGPT, episode: Episode, recipe: Recipe, *, after: bool = False) -> State:
    """Fine-tune on the demonstrations of the episode, then ask its queries zero-shot."""
    weights, _ = small_gpt.finetune(model, episode.demos, recipe)
    return small_gpt.with_weights(model, episode, weights, after=after, linear=recipe.rule == "linearised")


def right(at: State, episode: Episode) -> Tensor:
    """Which queries (B, Q) are answered right (bool)."""
    return toy_language.answers(at.logits.flatten(0, 1), episode) == episode.target


def accuracy(at: State, episode: Episode) -> Tensor:
    """The accuracy (B,) of each task: the share of its queries answered right."""
    return right(at, episode).to(at.logits.dtype).mean(1)


def recall(three: Conditions, episode: Episode) -> Tensor:
    """The counts (B, 4) of corrected errors that `similarity.rec2ftp` takes."""
    return similarity.corrections(*(right(at, episode) for at in three[:3]))


def per_query(three: Conditions) -> Tensor:
    """SimAOU centred over a task's queries, (B, Q, L): of what their updates do not share.

    What is the same for all queries cannot tell one class from another.
    """
    h_icl, h_ft, h_zsl = three.updates()
    icl, ft = (change - change.mean(1, keepdim=True) for change in (h_icl - h_zsl, h_ft - h_zsl))
    return torch.cosine_similarity(icl, ft, dim=-1)


def pattern(three: Conditions) -> Tensor:
    """How the updates place a task's queries to each other (RSA), (B, 1, L). It knows no axes, so models can cross."""
    h_icl, h_ft, h_zsl = three.updates()
    icl, ft = ((change).transpose(1, 2) for change in (h_icl - h_zsl, h_ft - h_zsl))  # (B, L, Q, d)
    return similarity.rsa(icl, ft)[:, None]


def exchanged(three: Conditions, other: Conditions) -> Tensor:
    """SimAOU of what an exchange of the demonstrations changes, (B, Q, L): a difference of differences.

    cos(h_ICL - h'_ICL, h_FT - h'_FT), the strokes with `other` demonstrations of the same task; centred over the
    queries. All that both learners know without just these demonstrations, zero-shot included, is gone.
    """
    changes = (getattr(three, way).updates - getattr(other, way).updates for way in ("icl", "ft"))
    return torch.cosine_similarity(*(change - change.mean(1, keepdim=True) for change in changes), dim=-1)


METRICS: dict[str, Callable[[Conditions], Tensor]] = {
    "SimAOU": lambda three: similarity.sim_aou(*three.updates()),
    "SimAOU, normalised": lambda three: similarity.sim_aou(*three.updates(), normalised=True),
    "its floor": lambda three: similarity.aou_floor_of(*three.updates()),
    "SimAOU, per query": per_query,
    "pattern of the queries": pattern,
    "SimAM": lambda three: similarity.sim_am(*three.scores()[:2]).mean(-1),
    "SimAM, before FT": lambda three: similarity.sim_am(three.scores()[0], three.scores()[2]).mean(-1),
    "SimAM Δ": lambda three: similarity.sim_am(*three.scores()).mean(-1),
    "SimAM, centred": lambda three: similarity.sim_am(*three.scores()[:2], centred=True).mean(-1),
    "SimAM Δ, centred": lambda three: similarity.sim_am(*three.scores(), centred=True).mean(-1),
}


def by_layer(three: Conditions) -> dict[str, Tensor]:
    """Each measure (B, L): for each demonstration set and layer, the mean over queries (and heads)."""
    return {name: measure(three).mean(1) for name, measure in METRICS.items()}


def best_rate(models: Sequence[WordGPT], episode: Episode, recipe: Recipe, rates: Sequence[float]) -> float:
    """The learning rate with the highest accuracy, over all models. Choose it on other tasks than are reported."""

    def right(lr):
        each = (after_finetuning(model, episode, recipe._replace(lr=lr)) for model in models)
        return sum(accuracy(ft, episode).mean().item() for ft in each)

    return max(rates, key=right)


# --- controls -------------------------------------------------------------------------------------------------

CONTROLS = ("the same", "others of the task", "labels shuffled", "of another task", "random words")


@usual()
def other_context(episode: Episode, control: str, *, seed: int = 0) -> Episode:
    """The same queries behind other demonstrations (a negative control), as many.

    Fresh ones of the same task; the same ones with their labels shuffled (Min et al. 2022); those of the next task; or
    random words with random labels of the task.

    >>> episode = toy_language.few_shot(toy_language.draw(B=3), k=16)
    >>> shuffled = other_context(episode, "labels shuffled")
    >>> torch.equal(shuffled.demos[..., :-1], episode.demos[..., :-1]), torch.equal(shuffled.demos, episode.demos)
    (True, False)
    """
    if control not in CONTROLS:
        raise ValueError(f"control: expected one of {', '.join(CONTROLS)}, got {control!r}.")
    if control == "others of the task":
        return toy_language.other_demonstrations(episode, seed=1000 + seed)  # not a seed that drew the first ones
    generator, demos = torch.Generator().manual_seed(seed), episode.demos.clone()  # (B, k, L)
    B, k, _ = demos.shape
    if control == "labels shuffled":
        demos[..., -1] = demos[..., -1].gather(1, torch.rand(B, k, generator=generator).argsort(1))
    elif control == "of another task":
        demos = demos.roll(1, dims=0)
    elif control == "random words":
        demos[..., :-1] = torch.randint(toy_language.WORDS, demos[..., :-1].shape, generator=generator)
        chosen = torch.randint(episode.options.shape[1], (B, k), generator=generator)
        demos[..., -1] = episode.options.gather(1, chosen)
    return episode._replace(demos=demos)
