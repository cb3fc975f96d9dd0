"""Attribution: how much each demonstration counts for a query, for attention in context and for the fine-tuning."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from helpers.finetuning import inside, small_gpt
from helpers.finetuning.small_gpt import Recipe
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT


class Attribution(NamedTuple):
    """Attribution scores of the n = k * L tokens of the demonstrations, for each query and layer, in five ways.

    - `icl`: its attention score, summed over the heads (Dai et al. 2023);
    - `content`: the same without the penalty for distance, which is the same for all demonstrations: q^T k / sqrt(d_k);
    - `queries`: q'^T q, of the attention queries that it had when it was trained on, and the test token's (Dai et al.);
    - `keys`: x'^T x, of the layer's inputs. A weight change of SGD is a sum of e_t x_t^T, so this is what it reads;
    - `gradients`: how far the demonstration's step lowers the query's loss, to first order, by the layer's weights
      (TracIn, Pruthi et al. 2020); one number a demonstration. It knows the query's gold label.
    """

    icl: Tensor  # (B, Q, L, n)
    content: Tensor  # (B, Q, L, n)
    queries: Tensor  # (B, Q, L, n)
    keys: Tensor  # (B, Q, L, n)
    gradients: Tensor  # (B, Q, L, k)


def attributions(model: WordGPT, episode: Episode, recipe: Recipe) -> Attribution:
    """Attribution in context, and in the fine-tuning's own terms. Takes GD on W_K and W_V only.

    >>> from helpers.finetuning import toy_language
    >>> episode = toy_language.few_shot(toy_language.draw(B=3), k=4, Q=2)
    >>> model = WordGPT(toy_language.VOCABULARY, d_model=8, n_layers=1, n_heads=2)
    >>> [tuple(part.shape) for part in attributions(model, episode, Recipe())]
    [(3, 2, 1, 20), (3, 2, 1, 20), (3, 2, 1, 20), (3, 2, 1, 20), (3, 2, 1, 4)]
    """
    if recipe.rule != "GD" or recipe.trained != "W_K, W_V":
        raise ValueError(f"recipe: expected GD on W_K, W_V, got {recipe.rule} on {recipe.trained}.")
    of_query = _query_gradients(model, episode)  # (B, Q, L, 2d, d)

    def watch(i, weights, gradient):
        with torch.no_grad():
            found = inside.run(model, model.embed(episode.demos[:, i]), weights)
        inputs = found.inputs.transpose(0, 1)  # (B, L, T, d)
        queries = found.qkv[:, :, :, 0].flatten(-2).transpose(0, 1)  # (B, L, T, d)
        step = torch.stack(list(gradient.values()), 1)  # (B, L, 2d, d)
        return inputs, queries, torch.einsum("bqlij,blij->bql", of_query, step)

    weights, seen = small_gpt.finetune(model, episode.demos, recipe, watch)
    inputs, queries = (torch.cat(part, dim=2) for part in list(zip(*seen, strict=True))[:2])  # (B, L, n, d)
    ft, own = small_gpt.with_weights(model, episode, weights), episode.query.shape[2]
    content = small_gpt.in_context(model, episode).scores.sum(3)[..., :-own]  # (B, Q, L, n)
    distance = inside.penalty(model, content.shape[-1] + own).sum(0)[:-own]  # (n,)
    return Attribution(
        content + distance,
        content,
        torch.einsum("blnd,bqld->bqln", queries, ft.queries.flatten(-2)),
        torch.einsum("blnd,bqld->bqln", inputs, ft.inputs),
        torch.stack([at for *_, at in seen], dim=-1),
    )


def _query_gradients(model: WordGPT, episode: Episode) -> Tensor:
    """Of each query's loss before the fine-tuning, by each layer's W_K and W_V: (B, Q, L, 2d, d)."""
    tokens = torch.cat([episode.query, episode.target[..., None]], dim=-1).flatten(0, 1)  # (B * Q, L)
    weights = small_gpt.initial_weights(model, Recipe(), len(tokens))
    found = small_gpt.gradients(model, tokens, weights, Recipe())  # each (B * Q, 2d, d)
    return torch.stack(list(found.values()), dim=1).unflatten(0, episode.target.shape)


def of_right_class(episode: Episode) -> Tensor:
    """Which demonstrations have the query's label, (B, Q, k): an order that needs no gradient, but the gold label.

    >>> from helpers.finetuning import toy_language
    >>> of_right_class(toy_language.few_shot(toy_language.draw(B=3), k=4, Q=2)).shape
    torch.Size([3, 2, 4])
    """
    return episode.demos[:, None, :, -1] == episode.target[..., None]
