"""One set of demonstrations, measured: the same queries asked in three ways, and how alike context and training are.

The measures are those of `similarity`. Attention's scores are taken as the logarithms of its weights, so each row of
them is known but for a constant: enough for the centred SimAM and for orders, which is why the raw SimAM, which such a
constant moves, is not among them. A query's own tokens are those that its prompts end in alike, but for the first of
the prompt without demonstrations, where many models leave attention that they do not need. Where positions are relative
(Llama, GPT-NeoX), a context changes no score of the first layer: its SimAM Δ is a cosine of rounding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.finetuning import hugging_face, side_by_side, similarity
from helpers.finetuning.hugging_face import Reading
from helpers.finetuning.sentences import Example

OF_UPDATES = ("SimAOU", "SimAOU, normalised", "its floor", "SimAOU, per query")
OF_SCORES = ("SimAM, centred", "SimAM, before FT", "SimAM Δ, centred")
ORDERS = ("queries", "inputs")


class Readings(NamedTuple):
    """The same queries, asked in three ways."""

    zsl: Reading
    ft: Reading
    icl: Reading

    def updates(self) -> tuple[Tensor, Tensor, Tensor]:
        """h_ICL, h_FT, h_ZSL, each (1, Q, L, d), as `side_by_side.METRICS` want them."""
        return self.icl.updates[None], self.ft.updates[None], self.zsl.updates[None]

    def scores(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each query, m_ICL, m_FT, m_ZSL, each (L, H, own): of the query's own tokens."""
        ends = zip(self.icl.tokens, self.zsl.tokens, strict=True)
        own = [min(_shared(few[::-1], alone[::-1]), len(alone) - 1) for few, alone in ends]
        rows = zip(*(part.scores for part in (self.icl, self.ft, self.zsl)), strict=True)
        return [tuple(m[..., -n:] for m in row) for row, n in zip(rows, own, strict=True)]


def _shared(tokens: list[int], other: list[int]) -> int:
    """With how many tokens both begin."""
    return len(os.path.commonprefix([tokens, other]))


def measure(model, tokenizer, demos, queries, labels, rates) -> dict[str, Tensor]:
    zsl, icl = (hugging_face.ask(model, tokenizer, queries, labels, context) for context in ((), demos))
    each, order = [], listened(tokenizer, demos, icl)
    for lr in rates:
        with hugging_face.temporarily_finetuned(model, tokenizer, demos, lr) as heard:
            ft = hugging_face.ask(model, tokenizer, queries, labels)
        orders = {name: torch.einsum("qld,kld->qlk", getattr(ft, name), getattr(heard, name)) for name in ORDERS}
        each.append({"ft": ft.right} | _alike(Readings(zsl, ft, icl)) | orders)
    each = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    return {"zsl": zsl.right, "icl": icl.right, "order": order} | each


def _alike(asked: Readings) -> dict[str, Tensor]:
    """Each measure (L,), a mean over queries, and heads."""
    found = {name: side_by_side.METRICS[name](asked).mean((0, 1)) for name in OF_UPDATES}
    of_scores = [
        torch.stack([similarity.sim_am(*pair, centred=True) for pair in ((icl, ft), (icl, zsl), (icl, ft, zsl))])
        for icl, ft, zsl in asked.scores()
    ]  # Q of (3, L, H)
    return found | dict(zip(OF_SCORES, torch.stack(of_scores).mean((0, -1)), strict=True))


def listened(tokenizer, demos: Sequence[Example], icl: Reading) -> Tensor:
    """How much of each query's attention each demonstration has (Q, L, k): its tokens' mean score, over all heads."""
    contexts = [hugging_face.tokens_of(tokenizer, hugging_face.context_of(demos[:i])) for i in range(len(demos) + 1)]
    found = []
    for m, tokens in zip(icl.scores, icl.tokens, strict=True):
        ends = [_shared(context, tokens) for context in contexts]
        each = [m[..., start:end] for start, end in zip(ends, ends[1:], strict=False)]
        if min(part.amax((1, 2)).min() for part in each) <= hugging_face.NOTHING:
            raise ValueError("k: attention to a demonstration is exactly 0: the model reads a window only; take fewer.")
        found.append(torch.stack([part.sum(1).mean(-1) for part in each], dim=-1))
    return torch.stack(found)


def with_orders(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kendall's tau between the context's order of its demonstrations and fine-tuning's, of these and of another set.

    Fine-tuning's is how much each demonstration is like the query: in the inputs of attention, which is how a change of
    weights by SGD, a sum of e x^T, reads it; or in the queries (Dai et al.).
    """
    icl = found.pop("order")[:, None]  # (S, 1, Q, L, k)
    for name in ORDERS:
        ft = found.pop(name)  # (S, R, Q, L, k)
        for title, order in ((f"Kendall, {name}", ft), (f"  {name} of another set", ft.roll(1, dims=0))):
            found[title] = similarity.kendall(icl.expand_as(order), order).nanmean(2)
    return found
