"""The same demonstrations once as context, once as training data: what a small GPT does in each case, at one token.

Fine-tuning is that of Dai et al. 2023: plain SGD on W_K and W_V, one demonstration a step, in the order of the prompt,
once. B tasks are fine-tuned side by side: each has weights of its own, named as in `model.core`, with a first dimension
B and only the rows that are trained. No task's loss depends on another's weights, so one gradient of the sum holds all
of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import checks
from helpers.finetuning import inside
from helpers.finetuning.inside import State, Weights
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT

RULES = ("GD", "layer-causal (code)", "layer-causal (paper)", "linearised")
LOSSES = ("label", "all tokens")
TRAINED = ("W_K, W_V", "attention")


class Recipe(NamedTuple):
    """A fine-tuning recipe (hyperparameters).

    - `rule`: whose gradient. "GD" is that of the loss of the model's answer. Layer-causal GD (Deutch et al. 2023) stops
      the gradient at the door of each block and gives each block a loss of its own, through the final norm and the
      unembedding: at its output (their code), or at what its attention says (their equation). "linearised" is GD on
      the first-order model f(W_0) + J (W - W_0).
    - `loss`: on the label only, or the mean over all tokens of the demonstration (Dai et al.).
    - `trained`: W_K and W_V, or all four matrices of the attention.
    - `matched`: each step has the length `lr`, whatever the gradient's; so rules can be compared at equal steps.
    """

    lr: float = 0.3
    rule: str = "GD"
    loss: str = "label"
    trained: str = "W_K, W_V"
    matched: bool = False


# --- three ways to ask ----------------------------------------------------------------------------------------


@torch.no_grad()
def in_context(model: WordGPT, episode: Episode, *, after: bool = False) -> State:
    """The activations with the demonstrations in the prompt; `episode.first(0)` is zero-shot. Parts are (B, Q, …).

    `after` looks one token later, at the first label word of the task, put behind the query: that is where the
    published code measures (Dai et al. 2023; the logits are then those *after* the label).

    >>> from helpers.finetuning import toy_language
    >>> episode = toy_language.few_shot(toy_language.draw(B=3), k=4, Q=5)
    >>> model = WordGPT(toy_language.VOCABULARY, d_model=8, n_layers=2, n_heads=2)
    >>> in_context(model, episode).updates.shape                                           # (B, Q, L, d)
    torch.Size([3, 5, 2, 8])
    """
    own = _prompts(episode.first(0), after).unflatten(0, episode.target.shape)  # (B, Q, L-1)
    return inside.after_shared(model, episode.demos.flatten(1), own)


def with_weights(
    model: WordGPT, episode: Episode, weights: Weights, *, after: bool = False, linear: bool = False
) -> State:
    """The activations zero-shot, with each task's weights; `linear` takes the first-order model at those weights.

    >>> from helpers.finetuning import toy_language
    >>> episode = toy_language.few_shot(toy_language.draw(B=3), k=4, Q=5)
    >>> model = WordGPT(toy_language.VOCABULARY, d_model=8, n_layers=2, n_heads=2)
    >>> with_weights(model, episode, initial_weights(model, Recipe(), B=3)).updates.shape  # (B, Q, L, d)
    torch.Size([3, 5, 2, 8])
    """
    with torch.no_grad():
        z = model.embed(_prompts(episode.first(0), after))  # (B * Q, L-1, d)
        if linear:
            found = inside.first_order(lambda W: tuple(inside.state(model, z, W)), model, weights)
        else:
            found = inside.state(model, z, weights)
    return State(*(part.unflatten(0, episode.target.shape) for part in found))


def _prompts(episode: Episode, after: bool) -> Tensor:
    tokens = episode.prompts()  # (B * Q, T)
    label = episode.options[:, :1].repeat_interleave(episode.target.shape[1], 0)  # (B * Q, 1)
    return torch.cat([tokens, label], dim=1) if after else tokens


# --- the fine-tuning ------------------------------------------------------------------------------------------


def finetune(
    model: WordGPT,
    demos: Tensor,
    recipe: Recipe,
    watch: Callable[[int, Weights, Weights], Any] | None = None,
) -> tuple[Weights, list]:
    """Online SGD, one step on each of its demonstrations (B, k, L), in order; each task's weights, and a trajectory.

    The trajectory is what the callback `watch(i, weights, gradient)` returned before step i = 0, …, k-1. The weights
    may be fed to `with_weights`. With W_K and W_V trained they are the rows of W_QKV below W_Q, (B, 2d, d).

    >>> from helpers.finetuning import toy_language
    >>> demos = toy_language.few_shot(toy_language.draw(B=3), k=4).demos
    >>> model = WordGPT(toy_language.VOCABULARY, d_model=8, n_layers=2, n_heads=2)
    >>> weights, trajectory = finetune(model, demos, Recipe(), watch=lambda i, weights, gradient: i)
    >>> {name: tuple(W.shape) for name, W in weights.items()}, trajectory
    ({'blocks.0.W_QKV.weight': (3, 16, 8), 'blocks.1.W_QKV.weight': (3, 16, 8)}, [0, 1, 2, 3])
    """
    _check(model, demos, recipe)
    weights, seen = initial_weights(model, recipe, len(demos)), []
    for i, example in enumerate(demos.unbind(1)):  # (B, L)
        step = gradients(model, example, weights, recipe)  # of the weights' shapes
        if watch:
            seen.append(watch(i, weights, step))
        if recipe.matched:
            length = sum(G.flatten(1).square().sum(1) for G in step.values()).sqrt()[:, None, None]  # (B, 1, 1)
            step = {name: G / length for name, G in step.items()}
        weights = {name: W - recipe.lr * step[name] for name, W in weights.items()}
    return weights, seen


def initial_weights(model: WordGPT, recipe: Recipe, B: int) -> Weights:
    """What is trained, as it is before: the same for each of B tasks.

    >>> found = initial_weights(WordGPT(80, d_model=8, n_layers=1), Recipe(), B=3)
    >>> {name: tuple(W.shape) for name, W in found.items()}
    {'blocks.0.W_QKV.weight': (3, 16, 8)}
    """
    ends, first = ("W_QKV.weight",), model.core.norm.normalized_shape[0]  # W_Q are the first d rows of W_QKV
    if recipe.trained == "attention":
        ends, first = ("W_QKV.weight", "P.weight"), 0
    named = model.core.named_parameters()
    return {name: W.detach()[first:].repeat(B, 1, 1) for name, W in named if name.endswith(ends)}


def gradients(model: WordGPT, tokens: Tensor, weights: Weights, recipe: Recipe) -> Weights:
    """The gradient of each task's loss on one demonstration, tokens (B, L), by its weights; of the weights' shapes.

    >>> model = WordGPT(80, d_model=8, n_layers=1, n_heads=2)
    >>> weights = initial_weights(model, Recipe(), B=3)
    >>> gradients(model, torch.zeros(3, 5, dtype=torch.long), weights, Recipe())["blocks.0.W_QKV.weight"].shape
    torch.Size([3, 16, 8])
    """
    with torch.enable_grad():
        leaves = {name: W.detach().requires_grad_() for name, W in weights.items()}
        total = demonstration_loss(model, tokens, leaves, recipe).sum()
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def demonstration_loss(model: WordGPT, tokens: Tensor, weights: Weights, recipe: Recipe) -> Tensor:
    """The cross entropy of the label, or its mean over all tokens, of one demonstration a task: tokens (B, L) -> (B,).

    For layer-causal rules it is summed over the layers.

    >>> model = WordGPT(80, d_model=8, n_layers=1, n_heads=2)
    >>> tokens = torch.zeros(3, 5, dtype=torch.long)
    >>> demonstration_loss(model, tokens, initial_weights(model, Recipe(), B=3), Recipe()).shape
    torch.Size([3])
    """
    z = model.embed(tokens[:, :-1]).detach()  # (B, L-1, d): nothing is asked after the label
    if recipe.rule == "GD":
        answers = inside.logits(model, z, weights)[None]  # (1, B, L-1, V)
    elif recipe.rule == "linearised":
        answers = torch.stack(inside.first_order(lambda W: (inside.logits(model, z, W),), model, weights))
    else:
        found = inside.run(model, z, weights, local=True)
        says = found.outputs if recipe.rule == "layer-causal (code)" else found.updates  # (layers, B, L-1, d)
        answers = model.unembed(model.core.norm(says))  # (layers, B, L-1, V)
    first = tokens.shape[1] - 1 if recipe.loss == "label" else 1
    truth = tokens[:, first:].expand(len(answers), -1, -1)  # (layers, B, tokens asked for)
    asked = answers[:, :, first - 1 :].flatten(0, 2)  # (layers * B * tokens asked for, V)
    surprise = F.cross_entropy(asked, truth.flatten(), reduction="none").view_as(truth)
    return surprise.mean(2).sum(0)


def _check(model: WordGPT, demos: Tensor, recipe: Recipe) -> None:
    if not isinstance(demos, Tensor) or demos.dtype != torch.long or demos.ndim != 3 or demos.shape[2] < 3:
        got = f"{demos.dtype} {tuple(demos.shape)}" if isinstance(demos, Tensor) else type(demos).__name__
        raise TypeError(f"demos: expected (B, k, L) of dtype int64 with L >= 3 (words, a label), got {got}.")
    checks.number("lr", recipe.lr)
    for name, among in {"rule": RULES, "loss": LOSSES, "trained": TRAINED}.items():
        if getattr(recipe, name) not in among:
            raise ValueError(f"{name}: expected one of {'; '.join(among)}, got {getattr(recipe, name)!r}.")
    if recipe.rule == "layer-causal (paper)" and recipe.trained != "W_K, W_V":
        raise ValueError(
            "trained: expected W_K, W_V with the paper's layer-causal rule: it stops the queries' gradient."
        )
