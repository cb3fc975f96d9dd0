"""Would the tests notice? Draws small faults at random, plants each in a copy of the repository, and runs the tests.

    python benchmarks/mutants.py --n 200 --seed 0

A mutant is killed when a test fails: the module's own tests and doctests are tried first, then those of `make check`.
The survivors are printed as diffs. Those that change nothing that can be observed stand in equivalent.toml, each with
the reason, and do not count.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ROAD = "tasks attention constructions learners metrics probes plotting widgets checks picture progress training"
FINETUNING = "small_gpt similarity side_by_side toy_language"
MODULES = [f"helpers/{name}.py" for name in ROAD.split()]
MODULES += [f"helpers/finetuning/{name}.py" for name in FINETUNING.split()]
BAR = 0.95
CHECK = ["-m", "not runs_notebooks"]  # what `make check` runs
LIMIT = 1800  # seconds; a mutant that never ends is noticed, too

OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    """A module with one fault."""

    module: str
    source: str

    def diff(self) -> str:
        before = (ROOT / self.module).read_text(encoding="utf-8")
        lines = difflib.unified_diff(before.splitlines(), self.source.splitlines(), self.module, lineterm="", n=1)
        return "\n".join(list(lines)[2:])

    def changed(self) -> tuple[str, str]:
        """The line before and after, as equivalent.toml has them."""
        lines = [line for line in self.diff().splitlines() if line[0] in "-+"]
        return tuple(" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")


# --- faults ---------------------------------------------------------------------------------------------------


def mutants_of(module: str) -> Iterator[Mutant]:
    """All the mutants of a module: one node of its syntax tree replaced, all other text as it was."""
    source = (ROOT / module).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(source)
    conditions = [node.test for node in ast.walk(tree) if isinstance(node, (ast.If, ast.While))]
    for node in code_in(tree):
        negated = [ast.UnaryOp(ast.Not(), node)] if node in conditions else []
        for new in (*faults(node), *negated):
            start, end = (starts[line - 1] + column for line, column in places(node))
            yield Mutant(module, (source[:start] + f"({ast.unparse(new)})".encode() + source[end:]).decode())


def places(node: ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def code_in(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions below a node that compute something: no annotations, no messages, no decorators."""
    if isinstance(node, ast.expr):
        yield node
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(node, (ast.JoinedStr, ast.Raise)):
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from code_in(child)


def faults(node: ast.expr) -> Iterator[ast.expr]:
    """What one might have written by mistake in its place."""
    match node:
        case ast.BinOp(left, ast.MatMult(), right):
            yield ast.BinOp(right, ast.MatMult(), left)
        case ast.BinOp(left, op, right) if type(op) in OTHER:
            yield ast.BinOp(left, OTHER[type(op)](), right)
        case ast.Compare(left, [op], [right]) if type(op) in OTHER:
            yield ast.Compare(left, [OTHER[type(op)]()], [right])
        case ast.BoolOp(op, values):
            yield ast.BoolOp(OTHER[type(op)](), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(float(value)):
            yield ast.Constant(1.1 * value if value else 0.1)
        case ast.Attribute(value, "mT" | "T"):
            yield value
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Call(func, args, keywords):
            if len(args) >= 2 and not any(isinstance(arg, ast.Starred) for arg in args[:2]):
                yield ast.Call(func, [args[1], args[0], *args[2:]], keywords)
            for i in range(len(keywords)):
                yield ast.Call(func, args, keywords[:i] + keywords[i + 1 :])


# --- the tests ------------------------------------------------------------------------------------------------


def own_tests(module: str) -> list[str]:
    """The module's doctests, and the file of tests that has its name."""
    tests = Path(module.replace("helpers/", "tests/", 1))
    tests = tests.with_name(f"test_{tests.name}")
    return [module, *([str(tests)] if (ROOT / tests).exists() else [])]


def is_killed(mutant: Mutant, copy: Path) -> bool:
    """Plants the mutant in a copy of the repository; as it was, afterwards."""
    file = copy / mutant.module
    before = file.read_text(encoding="utf-8")
    file.write_text(mutant.source, encoding="utf-8")
    try:
        return any(fails(copy, [*tests, *CHECK]) for tests in (own_tests(mutant.module), []))
    finally:
        file.write_text(before, encoding="utf-8")


def fails(copy: Path, options: list[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
    own = {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=os.environ | own, capture_output=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode not in (0, 5)  # 5: there is no test


def copy_of_the_repository(folder: str) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0")[:-1]:
        target = Path(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="how many mutants (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    listed = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text(encoding="utf-8"))
    equivalent = {(each["module"], each["before"], each["after"]) for each in listed.get("mutant", [])}
    every = [mutant for module in MODULES for mutant in mutants_of(module)]
    drawn = random.Random(options.seed).sample(every, options.n)
    counted = [mutant for mutant in drawn if (mutant.module, *mutant.changed()) not in equivalent]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.processes) as threads:
        copies = queue.SimpleQueue()
        for i in range(options.processes):
            copies.put(copy_of_the_repository(f"{folder}/{i}"))
        if fails(Path(folder, "0"), CHECK):
            raise SystemExit("The tests of `make check` fail without any mutant: there is nothing to be learned.")

        def judge(mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                return is_killed(mutant, copy)
            finally:
                copies.put(copy)

        survivors = []
        for i, (mutant, killed) in enumerate(zip(counted, threads.map(judge, counted), strict=True), 1):
            print(f"{i} of {len(counted)}: {mutant.module} {'killed' if killed else 'SURVIVED'}", flush=True)
            survivors += [] if killed else [mutant]
    for mutant in survivors:
        print(f"\n{mutant.module}\n{mutant.diff()}")
    share = 1 - len(survivors) / len(counted)
    print(f"\n{len(every)} mutants in all, {options.n} drawn (seed {options.seed}), {len(counted)} that count")
    print(f"{'yes' if share >= BAR else 'NO'}  killed {share:.1%}, bar {BAR:.0%}")


if __name__ == "__main__":
    main()
