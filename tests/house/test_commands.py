"""What the commands say to bad inputs: a sample of benchmarks/bad_inputs.py, and that it would notice."""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import bad_inputs
import pytest
from bad_inputs import Call, Said
from conftest import ROOT

from helpers import shell

if importlib.util.find_spec("transformers") is None:
    pytest.skip('transformers is not installed: pip install -e ".[lm]" brings it', allow_module_level=True)


def test_bad_inputs_are_answered_in_one_line_and_change_no_file(tmp_path):
    kinds = set()
    for call, folder in bad_inputs.calls(40, 7, tmp_path):
        said = bad_inputs.run(call, folder)
        assert said.well(call, folder), (call, said)
        kinds.add((call.module, call.kind.split(":")[0]))
    assert len(kinds) > 15 and len({module for module, _ in kinds}) > 8


@pytest.mark.parametrize(
    "said",
    [
        Said(2, "", "python -m helpers.verdicts: error: draws: expected", []),
        Said(0, "", "python -m helpers.verdicts: error: draws: expected", []),
        Said(2, "some", "python -m helpers.verdicts: error: draws: expected", []),
        Said(2, "", "python -m helpers.verdicts: error: draws: expected\nmore", []),
        Said(2, "", "python -m helpers.verdicts: error: expected a whole number", []),
        Said(2, "", "ValueError: draws", []),
        Said(2, "", "python -m helpers.verdicts: error: draws: expected", ["table.json"]),
    ],
    ids=["well", "status", "output", "two lines", "no name", "raw", "changed"],
)
def test_what_counts_as_an_answer(said, request, tmp_path):
    well = said.well(Call("helpers.verdicts", "option: --draws", []), tmp_path)
    assert well == request.node.callspec.id.startswith("well")


def test_a_good_input_would_be_noticed(tmp_path):
    said = bad_inputs.run(Call("helpers.verdicts", "none", ["--notebook", "03"]), tmp_path)
    assert said.status is None and "it begins to work" in said.err


# --- processes that work for a command ------------------------------------------------------------------------


def test_workers_end_with_whoever_started_them():
    others = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt), shell.workers(1) as pool:
        pool.submit(time.sleep, 0).result()
        pool.submit(time.sleep, 600)
        assert set(multiprocessing.active_children()) - others
        raise KeyboardInterrupt
    assert set(multiprocessing.active_children()) == others


def test_a_worker_that_dies_is_said_to_have_died():
    with pytest.raises(OSError, match="a process at work was ended"), shell.workers(1) as pool:
        pool.submit(os._exit, 9).result()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent otherwise there")
def test_ctrl_c_at_the_terminal_leaves_one_line_and_what_was_done(tmp_path):
    command = [sys.executable, "-m", "helpers.trained.scaled_gpts", "--width=8", "--layers=1", "--heads=2", "--seeds=0"]
    command += ["--iterations=100000", f"--folder={tmp_path}"]
    around = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, env=around, start_new_session=True, **pipes)
    while not (tmp_path / "scale.jsonl").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    out, said = running.communicate(timeout=120)
    assert running.returncode == 130 and not out and said.strip().count("\n") == 0
    assert "stopped. What is done is kept, and the same command goes on from there." in said
