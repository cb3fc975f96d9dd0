"""What `helpers` needs around it: no IPython and no display, as on a cluster; and a README whose map is true."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import nbconvert
import nbformat
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


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb"))[:3], ids=lambda path: path.stem)
def test_a_notebook_becomes_a_script_with_the_right_name(path):
    refresh = runpy.run_path(ROOT / "refresh.py", {"get_config": MagicMock})
    nb = nbformat.read(path, as_version=4)
    nb.cells = [cell for cell in nb.cells if "readme-picture" not in cell.metadata.get("tags", [])]
    saved, _ = refresh["KeepThePicture"]().preprocess(nb, {})
    script, resources = nbconvert.ScriptExporter().from_notebook_node(saved)
    assert resources["output_extension"] == ".py"
    compile(script, path.stem, "exec")


def in_a_kernel(code, folder, *, path=()):
    """Python as a kernel has it that was started in a folder, which it looks into first."""
    around = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [folder, *path, ROOT]))}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=around, capture_output=True, text=True)


def a_module(folder):
    (folder / "helpers.py").write_text("raise RuntimeError('this must not run')")


def a_package(folder):
    (folder / "helpers").mkdir()
    (folder / "helpers" / "__init__.py").touch()


def a_checkout_of_another_time(folder):
    (folder / "helpers").mkdir()
    (folder / "helpers" / "__init__.py").write_text((ROOT / "helpers" / "__init__.py").read_text())


@pytest.mark.parametrize("other", [a_module, a_package, a_checkout_of_another_time], ids=lambda other: other.__name__)
def test_another_helpers_beside_the_notebook_is_named(other, tmp_path):
    other(tmp_path)
    done = in_a_kernel("import icl_vs_ft", tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: `import helpers` would take {tmp_path / 'helpers'}") and "rename it" in last


def test_a_folder_of_that_name_without_code_harms_nobody(tmp_path):
    (tmp_path / "helpers").mkdir()
    assert in_a_kernel("import icl_vs_ft, helpers.checks", tmp_path).returncode == 0


ENVIRONMENT = "import icl_vs_ft, torch; torch.set_num_threads(1); icl_vs_ft.environment()"


def test_wherever_the_kernel_was_started_the_environment_is_compared(tmp_path):
    for folder in (ROOT / "notebooks", ROOT, tmp_path):
        said = in_a_kernel(ENVIRONMENT, folder).stdout.splitlines()
        assert said[-2:] == ["Python is 3.11 or newer: True", "torch uses one thread: True"]
        assert re.fullmatch(r"\d+ of \d+ packages are the tested versions", said[-3])


def test_where_the_list_of_versions_is_not_there_it_says_so(tmp_path, capsys):
    import icl_vs_ft

    icl_vs_ft.environment(tmp_path / "requirements.txt")
    assert capsys.readouterr().out.startswith(
        f"Versions are not compared: there is no {tmp_path / 'requirements.txt'}."
    )
    (tmp_path / "requirements.txt").write_text("numpy==0.1\nnothing-of-that-name==1.0  # really\n-e .\n")
    icl_vs_ft.environment(tmp_path / "requirements.txt")
    said = capsys.readouterr().out
    assert "numpy: tested with 0.1, found 2" in said and "nothing-of-that-name: tested with 1.0, found none" in said
    assert "0 of 2 packages are the tested versions" in said
