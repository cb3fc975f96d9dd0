"""Makes .venv with what the series needs, or mends it: `python install.py`, or `python install.py test` for the tests.

It looks first and does only what is missing, so it can be called at any time. A folder that was moved, a .venv
without pip (as uv makes it), one of an old Python or one half made: each is put right. On Linux, torch is the small
build for CPUs; with GPU=1 in the environment it is the one with CUDA. No f-strings and no annotations here: an old
Python must be able to read that it is too old.
"""

import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.path.join(HERE, ".venv", *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
NEEDED = (3, 11)
SMALL = ["--index-url", "https://download.pytorch.org/whl/cpu", "--timeout", "15", "--retries", "0"]


def main(wanted):
    found = seen(wanted)
    if found and not wrong(found):
        return
    if not found or tuple(found["python"]) < NEEDED:
        make()
        found = seen(wanted)
    if not found["pip"] and run("ensurepip", "--upgrade"):
        sys.exit("No pip in .venv, and its Python brings none: on Debian and Ubuntu, apt install python3-venv.")
    if found["torn"]:  # pip was stopped while it wrote these
        run("pip", "install", "--ignore-installed", "--no-deps", *found["torn"])
    choose_torch(found)
    if run("pip", "install", "-r", "requirements.txt") or wanted == "test" and run("pip", "install", "-e", ".[test]"):
        sys.exit("pip could not install everything (why, it says above). The same command again goes on from here.")
    left = wrong(seen(wanted))
    if left:
        sys.exit("Not right yet in .venv: " + left + ". Delete the folder .venv and give the same command again.")


def seen(wanted):
    """What `look` says in .venv; None if there is no Python in it that runs."""
    try:
        said = subprocess.check_output([PYTHON, "-I", os.path.abspath(__file__), "look", wanted])
        return json.loads(said.decode())
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def look(wanted):
    """Called by the Python in .venv, which does not see this folder but by what is installed."""
    found = {"python": sys.version_info[:2], "pip": False, "helpers": None, "lacks": [], "torn": [], "torch": ""}
    if sys.version_info >= NEEDED:
        from importlib import metadata, util

        every = {d.metadata["Name"].lower(): d for d in metadata.distributions() if d.metadata["Name"]}
        has = {name: d.version.split("+")[0] for name, d in every.items()}
        found["torn"] = [n + "==" + has[n] for n, d in every.items() if d.read_text("RECORD") is None]
        found["lacks"] = [n + "==" + version for n, version in pins(wanted) if has.get(n.lower()) != version]
        found["torch"] = every["torch"].version if "torch" in every else ""
        found["pip"] = util.find_spec("pip") is not None
        try:
            found["helpers"] = str(__import__("icl_vs_ft").HERE)
        except ImportError:
            pass
    print(json.dumps(found))


def pins(wanted):
    """Names and versions, as requirements.txt has them; for the tests also those of the extras in pyproject.toml."""
    import tomllib

    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    if wanted == "test":
        with open(os.path.join(HERE, "pyproject.toml"), "rb") as file:
            lines += sum(tomllib.load(file)["project"]["optional-dependencies"].values(), [])
    return [pin.groups() for pin in (re.match(r"([\w.-]+)==([\w.]+)", line) for line in lines) if pin]


def wrong(found):
    """The first thing that is not as it should be, in words; empty if all is."""
    if tuple(found["python"]) < NEEDED:
        return "its Python is too old"
    if found["helpers"] != os.path.realpath(HERE):
        return "`import helpers` finds " + ("that of " + found["helpers"] if found["helpers"] else "nothing")
    if found["torn"] or found["lacks"]:
        return "it lacks " + ", ".join(found["torn"] + found["lacks"])
    return "torch has no CUDA" if os.environ.get("GPU") and found["torch"].endswith("+cpu") else ""


def make():
    if sys.version_info < NEEDED:
        sys.exit(
            "The series needs Python 3.11 or newer, and this is " + ".".join(map(str, sys.version_info[:3])) + ". "
            "Install a newer one and name it: make lab PYTHON=python3.12"
        )
    say("Making .venv ...")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", "--without-pip", os.path.join(HERE, ".venv")]):
        sys.exit("Python could not make .venv (why, it says above).")


def choose_torch(found):
    if os.environ.get("GPU"):
        if found["torch"].endswith("+cpu"):
            run("pip", "uninstall", "--yes", "torch")
        return
    torch = [pin for pin in found["lacks"] if pin.startswith("torch==")]
    if torch and sys.platform == "linux":
        with open(os.devnull, "w") as nowhere:
            if run("pip", "install", torch[0], *SMALL, stderr=nowhere):
                say("The small torch could not be fetched. Taking the one that pip finds.")


def run(*module, **how):
    return subprocess.call([PYTHON, "-m"] + list(module), cwd=HERE, **how)


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        look(sys.argv[2]) if sys.argv[1:2] == ["look"] else main("".join(sys.argv[1:2]))
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command again goes on from here.")
