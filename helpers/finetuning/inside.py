"""A small GPT seen from inside: activations of every layer, with weights of each task's own (hooks; batched weights).

B tasks go through the model side by side, in rows of tokens: as many rows for each task. Weights that belong to the
tasks, `Weights`, are named as in `model.core` and have a first dimension B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from helpers.models.gpt import WordGPT

Weights = dict[str, Tensor]  # name -> (B, n, d): each task's last n rows of that matrix


class Inside(NamedTuple):
    """The activations of the L blocks of a model, for R rows of T tokens; see `run`."""

    logits: Tensor  # (R, T, V)
    inputs: Tensor  # (L, R, T, d): what attention gets, after the norm
    qkv: Tensor  # (L, R, T, 3, H, d_k): queries, keys, values
    updates: Tensor  # (L, R, T, d): what attention adds to the residual stream, after P
    outputs: Tensor  # (L, R, T, d): the residual stream after the block


class State(NamedTuple):
    """The activations at the last token of each of R prompts; of B tasks with Q queries each, (B, Q, …)."""

    logits: Tensor  # (R, V)
    inputs: Tensor  # (R, L, d)
    queries: Tensor  # (R, L, H, d_k)
    updates: Tensor  # (R, L, d)
    scores: Tensor  # (R, L, H, T): q^T k / sqrt(d_k), before the softmax and without the penalty for distance


def run(
    model: WordGPT, z: Tensor, weights: Weights | None = None, *, local: bool = False, mask: Tensor | None = None
) -> Inside:
    """A forward pass of embedded tokens z (R, T, d) with activations kept, and with some weights replaced.

    With weights of several tasks, as many rows of z belong to each. With `local`, no gradient flows from a block to the
    one before. `mask` (H, T, T) is added to the scores in the place of the model's own.

    >>> model = WordGPT(80, d_model=8, n_layers=2, n_heads=2)
    >>> [tuple(part.shape) for part in run(model, torch.zeros(4, 9, 8))]
    [(4, 9, 80), (2, 4, 9, 8), (2, 4, 9, 3, 2, 4), (2, 4, 9, 8), (2, 4, 9, 8)]
    """
    inputs, qkv, updates, outputs, handles = [], [], [], [], []
    n_heads = len(model.core.slopes)

    def at_projection(layer, arguments, out):
        inputs.append(arguments[0])  # (R, T, d)
        qkv.append(out.unflatten(-1, (3, n_heads, -1)))  # (R, T, 3d) -> (R, T, 3, H, d_k)

    for block in model.core.blocks:
        handles.append(block.W_QKV.register_forward_hook(at_projection))
        handles.append(block.P.register_forward_hook(lambda layer, _, out: updates.append(out)))
        handles.append(block.register_forward_hook(lambda layer, _, out: outputs.append(out)))
        if local:
            handles.append(block.register_forward_pre_hook(lambda layer, args: (args[0].detach(), *args[1:])))
    try:
        answers = logits(model, z, weights, mask)
    finally:
        for handle in handles:
            handle.remove()
    return Inside(answers, *(torch.stack(part) for part in (inputs, qkv, updates, outputs)))


def logits(model: WordGPT, z: Tensor, weights: Weights | None = None, mask: Tensor | None = None) -> Tensor:
    """The logits (R, T, V) of the forward pass of `run`, and nothing else kept.

    >>> logits(WordGPT(80, d_model=8, n_layers=2, n_heads=2), torch.zeros(4, 9, 8)).shape
    torch.Size([4, 9, 80])
    """
    with _own_weights(model, weights or {}):
        if mask is None:
            return model.unembed(model.core(z))
        for block in model.core.blocks:
            z = block(z, mask[None])
        return model.unembed(model.core.norm(z))


@contextmanager
def _own_weights(model: WordGPT, weights: Weights) -> Iterator[None]:
    """For a while, the rows (R, T, d) of B tasks go through the tasks' own weights, R / B rows each.

    Weights (B, n, d) stand for the last n rows of the model's; what the rows before them say stays.
    """

    def own(name, W):
        def hook(layer, arguments, out):
            (x,) = arguments  # (R, T, d), with R = B * rows
            if len(x) % len(W):
                raise ValueError(f"{name}: expected rows to be shared by {len(W)} tasks evenly, got {len(x)}.")
            try:
                columns = W @ x.reshape(len(W), -1, x.shape[-1]).mT  # (B, n, rows * T): gradients lie as W does
            except RuntimeError as error:
                shapes = f"weights {tuple(W.shape)}, tokens {tuple(x.shape)}"
                error.add_note(f"in {name}: {shapes}")
                raise
            said = columns.mT.reshape(*x.shape[:-1], -1)  # (R, T, n)
            return torch.cat([out[..., : out.shape[-1] - said.shape[-1]], said], dim=-1)  # (R, T, 3d)

        return hook

    handles = [
        model.core.get_submodule(name.removesuffix(".weight")).register_forward_hook(own(name, W), prepend=True)
        for name, W in weights.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_order(f: Callable[[Weights], tuple], model: WordGPT, weights: Weights) -> tuple:
    """The linearised model f(W_0) + J (W - W_0) (a Jacobian-vector product), W_0 the model's weights, W the tasks'.

    f returns a tuple of tensors.

    >>> model = WordGPT(80, d_model=8, n_layers=1, n_heads=2).requires_grad_(False)
    >>> W = {"blocks.0.W_QKV.weight": model.core.blocks[0].W_QKV.weight[None, 8:]}         # as they are: no change
    >>> z = torch.ones(4, 9, 8)
    >>> torch.allclose(first_order(lambda W: (logits(model, z, W),), model, W)[0], logits(model, z), atol=1e-6)
    True
    """
    own = dict(model.core.named_parameters())
    here = {name: own[name].detach()[-W.shape[1] :].repeat(len(W), 1, 1) for name, W in weights.items()}  # (B, n, d)
    there = {name: W - here[name] for name, W in weights.items()}
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention knows no forward-mode derivatives
        value, change = jvp(f, (here,), (there,))
    return tuple(a + b for a, b in zip(value, change, strict=True))


def state(model: WordGPT, z: Tensor, weights: Weights | None = None) -> State:
    """The activations at the last of the embedded tokens z (R, T, d); `weights` as in `run`."""
    return at_last(run(model, z, weights))


def at_last(inside: Inside) -> State:
    """Of all activations those of the last token."""
    q, k = inside.qkv[:, :, -1, 0], inside.qkv[..., 1, :, :]  # (L, R, H, d_k), (L, R, T, H, d_k)
    scores = torch.einsum("lrhd,lrthd->lrht", q, k) / q.shape[-1] ** 0.5
    parts = (inside.inputs[:, :, -1], q, inside.updates[:, :, -1], scores)  # each (L, R, …)
    return State(inside.logits[:, -1], *(part.transpose(0, 1) for part in parts))


def after_shared(model: WordGPT, shared: Tensor, own: Tensor) -> State:
    """The last token of each of Q rows that begin alike, in one pass (prefix sharing): parts are (B, Q, …).

    `shared` (B, n) are the tokens that all rows of a task begin with, `own` (B, Q, T') those that follow in each; a row
    does not see the others'. As `state` of the B Q whole rows, at a fraction of the price.

    >>> model = WordGPT(80, d_model=8, n_layers=2, n_heads=2)
    >>> after_shared(model, torch.zeros(3, 5, dtype=torch.long), torch.zeros(3, 2, 4, dtype=torch.long)).scores.shape
    torch.Size([3, 2, 2, 2, 9])
    """
    n, (_, Q, length), on = shared.shape[1], own.shape, {"device": shared.device}
    tokens = torch.cat([shared, own.flatten(1)], dim=1)  # (B, T), T = n + Q T'
    place = torch.cat([torch.arange(n, **on), n + torch.arange(length, **on).repeat(Q)])  # (T,) in its row
    row = torch.cat([torch.full((n,), -1, **on), torch.arange(Q, **on).repeat_interleave(length)])
    back = place[:, None] - place  # (T, T): how far a token looks back
    hidden = (back < 0) | ((row != -1) & (row != row[:, None]))
    mask = (-model.core.slopes[:, None, None] * back).masked_fill(hidden, -torch.inf)  # (H, T, T)
    found = run(model, model.embed(tokens), mask=mask)
    last = n + length * torch.arange(1, Q + 1, **on) - 1  # (Q,)
    mine = torch.arange(n, tokens.shape[1], **on).view(Q, length)
    seen = torch.cat([torch.arange(n, **on).expand(Q, n), mine], dim=1)  # (Q, n + T'): what each reads
    q, k = found.qkv[:, :, last, 0], found.qkv[..., 1, :, :][:, :, seen]  # (L, B, Q, H, d_k), (L, B, Q, n + T', H, d_k)
    scores = torch.einsum("lbqhd,lbqthd->lbqht", q, k) / q.shape[-1] ** 0.5
    parts = (found.inputs[:, :, last], q, found.updates[:, :, last], scores)  # each (L, B, Q, …)
    return State(found.logits[:, last], *(part.permute(1, 2, 0, *range(3, part.ndim)) for part in parts))


def penalty(model: WordGPT, T: int) -> Tensor:
    """ALiBi's penalty (H, T) on the last token's scores, -slope * distance: the same for every prompt of T tokens.

    >>> penalty(WordGPT(80, d_model=8, n_layers=1, n_heads=2), T=3)
    tensor([[-0.1250, -0.0625, -0.0000],
            [-0.0078, -0.0039, -0.0000]])
    """
    slopes = model.core.slopes
    back = torch.arange(T - 1, -1, -1, dtype=slopes.dtype, device=slopes.device)
    return -slopes[:, None] * back
