"""Fine-tuning 64 tasks side by side against a plain loop; queries behind one shared prompt; all that notebook 11 does.

    python benchmarks/finetuning.py

CPU seconds of one thread. The plain loop is what one would write first: a copy of the model for each task, and
torch.optim.SGD on W_K and W_V, one demonstration a step.
"""

from __future__ import annotations

import copy
import time

import torch
from torch.nn import functional as F

from helpers.finetuning import attribution, effects, inside, side_by_side, similarity, small_gpt, toy_language
from helpers.finetuning.small_gpt import Recipe
from helpers.trained import word_gpts

EPISODE = toy_language.few_shot(toy_language.draw(64, seed=1), k=32, Q=16, seed=1)
LR = 0.1
MODELS = {
    "trained": word_gpts.load,
    "trained embeddings": word_gpts.with_trained_embeddings,
    "untrained": word_gpts.untrained,
}


def by_a_plain_loop(model, demos, lr) -> list[list[torch.Tensor]]:
    """Each task's W_K and W_V, layer by layer."""
    found = []
    for task in demos:
        tuned = copy.deepcopy(model)
        weights = [block.W_QKV.weight.requires_grad_() for block in tuned.core.blocks]
        sgd = torch.optim.SGD(weights, lr)
        for demo in task:
            sgd.zero_grad()
            F.cross_entropy(tuned(demo[None, :-1])[0, -1], demo[-1]).backward()
            for W in weights:
                W.grad[: len(W) // 3] = 0  # W_Q
            sgd.step()
        found.append([W.detach()[len(W) // 3 :] for W in weights])
    return found


def reported(model, weights) -> tuple[torch.Tensor, torch.Tensor]:
    """What the comparison says of fine-tuned weights: which queries are right, and SimAOU and SimAM, layer by layer."""
    zsl, icl = (small_gpt.in_context(model, part) for part in (EPISODE.first(0), EPISODE))
    three = side_by_side.Conditions(zsl, small_gpt.with_weights(model, EPISODE, weights), icl, own=4)
    alike = [side_by_side.METRICS[name](three).mean((0, 1)) for name in ("SimAOU", "SimAOU, per query", "SimAM")]
    return side_by_side.right(three.ft, EPISODE), torch.stack(alike)


def everything(model) -> None:
    """Fine-tuning, three ways of asking, all measures with intervals, three orders with their nulls, both effects."""
    three = side_by_side.compare(model, EPISODE, Recipe(LR))
    for values in side_by_side.by_layer(three).values():
        similarity.bootstrap(values)
    similarity.bootstrap(
        side_by_side.recall(three, EPISODE), lambda counts: torch.stack(similarity.rec2ftp(counts), -1)
    )
    few = EPISODE._replace(query=EPISODE.query[:, :4], target=EPISODE.target[:, :4])
    heard = attribution.attributions(model, few, Recipe(LR))
    for theirs in (heard.queries, heard.keys):
        for other in (theirs, theirs.roll(1, dims=0)):
            similarity.bootstrap(similarity.kendall(heard.icl, other).mean(1))
    by_demo = heard.icl.unflatten(-1, (32, 5)).sum(-1)
    similarity.bootstrap(similarity.kendall(by_demo, heard.gradients).mean(1))
    effects.effects(model, few)


def seconds(work, *arguments):
    start = time.process_time()
    made = work(*arguments)
    return time.process_time() - start, made


def main() -> None:
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.float64):
        model = word_gpts.load(0).to(dtype)
        small_gpt.finetune(model, EPISODE.demos[:, :1], Recipe(LR))  # the first call loads what it needs
        ours, (weights, _) = seconds(small_gpt.finetune, model, EPISODE.demos, Recipe(LR))
        loop, copies = seconds(by_a_plain_loop, model, EPISODE.demos, LR)
        theirs = dict(zip(weights, map(torch.stack, zip(*copies, strict=True)), strict=True))
        gaps = torch.stack([(weights[name] - W).abs().amax((1, 2)) / W.abs().max() for name, W in theirs.items()])
        (right, alike), (right_too, alike_too) = reported(model, weights), reported(model, theirs)
        print(f"{dtype}: side by side {ours:.2f} s, loop {loop:.2f} s: {loop / ours:.1f} times as fast")
        print(
            f"    the two differ in {(right != right_too).sum()} of {right.numel()} answers, in what is reported by "
            f"{(alike - alike_too).abs().max():.0e} at most; in weights, of the largest: median task "
            f"{gaps.amax(0).median():.0e}, worst {gaps.max():.0e}"
        )
    model, rows = word_gpts.load(0), EPISODE.prompts()
    shared, behind = seconds(small_gpt.in_context, model, EPISODE)
    whole, alone = seconds(
        lambda: torch.cat([inside.state(model, model.embed(part)).updates for part in rows.split(128)])
    )
    gap = (behind.updates.flatten(0, 1) - alone).abs().max()
    print(f"16 queries behind one prompt {shared:.2f} s, as whole rows {whole:.2f} s; they differ by {gap:.0e}")
    total = 0.0
    for name, make in MODELS.items():
        took, _ = seconds(everything, make(0))
        total += took
        print(f"the whole comparison, {name}: {took:.1f} s")
    print(f"all three: {total:.1f} s")


if __name__ == "__main__":
    main()
