"""Language GPTs of any size, trained by the recipe of `word_gpts` and measured by `finetuning.scale`, a record a run.

    python -m helpers.trained.scaled_gpts --width 64 --layers 3 --heads 4 --seeds 0 1 2 --device cpu --folder runs

Each run is kept in a file of its own as soon as it is done, so the same command goes on where it was stopped, and more
seeds or sizes can be added from another machine; then all are merged into runs/scale.jsonl. `--decay 0` trains without
Muon's weight decay. Runs are mapped over `--workers` processes; from Python, over any executor that has `map`. Models
are not kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from helpers import checks, shell, training
from helpers.finetuning import scale, small_gpt, toy_language
from helpers.models.gpt import WordGPT
from helpers.trained import word_gpts

COMMAND = "python -m helpers.trained.scaled_gpts"
REMEDY = "delete it, and the same command makes it anew."


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

    def checked(self) -> Cell:
        """The same, if there can be such a run."""
        for name in ("width", "layers", "heads", "seed", "iterations"):
            checks.count(name, getattr(self, name), least=0 if name == "seed" else 1)
        if checks.number("decay", self.decay) < 0:
            raise ValueError(f"decay: expected a number of at least 0, got {self.decay}.")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of the {self.heads} heads, got {self.width}.")
        return self


def untrained(cell: Cell) -> WordGPT:
    """The model before its training: random weights, frozen.

    >>> sum(W.numel() for W in untrained(Cell()).parameters())
    159552
    """
    model = WordGPT(
        toy_language.VOCABULARY, d_model=cell.width, n_layers=cell.layers, n_heads=cell.heads, seed=cell.seed
    )
    return word_gpts.frozen(model)


def fit(model: WordGPT, cell: Cell, *, device: str = "cpu") -> training.History:
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
        return scale.load(file, REMEDY)[0]
    torch.set_num_threads(1)
    model, start, cases = untrained(cell).to(device), time.time(), {}
    for kind in ("random", "trained"):
        if kind == "trained":
            fit(model, cell, device=device)
        for loss in small_gpt.LOSSES:
            cases[f"{kind}, {loss}"] = scale.measure(model, loss, device=device)
    machine = torch.cuda.get_device_name() if device.startswith("cuda") else "one CPU core"
    about = {"weights": sum(W.numel() for W in model.parameters()), "machine": machine}
    about |= {"date": str(date.today()), "seconds": round(time.time() - start)}
    record = cell._asdict() | about | {"cases": cases}
    if file:
        folder.mkdir(parents=True, exist_ok=True)
        scale.write([record], file)
    return record


def run_all(
    cells: Iterable[Cell], *, device: str = "cpu", folder: Path, executor: Executor | None = None, workers: int = 1
) -> list[dict]:
    """Map `run` over the cells, by the executor's `map`; without one, over processes. Merge, and give back.

    Whatever cannot be run, read or written is said before the work begins.
    """
    cells, one = [cell.checked() for cell in cells], partial(run, device=usable(device), folder=folder)
    checks.count("workers", workers)
    folder.mkdir(parents=True, exist_ok=True)
    merge(folder)
    if executor is None:
        with shell.workers(workers) as pool:
            list(pool.map(one, cells))
    else:
        list(executor.map(one, cells))
    return merge(folder)


def merge(folder: Path) -> list[dict]:
    """All records of a folder, and one file scale.jsonl with them; the order is that of their files' names."""
    records = [record for file in sorted(folder.glob("*.json")) for record in scale.load(file, REMEDY)]
    scale.write(records, folder / "scale.jsonl")
    return records


def usable(device: str) -> str:
    """The device, if something can be computed on it.

    >>> usable("gpu")
    Traceback (most recent call last):
    ValueError: device: expected one that torch can use here, as cpu or cuda, got 'gpu'.
    """
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # torch's, of a name or a machine without
        raise ValueError(f"device: expected one that torch can use here, as cpu or cuda, got {device!r}.") from error
    return device


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    with shell.command(COMMAND, lambda: "What is done is kept, and the same command goes on from there."):
        asked = _parser().parse_args(arguments)
        size = asked.width, asked.layers, asked.heads
        cells = [Cell(*size, seed, decay, asked.iterations) for seed, decay in product(asked.seeds, asked.decay)]
        for record in run_all(cells, device=asked.device, folder=asked.folder, workers=asked.workers):
            found = {name: case["SimAOU, per query"]["excess"][-1] for name, case in record["cases"].items()}
            print(f"{record['weights']:,} weights, seed {record['seed']}, decay {record['decay']}: excess, last layer")
            print("\n".join(f"  {name:20} {x:.3f} [{low:.3f}, {high:.3f}]" for name, (x, low, high) in found.items()))


def _parser() -> shell.Parser:
    parser = shell.Parser(prog=COMMAND, description=__doc__.splitlines()[0])
    for name in ("width", "layers", "heads", "iterations"):
        parser.add_argument(f"--{name}", type=int, default=Cell._field_defaults[name])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(word_gpts.SEEDS))
    parser.add_argument("--decay", type=float, nargs="+", default=[word_gpts.DECAY])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    return parser


if __name__ == "__main__":
    main()
