"""Language GPTs of any size, trained by the recipe of `word_gpts` and measured by `finetuning.scale`, a record a run.

    python -m helpers.trained.scaled_gpts --width 64 --layers 3 --heads 4 --seeds 0 1 2 --device cpu --folder runs

Each run is kept in a file of its own as soon as it is done, so the same command goes on where it was stopped, and more
seeds or sizes can be added from another machine; then all are merged into runs/scale.jsonl. `--decay 0` trains without
Muon's weight decay. Runs are mapped over a pool of `--workers` processes; from Python, over any executor that has
`map`. Models are not kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import date
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from helpers import training
from helpers.finetuning import scale, small_gpt, toy_language
from helpers.models.gpt import WordGPT
from helpers.trained import word_gpts


class Cell(NamedTuple):
    """One run: the size of a model, how it is trained, and its seed."""

    width: int = 64
    layers: int = 3
    heads: int = 4
    seed: int = 0
    decay: float = word_gpts.DECAY
    iterations: int = word_gpts.ITERATIONS

    def name(self) -> str:
        """The run's file is named so.

        >>> Cell(seed=2).name()
        'width=64 layers=3 heads=4 seed=2 decay=0.5 iterations=1000'
        """
        return " ".join(f"{name}={value}" for name, value in self._asdict().items())


def untrained(cell: Cell) -> WordGPT:
    """The model before its training: random weights, frozen.

    >>> sum(W.numel() for W in untrained(Cell()).parameters())
    159552
    """
    model = WordGPT(
        toy_language.VOCABULARY, d_model=cell.width, n_layers=cell.layers, n_heads=cell.heads, seed=cell.seed
    )
    return word_gpts.frozen(model)


def train(model: WordGPT, cell: Cell, *, device: str = "cpu") -> training.History:
    """By the recipe of `word_gpts`, Muon with AdamW, and this cell's weight decay; the model is then frozen again."""
    model.to(device).train().requires_grad_(True)
    optimizer = word_gpts.optimizer(model, "Muon")
    for group in optimizer.param_groups:
        group["weight_decay"] *= cell.decay / word_gpts.DECAY  # AdamW's is 0, and stays
    history = training.fit(
        model,
        lambda seed: word_gpts.loss(model, word_gpts.sequences(seed).to(device)),
        optimizer,
        cell.iterations,
        seed=cell.seed,
        schedule=word_gpts.warm_then_down,
    )
    word_gpts.frozen(model)
    return history


def run(cell: Cell, *, device: str = "cpu", folder: Path | None = None) -> dict:
    """Train, measure, and keep the record in the folder; if it is there, read it.

    Cases: trained and random weights, each with the loss on the label and on all tokens.
    """
    file = folder / f"{cell.name()}.json" if folder else None
    if file and file.exists():
        return scale.load(file)[0]
    torch.set_num_threads(1)
    model, start, cases = untrained(cell).to(device), time.time(), {}
    for kind in ("random", "trained"):
        if kind == "trained":
            train(model, cell, device=device)
        for loss in small_gpt.LOSSES:
            cases[f"{kind}, {loss}"] = scale.measure(model, loss, device=device)
    machine = torch.cuda.get_device_name() if device.startswith("cuda") else "one CPU core"
    about = {"weights": sum(W.numel() for W in model.parameters()), "machine": machine}
    about |= {"date": str(date.today()), "seconds": round(time.time() - start)}
    record = cell._asdict() | about | {"cases": cases}
    if file:
        folder.mkdir(parents=True, exist_ok=True)
        scale.write(record, file)
    return record


def run_all(
    cells: Iterable[Cell], *, device: str = "cpu", folder: Path, executor: Executor | None = None, workers: int = 1
) -> list[dict]:
    """Map `run` over the cells, by the executor's `map`; without one, in a pool of processes. Merge, and give back."""
    one = partial(run, device=device, folder=folder)
    if executor is None:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(one, cells))
    else:
        list(executor.map(one, cells))
    return scale.merge(folder, folder / "scale.jsonl")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m helpers.trained.scaled_gpts", description=__doc__)
    for name in ("width", "layers", "heads", "iterations"):
        parser.add_argument(f"--{name}", type=int, default=Cell._field_defaults[name])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(word_gpts.SEEDS))
    parser.add_argument("--decay", type=float, nargs="+", default=[word_gpts.DECAY])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    asked = parser.parse_args(arguments)
    size = asked.width, asked.layers, asked.heads
    cells = [Cell(*size, seed, decay, asked.iterations) for seed, decay in product(asked.seeds, asked.decay)]
    for record in run_all(cells, device=asked.device, folder=asked.folder, workers=asked.workers):
        found = {name: case["SimAOU, per query"]["excess"][-1] for name, case in record["cases"].items()}
        print(f"{record['weights']:,} weights, seed {record['seed']}, decay {record['decay']}: excess, last layer")
        print("\n".join(f"  {name:20} {x:.3f} [{low:.3f}, {high:.3f}]" for name, (x, low, high) in found.items()))


if __name__ == "__main__":
    main()
