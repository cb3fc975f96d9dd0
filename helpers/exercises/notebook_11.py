"""Checks for the exercises of notebook 11: in-context learning versus fine-tuning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers.exercises import ask, fits, number_verdict, verdict
from helpers.finetuning import published, similarity, small_gpt, toy_language
from helpers.finetuning.small_gpt import Recipe
from helpers.models.gpt import WordGPT


def check_floor(answer: float) -> None:
    """Notebook 11, exercise 1: the normalised SimAOU of unrelated updates, each sqrt(3) times as long as h_ZSL.

    >>> check_floor(0.0)
    Not yet: 0 is not it. Hint: divided by its length, h_ZSL + r keeps 1 / sqrt(1 + 3) = 1/2 along h_ZSL.
    """
    if answer is ...:
        return print("Not yet: replace the dots by a number.")
    root = torch.tensor(3.0, dtype=torch.float64).sqrt()
    hint = "divided by its length, h_ZSL + r keeps 1 / sqrt(1 + 3) = 1/2 along h_ZSL."
    number_verdict(answer, similarity.aou_floor(root, root).item(), hint)


def check_bound(answer: float) -> None:
    """Notebook 11, exercise 2: the least that P(ICL right | ZSL wrong) can be on SST2 with the model of 1.3B.

    >>> check_bound(0.927)
    Not yet: 0.927 is not it. Hint: ICL is right on 92.7 %, and at most 70.5 of these can be where ZSL is right, too.
    """
    if answer is ...:
        return print("Not yet: replace the dots by a number.")
    zsl, icl = (published.load()["dai"]["1.3B"][way][0] for way in ("ZSL", "ICL"))
    hint = f"ICL is right on {icl} %, and at most {zsl} of these can be where ZSL is right, too."
    number_verdict(answer, (icl - zsl) / (100 - zsl), hint)


def check_exchange(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 11, exercise 3: `answer(h_icl, h_ft, other_icl, other_ft)`, each (B, Q, d), is the cosine (B, Q) of what
    an exchange of the demonstrations changes in ICL and in FT, centred over the queries.

    >>> check_exchange(lambda h_icl, h_ft, other_icl, other_ft: torch.cosine_similarity(h_icl, h_ft, dim=-1))
    Not yet: that is the cosine of h itself. Hint: what changes is a difference: with, less with the others.
    """
    g = torch.Generator().manual_seed(11)
    shared = torch.randn(4, 1, 6, generator=g, dtype=torch.float64)
    runs = [torch.randn(3, 5, 6, generator=g, dtype=torch.float64) + 2 * each for each in shared]  # (B, Q, d)
    h_icl, h_ft, other_icl, other_ft = runs
    found = ask(answer, *(run.clone() for run in runs))
    if found is None or not fits(found, torch.Size([3, 5])):
        return
    changes = h_icl - other_icl, h_ft - other_ft
    centred = [change - change.mean(1, keepdim=True) for change in changes]
    wrong = {
        "that is the cosine of h itself. Hint: what changes is a difference: with, less with the others.": (
            h_icl,
            h_ft,
        ),
        "the queries still share a part of both changes. Hint: take the mean over dimension 1 out.": changes,
        "that sets ICL against FT. Hint: exchange the demonstrations, not the learner.": (
            h_icl - h_ft,
            other_icl - other_ft,
        ),
    }
    for says, pair in wrong.items():
        if (found - torch.cosine_similarity(*pair, dim=-1)).abs().max() < 1e-9:
            return print(f"Not yet: {says}")
    verdict(found, torch.cosine_similarity(*centred, dim=-1), "difference first, then centre, then the cosine over d.")


def check_layer_causal(answer: Callable[[Callable, Tensor, Callable], Tensor]) -> None:
    """Notebook 11, exercise 4: `answer(blocks, z, loss)` is the layer-causal loss: the sum of `loss` at each block's
    output, with no gradient from a block to the one before.

    >>> check_layer_causal(lambda blocks, z, loss: None)
    Not yet: the function returns nothing. Replace the dots.
    """
    model = WordGPT(toy_language.VOCABULARY, d_model=16, n_layers=3, n_heads=2, seed=11).double().requires_grad_(False)
    demo = toy_language.few_shot(toy_language.draw(1, seed=11), k=1, Q=1, seed=11).demos[0]
    z, wanted = model.embed(demo), []
    small_gpt.finetune(model, demo[None], Recipe(rule="layer-causal (code)"), lambda i, W, G: wanted.extend(G.values()))
    back = torch.arange(demo.shape[1])[:, None] - torch.arange(demo.shape[1])
    penalty = (-model.core.slopes[:, None, None] * back).masked_fill(back < 0, -torch.inf)[None]
    weights = [block.W_QKV.weight.requires_grad_(True) for block in model.core.blocks]
    blocks = [lambda z, block=block: block(z, penalty) for block in model.core.blocks]

    def loss(out):
        return torch.nn.functional.cross_entropy(model.unembed(model.core.norm(out))[:, -2], demo[:, -1])

    total = ask(answer, blocks, z, loss)
    if total is None or not fits(total, torch.Size([])):
        return
    if not total.requires_grad:
        return print("Not yet: no gradient reaches the weights. Hint: detach what goes into a block only.")
    found = torch.autograd.grad(total, weights, allow_unused=True)
    if any(G is None for G in found):
        return print("Not yet: some blocks get no gradient. Hint: each block's output needs a loss of its own.")
    off = max((G[16:] - W[0]).abs().max().item() for G, W in zip(found, wanted, strict=True))
    if off < 1e-9:
        print("✔ Right, to within 1e-9 in each of three layers of a model that the check made for itself.")
    else:
        print(f"Not yet: the largest difference is {off:.2g}. Hint: detach before each block, and add the losses up.")
