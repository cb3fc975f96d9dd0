"""From moving a slider to the new picture on the screen: `widgets.explore`, `interact`, and the floor.

    python benchmarks/slider_latency.py

Prints a table and whether the bars are met; what is measured, and how, is in README.md beside this file.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

import psutil
from lab import notebook
from playwright.sync_api import Page

WAYS = ["ours", "interact", "floor"]
DRAG = 60  # key events
SPACING = 0.016  # seconds between them: a quick hand
PACKAGES = ["jupyterlab", "ipywidgets", "matplotlib", "torch"]

SETUP = """
import gc, psutil, time, torch, three_ways
from helpers import plotting
torch.set_num_threads(1)
plotting.use_style()
"""
CHANGE_IN_KERNEL = """
for i in range({n}):
    explorer.controls["eta"].value = three_ways.STEP * (i % 60)
gc.collect()
time.sleep(2)  # until all pictures are sent
"""


@dataclass
class Round:
    """What one round measured of one way, in milliseconds."""

    singles: list[float]
    last: float  # from the last event of the drag to the picture that stays
    pictures: int  # shown during the drag
    jump: float  # of the output's place or height, in page pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="each takes all three ways in turn (5)")
    parser.add_argument("--changes", type=int, default=20, help="single changes in a round (20)")
    options = parser.parse_args()
    positions = options.changes + DRAG + 1  # a round moves the slider from one end to the other
    shown = [f"explorer = three_ways.ours({positions})\nexplorer"]
    shown += [f"three_ways.{way}({positions})" for way in WAYS[1:]]
    print("Starting JupyterLab and Chromium ...", flush=True)
    with notebook([SETUP, *shown]) as page:
        page.evaluate(Path(__file__).with_name("probe.js").read_text())
        page.wait_for_function("document.querySelectorAll('.jp-OutputArea img').length === 3")
        rounds = measure_all(page, options.rounds, options.changes)
        print("Memory: 1,100 changes made in the kernel ...", flush=True)
        warm = memory_after(page, 100)
        growth = memory_after(page, 1000) - warm
        report(rounds, growth, page.context.browser.version)


def measure_all(page: Page, n_rounds: int, changes: int) -> dict[str, list[Round]]:
    rounds = {way: [] for way in WAYS}
    for i in range(-2, n_rounds):  # two rounds, there and back, only warm up
        for cell, way in enumerate(WAYS, start=1):
            result = measure(page, cell, changes, key="ArrowLeft" if i % 2 else "ArrowRight")
            if i >= 0:
                rounds[way].append(result)
            label = f"round {i + 1} of {n_rounds}" if i >= 0 else "warm-up"
            print(f"  {label}, {way}: median {median(result.singles):.0f} ms, last {result.last:.0f} ms", flush=True)
    return rounds


def measure(page: Page, cell: int, changes: int, key: str) -> Round:
    singles = []
    for _ in range(changes):
        page.evaluate("cell => probe.watch(cell)", cell)
        page.keyboard.press(key)
        singles.append(page.evaluate("probe.single()"))
    page.evaluate("cell => probe.watch(cell)", cell)
    start = time.perf_counter()
    for i in range(DRAG):
        time.sleep(max(0.0, start + i * SPACING - time.perf_counter()))
        page.keyboard.down(key)
    page.keyboard.up(key)
    return Round(singles, **page.evaluate("probe.drag()"))


def memory_after(page: Page, n: int) -> float:
    """The kernel's resident memory in MB after n more changes of our slider."""
    rss = page.evaluate(
        "([code, value]) => probe.run(code, value)",
        [CHANGE_IN_KERNEL.format(n=n), "psutil.Process().memory_info().rss"],
    )
    return int(rss) / 2**20


def report(rounds: dict[str, list[Round]], growth: float, chromium: str) -> None:
    n_rounds, n_changes = len(rounds["ours"]), len(rounds["ours"][0].singles)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"\n{machine()}\nPython {platform.python_version()}, {versions}, Chromium {chromium}")
    print(f"{n_rounds} rounds, each way {n_rounds * n_changes} single changes and {n_rounds} drags of {DRAG} events")
    print("Milliseconds from the event to the picture on the screen: median of the rounds (lowest-highest)\n")
    print("| | one change, median | 95th percentile | last picture after a drag | pictures in a drag | largest jump |")
    print("|---|---|---|---|---|---|")
    for way, of_way in rounds.items():
        numbers = [one_update, lambda r: quantiles(r.singles, n=20)[-1], lambda r: r.last, lambda r: r.pictures]
        cells = [over(of_way, number) for number in numbers] + [f"{max(r.jump for r in of_way):.0f} px"]
        print(f"| {way} | {' | '.join(cells)} |")
    print(f"\nMemory of the kernel: {growth:+.1f} MB after 1,000 changes more\n")
    ours, interact, floor = (median(map(one_update, rounds[way])) for way in WAYS)
    last = median(r.last for r in rounds["ours"])
    jump = max(r.jump for r in rounds["ours"])
    verdict("an update takes at most 1/4 of interact's time", ours <= interact / 4, f"{ours / interact:.2f}")
    verdict("an update takes at most 2 times the floor", ours <= 2 * floor, f"{ours / floor:.2f}")
    verdict("after a drag, right within 2 update times", last <= 2 * ours, f"{last / ours:.2f}")
    verdict("memory grows by at most 5 MB", growth <= 5, f"{growth:.1f} MB")
    verdict("nothing jumps", jump < 1, f"{jump:.1f} px")


def one_update(r: Round) -> float:
    return median(r.singles)


def over(rounds: list[Round], number: Callable[[Round], float]) -> str:
    values = [number(r) for r in rounds]
    return f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def verdict(bar: str, met: bool, measured: str) -> None:
    print(f"{'yes' if met else 'NO ':4}{bar}: {measured}")


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{platform.system()}, {model}, {psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
