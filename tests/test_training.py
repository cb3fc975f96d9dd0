"""The outer loop: the same seed gives the same run, also when it was cut off in the middle."""

import collections
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from helpers import tasks, training
from helpers.models.stacks import LinearTransformer


def run(iterations=60, *, seed=0, keep=None, stop_at=None, watch=None, lr=0.02, optimizer=torch.optim.Adam):
    """Train a layer; `stop_at` raises in the middle, as a stopped kernel does."""
    model = LinearTransformer(3, scale=0.1)
    seen = []

    def loss(task_seed):
        seen.append(task_seed)
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        p = tasks.linear_regression(B=32, N=6, d_x=3, seed=task_seed)
        return (model(*p.shown) - p.y_query).square().mean()

    optimizer = optimizer(model.parameters(), lr)
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
slow = lambda t: time.sleep(0.01)
print("starts", flush=True)
test_training.run(keep=sys.argv[2], watch=slow)
"""


@pytest.mark.parametrize("after", [0.0, 0.11, 0.37])
def test_a_run_whose_process_was_killed_ends_as_if_it_had_not_been(tmp_path, after):
    keep, here = tmp_path / "run.pt", os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", KILLED, here, keep], stdout=subprocess.PIPE)
    process.stdout.readline()
    while after and not keep.exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    resumed = run(keep=keep)
    assert same(run(), resumed) and (len(resumed[2]) < 60 or not after)


def test_a_twin_that_forgets_the_optimizers_state_is_noticed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(keep=tmp_path / "run.pt", stop_at=31)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    saved["now"]["optimizer"]["state"] = {}
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
    with pytest.raises(ValueError, match="differs in optimizer"):
        run(keep=tmp_path / "run.pt", optimizer=lambda weights, lr: torch.optim.Adam(weights, lr, betas=(0.5, 0.9)))
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


@pytest.mark.parametrize("lr", [np.float64(0.02), np.float32(0.02), torch.tensor(0.02)], ids=str)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_rate_of_numpys_or_torchs_is_kept_as_a_number(tmp_path, lr, optimizer):
    options = {"lr": lr, "optimizer": optimizer, "keep": tmp_path / "run.pt"}
    with pytest.raises(KeyboardInterrupt):
        run(**options, stop_at=31)
    assert same(run(lr=lr, optimizer=optimizer), run(**options))


@pytest.mark.parametrize(
    "seen, kept",
    [
        (np.float64(0.5), 0.5),
        (np.array([1, 2]), torch.tensor([1, 2])),
        ({"at": np.int32(3), "how": (np.str_("well"), np.bool_(True))}, {"at": 3, "how": ("well", True)}),
        (collections.OrderedDict(W=torch.ones(2)), {"W": torch.ones(2)}),
    ],
    ids=["a number", "an array", "nested", "another dict"],
)
def test_what_is_watched_is_kept_in_plain_types(tmp_path, seen, kept):
    watch = lambda t: seen if t in (0, 40) else None  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        run(keep=tmp_path / "run.pt", watch=watch, stop_at=31)
    for part in run(keep=tmp_path / "run.pt", watch=watch)[1].watched:
        assert type(part) is type(kept) and repr(part) == repr(kept)


def test_what_is_watched_is_kept_as_it_was_then(tmp_path):
    model = LinearTransformer(3, scale=0.1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss, watch = lambda seed: model.P.square().sum(), lambda t: model.P  # the same tensor each time
    first, *_, last = training.fit(model, loss, optimizer, 4, watch=watch, keep=tmp_path / "run.pt").watched
    assert not torch.equal(first, last) and not first.requires_grad


@pytest.mark.parametrize(
    "seen", [LinearTransformer(1), {1, 2}, [run], {"x": np.array([None])}], ids=lambda seen: type(seen).__name__
)
def test_what_cannot_be_kept_is_refused_before_the_work_starts(tmp_path, seen):
    calls = []
    with pytest.raises(TypeError, match="watch, after 0 iterations.* cannot be kept, only numbers, text, tensors"):
        training.fit(*one_weight(calls), 5, watch=lambda t: seen, keep=tmp_path / "run.pt")
    assert not calls and not list(tmp_path.iterdir())


def one_weight(calls):
    model = LinearTransformer(1)
    loss = lambda seed: calls.append(seed) or model.P.square().sum()  # noqa: E731
    return model, loss, torch.optim.SGD(model.parameters(), 0.1)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody can write")
@pytest.mark.parametrize("file", ["/proc/run.pt", "/sys/run.pt", "a" * 300], ids=["proc", "sys", "a long name"])
def test_where_nothing_can_be_written_the_work_does_not_start(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    with pytest.raises(OSError, match=f"keep: {file} cannot be written: "):
        training.fit(*one_weight(calls), 5, keep=file)
    assert not calls


def test_a_finished_run_is_read_back_where_nothing_can_be_written(tmp_path, monkeypatch):
    first = run(keep=tmp_path / "run.pt")
    monkeypatch.setattr(training.kept, "_written_beside", None)
    assert same(first, run(keep=tmp_path / "run.pt"))


def test_a_damaged_file_is_named_and_kept(tmp_path):
    (tmp_path / "run.pt").touch()
    with pytest.raises(ValueError, match=r"keep: .*run.pt is not all there .*: delete it or use a new name"):
        run(keep=tmp_path / "run.pt")
    torch.save({"losses": torch.zeros(60)}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"keep: .*run.pt holds something else, .*: delete it or use a new name"):
        run(keep=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == [tmp_path / "run.pt"]


def test_two_at_once_with_one_file_do_not_spoil_it(tmp_path):
    here = os.path.dirname(__file__)
    both = [subprocess.Popen([sys.executable, "-c", KILLED, here, tmp_path / "run.pt"]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert same(run(), run(keep=tmp_path / "run.pt")) and list(tmp_path.iterdir()) == [tmp_path / "run.pt"]


def test_gradients_switched_off_for_all_do_not_stop_a_training():
    expected = run()
    with torch.no_grad():
        assert same(expected, run())
    with torch.inference_mode(), pytest.raises(RuntimeError, match="torch.inference_mode is on"):
        run()


def test_a_model_that_cannot_be_trained_is_refused_in_words():
    model, loss, optimizer = one_weight([])
    model.requires_grad_(False)
    with pytest.raises(
        ValueError, match="loss: it depends on no weight that can be trained: call model.requires_grad_"
    ):
        training.fit(model, loss, optimizer, 5)


def test_losses_are_kept_in_one_dtype_whatever_torchs_default():
    torch.set_default_dtype(torch.float64)
    try:
        model, loss, optimizer = one_weight([])
        assert training.fit(model, loss, optimizer, 3).losses.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
