"""`make lab` makes .venv, and mends it whatever state it is in: a real make and real Pythons; only pip is pretended."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if shutil.which("make") is None or os.name == "nt":
    pytest.skip("there is no make here", allow_module_level=True)

PIP = """
import os, pathlib, re, sys
site, given = pathlib.Path(__file__).parents[1], sys.argv[1:]
with open(os.environ["LOG"], "a") as log:
    print(*given, file=log)
if os.environ.get("OFFLINE", "no") in given:
    sys.exit("WARNING: retrying\\n" * 5 + "ERROR: no index")
if "-r" in given:
    given += open("requirements.txt").read().splitlines()
if ".[test]" in given:
    given += re.findall(r'"([\\w-]+==[\\w.]+)",? *(?:#|$)', open("pyproject.toml").read(), flags=re.M)
for name, version in re.findall(r"^([\\w-]+)==([\\w.]+)", "\\n".join(given), flags=re.M):
    for old in site.glob(name + "-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    (made := site / f"{name}-{version}.dist-info").mkdir()
    (made / "METADATA").write_text(f"Name: {name}\\nVersion: {version}\\n")
    (made / "RECORD").touch()
if "install" in given and "--no-deps" not in given and "requirements.txt" in given:
    (site / "helpers.pth").write_text(os.getcwd())
    (site / "jupyterlab.py").write_text("import sys; print('JupyterLab opens', *sys.argv[1:])")
if "uninstall" in given:
    for file in site.glob("torch-*/*"):
        file.unlink()
"""
ENSUREPIP = """
import pathlib, sysconfig
(made := pathlib.Path(sysconfig.get_path("purelib")) / "pip").mkdir()
for name, text in (("__init__", ""), ("__main__", {pip!r})):
    (made / (name + ".py")).write_text(text)
"""
OLD = """#!/bin/sh
[ "$1" = -I ] && shift
exec {python} -c "import runpy, sys
sys.version_info = (3, 10, 4)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')" "$@"
"""
OPENS = "JupyterLab opens notebooks/00_start_here.ipynb"
SMALL = "install torch=={torch} --index-url https://download.pytorch.org/whl/cpu --timeout 15 --retries 0"
EVERYTHING = "install -r requirements.txt"


class Folder:
    """A clone in which `make` can be called; `said`, `status` and `asked` of pip are those of the last call."""

    def __init__(self, path):
        self.path, self.fakes = path / "the clone", path / "fakes"
        self.path.mkdir()
        (self.path / "helpers").mkdir()
        for name in (
            "Makefile",
            "install.py",
            "requirements.txt",
            "pyproject.toml",
            "helpers/__init__.py",
            "icl_vs_ft.py",
        ):
            shutil.copy(ROOT / name, self.path / name)
        (self.fakes / "ensurepip").mkdir(parents=True)
        (self.fakes / "ensurepip" / "__init__.py").touch()
        (self.fakes / "ensurepip" / "__main__.py").write_text(ENSUREPIP.format(pip=PIP))
        (self.fakes / "old").write_text(OLD.format(python=sys.executable))
        (self.fakes / "old").chmod(0o755)

    def make(self, *targets, **environment):
        log = self.fakes / "log"
        log.write_text("")
        clean = {name: value for name, value in os.environ.items() if name not in ("GPU", "MAKEFLAGS", "MAKELEVEL")}
        environment = clean | {"PYTHONPATH": str(self.fakes), "LOG": str(log), "PYTHON": sys.executable} | environment
        done = subprocess.run(["make", *targets], cwd=self.path, env=environment, capture_output=True, text=True)
        self.said, self.status = (done.stdout + done.stderr).strip().splitlines(), done.returncode
        self.asked = log.read_text().splitlines()
        return self

    @property
    def site(self):
        return next((self.path / ".venv" / "lib").glob("python3*/site-packages"))

    def is_well(self):
        """JupyterLab opens, and at the next call nothing is left to do."""
        return self.status == 0 and OPENS in self.said and self.make("lab").asked == [] and OPENS in self.said


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def made(folder):
    assert folder.make("lab").is_well()
    return folder


def torch_pinned():
    (pin,) = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("torch==")]
    return pin.removeprefix("torch==")


def test_a_fresh_clone_takes_the_small_torch_first_and_then_the_rest(folder):
    folder.make("lab")
    small = [SMALL.format(torch=torch_pinned())] if sys.platform == "linux" else []
    assert folder.asked == [*small, EVERYTHING] and folder.is_well()


def test_with_a_gpu_pip_chooses_and_a_small_torch_makes_room(folder):
    assert folder.make("lab", "GPU=1").asked == [EVERYTHING] and folder.is_well()
    (metadata,) = folder.site.glob("torch-*/METADATA")
    metadata.write_text(metadata.read_text().rstrip() + "+cpu\n")
    assert folder.make("lab").asked == []  # whoever did not ask for CUDA has what is needed
    assert folder.make("lab", "GPU=1").asked == ["uninstall --yes torch", EVERYTHING]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, the small build is what pip finds")
def test_without_the_small_torchs_index_pip_takes_what_it_finds_and_one_line_says_so(folder):
    folder.make("lab", OFFLINE="--index-url")
    assert len(folder.asked) == 2 and folder.asked[1] == EVERYTHING
    assert [line for line in folder.said if "torch" in line] == [
        "The small torch could not be fetched. Taking the one that pip finds."
    ]
    assert not any("WARNING" in line for line in folder.said) and folder.is_well()


def moved(folder):
    other = folder.path.with_name("elsewhere")
    folder.path.rename(other)
    folder.path = other


def moved_and_copied(folder):
    """The old folder is still there, so that `import helpers` works, and finds that one."""
    other = folder.path.with_name("a copy")
    shutil.copytree(folder.path, other, symlinks=True)
    folder.path = other


def without_pip(folder):
    shutil.rmtree(folder.path / ".venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder.path / ".venv"], check=True)


def without_a_package(folder):
    shutil.rmtree(next(folder.site.glob("matplotlib-*")))


def with_another_version(folder):
    requirements = folder.path / "requirements.txt"
    requirements.write_text(requirements.read_text().replace("tqdm==", "tqdm==9"))


def torn(folder):
    next(folder.site.glob("numpy-*/RECORD")).unlink()


def without_its_python(folder):
    for python in (folder.path / ".venv" / "bin").glob("python*"):
        python.unlink()
    (folder.path / ".venv" / "bin" / "python").symlink_to("/no/such/python3.11")


def of_an_old_python(folder):
    (folder.path / ".venv" / "bin" / "python").unlink()
    shutil.copy(folder.fakes / "old", folder.path / ".venv" / "bin" / "python")


def emptied(folder):
    shutil.rmtree(folder.path / ".venv")
    (folder.path / ".venv").mkdir()


def with_stamps_only(folder):
    """As an earlier Makefile left it, when pip was stopped in the middle."""
    emptied(folder)
    (folder.path / ".venv" / "lab").touch()


STATES = [
    moved,
    moved_and_copied,
    without_pip,
    without_a_package,
    with_another_version,
    torn,
    without_its_python,
    of_an_old_python,
    emptied,
    with_stamps_only,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_what_is_not_as_it_should_be_is_mended(state, made):
    state(made)
    assert made.make("lab").asked[-1] == EVERYTHING and made.is_well()


def test_an_old_python_is_told_so_in_one_line_before_anything_else(folder):
    folder.make("lab", f"PYTHON={folder.fakes / 'old'}")
    said = [line for line in folder.said if not line.startswith("make")]
    assert said == [
        "The series needs Python 3.11 or newer, and this is 3.10.4. "
        "Install a newer one and name it: make lab PYTHON=python3.12"
    ]
    assert folder.status and not (folder.path / ".venv").exists()


def test_a_venv_that_is_well_needs_no_other_python(made):
    made.make("lab", f"PYTHON={made.fakes / 'old'}")
    assert made.status == 0 and OPENS in made.said


def test_a_pip_that_fails_is_followed_by_one_line_and_can_go_on(folder):
    folder.make("lab", OFFLINE="-r")
    assert folder.status and folder.said[-2].startswith("pip could not install everything (why, it says above).")
    assert not any("Traceback" in line for line in folder.said)
    assert folder.make("lab").asked[-1] == EVERYTHING and folder.is_well()


def test_a_python_that_brings_no_pip_is_said_in_one_line(folder):
    (folder.fakes / "ensurepip" / "__main__.py").write_text("raise SystemExit(1)")
    folder.make("lab")
    assert folder.status and "No pip in .venv, and its Python brings none" in folder.said[-2]


def test_the_tests_need_more_than_the_lab(made):
    (made.path / ".venv" / "bin" / "ruff").symlink_to("/bin/true")
    made.make("test")
    assert made.asked == [EVERYTHING, "install -e .[test]"]
    assert made.make(".venv/test").asked == [] and made.make("lab").is_well()
    shutil.rmtree(next(made.site.glob("hypothesis-*")))
    assert made.make("lab").is_well() and made.make(".venv/test").asked != []


@pytest.mark.skipif(shutil.which("python2.7") is None, reason="needs the Python it is about")
def test_even_the_oldest_python_can_read_that_it_is_too_old(folder):
    done = subprocess.run(["python2.7", "install.py"], cwd=folder.path, capture_output=True, text=True)
    if "pyenv" not in done.stderr:
        assert done.stderr.count("\n") == 1 and "and this is 2.7" in done.stderr
