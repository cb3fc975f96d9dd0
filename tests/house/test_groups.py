"""When the tests run in several processes, what shares a notebook or a browser stays together."""

from types import SimpleNamespace

import pytest
from conftest import NOTEBOOKS, ROOT, group, place


def item(file, **params):
    return SimpleNamespace(path=ROOT / file, callspec=SimpleNamespace(params=params))


@pytest.mark.parametrize(
    "item, name",
    [
        (SimpleNamespace(path=NOTEBOOKS[3]), "03"),  # nbval's, which has no parameters
        (item("tests/notebooks/test_files.py", path=NOTEBOOKS[3]), "03"),
        (item("tests/claims/test_claims_03.py"), "03"),
        (item("tests/browser/test_engine.py", path=NOTEBOOKS[3]), "browser"),
        (item("tests/test_tasks.py", path="elsewhere"), "tests/test_tasks.py"),
        (SimpleNamespace(path=ROOT / "helpers" / "tasks.py"), "helpers/tasks.py"),
    ],
)
def test_a_group_is_a_notebook_or_the_browser_or_a_file(item, name):
    assert group(item) == name


def test_what_takes_longest_is_begun_first():
    assert sorted(["helpers/tasks.py", "03", "browser", "12"], key=place) == ["browser", "12", "03", "helpers/tasks.py"]
