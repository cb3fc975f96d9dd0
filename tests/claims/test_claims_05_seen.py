"""What the reader of notebook 05 should have seen is what the widgets say, and what the text says."""

import numpy as np
import pytest
from conftest import ROOT
from scenarios import folded, said

from helpers import verdicts
from helpers.verdicts import notebook_05 as claims

PATH = ROOT / "notebooks" / "05_training_finds_it.ipynb"


def retrain(N, d_x, noise):
    return "retrain_widget", {"N": N, "d_x": d_x, "inputs": "uniform", "noise": noise}


def mixing(t, beta, correct=False):
    return "mixing_widget", {"t": t, "beta": beta, "correct": correct}


def plateau(power, d_x):
    return "plateau_widget", {"power": power, "d_x": d_x, "N": 10}


SCENARIOS = [  # where, and at which controls; what the read-out says; how the text says it
    (retrain(1, 10, 0.0), "Learned η = 1.111", "1.11 at N = 1"),
    (retrain(200, 10, 0.0), "Learned η = 11.439", "11.44 at N = 200"),
    (retrain(10, 10, 0.0), "Learned η = 6.061", "6.06 becomes 3.77"),
    (retrain(10, 10, 1.0), "Learned η = 3.774", "3.77 at N = 10"),
    (retrain(2, 10, 0.0), "Learned η = 2.034", "2.03 becomes 1.01"),
    (retrain(2, 10, 1.0), "Learned η = 1.008", "1.01 at N = 2"),
    (retrain(200, 10, 1.0), "Learned η = 10.821", "10.82 at N = 200"),
    (retrain(2, 20, 0.0), "Learned η = 1.101", "η = 1.10, and a loss of 91 %"),
    (retrain(10, 2, 0.0), "Learned η = 7.104, best η* = 10.169", "η = 7.10 where 10.17 would be best"),
    (mixing(-0.5, 1.0), "half-loss 0.206", "0.206 from t = −0.5 to 1"),
    (mixing(1.5, 1.0), "half-loss 0.207", "0.207 at t = 1.5"),
    (mixing(0.5, 5.0), "1.80 times the step size, and half-loss 0.340", "1.80 times"),
    (mixing(0.5, 1.2), "1.01 times the step size, and half-loss 0.206", "1.01 times"),
    (mixing(0.5, -1.0), "half-loss 0.417", "half-loss 0.417"),
    (mixing(0.5, -5.0), "-0.80 times the step size, and half-loss 0.889", "−0.80 times (0.889)"),
    (mixing(0.5, -5.0, True), "half-loss 0.206", "back at 0.206"),
    (plateau(-1.0, 10), "t½ = 0.79", "0.79, 1.52, 2.25 and 2.98"),
    (plateau(-4.0, 10), "t½ = 2.98", "2.98"),
    (plateau(-2.0, 1), "t½ = 4.51", "4.51 for d_x = 1"),
    (plateau(-2.0, 50), "t½ = 0.66", "0.66 for 50"),
    (plateau(0.0, 10), "More than half is there from the start", "more than half of η* is there"),
]


@pytest.mark.parametrize("scenario", range(len(SCENARIOS)))
def test_the_read_out_and_the_text_say_the_same(ran, scenario):
    (name, values), read_out, text = SCENARIOS[scenario]
    assert read_out in said(ran(PATH).namespace[name], values)
    assert text in folded(PATH)


def test_the_extra_wait_falls_faster_than_in_proportion():
    """In units of step/batch, over 18 runs: what is late in proportion would be level."""
    unit = {}
    for lr, batch in [(1e-3, 16), (3e-3, 16), (3e-3, 8)]:
        waits = np.concatenate([claims.wait_with_noise(lr, batch, shift) for shift in range(3)])
        unit[lr, batch] = (waits - 1) / (lr / batch)
    short, long, longer = unit.values()
    assert long.mean() - short.mean() > 3 * np.hypot(short.std(), long.std()) / 18**0.5
    assert longer.mean() > long.mean() > 1.2 * short.mean()
    assert 0 < claims.wait_with_noise(3e-4, 16).mean() - 1 < 0.03 < claims.wait_with_noise(3e-3, 16).mean() - 1


def test_merged_weights_pause_for_sizes_that_lie_far_apart_and_not_for_those_of_the_picture():
    assert [claims.race(lam=lam).plateaus() for lam in (claims.LAM, *claims.WIDE)] == [0, 1, 1]
    large, small = claims.race(lam=(3.0, 0.3)).learned.T
    assert small[np.argmax(large > 0.99)] < 0.01 and small[-1] > 0.9  # hardly moved when the large one is done


VERDICTS = {
    "the_cosine_shows_it": verdicts.ARTEFACT,
    "noise_lengthens_the_wait": verdicts.RESTATED,
    "the_loss_falls_once": verdicts.RESTATED,
    "training_finds_it": verdicts.RESTATED,
    "few_prompts_are_memorised": verdicts.RESTATED,
    "few_tasks_are_memorised_a_little": verdicts.RESTATED,
    "real_weights_look_like_it": verdicts.UNCHECKED,
}


@pytest.mark.parametrize("claim", verdicts.claims_of("05"), ids=lambda claim: claim.name)
def test_the_verdict_is_the_same_on_other_prompts(claim):
    """The notebook measures with shift 0; scripts with more."""
    assert verdicts.row(claim, shift=3).verdict == VERDICTS.get(claim.name, verdicts.HOLDS)
