"""The decisive control at any size: one record a trained model, as a line of JSON; and the records that are shipped.

data/scale.jsonl holds 14 runs on one H200 (27 November 2026; float32 with TF32 products; 100 to 250 s a run), of five
sizes from 160,000 to 151 million weights, three seeds each, two of the largest; and runs on one CPU core. The command

    python -m helpers.trained.scaled_gpts --width 256 --layers 6 --heads 8 --seeds 0 1 2 --device cuda

makes such records. (The runs on the H200 drew their training sequences by the GPU's generator: the command gives runs
of the same recipe with other draws. On a CPU it gives the shipped record again, to a digit or two.)

A record has what was run, and a "cases" entry for trained and random weights and each loss: the learning rate, with the
highest accuracy on 16 other tasks; accuracies; and, layer by layer, two measures of similarity: behind the "same"
demonstrations, behind "others" of the task, "shuffled" labels, and the "excess" of the first over the second with its
95 % bootstrap interval over tasks. "FT beside FT" is the per-query measure of two fine-tunings, one on the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from helpers import kept
from helpers.finetuning import side_by_side, similarity, small_gpt, toy_language
from helpers.finetuning.side_by_side import Conditions
from helpers.finetuning.small_gpt import Recipe
from helpers.models.gpt import WordGPT

FILE = Path(__file__).parent / "data" / "scale.jsonl"
REMEDY = "`git checkout helpers/finetuning/data/scale.jsonl` brings it back."
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
MEASURES = ("SimAOU", "SimAOU, per query")


def load(file: str | Path = FILE, remedy: str = REMEDY) -> list[dict]:
    """The shipped records, one for each trained model.

    >>> records = load()
    >>> sorted({record["weights"] for record in records if record["machine"] == "NVIDIA H200"})
    [159552, 811776, 4773888, 25285632, 151271424]
    """
    records = kept.read_json(file, remedy, lines=True)
    if not all(isinstance(record, dict) and "cases" in record for record in records):
        raise ValueError(f"file: {file} holds something else, not records of runs: {remedy}")
    return records


def write(records: Iterable[dict], file: Path) -> None:
    """Records, one a line."""
    kept.write_text(file, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records))


def measure(model: WordGPT, loss: str, *, device: str = "cpu") -> dict:
    """One case of a record: this model, fine-tuned by this loss, on 24 unseen tasks of 32 demonstrations, 8 queries.

    >>> model = WordGPT(toy_language.VOCABULARY, d_model=8, n_layers=2, n_heads=2).requires_grad_(False)
    >>> case = measure(model, "label")
    >>> len(case["SimAOU"]["same"]), len(case["SimAOU"]["excess"][0])           # layers; value, low, high
    (2, 3)
    """
    episode = toy_language.few_shot(toy_language.draw(24, seed=1), 32, Q=8, seed=1)
    held_out = toy_language.few_shot(toy_language.draw(16, seed=2), 32, Q=16, seed=2).to(device)
    same, others, shuffled = (
        side_by_side.other_context(episode, control).to(device) for control in side_by_side.CONTROLS[:3]
    )
    recipe = Recipe(loss=loss)
    recipe = recipe._replace(lr=side_by_side.best_rate([model], held_out, recipe, RATES))
    three = side_by_side.compare(model, same, recipe)
    behind = {"same": three}
    for name, prompt in {"others": others, "shuffled": shuffled}.items():
        behind[name] = three._replace(icl=small_gpt.in_context(model, prompt))
    ft_of_others = three._replace(icl=side_by_side.after_finetuning(model, others, recipe))
    ways = {name: side_by_side.accuracy(getattr(three, name), same).mean().item() for name in ("zsl", "ft", "icl")}
    case = {"rate": recipe.lr} | {name: round(value, 3) for name, value in ways.items()}
    case |= {name: _behind(name, behind) for name in MEASURES}
    return case | {"FT beside FT": _digits(side_by_side.per_query(ft_of_others).mean((0, 1)))}


def _behind(measure: str, prompts: dict[str, Conditions]) -> dict[str, list]:
    """One measure behind each prompt, by layer; and the paired excess."""
    values = {name: side_by_side.METRICS[measure](each).mean(1).cpu() for name, each in prompts.items()}  # (B, L)
    excess = torch.stack(similarity.bootstrap(values["same"] - values["others"]), dim=1)  # (L, 3)
    return {name: _digits(each.mean(0)) for name, each in values.items()} | {"excess": _digits(excess)}


def _digits(values: Tensor) -> list:
    return [[round(x, 3) for x in row] if isinstance(row, list) else round(row, 3) for row in values.tolist()]
