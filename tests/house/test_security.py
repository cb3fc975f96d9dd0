"""Nothing from outside is run, and nobody is called up: held against the code of `helpers`, call by call."""

import ast
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[2] / "helpers"
RUNS_WHAT_IT_READS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "runpy", "code"}
CALLS_UP = {"urllib", "urllib3", "requests", "http", "httpx", "aiohttp", "socket", "ftplib", "smtplib", "telnetlib"}
CALLS_UP |= {"huggingface_hub", "webbrowser", "xmlrpc", "asyncio"}
STARTS = {"subprocess", "multiprocessing", "pty"}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
DOTTED = {
    "os.system",
    "os.popen",
    "torch.hub",
    "numpy.load",
    "np.load",
    "np.fromfile",
    "torch.jit.load",
    "torch.package",
}


def modules():
    return {str(path.relative_to(HELPERS)): ast.parse(path.read_text()) for path in sorted(HELPERS.rglob("*.py"))}


def imported(tree):
    """The first names of all that is imported, wherever in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def calls(tree, name):
    """All calls of a name such as "torch.load", or "….from_pretrained"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == name or name.startswith("…") and called.endswith(name[1:]):
                yield node


def suspects(tree):
    found = set(imported(tree)) & (RUNS_WHAT_IT_READS | CALLS_UP | STARTS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in BUILT_IN:
            found.add(ast.unparse(node.func))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in DOTTED:
            found.add(ast.unparse(node))
    return found


def test_no_module_runs_what_it_reads_or_calls_anybody_up_and_one_starts_workers():
    found = {name: found for name, tree in modules().items() if (found := suspects(tree))}
    assert found == {"shell.py": {"multiprocessing"}}


@pytest.mark.parametrize(
    "code, found",
    [
        ("import pickle", {"pickle"}),
        ("def f():\n    from urllib.request import urlopen", {"urllib"}),
        ("import torch\ntorch.hub.load('a', 'b')", {"torch.hub"}),
        ("exec(open('x').read())", {"exec"}),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", {"np.load"}),
        ("import re, os\nre.compile('x'), os.path.join('a')", set()),
    ],
)
def test_the_net_catches_fish(code, found):
    assert suspects(ast.parse(code)) == found


def test_files_of_torch_are_read_in_one_place_without_running_code():
    places = {name: list(calls(tree, "torch.load")) for name, tree in modules().items()}
    assert {name: len(found) for name, found in places.items() if found} == {"kept.py": 1}
    (call,) = places["kept.py"]
    assert {word.arg: ast.unparse(word.value) for word in call.keywords}["weights_only"] == "True"


def test_files_of_torch_are_written_in_one_place():
    assert {name for name, tree in modules().items() if list(calls(tree, "torch.save"))} == {"kept.py"}


def test_models_from_outside_bring_no_code_and_are_fetched_only_when_asked_for():
    places = {name: list(calls(tree, "….from_pretrained")) for name, tree in modules().items()}
    assert {name: len(found) for name, found in places.items() if found} == {"finetuning/hugging_face.py": 2}
    for call in places["finetuning/hugging_face.py"]:
        assert "options" in [ast.unparse(word.value) for word in call.keywords if word.arg is None]
    (options,) = [
        ast.unparse(node.value)
        for node in ast.walk(modules()["finetuning/hugging_face.py"])
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "options"
    ]
    assert ast.literal_eval(options.replace("not download", "True")) == {
        "local_files_only": True,
        "trust_remote_code": False,
    }
