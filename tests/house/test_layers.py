"""The house has a ground floor: who may import whom, held against the code."""

import ast
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[2] / "helpers"
ROAD = ("tasks", "attention", "constructions", "learners", "metrics", "probes", "plotting", "diagrams", "widgets")

MAY_IMPORT = {
    "checks": set(),
    "progress": set(),
    "kept": set(),
    "shell": set(),
    "usual": set(),
    "plotting": set(),
    "picture": {"plotting"},
    "pen": {"plotting"},
    "diagrams": {"pen", "picture", "plotting"},
    "widgets": {"picture"},
    "tasks": {"checks", "usual"},
    "attention": {"checks"},
    "learners": {"checks"},
    "constructions": {"checks", "attention", "learners", "tasks", "usual"},
    "metrics": {"learners"},
    "probes": {"checks", "learners", "tasks"},
    "walkthrough": {"constructions", "metrics", "tasks", "usual"},
    "walkthrough_sheet": {"pen", "walkthrough"},
    "training": {"checks", "kept", "progress"},
    "theory": {"checks", "attention", "learners", "tasks"},
    "models": {"checks", "attention", "tasks", "theory", "usual"},
    "finetuning": {"checks", "kept", "models", "progress", "shell", "theory", "usual"},
    "trained": {
        "attention",
        "checks",
        "finetuning",
        "kept",
        "learners",
        "models",
        "progress",
        "shell",
        "tasks",
        "theory",
        "training",
        "usual",
    },
}
ROOMS = set(MAY_IMPORT) | {"exercises", "verdicts"}
DRAWN = {
    "picture",
    "diagrams",
    "walkthrough_sheet",
    "widgets",
}  # the leaves draw nothing that moves, and verdicts nothing at all
MAY_IMPORT["verdicts"] = set(MAY_IMPORT) - DRAWN - {"plotting"}
MAY_IMPORT["exercises"] = set(MAY_IMPORT) - DRAWN


def imported_helpers(path: Path) -> set[str]:
    """The modules below `helpers` that a file imports, with dots: "theory.dual"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
            within = ".".join(node.module.split(".")[1:])
            names = {f"{within}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name if file_of(name) else within for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("helpers.") for alias in node.names if alias.name.startswith("helpers.")}
    return found - {""}


def file_of(module: str) -> Path | None:
    """Where a module such as "theory.dual", or a package such as "theory", is written; None if there is none."""
    path = HELPERS / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def modules() -> dict[str, Path]:
    """All modules below `helpers`, by their names with dots; a package by that of its folder."""
    files = {path.relative_to(HELPERS).with_suffix("").as_posix(): path for path in HELPERS.rglob("*.py")}
    return {
        name.removesuffix("/__init__").replace("/", "."): file for name, file in files.items() if name != "__init__"
    }


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_module_has_its_place_in_the_table():
    assert {room(module) for module in modules()} == ROOMS == set(MAY_IMPORT)


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_imports_go_downwards_only(name):
    imported = set().union(*(imported_helpers(file) for module, file in modules().items() if room(module) == name))
    assert {room(module) for module in imported} - {name} <= MAY_IMPORT[name]


def test_the_table_itself_has_no_circle():
    left = {name: set(below) for name, below in MAY_IMPORT.items()}
    while free := {name for name, below in left.items() if not below & set(left)}:
        left = {name: below for name, below in left.items() if name not in free}
    assert not left


def test_no_module_imports_itself_by_way_of_others():
    below = {module: imported_helpers(file) for module, file in modules().items()}
    for start in below:
        seen, todo = set(), list(below[start])
        while todo:
            seen.add(module := todo.pop())
            todo += below[module] - seen
        assert start not in seen, f"{start} imports itself, by way of {sorted(seen)}"


def test_the_road_needs_no_side_room():
    under = set(ROAD)
    for _ in ROOMS:
        under |= set().union(*(MAY_IMPORT[name] for name in under))
    assert under == {*ROAD, "checks", "pen", "picture", "usual"}


def test_no_file_is_longer_than_a_reader_has_patience():
    long = {str(file.relative_to(HELPERS)): len(file.read_text().splitlines()) for file in HELPERS.rglob("*.py")}
    assert not {name: lines for name, lines in long.items() if lines > 250}


def test_the_package_is_a_docstring_that_names_every_room():
    module = ast.parse((HELPERS / "__init__.py").read_text())
    assert len(module.body) == 1
    told = ast.get_docstring(module)
    for name in ROOMS:
        assert f"    {name} " in told or f"`{name}`" in told, name


def test_names_are_unique():
    """No two modules share a last name, but the notebooks' own: a name leads to one file."""
    last = [module.split(".")[-1] for module in modules() if not module.startswith(("exercises.", "verdicts."))]
    assert len(set(last)) == len(last)


def test_the_reader_of_imports_sees_both_spellings(tmp_path):
    (tmp_path / "m.py").write_text(
        "from helpers import tasks\nimport helpers.widgets\nfrom helpers.metrics import max_gap\n"
        "from helpers.theory import dual\nfrom helpers.models.gpt import GPT\nimport torch"
    )
    assert imported_helpers(tmp_path / "m.py") == {"tasks", "widgets", "metrics", "theory.dual", "models.gpt"}
