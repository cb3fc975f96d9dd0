"""Does momentum attention learn more from a prompt? The GPTs of word_gpts, with an average of values in each head.

    python -m helpers.trained.filter_gpts

trains them anew, three seeds of four kinds, in about 4 minutes each on one free core, and writes filter_gpts.pt: how
they did in training, and what they get right at its end. If it was stopped, the same command goes on.

MoAttn (Dai et al. 2023) adds to what a head reads at token t the sum over i < t of beta^(t - i) v_i. No query and no
key is in it: it is a fixed filter of the values. So it has two controls that are filters, too, but not momentum: the
plain mean of the 4 values before; and 4 taps a head that start at 0 and are learned. All else is as in `word_gpts`:
data, loss, optimizers, seeds.
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from helpers import kept, shell, training
from helpers.finetuning import toy_language
from helpers.models.gpt import WordGPT
from helpers.trained import word_gpts
from helpers.usual import usual

with usual():
    FILTERS = {  # the kinds, and how much the values at 1, 2, 3, … tokens back count; None: that is learned
        "MoAttn, β = 0.5": 0.5 ** torch.arange(1.0, 1000),  # those further back are 0 to round-off
        "MoAttn, β = 0.9": 0.9 ** torch.arange(1.0, 1000),
        "mean of 4": torch.full((4,), 0.25),
        "4 taps, learned": None,
    }
TASKS, QUERIES, SHOTS = 256, 4, (4, 8, 32)  # tried at the end, for 2 and for 4 classes
FILE = Path(__file__).with_suffix(".pt")
FOLDER = FILE.parent
REMEDY = "`python -m helpers.trained.filter_gpts` makes it."


def with_filter(model: WordGPT, kind: str) -> WordGPT:
    """Add to each head's reading at token t the sum over j >= 1 of f_j v_(t-j), in all layers, from now on."""
    if kind not in FILTERS:
        raise ValueError(f"kind: expected one of {'; '.join(FILTERS)}, got {kind!r}.")
    n_heads = len(model.core.slopes)
    for block in model.core.blocks:
        taps = FILTERS[kind]
        if taps is None:
            taps = block.taps = nn.Parameter(block.P.weight.new_zeros(n_heads, 1, 4))
        _add_filter(block, taps, n_heads)
    return model


def _add_filter(block: nn.Module, taps: Tensor, n_heads: int) -> None:
    values = []

    def at_projection(layer, arguments, out):
        values.append(out.unflatten(-1, (3, n_heads, -1))[..., 2, :, :].transpose(1, 2))  # (B, H, T, d_k)

    def before_P(layer, arguments):
        return (arguments[0] + filtered(values.pop(), taps).transpose(1, 2).flatten(2),)

    block.W_QKV.register_forward_hook(at_projection)
    block.P.register_forward_pre_hook(before_P)


def filtered(v: Tensor, taps: Tensor) -> Tensor:
    """Sum over j = 1, …, J of taps_j v_(t-j), for values (B, H, T, d_k); taps (J,) for all heads, or (H, …, J).

    >>> filtered(torch.tensor([1.0, 0, 0, 2]).view(1, 1, 4, 1), torch.tensor([0.5, 0.25])).flatten().tolist()
    [0.0, 0.5, 0.25, 0.0]
    """
    taps = nn.functional.pad(taps.reshape(-1, taps.shape[-1]), (1, 1)).to(v.dtype)  # what is no value before counts 0
    at = torch.arange(v.shape[2], device=v.device)
    lag = at[:, None] - at
    return taps[:, lag.clamp(0, taps.shape[-1] - 1)] @ v


def untrained(kind: str, seed: int = 0) -> WordGPT:
    """A new model, with one of FILTERS.

    >>> untrained("4 taps, learned").core.blocks[0].taps.shape
    torch.Size([4, 1, 4])
    """
    return with_filter(word_gpts.untrained(seed), kind)


def train(model: WordGPT, iterations: int = word_gpts.ITERATIONS, *, seed: int = 0, **fit) -> training.History:
    """As `word_gpts.train`, by its first recipe."""
    return word_gpts.train(model, iterations, seed=seed, **fit)


def tried(model: WordGPT) -> Tensor:
    """The share of queries answered right (2, TASKS, 3): of unseen tasks of 2 and 4 classes, after SHOTS."""
    found = []
    for C in (2, 4):
        episode = toy_language.few_shot(toy_language.draw(TASKS, C, seed=31), max(SHOTS), QUERIES, seed=32)
        for k in SHOTS:
            found.append(word_gpts.hits(model, episode.first(k)).float().mean(1))
    return torch.stack(found, 1).unflatten(1, (2, len(SHOTS))).transpose(0, 1)


def load(kind: str, seed: int = 0, *, folder: str | Path = FOLDER) -> tuple[Tensor, Tensor, Tensor]:
    """Of one run: accuracies (41, 2) on the way, as `word_gpts.progress`; losses (40,); and what `tried` says.

    `kind` is one of FILTERS, or "none", the models of `word_gpts`.

    >>> [part.shape for part in load("mean of 4", seed=1)]
    [torch.Size([41, 2]), torch.Size([40]), torch.Size([2, 256, 3])]
    """
    names = [f"{each} {i}" for each, i in product(("none", *FILTERS), word_gpts.SEEDS)]
    if f"{kind} {seed}" not in names:
        raise ValueError(f"kind, seed: expected one of {'; '.join(names)}, got {kind} {seed}.")
    return kept.read(Path(folder) / FILE.name, REMEDY, holds=names)[f"{kind} {seed}"]


def main(folder: str | Path = FOLDER) -> None:
    """Do all runs, and write what became of them."""
    torch.set_num_threads(1)
    folder, found = Path(folder), {}
    for kind, seed in product(FILTERS, word_gpts.SEEDS):
        start, model = time.process_time(), untrained(kind, seed)
        history = train(model, word_gpts.ITERATIONS, seed=seed, keep=folder / f"filter_gpts_{kind}_{seed}.run")
        found[f"{kind} {seed}"] = (*word_gpts.curve(history), tried(model))
        seen = ", ".join(f"{right:.3f}" for right in found[f"{kind} {seed}"][2][..., -1].mean(1))
        print(f"{kind}, seed {seed}: {seen}, {time.process_time() - start:.0f} s of CPU", flush=True)
    for seed in word_gpts.SEEDS:
        found[f"none {seed}"] = (*word_gpts.curves(seed=seed), tried(word_gpts.load(seed)))
    kept.write(folder / FILE.name, found)
    kept.clear(folder, "filter_gpts_*.run")


if __name__ == "__main__":
    shell.script(main, FOLDER)
