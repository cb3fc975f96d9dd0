"""The films of notebook 10: what the files hold, that the scripts make them, and that a run goes on."""

import pytest
import torch

from helpers import training
from helpers.models import induction
from helpers.trained import copying_runs, films, induction_runs, textbook_runs

EXACT = 1e-12
ONE_STEP = 0.206229  # (d / 12) (c / (N + c)) / 2 with d = N = 10 and c = 10 + 9/5 - 2


def test_the_yardstick_is_the_best_single_step():
    assert abs(copying_runs.GD_LOSS - ONE_STEP) < 1e-6 and abs(copying_runs.GD_ETA - 120 / 19.8) < EXACT
    assert abs(ONE_STEP - (10 / 12) * (9.8 / 19.8) / 2) < 1e-6


def test_the_first_frame_is_the_untrained_model():
    film = copying_runs.load(1)
    assert torch.equal(film.frame(0).first, copying_runs.untrained(1).first.half().float())
    assert not torch.equal(film.frame(0).first, copying_runs.untrained(2).first.half().float())


@pytest.mark.parametrize("load", [copying_runs.load, induction_runs.load, textbook_runs.load])
def test_a_seed_that_was_not_trained(load):
    with pytest.raises(ValueError, match=r"seed: expected one of \(0, 1, 2\), got 3"):
        load(3)


def test_a_film_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    def film(keep):
        model = induction_runs.untrained(n_layers=1, seed=0)
        watch = films.camera(model, [0, 10, 40])
        return films.develop(induction_runs.train(model, 40, keep=keep, watch=watch), [0, 10, 40], every=10)

    undisturbed, calls, losses = film(tmp_path / "one"), [], induction.losses

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(induction, "losses", stops)
    with pytest.raises(KeyboardInterrupt):
        film(tmp_path / "two")
    assert (tmp_path / "two").exists()
    resumed = film(tmp_path / "two")
    assert len(calls) == 25 + 40 - 24 and torch.equal(resumed["losses"], undisturbed["losses"])
    assert all(torch.equal(resumed["weights"][name], W) for name, W in undisturbed["weights"].items())


def test_a_film_needs_the_frames_that_were_taken():
    history = training.History(torch.zeros(20), [{"W": torch.zeros(1)}])
    with pytest.raises(ValueError, match="at: expected the 1 iterations that were watched, got 2"):
        films.develop(history, [0, 20], every=10)


def test_the_textbooks_layer_was_there_from_the_start():
    model = textbook_runs.load(1)
    words, _ = induction.sequences(5, 32, 20, seed=1)
    before = torch.cat([words[:, :1], words[:, :-1]], dim=1)  # what layer 1 reads: nothing else can tell in the first
    first, second = model.layers()
    noted = model.tokens(before) - model.positions + torch.cat([model.positions[:1], model.positions[:-1]])
    z = model.tokens(words) + noted @ first.W_V.mT @ first.P.mT
    assert torch.equal(model(words), induction.attention.causal_softmax(z, second) @ model.read.mT)
