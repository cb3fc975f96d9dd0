"""What `helpers` needs around it: no IPython and no display, as on a cluster; and a README whose map is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CLUSTER = """
import importlib, pkgutil, sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("IPython", "ipywidgets", "ipykernel", "matplotlib_inline"):
            raise ModuleNotFoundError(f"there is no {name} here", name=name)

sys.meta_path.insert(0, NotInstalled())
import helpers

for module in pkgutil.walk_packages(helpers.__path__, "helpers."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        print(module.name, "needs", error.name)
"""
TRAINS = """
import torch
from helpers import plotting, progress, training
plotting.use_style()
model = torch.nn.Linear(1, 1)
loss = lambda seed: model.weight.square().sum()
training.fit(model, loss, torch.optim.SGD(model.parameters(), 0.1), 3, keep=sys.argv[1])
print([2 * n for n in progress.through([1, 2])])
"""


def on_a_cluster(code, *arguments):
    """What is printed where there is no IPython and no display."""
    around = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=around | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_ipython_and_display_all_but_the_widgets_is_there_and_trains(tmp_path):
    said = on_a_cluster(CLUSTER + TRAINS, str(tmp_path / "run.pt"))
    assert said == ["helpers.widgets needs ipywidgets", "[2, 4]"]
    assert (tmp_path / "run.pt").exists()


def map_of_the_readme():
    return (ROOT / "README.md").read_text(encoding="utf-8").split("## What is where")[1].split("\n\n")[1]


@pytest.mark.parametrize("folder", ["helpers", "tests", "."])
def test_the_readmes_map_shows_every_folder_with_code(folder):
    parts = [part for part in (ROOT / folder).iterdir() if part.is_dir() and any(part.glob("*.[pi][yp]*"))]
    shown = re.findall(r"(\w+)/", map_of_the_readme())
    mirrored = {part.name for part in (ROOT / "helpers").iterdir()} if folder == "tests" else set()
    names = {part.name for part in parts if not part.name.startswith((".", "__", "build", "handouts"))}
    assert names and names - mirrored <= set(shown)


def test_the_readmes_map_shows_every_module_of_the_road_and_nothing_that_is_not_there():
    modules = {path.stem for path in (ROOT / "helpers").glob("*.py")} - {"__init__"}
    assert modules <= set(re.findall(r"\w+", map_of_the_readme()))
    for folder in re.findall(r"(\w+)/", map_of_the_readme()):
        assert any(path.is_dir() for path in (ROOT / folder, *ROOT.glob(f"*/{folder}"))), folder
