"""In-context learning beside fine-tuning, task by task: accuracy, every measure of similarity, and their controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.finetuning import similarity, small_gpt, toy_language
from helpers.finetuning.small_gpt import Recipe, State
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT
from helpers.theory import mixing
from helpers.usual import usual


class Conditions(NamedTuple):
    """The same queries (B, Q), asked in three ways, on `own` tokens each."""

    zsl: State
    ft: State
    icl: State
    own: int

    def updates(self) -> tuple[Tensor, Tensor, Tensor]:
        """h_ICL, h_FT, h_ZSL, each (B, Q, L, d), in the order in which `similarity` takes them."""
        return self.icl.updates, self.ft.updates, self.zsl.updates

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """m_ICL, m_FT, m_ZSL, each (B, Q, L, H, own): of the query's own tokens."""
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
    """Which queries (B, Q) are answered right."""
    return toy_language.answers(at.logits.flatten(0, 1), episode) == episode.target


def accuracy(at: State, episode: Episode) -> Tensor:
    """The share of queries answered right, for each task (B,)."""
    return right(at, episode).to(at.logits.dtype).mean(1)


def recall(three: Conditions, episode: Episode) -> Tensor:
    """The counts (B, 4) that `similarity.rec2ftp` takes."""
    return similarity.corrections(*(right(at, episode) for at in three[:3]))


def per_query(three: Conditions) -> Tensor:
    """SimAOU (B, Q, L) of what the updates of a task's queries do not share: minus their mean over the queries.

    What is the same for all queries cannot tell one class from another.
    """
    h_icl, h_ft, h_zsl = three.updates()
    icl, ft = (change - change.mean(1, keepdim=True) for change in (h_icl - h_zsl, h_ft - h_zsl))
    return torch.cosine_similarity(icl, ft, dim=-1)


METRICS: dict[str, Callable[[Conditions], Tensor]] = {
    "SimAOU": lambda three: similarity.sim_aou(*three.updates()),
    "SimAOU, normalised": lambda three: similarity.sim_aou(*three.updates(), normalised=True),
    "its floor": lambda three: similarity.aou_floor_of(*three.updates()),
    "SimAOU, per query": per_query,
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


# --- who is listened to ---------------------------------------------------------------------------------------


class Attribution(NamedTuple):
    """How much each token of the demonstrations counts for each query, (B, Q, L, n), in five ways; n = k * length.

    - `icl`: its attention score, summed over the heads (Dai et al. 2023);
    - `content`: the same without the penalty for distance, which is the same for all demonstrations: q^T k / sqrt(d_k);
    - `queries`: q'^T q, of the attention queries that it had when it was trained on, and the test token's (Dai et al.);
    - `keys`: x'^T x, of the layer's inputs. A weight change of SGD is a sum of e_t x_t^T, so this is what it reads;
    - `gradients`: how far the demonstration's step lowers the query's loss, to first order, by the layer's weights
      (TracIn, Pruthi et al. 2020); one number a demonstration, (B, Q, L, k).
    """

    icl: Tensor
    content: Tensor
    queries: Tensor
    keys: Tensor
    gradients: Tensor


def attributions(model: WordGPT, episode: Episode, recipe: Recipe) -> Attribution:
    """Who is listened to in context, and in the fine-tuning's own terms. Takes GD on W_K and W_V only."""
    if recipe.rule != "GD" or recipe.trained != "W_K, W_V":
        raise ValueError(f"recipe: expected GD on W_K, W_V, got {recipe.rule} on {recipe.trained}.")
    of_query = _query_gradients(model, episode)

    def watch(i, weights, gradient):
        inside = small_gpt.run(model, model.embed(episode.demos[:, i]), weights)
        inputs, queries = inside.inputs.transpose(0, 1), inside.qkv[:, :, :, 0].flatten(-2).transpose(0, 1)
        step = torch.stack(list(gradient.values()), 1)  # (B, L, 2d, d)
        return inputs, queries, torch.einsum("bqlij,blij->bql", of_query, step)

    weights, seen = small_gpt.finetune(model, episode.demos, recipe, watch)
    inputs, queries = (torch.cat(part, dim=2) for part in list(zip(*seen, strict=True))[:2])  # (B, L, n, d)
    ft, own = small_gpt.with_weights(model, episode, weights), episode.query.shape[2]
    icl = small_gpt.in_context(model, episode).scores.sum(3)[..., :-own]
    # how far each token is from the query's last one, where scores are taken
    back = torch.arange(icl.shape[-1] + own - 1, own - 1, -1, device=icl.device)
    return Attribution(
        icl,
        icl + model.core.slopes.sum() * back,
        torch.einsum("blnd,bqld->bqln", queries, ft.queries.flatten(-2)),
        torch.einsum("blnd,bqld->bqln", inputs, ft.inputs),
        torch.stack([at for *_, at in seen], dim=-1),
    )


def _query_gradients(model: WordGPT, episode: Episode) -> Tensor:
    """Of each query's loss before the fine-tuning, by each layer's W_K and W_V: (B, Q, L, 2d, d)."""
    tokens = torch.cat([episode.query, episode.target[..., None]], dim=-1).flatten(0, 1)
    weights = small_gpt.start(model, Recipe(), len(tokens))
    found = small_gpt.gradients(model, tokens, weights, Recipe())
    return torch.stack(list(found.values()), dim=1).unflatten(0, episode.target.shape)


# --- what the context does, directly and on the way -----------------------------------------------------------


class Effects(NamedTuple):
    """h_ICL - h_ZSL = direct + indirect, each (B, Q, L, d); and the gate λ (B, Q, L, H)."""

    total: Tensor
    direct: Tensor
    indirect: Tensor
    gate: Tensor


@torch.no_grad()
def effects(model: WordGPT, episode: Episode) -> Effects:
    """What of the change is due to reading demonstrations here, and what to the query having changed on its way here.

    With A(X) what attention reads from tokens X alone, and λ the weight of the demonstrations X' in the softmax,
    direct = λ (A(X') - A(X)), of the query as it is in context; indirect = A(X) in context - A(X) zero-shot.
    """
    own = episode.query.shape[2]
    parts = [_effects(model, row, own) for row in model.embed(episode.prompts()).split(128)]
    return Effects(*(torch.cat(part).unflatten(0, episode.target.shape) for part in zip(*parts, strict=True)))


def _effects(model: WordGPT, z: Tensor, own: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    icl, zsl = small_gpt.run(model, z), small_gpt.run(model, z[:, -own:])
    scores = small_gpt.at_last(model, icl).scores.transpose(0, 1)  # (L, B, H, T)
    values = icl.qkv[..., 2, :, :].transpose(2, 3)  # (L, B, H, T, d_k)
    demos, mine = slice(None, -own), slice(-own, None)
    A_demos, A_own = (
        mixing.read_out(scores[..., None, part], values[..., part, :]).squeeze(-2) for part in (demos, mine)
    )
    gate = mixing.gate(scores[..., demos], scores[..., mine])  # λ
    P = torch.stack([block.P.weight for block in model.core.blocks])  # (L, d, d)
    at_zsl = zsl.updates[:, :, -1]
    direct = (gate[..., None] * (A_demos - A_own)).flatten(-2) @ P.mT
    indirect = A_own.flatten(-2) @ P.mT - at_zsl
    return tuple(part.transpose(0, 1) for part in (icl.updates[:, :, -1] - at_zsl, direct, indirect, gate))


# --- controls -------------------------------------------------------------------------------------------------

CONTROLS = ("the same", "labels shuffled", "of another task", "random words")


@usual()
def other_context(episode: Episode, control: str, *, seed: int = 0) -> Episode:
    """The same queries behind other demonstrations: with their labels shuffled, of the next task, or random words with
    random labels of the task.

    >>> task = toy_language.draw(B=3)
    >>> episode = toy_language.few_shot(task, k=16)
    >>> shuffled = other_context(episode, "labels shuffled")
    >>> torch.equal(shuffled.demos[..., :-1], episode.demos[..., :-1]), torch.equal(shuffled.demos, episode.demos)
    (True, False)
    """
    if control not in CONTROLS:
        raise ValueError(f"control: expected one of {', '.join(CONTROLS)}, got {control!r}.")
    generator, demos = torch.Generator().manual_seed(seed), episode.demos.clone()
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
