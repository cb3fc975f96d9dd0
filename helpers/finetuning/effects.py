"""A mediation analysis of the context: its direct effect on a layer, and the indirect one, by way of the query."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from helpers.finetuning import inside
from helpers.finetuning.toy_language import Episode
from helpers.models.gpt import WordGPT
from helpers.theory import mixing


class Effects(NamedTuple):
    """The total effect h_ICL - h_ZSL = direct + indirect; and the gate λ."""

    total: Tensor  # (B, Q, L, d)
    direct: Tensor  # (B, Q, L, d)
    indirect: Tensor  # (B, Q, L, d)
    gate: Tensor  # (B, Q, L, H)


@torch.no_grad()
def effects(model: WordGPT, episode: Episode) -> Effects:
    """What of the change is due to reading demonstrations here, and what to the query having changed on its way here.

    With A(X) what attention reads from tokens X alone, and λ the weight of the demonstrations X' in the softmax,
    direct = λ (A(X') - A(X)), of the query as it is in context; indirect = A(X) in context - A(X) zero-shot.

    >>> from helpers.finetuning import toy_language
    >>> episode = toy_language.few_shot(toy_language.draw(B=3), k=4, Q=2)
    >>> found = effects(WordGPT(toy_language.VOCABULARY, d_model=8, n_layers=2, n_heads=2), episode)
    >>> torch.allclose(found.total, found.direct + found.indirect, atol=1e-5), found.gate.shape
    (True, torch.Size([3, 2, 2, 2]))
    """
    own = episode.query.shape[2]
    parts = [_effects(model, row, own) for row in model.embed(episode.prompts()).split(128)]  # rows of B * Q
    return Effects(*(torch.cat(part).unflatten(0, episode.target.shape) for part in zip(*parts, strict=True)))


def _effects(model: WordGPT, z: Tensor, own: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    icl, zsl = inside.run(model, z), inside.run(model, z[:, -own:])
    scores = inside.at_last(icl).scores + inside.penalty(model, z.shape[1])  # (R, L, H, T)
    scores, values = scores.transpose(0, 1), icl.qkv[..., 2, :, :].transpose(2, 3)  # (L, R, H, T), (L, R, H, T, d_k)
    demos, mine = slice(None, -own), slice(-own, None)
    A_demos, A_own = (
        mixing.read_out(scores[..., None, part], values[..., part, :]).squeeze(-2) for part in (demos, mine)
    )  # (L, R, H, d_k)
    gate = mixing.gate(scores[..., demos], scores[..., mine])  # λ: (L, R, H)
    P = torch.stack([block.P.weight for block in model.core.blocks])  # (L, d, d)
    at_zsl = zsl.updates[:, :, -1]  # (L, R, d)
    direct = (gate[..., None] * (A_demos - A_own)).flatten(-2) @ P.mT  # (L, R, d)
    indirect = A_own.flatten(-2) @ P.mT - at_zsl
    return tuple(part.transpose(0, 1) for part in (icl.updates[:, :, -1] - at_zsl, direct, indirect, gate))
