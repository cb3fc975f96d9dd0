"""The house has a ground floor: who may import whom, held against the code."""

import ast
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"

MAY_IMPORT = {
    "checks": set(),
    "tasks": {"checks"},
    "attention": {"checks"},
    "learners": {"checks"},
    "metrics": set(),
    "similarity": {"checks"},
    "finetuning": {"checks", "gpt", "language"},
    "comparison": {"finetuning", "gpt", "language", "similarity", "softmax"},
    "plotting": set(),
    "published": set(),
    "constructions": {"checks", "attention", "tasks"},
    "widgets": {"plotting"},
    "closed_forms": {"checks", "tasks"},
    "population": {"checks", "attention", "tasks"},
    "dual": {"checks"},
    "kernels": {"checks"},
    "softmax": {"checks"},
    "gpt": {"checks"},
    "language": {"checks"},
    "sentences": {"checks"},
    "pretrained": {"sentences"},
    "language_models": {"checks", "comparison", "pretrained", "sentences", "similarity"},
    "training": {"checks"},
    "transformer": {"checks", "attention"},
    "deep_features": {"checks", "attention", "tasks"},
    "copying": {"checks", "attention", "tasks"},
    "induction": {"checks", "attention"},
    "bayes": {"checks", "attention", "learners"},
    "probes": {"checks", "tasks"},
    "checkpoints": {
        "checks",
        "tasks",
        "language",
        "training",
        "deep_features",
        "gpt",
        "closed_forms",
        "copying",
        "induction",
    },
}
MAY_IMPORT["verdicts"] = set(MAY_IMPORT) - {"widgets", "plotting"}
MAY_IMPORT["exercises"] = set(MAY_IMPORT) - {"widgets"}


def imported_helpers(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("helpers.")}
    return found


def files_of(module: str) -> list[Path]:
    """One file, or those of a package such as exercises."""
    return (
        [HELPERS / f"{module}.py"] if (HELPERS / f"{module}.py").exists() else sorted((HELPERS / module).glob("*.py"))
    )


def test_every_module_has_its_place_in_the_table():
    found = {path.stem for path in HELPERS.glob("*.py")} | {path.parent.name for path in HELPERS.glob("*/*.py")}
    assert found - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_imports_go_downwards_only(module):
    files = files_of(module)
    assert files and set().union(*(imported_helpers(file) for file in files)) - {module} <= MAY_IMPORT[module]


def test_the_package_itself_is_a_docstring():
    assert len(ast.parse((HELPERS / "__init__.py").read_text()).body) == 1


def test_the_reader_of_imports_sees_both_spellings(tmp_path):
    (tmp_path / "m.py").write_text(
        "from helpers import tasks\nimport helpers.widgets\nfrom helpers.metrics import max_gap"
    )
    assert imported_helpers(tmp_path / "m.py") == {"tasks", "widgets", "metrics"}
