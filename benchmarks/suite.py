"""How long the tests take, and what the notebooks cost: the bars of this project, as a table.

    python benchmarks/suite.py            # everything; --notebooks leaves out the two runs of the tests

Clock and processor seconds of `make check` and `make test`, how many tests they run, and the processor seconds of each
notebook's cells, executed once in a process of its own, with one thread. Of use on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadgroup", "--no-loadscope-reorder"]
RUNS = {"make check": ["-m", "not runs_notebooks"], "make test": []}


class Bar(NamedTuple):
    """What was measured, in seconds, and what it may be."""

    name: str
    seconds: float
    at_most: float

    def __str__(self) -> str:
        met = "yes" if self.seconds <= self.at_most else "NO"
        return f"| {self.name} | {self.seconds:.0f} | {self.at_most:.0f} | {met} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", action="store_true", help="only these, not the tests")
    only_notebooks = parser.parse_args().notebooks
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    bars = notebook_bars()
    for name, options in {} if only_notebooks else RUNS.items():
        clock, processor, last_line = run_tests(options)
        print(f"{name}: {last_line}", flush=True)
        bars += [Bar(f"{name}, clock", clock, {"make check": 90, "make test": 720}[name])]
        bars += [Bar(f"{name}, processor", processor, {"make check": 180, "make test": 900}[name])]
    print(f"\n{os.cpu_count()} cores\n\n| what | seconds | at most | |\n|---|---|---|---|")
    print(*bars, sep="\n")


def notebook_bars() -> list[Bar]:
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    fresh = {"mp_context": multiprocessing.get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, **fresh) as processes:
        seconds = list(processes.map(seconds_of_cells, paths))
    bars = [Bar(path.stem, took, 30) for path, took in zip(paths, seconds, strict=True)]
    return [*bars, Bar("all notebooks", sum(seconds), 180)]


def seconds_of_cells(path: Path) -> float:
    """Processor seconds of a notebook's cells, as the tests execute them."""
    sys.path.append(str(ROOT / "tests"))
    import executed

    return sum(cell.seconds for cell in executed.execute(path).cells)


def run_tests(options: list[str]) -> tuple[float, float, str]:
    """Clock and processor seconds of the tests, kernels and browser included, and pytest's last line."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(PYTEST + options, cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = re.findall(r"^.*(?:passed|failed|error).*$", done.stdout, flags=re.M)
    return time.perf_counter() - start, processor, last[-1] if last else done.stdout[-500:]


if __name__ == "__main__":
    main()
