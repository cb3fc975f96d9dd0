"""The same demonstrations once as context, once as training data: what a small GPT does in each case, at one token.

Fine-tuning is that of Dai et al. 2023: plain SGD on W_K and W_V, one demonstration a step, in the order of the prompt,
once. B tasks are fine-tuned side by side: each has weights of its own, named as in `model.core`, with a first dimension
B and only the rows that are trained. No task's loss depends on another's weights, so one gradient of the sum holds all
of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from helpers import checks
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT

RULES = ("GD", "layer-causal (code)", "layer-causal (paper)", "linearised")
LOSSES = ("label", "all tokens")
TRAINED = ("W_K, W_V", "attention")

Weights = dict[str, Tensor]


class Recipe(NamedTuple):
    """How to fine-tune.

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


class Inside(NamedTuple):
    """What passes through the L blocks of a model, for B rows of T tokens; see `run`."""

    logits: Tensor  # (B, T, V)
    inputs: Tensor  # (L, B, T, d): what attention gets, after the norm
    qkv: Tensor  # (L, B, T, 3, H, d_k): queries, keys, values
    updates: Tensor  # (L, B, T, d): what attention adds to the tokens, after P
    outputs: Tensor  # (L, B, T, d): the tokens after the block


class State(NamedTuple):
    """What a model does at the last token of each of B prompts; of B tasks with Q queries each, (B, Q, …)."""

    logits: Tensor  # (B, V)
    inputs: Tensor  # (B, L, d)
    queries: Tensor  # (B, L, H, d_k)
    updates: Tensor  # (B, L, d)
    scores: Tensor  # (B, L, H, T): before the softmax, with the penalty for distance


# --- the model, seen from inside ------------------------------------------------------------------------------


def run(model: WordGPT, z: Tensor, weights: Weights | None = None, *, local: bool = False) -> Inside:
    """Send embedded tokens z (B, T, d) through the model, with some weights replaced; keep what passes through.

    With weights of several tasks, as many rows of z belong to each. With `local`, no gradient flows from a block to the
    one before.

    >>> model = WordGPT(80, d_model=8, n_layers=2, n_heads=2)
    >>> [tuple(part.shape) for part in run(model, torch.zeros(4, 9, 8))]
    [(4, 9, 80), (2, 4, 9, 8), (2, 4, 9, 3, 2, 4), (2, 4, 9, 8), (2, 4, 9, 8)]
    """
    inputs, qkv, updates, outputs, handles = [], [], [], [], []

    def at_projection(layer, arguments, out):
        inputs.append(arguments[0])
        qkv.append(out.unflatten(-1, (3, len(model.core.slopes), -1)))

    for block in model.core.blocks:
        handles.append(block.W_QKV.register_forward_hook(at_projection))
        handles.append(block.P.register_forward_hook(lambda layer, _, out: updates.append(out)))
        handles.append(block.register_forward_hook(lambda layer, _, out: outputs.append(out)))
        if local:
            handles.append(block.register_forward_pre_hook(lambda layer, args: (args[0].detach(), *args[1:])))
    try:
        logits = _logits(model, z, weights)
    finally:
        for handle in handles:
            handle.remove()
    return Inside(logits, *(torch.stack(part) for part in (inputs, qkv, updates, outputs)))


def _logits(model: WordGPT, z: Tensor, weights: Weights | None) -> Tensor:
    with _own_weights(model, weights or {}):
        return model.unembed(model.core(z))


@contextmanager
def _own_weights(model: WordGPT, weights: Weights) -> Iterator[None]:
    """For a while, the rows (B R, T, d) of B tasks go through the tasks' own weights, R rows each.

    Weights (B, n, d) stand for the last n rows of the model's; what the rows before them say stays.
    """

    def own(W):
        def hook(layer, arguments, out):
            (x,) = arguments
            columns = W @ x.reshape(len(W), -1, x.shape[-1]).mT  # in this order the gradient lies in memory as W does
            said = columns.mT.reshape(*x.shape[:-1], -1)
            return torch.cat([out[..., : out.shape[-1] - said.shape[-1]], said], dim=-1)

        return hook

    handles = [
        model.core.get_submodule(name.removesuffix(".weight")).register_forward_hook(own(W), prepend=True)
        for name, W in weights.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_order(f: Callable[[Weights], tuple], model: WordGPT, weights: Weights) -> tuple:
    """f(W_0) + J (W - W_0), with W_0 the model's weights and W those of the tasks; f returns a tuple."""
    own = dict(model.core.named_parameters())
    here = {name: own[name].detach()[-W.shape[1] :].repeat(len(W), 1, 1) for name, W in weights.items()}
    there = {name: W - here[name] for name, W in weights.items()}
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention knows no forward-mode derivatives
        value, change = jvp(f, (here,), (there,))
    return tuple(a + b for a, b in zip(value, change, strict=True))


def state(model: WordGPT, z: Tensor, weights: Weights | None = None) -> State:
    """What the model does at the last of the embedded tokens z (B, T, d); `weights` as in `run`."""
    return at_last(model, run(model, z, weights))


def at_last(model: WordGPT, inside: Inside) -> State:
    """Of what passed through the model, what belongs to the last token."""
    q, k = inside.qkv[:, :, -1, 0], inside.qkv[..., 1, :, :]  # (L, B, H, d_k), (L, B, T, H, d_k)
    back = torch.arange(k.shape[2] - 1, -1, -1, dtype=k.dtype, device=k.device)
    scores = torch.einsum("lbhd,lbthd->blht", q, k) / q.shape[-1] ** 0.5 - model.core.slopes[:, None] * back
    parts = (part[:, :, -1].transpose(0, 1) for part in (inside.inputs, inside.qkv[..., 0, :, :], inside.updates))
    return State(inside.logits[:, -1], *parts, scores)


# --- three ways to ask ----------------------------------------------------------------------------------------


@torch.no_grad()
def in_context(model: WordGPT, episode: Episode, *, after: bool = False, rows: int = 128) -> State:
    """The demonstrations in the prompt; `episode.first(0)` is zero-shot. Parts are (B, Q, …).

    `after` looks one token later, at the first label word of the task, put behind the query: that is where the
    published code measures (Dai et al. 2023; the logits are then those *after* the label).
    """
    tokens = _prompts(episode, after).split(rows)
    found = [state(model, model.embed(part)) for part in tokens]
    return State(*(torch.cat(part).unflatten(0, episode.target.shape) for part in zip(*found, strict=True)))


def with_weights(
    model: WordGPT, episode: Episode, weights: Weights, *, after: bool = False, linear: bool = False
) -> State:
    """Zero-shot, with each task's weights; `linear` takes the first-order model at those weights."""
    with torch.no_grad():
        z = model.embed(_prompts(episode.first(0), after))
        if linear:
            found = _first_order(lambda W: tuple(state(model, z, W)), model, weights)
        else:
            found = state(model, z, weights)
    return State(*(part.unflatten(0, episode.target.shape) for part in found))


def _prompts(episode: Episode, after: bool) -> Tensor:
    tokens = episode.prompts()
    label = episode.options[:, :1].repeat_interleave(episode.target.shape[1], 0)
    return torch.cat([tokens, label], dim=1) if after else tokens


# --- the fine-tuning ------------------------------------------------------------------------------------------


def finetune(
    model: WordGPT,
    demos: Tensor,
    recipe: Recipe,
    watch: Callable[[int, Weights, Weights], Any] | None = None,
) -> tuple[Weights, list]:
    """Each task's weights after one SGD step on each of its demonstrations (B, k, L), in order; and what was watched.

    `watch(i, weights, gradient)` is called before step i = 0, …, k-1. The weights may be fed to `with_weights`. With
    W_K and W_V trained they are the rows of W_QKV below W_Q, (B, 2d, d).
    """
    _check(model, demos, recipe)
    weights = start(model, recipe, len(demos))
    update, seen = Tensor.sub if watch else Tensor.sub_, []  # in place, unless somebody may keep the weights
    for i, example in enumerate(demos.unbind(1)):
        step = gradients(model, example, weights, recipe)
        if watch:
            seen.append(watch(i, weights, step))
        if recipe.matched:
            length = sum(G.flatten(1).square().sum(1) for G in step.values()).sqrt()[:, None, None]
            step = {name: G / length for name, G in step.items()}
        weights = {name: update(W, step[name], alpha=recipe.lr) for name, W in weights.items()}
    return weights, seen


def start(model: WordGPT, recipe: Recipe, B: int) -> Weights:
    """What is trained, as it is before: the same for each of B tasks.

    >>> {name: tuple(W.shape) for name, W in start(WordGPT(80, d_model=8, n_layers=1), Recipe(), B=3).items()}
    {'blocks.0.W_QKV.weight': (3, 16, 8)}
    """
    ends, first = ("W_QKV.weight",), model.core.norm.normalized_shape[0]  # W_Q are the first d rows of W_QKV
    if recipe.trained == "attention":
        ends, first = ("W_QKV.weight", "P.weight"), 0
    named = model.core.named_parameters()
    return {name: W.detach()[first:].repeat(B, 1, 1) for name, W in named if name.endswith(ends)}


def gradients(model: WordGPT, tokens: Tensor, weights: Weights, recipe: Recipe) -> Weights:
    """Of each task's loss on one demonstration, tokens (B, L), by its weights."""
    with torch.enable_grad():
        leaves = {name: W.detach().requires_grad_() for name, W in weights.items()}
        total = demonstration_loss(model, tokens, leaves, recipe).sum()
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def demonstration_loss(model: WordGPT, tokens: Tensor, weights: Weights, recipe: Recipe) -> Tensor:
    """-log p of the label, or its mean over all tokens, of one demonstration for each task, tokens (B, L) -> (B,); for
    layer-causal rules, summed over the layers."""
    z = model.embed(tokens[:, :-1]).detach()  # nothing is asked after the label, and no token reads a later one
    if recipe.rule == "GD":
        answers = _logits(model, z, weights)[None]
    elif recipe.rule == "linearised":
        answers = torch.stack(_first_order(lambda W: (_logits(model, z, W),), model, weights))
    else:
        inside = run(model, z, weights, local=True)
        says = inside.outputs if recipe.rule == "layer-causal (code)" else inside.updates
        answers = model.unembed(model.core.norm(says))  # (L, B, T, V)
    first = tokens.shape[1] - 1 if recipe.loss == "label" else 1
    truth = tokens[:, first:].expand(len(answers), -1, -1)
    surprise = F.cross_entropy(answers[:, :, first - 1 :].flatten(0, 2), truth.flatten(), reduction="none")
    return surprise.view_as(truth).mean(2).sum(0)


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
