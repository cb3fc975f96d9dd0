"""The outer loop: the same seed gives the same run, also when it was cut off in the middle."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from helpers import tasks, training
from helpers.models.stacks import LinearTransformer


def run(iterations=60, *, seed=0, keep=None, stop_at=None, watch=None, lr=0.02):
    """Train a layer; `stop_at` raises in the middle, as a stopped kernel does."""
    model = LinearTransformer(3, scale=0.1)
    seen = []

    def loss(task_seed):
        seen.append(task_seed)
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        p = tasks.linear_regression(B=32, N=6, d_x=3, seed=task_seed)
        return (model(*p.shown) - p.y_query).square().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr)
    history = training.fit(model, loss, optimizer, iterations, seed=seed, keep=keep, watch=watch)
    return model, history, seen


def same(a, b):
    pairs = zip(a[0].state_dict().values(), b[0].state_dict().values(), strict=True)
    return all(torch.equal(u, v) for u, v in pairs) and torch.equal(a[1].losses, b[1].losses)


def test_training_lowers_the_loss():
    _, history, _ = run(300)
    assert history.losses[-50:].mean() < 0.7 * history.losses[:50].mean()


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    assert same(run(), run()) and not same(run(), run(seed=1))


def test_every_iteration_draws_its_own_tasks_and_runs_do_not_share_them():
    seeds = run(50)[2] + run(50, seed=1)[2]
    assert len(set(seeds)) == 100


@pytest.mark.parametrize("stop_at", [2, 31, 60])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, stop_at):
    undisturbed = run(watch=lambda t: t if t % 7 == 0 else None)
    with pytest.raises(KeyboardInterrupt):
        run(keep=tmp_path / "run.pt", stop_at=stop_at, watch=lambda t: t if t % 7 == 0 else None)
    resumed = run(keep=tmp_path / "run.pt", watch=lambda t: t if t % 7 == 0 else None)
    assert same(undisturbed, resumed)
    assert resumed[1].watched == undisturbed[1].watched == [0, 7, 14, 21, 28, 35, 42, 49, 56]
    assert len(resumed[2]) <= 60 - (stop_at - 1) // 3 * 3  # what was saved was not done twice


KILLED = """
import sys, time; sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
import test_training
slow = lambda t: time.sleep(0.02)
test_training.run(keep=sys.argv[2], watch=slow)
"""


def test_a_run_whose_process_was_killed_ends_as_if_it_had_not_been(tmp_path):
    keep, here = tmp_path / "run.pt", os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", KILLED, here, keep])
    deadline = time.monotonic() + 60
    while not keep.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    resumed = run(keep=keep)
    assert same(run(), resumed) and len(resumed[2]) < 60


def test_a_twin_that_forgets_the_optimizers_state_is_noticed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(keep=tmp_path / "run.pt", stop_at=31)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    saved["optimizer"]["state"] = {}
    torch.save(saved, tmp_path / "run.pt")
    assert not same(run(), run(keep=tmp_path / "run.pt"))


def test_a_finished_run_is_read_back_without_training(tmp_path):
    first = run(keep=tmp_path / "run.pt")
    again = run(keep=tmp_path / "run.pt")
    assert same(first, again) and again[2] == []


def test_a_file_of_another_run_is_refused_and_kept(tmp_path):
    run(keep=tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(ValueError, match=r"holds another run \(it differs in seed\): delete it or use a new name"):
        run(keep=tmp_path / "run.pt", seed=3)
    with pytest.raises(ValueError, match="differs in rates"):
        run(keep=tmp_path / "run.pt", lr=0.05)
    assert (tmp_path / "run.pt").read_bytes() == before


def test_the_learning_rate_follows_its_schedule():
    model, rates = LinearTransformer(3), []
    optimizer = torch.optim.SGD(model.parameters(), 0.4)
    watch = lambda t: rates.append(optimizer.param_groups[0]["lr"])  # noqa: E731
    training.fit(model, lambda seed: model.P.square().sum(), optimizer, 4, watch=watch, schedule=lambda done: 1 - done)
    assert rates == pytest.approx([0.4, 0.4, 0.3, 0.2, 0.1])
    assert training.cosine(0.25) > 0.75 > training.cosine(0.5) and training.constant(0.9) == 1


def test_a_loss_that_blows_up_stops_the_run_in_words():
    model = LinearTransformer(3)
    with pytest.raises(FloatingPointError, match="loss: nan after 0 iterations: is the learning rate too high"):
        optimizer = torch.optim.SGD(model.parameters(), 1.0)
        training.fit(model, lambda seed: model.P.sum() * torch.nan, optimizer, 5)


def test_bad_input(tmp_path):
    model = LinearTransformer(3)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    with pytest.raises(ValueError, match="iterations: expected a whole number of at least 1, got 0"):
        training.fit(model, lambda seed: model.P.sum(), optimizer, 0)
    with pytest.raises(FileNotFoundError, match="keep: there is no folder"):
        training.fit(model, lambda seed: model.P.sum(), optimizer, 2, keep=tmp_path / "nowhere" / "run.pt")
