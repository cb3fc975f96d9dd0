"""What do the commands say to bad inputs? Draws some at random: files, options, folders, models.

    python benchmarks/bad_inputs.py --n 200 --seed 0

Each command runs in this process, in a folder of its own. Before it begins to work it must say in one line what is
wrong, by the name of the file or option, with exit status 2, print nothing else, and leave every file as it was. What
it says otherwise is printed, and a table counts the kinds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import logging
import os
import random
import runpy
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"

import bad_files
import torch

from helpers import training
from helpers.verdicts import __main__ as verdicts

REAL, SCALED, VERDICTS = "helpers.finetuning.real_models", "helpers.trained.scaled_gpts", "helpers.verdicts"
TRAINED = "copying_runs deep_stacks depth_gpts filter_gpts induction_runs regression_gpts sine_runs softmax_runs"
TRAINED = [f"helpers.trained.{name}" for name in f"{TRAINED} textbook_runs word_gpts".split()]


class Call(NamedTuple):
    """A command, what is bad about it, and its arguments; the files are in its folder."""

    module: str
    kind: str
    arguments: list[str]


class Said(NamedTuple):
    """What a command said, its status (None: it ended in a traceback), and the files that are not as they were."""

    status: int | None
    out: str
    err: str
    changed: list[str]

    def well(self, call: Call, folder: Path) -> bool:
        lines = [line for line in self.err.replace("\r", "\n").splitlines() if line.strip() and "it/s]" not in line]
        one = len(lines) == 1 and lines[0].startswith(f"python -m {call.module}: error: ") and len(lines[0]) < 1000
        what, _, kind = call.kind.partition(": ")
        names = kind.strip("-")[:4] if what == "option" else str(folder)  # "seed", for "--seeds"
        return self.status == 2 and not self.out and one and names in lines[0] and not self.changed


class Works(BaseException):
    """It took the input for a good one."""


def run(call: Call, folder: Path) -> Said:
    """Run a command in this process, up to where its work begins."""
    before, out, err, status = _state(folder), io.StringIO(), io.StringIO(), 0
    loggers = [handler for handler in logging.getLogger("transformers").handlers if hasattr(handler, "setStream")]
    work = ["helpers.progress.bar", "helpers.progress.through", "helpers.shell.workers"]
    with contextlib.ExitStack() as stack:
        for each in work:
            stack.enter_context(mock.patch(each, side_effect=Works("it begins to work")))
        stack.enter_context(mock.patch("sys.argv", [call.module, *call.arguments]))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # it was imported before
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        for handler in loggers:
            stack.callback(handler.setStream, handler.setStream(err))
        try:
            if call.module == VERDICTS:  # whose table is not named on the command line
                verdicts.main(call.arguments, folder / "table.json")
            else:
                runpy.run_module(call.module, run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            status = stop.code
        except (Exception, Works):
            status = None
            traceback.print_exc(limit=-4)
    after = _state(folder)
    changed = sorted(str(name) for name in before.keys() | after if before.get(name) != after.get(name))
    return Said(status, out.getvalue(), err.getvalue(), changed)


def _state(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


# --- calls that are bad ----------------------------------------------------------------------------------------


def of_real_models(folder: Path, rng: random.Random, whole: Path) -> Call:
    usual = {"--model": str(whole), "--k": "4", "--sets": "2", "--queries": "2", "--rates": "0.1"}
    what = rng.choice(["model", "model", "data", "data", "option", "keep"])
    if what == "model":
        usual["--model"], kind = str(folder / "model"), bad_files.model_gone_wrong(folder / "model", whole, rng)
    elif what == "data":
        usual["--data"], kind = str(folder / "mine.jsonl"), bad_files.sentences_gone_wrong(folder / "mine.jsonl", rng)
    elif what == "keep":
        kept = io.BytesIO()
        torch.save({"what": "comparison", "of": {"k": 3}, "now": {"done": []}}, kept)
        kind, content = bad_files.damaged(kept.getvalue(), rng)
        (folder / "kept").write_bytes(content)
        usual["--keep"] = str(folder / rng.choice(["kept", "kept", "nowhere/kept", "", "kept/kept", "é" * 300]))
    else:
        kind = rng.choice(["--k", "--sets", "--queries", "--rates", "--seed", "--model", "--data", "--what"])
        usual[kind] = rng.choice(["nan", "-1", "", "four", "½", "inf nan"] + ["1.5"] * (kind != "--rates"))
    return Call(REAL, f"{what}: {kind}", [part for pair in usual.items() for part in pair])


def first_run(module: str, folder: Path) -> Path:
    """The file that a script keeps its first run in."""

    class Found(Exception):
        pass

    def found(*_, keep, **__):
        raise Found(keep)

    with mock.patch.object(training, "fit", found), contextlib.suppress(Found):
        try:
            importlib.import_module(module).main(folder)
        except Found as error:
            return Path(error.args[0])
    raise AssertionError(f"{module} keeps no run")


def of_trained(folder: Path, rng: random.Random) -> Call:
    module, what = rng.choice(TRAINED), rng.choice(["run", "run", "folder", "option"])
    if what == "run":
        content = io.BytesIO()
        torch.save({"what": "run", "of": {"iterations": 3}, "now": {"t": 0}}, content)
        kind, content = bad_files.damaged(content.getvalue(), rng)
        first_run(module, folder).write_bytes(content)
        return Call(module, f"run: {kind}", [str(folder)])
    (folder / "file").write_text("notes")
    if what == "option":
        kind = rng.choice(["--iterations=3", "--help-me", "and one more"])
        return Call(module, f"option: {kind}", [str(folder), kind])
    kind = rng.choice(["nowhere", "file", "file/nowhere", "é" * 300])
    return Call(module, f"folder: {kind[:12]}", [str(folder / kind)])


def of_scaled(folder: Path, rng: random.Random) -> Call:
    small = {"--width": "8", "--layers": "1", "--heads": "2", "--iterations": "2", "--seeds": "0"}
    what = rng.choice(["option", "record", "folder"])
    if what == "record":
        kind, content = bad_files.damaged(json.dumps({"width": 8, "cases": {}}).encode(), rng)
        (folder / "some.json").write_bytes(content)
    elif what == "folder":
        kind = "is a file"
        (folder / "file").write_text("notes")
    else:
        kind = rng.choice([*small, "--decay", "--workers", "--device"])
        small[kind] = rng.choice(
            ["cuda:99", "gpu", "", "meta", "cpu:x"] if kind == "--device" else ["-1", "nan", "x", ""]
        )
    place = folder / "file" if what == "folder" else folder
    return Call(SCALED, f"{what}: {kind}", [*sum(map(list, small.items()), []), "--folder", str(place)])


def of_verdicts(folder: Path, rng: random.Random) -> Call:
    what = rng.choice(["--notebook", "--draws", "--processes", "--what", "table", "part"])
    if what.startswith("--"):
        return Call(VERDICTS, f"option: {what}", [what, rng.choice(["-1", "0", "x", "", "1.5"])])
    kind, content = bad_files.damaged(b'[{"notebook": "03"}]', rng)
    (folder / {"table": "table.json", "part": "table.9_draws.part"}[what]).write_bytes(content)
    return Call(VERDICTS, f"{what}: {kind}", ["--notebook", "03"])


def calls(n: int, seed: int, within: Path) -> Iterator[tuple[Call, Path]]:
    """The same n calls for a seed, each with its folder."""
    rng, whole = random.Random(seed), bad_files.whole_model(within / "whole")
    for i in range(n):
        (folder := within / str(i)).mkdir()
        make = rng.choices([of_real_models, of_trained, of_scaled, of_verdicts], [4, 3, 2, 1])[0]
        yield make(folder, rng, *([whole] if make is of_real_models else [])), folder


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--n", type=int, default=200)
    ask.add_argument("--seed", type=int, default=0)
    asked, kinds, wrong = ask.parse_args(), Counter(), 0
    with tempfile.TemporaryDirectory() as within:
        for call, folder in calls(asked.n, asked.seed, Path(within)):
            said = run(call, folder)
            kinds[call.module, call.kind] += 1
            if not said.well(call, folder):
                wrong += 1
                print(f"{call}\n  status {said.status}, changed {said.changed}\n  {said.out}\n  {said.err}\n")
    for (module, kind), count in sorted(kinds.items()):
        print(f"{count:4}  {module:34} {kind}")
    print(f"{sum(kinds.values())} bad inputs of {len(kinds)} kinds; not answered in one line, with status 2: {wrong}")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
