"""A training run of notebook 05 that is cut off, or killed, ends bit for bit like an undisturbed one."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from test_claims_05 import trained_on_the_exact_loss

KILLED = """
import sys, time; sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
import test_claims_05
test_claims_05.trained_on_the_exact_loss(0, iterations=60, keep=sys.argv[2], watch=lambda t: time.sleep(0.02))
"""


def same(one, other):
    pairs = zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and torch.equal(one[1].losses, other[1].losses)


def test_a_run_on_the_exact_loss_that_was_cut_off_ends_bit_for_bit_like_an_undisturbed_one(tmp_path):
    undisturbed = trained_on_the_exact_loss(0, iterations=60)
    with pytest.raises(KeyboardInterrupt):
        trained_on_the_exact_loss(0, iterations=60, keep=tmp_path / "run.pt", stop_at=40)
    resumed = trained_on_the_exact_loss(0, iterations=60, keep=tmp_path / "run.pt")
    assert same(undisturbed, resumed) and resumed[2] < 30
    assert not same(undisturbed, trained_on_the_exact_loss(1, iterations=60))


def test_a_run_on_the_exact_loss_whose_process_was_killed_ends_bit_for_bit_like_an_undisturbed_one(tmp_path):
    keep = tmp_path / "run.pt"
    process = subprocess.Popen([sys.executable, "-c", KILLED, os.path.dirname(__file__), keep])
    deadline = time.monotonic() + 60
    while not keep.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    resumed = trained_on_the_exact_loss(0, iterations=60, keep=keep)
    assert same(trained_on_the_exact_loss(0, iterations=60), resumed) and resumed[2] < 60
