"""The shipped softmax layers: what they are, and that the script makes them."""

import pytest
import torch

from helpers import kept, metrics
from helpers.theory import closed_forms, mixing
from helpers.trained import softmax_runs


def test_the_file_holds_all_runs():
    saved = kept.read(softmax_runs.FILE, "?")
    assert {kind: list(runs) for kind, runs in saved.items()} == {
        kind: list(setting.seeds) for kind, setting in softmax_runs.SETTINGS.items()
    }


@pytest.mark.parametrize("kind", softmax_runs.SETTINGS)
def test_the_first_frame_is_the_untrained_model(kind):
    (name, W), *_ = softmax_runs.load(kind, 1).frame(0).named_parameters()
    first, other = (dict(softmax_runs.untrained(kind, seed).named_parameters()) for seed in (1, 2))
    assert torch.equal(W, first[name].half().float())
    assert not torch.equal(first["W_Q" if "W_Q" in first else "inside.W_Q"], other.get("W_Q", other.get("inside.W_Q")))


class Enough(Exception):
    pass


def test_training_makes_the_film_that_is_shipped():
    model, film = softmax_runs.untrained("two heads", 3), softmax_runs.load("two heads", 3)

    def watch(t):  # the first 40 steps of the full run
        if t == 40:
            raise Enough

    with pytest.raises(Enough):
        softmax_runs.train(model, seed=3, watch=watch)
    parameters = dict(model.named_parameters())
    for name, W in film.frame(2).named_parameters():
        assert (
            metrics.max_gap(parameters[name].detach(), W) < 2e-3 < metrics.max_gap(film.frame(1).get_parameter(name), W)
        )


def test_rivals_lose_what_theory_says():
    n = 8000**0.5
    gd = closed_forms.gd_excess(closed_forms.best_step(10, 10, inputs="uniform"), 10, 10, inputs="uniform") / 2
    for learner, expected in [
        (softmax_runs.one_step, gd),
        (softmax_runs.centred_step, mixing.best_centred_step(10, 10, inputs="uniform")[1] / 2),
    ]:
        losses = softmax_runs.half_losses(learner, shift=3)
        assert abs(losses.mean() - expected) < 4 * losses.std() / n
    assert round(mixing.best_centred_step(10, 10, inputs="uniform")[1] / 2 / gd, 2) == 1.06  # section 5 says so


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: softmax_runs.load("three heads"), "kind: expected one of one head, two heads, linear"),
        (lambda: softmax_runs.load("two heads, slowly", 6), "seed: expected one of 0 to 5, got 6"),
    ],
)
def test_runs_that_were_not_made(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_the_script_made_anew_is_what_is_loaded_from_then_on(tmp_path, monkeypatch):
    setting = softmax_runs.SETTINGS["layer norm"]._replace(at=(0, 20), seeds=range(2))
    monkeypatch.setattr(softmax_runs, "SETTINGS", {"layer norm": setting})
    for scale in (0.1, 0.2):
        monkeypatch.setitem(softmax_runs.SETTINGS, "layer norm", setting._replace(scale=scale))
        softmax_runs.main(tmp_path)
        film, first = softmax_runs.load("layer norm", 1, folder=tmp_path), softmax_runs.untrained("layer norm", 1)
        assert film.at == [0, 20] and torch.equal(film.frame(0).inside.W_Q, first.inside.W_Q.half().float())
