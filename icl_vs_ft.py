"""Whose `helpers` is it? Imported before it, this says so where Python would take another file of that name.

A notebook sees the files beside it first, and `helpers.py` is a name that many have used.
"""

import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent


def found() -> Path | None:
    """The file or folder that `import helpers` takes; None if there is none."""
    spec = importlib.util.find_spec("helpers")
    if spec is None:
        return None
    return Path(spec.origin or next(iter(spec.submodule_search_locations))).resolve()


def environment(requirements: Path = HERE / "requirements.txt") -> None:
    """Prints how many packages are of the tested versions, which are not, and what else the series counts on."""
    if requirements.is_file():
        lines = requirements.read_text(encoding="utf-8").splitlines()
        tested = dict(line.split()[0].split("==") for line in lines if "==" in line)
        has = {name: _installed(name) for name in tested}
        for name in tested:
            if has[name] != tested[name]:
                print(f"{name}: tested with {tested[name]}, found {has[name] or 'none: python install.py brings it'}")
        print(f"{sum(has[name] == tested[name] for name in tested)} of {len(tested)} packages are the tested versions")
    else:
        print(f"Versions are not compared: there is no {requirements}.")
    import torch

    print("Python is 3.11 or newer:", sys.version_info >= (3, 11))
    print("torch uses one thread:", torch.get_num_threads() == 1)


def _installed(package: str) -> str | None:
    try:
        return version(package).split("+")[0]  # 2.13.0+cpu is the CPU build of 2.13.0
    except PackageNotFoundError:
        return None


if (_there := found()) != HERE / "helpers" / "__init__.py":
    raise ImportError(
        f"`import helpers` would take {_there}, not this series' {HERE / 'helpers'}: rename it, and restart the kernel."
        if _there
        else f"there is no {HERE / 'helpers'} to import: `python install.py` in the project's folder puts that right."
    )
