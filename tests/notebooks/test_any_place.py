"""Notebooks wherever they are: beside a `helpers` of the reader's own, in a folder that is read-only, as a web page."""

import ast
import base64
import os
import re
import runpy
import shutil
import subprocess
import sys
from unittest.mock import MagicMock

import nbconvert
import nbformat
import pytest
from conftest import NOTEBOOKS, ROOT

HELPERS = sorted((ROOT / "helpers").rglob("*.py"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
OPENS = {"open", "Path", "PurePath", "chdir", "getcwd", "cwd", "abspath", "glob", "listdir", "load_txt", "loadtxt"}
OPENS |= {"savefig", "read_text", "write_text", "read_bytes", "write_bytes", "imread", "imsave", "mkdir", "touch"}


def code_of(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@each_notebook
def test_whose_helpers_it_is_is_asked_before_the_first_is_imported(path):
    lines = re.findall(r"^(?:import|from) (helpers|icl_vs_ft)\b", "\n".join(code_of(path)), flags=re.M)
    assert lines[0] == "icl_vs_ft" and lines.count("icl_vs_ft") == 1 and "helpers" in lines


# --- the folder that it is started in -------------------------------------------------------------------------


def opened(tree):
    """The calls by which code reads or writes a file by its name, or asks where it is."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if ast.unparse(call.func).split(".")[-1] in OPENS]


@each_notebook
def test_no_notebook_opens_a_file_so_it_runs_from_any_folder(path):
    assert not [call for source in code_of(path) for call in opened(ast.parse(source))]


@pytest.mark.parametrize("code", ["open('a')", "pathlib.Path('..')", "os.chdir('..')", "fig.savefig('a.png')"])
def test_the_net_catches_fish(code):
    assert opened(ast.parse(code)) == [code]


def test_helpers_open_what_is_beside_them_or_named_by_the_caller():
    """A name of a file that is written in the code stands behind the folder of the code; but for the option's default
    of one command, which is where its caller stands."""
    named = {}
    for file in HELPERS:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("open", "Path"):
                if node.args and isinstance(node.args[0], (ast.Constant, ast.JoinedStr)):
                    named[file.stem] = ast.unparse(node)
    assert named == {"scaled_gpts": "Path('runs')"}


WATCHED = """
import os, sys
from pathlib import Path
here = sys.argv[1]
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    by_name = event == "open" or arguments[-1:] == (-1,)  # not in a folder that is open: IPython's own in /tmp
    names = arguments[:1] if event == "open" else arguments
    if by_name and (writes or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link")):
        if any(isinstance(part, (str, Path)) and os.path.abspath(part).startswith(here) for part in names):
            print("WRITES", event, arguments)
sys.addaudithook(watch)
import executed
for path in sys.argv[2:]:
    print(path, *[cell.error().evalue for cell in executed.execute(Path(path)).cells if cell.error()])
"""


def watched(code, course, *arguments):
    around = os.environ | {"PYTHONPATH": f"{course}{os.pathsep}{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(course), *map(str, arguments)]
    done = subprocess.run(command, cwd=course / "notebooks", env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the course in which nobody may write (the superuser may: so writing is watched, too)."""
    course = tmp_path_factory.mktemp("read-only") / "course"
    shutil.copytree(ROOT / "helpers", course / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (course / "notebooks").mkdir()
    for path in (NOTEBOOKS[0], NOTEBOOKS[3]):
        shutil.copy(path, course / "notebooks")
    for name in ("icl_vs_ft.py", "requirements.txt"):
        shutil.copy(ROOT / name, course)
    parts = [course, *course.rglob("*")]
    for part in parts:
        part.chmod(0o555 if part.is_dir() else 0o444)
    yield course
    for part in parts:
        part.chmod(0o755)


def test_notebooks_run_in_a_folder_that_is_read_only(course):
    paths = sorted((course / "notebooks").iterdir())
    assert watched(WATCHED, course, *paths) == list(map(str, paths))  # no error, and nothing written


def test_writing_there_would_be_seen(course):
    code = WATCHED.split("import executed")[0] + "os.mkdir(here + '/made', 0o700)"
    (said, *_) = watched(f"{code.replace('os.mkdir(', 'import contextlib; f = os.mkdir; f(', 1)}", course)
    assert said.startswith("WRITES os.mkdir")
    (course / "made").rmdir()


# --- as something else ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved():
    """The first notebook with its outputs, as `make refresh` saves it."""
    nb = nbformat.read(NOTEBOOKS[0], as_version=4)
    tagged = [cell for cell in nb.cells if "readme-picture" in cell.metadata.get("tags", [])]
    for cell in tagged:
        cell.metadata.tags.remove("readme-picture")  # whose picture is written to a file
    refresh = runpy.run_path(ROOT / "refresh.py", {"get_config": MagicMock})
    return refresh["KeepThePicture"]().preprocess(nb, {})[0]


def pictures(nb):
    outputs = [output for cell in nb.cells for output in cell.get("outputs", [])]
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def test_as_a_script_it_has_all_its_code_and_prose(saved):
    script, resources = nbconvert.ScriptExporter().from_notebook_node(saved)
    assert resources["output_extension"] == ".py"
    code = [cell.source for cell in saved.cells if cell.cell_type == "code"]
    assert ast.dump(ast.parse(script)) == ast.dump(ast.parse("\n".join(code))) and "# ## Notation" in script


def test_as_a_page_it_has_every_picture_and_no_widget_that_waits_for_a_kernel(saved):
    page, _ = nbconvert.HTMLExporter().from_notebook_node(saved)
    assert pictures(saved) and all("".join(picture.split()) in page for picture in pictures(saved))
    assert "widget-view" not in page and "256 predictions, largest gap below 1e-12: True" in page
    assert page.count("<h2") == sum(len(re.findall("^## ", c.source, flags=re.M)) for c in saved.cells)


def test_as_markdown_it_has_its_pictures_beside_it(saved):
    text, resources = nbconvert.MarkdownExporter().from_notebook_node(saved)
    assert list(resources["outputs"].values()) == [base64.b64decode(picture) for picture in pictures(saved)]
    assert all(f"]({name})" in text for name in resources["outputs"])
    assert text.count("```python") == sum(cell.cell_type == "code" for cell in saved.cells)


def test_as_slides_a_heading_begins_one_and_what_is_folded_is_left_out(saved):
    page, _ = nbconvert.SlidesExporter().from_notebook_node(saved)
    kinds = [cell.metadata.slideshow.slide_type for cell in saved.cells]
    slides = re.findall(r"<section[^>]*>\s*<section", page)
    headed = [cell for cell in saved.cells if cell.cell_type == "markdown" and cell.source.startswith("#")]
    assert len(slides) == kinds.count("slide") == len(headed) > 5
    assert page.count("<section") - len(slides) == len(kinds) - kinds.count("skip")  # every other cell, one below
    assert all("".join(picture.split()) in page for picture in pictures(saved))
    assert "def stage(" in nbconvert.ScriptExporter().from_notebook_node(saved)[0]
    assert not [word for word in re.sub(r"<[^>]+>", "", page).split("def ") if word.startswith("stage(")]
