"""What the reader of notebooks 04 and 05 should have seen is what the widgets say, and what the text says."""

import pytest
from conftest import ROOT
from scenarios import folded, said

from helpers import verdicts

PATHS = {
    "04": ROOT / "notebooks" / "04_the_best_single_step.ipynb",
    "05": ROOT / "notebooks" / "05_training_finds_it.ipynb",
}


def parabola(N, d_x, noise, inputs):
    return "04", "parabola_widget", {"N": N, "d_x": d_x, "noise": noise, "inputs": inputs}


def scale(c, N, noise):
    return "04", "scale_widget", {"c": c, "N": N, "d_x": 5, "noise": noise}


def length(N, M, noise):
    return "04", "length_widget", {"N": N, "M": M, "d_x": 5, "noise": noise}


def matrix(exponent, noise, prior):
    return "04", "matrix_widget", {"exponent": exponent, "N": 20, "noise": noise, "prior": prior}


def retrain(N, d_x, noise):
    return "05", "retrain_widget", {"N": N, "d_x": d_x, "inputs": "uniform", "noise": noise}


def mixing(t, beta, correct=False):
    return "05", "mixing_widget", {"t": t, "beta": beta, "correct": correct}


def plateau(power, d_x):
    return "05", "plateau_widget", {"power": power, "d_x": d_x, "N": 10}


SCENARIOS = [  # where, and at which controls; what the read-out says; how the text says it
    (parabola(20, 10, 0.0, "gaussian"), "η* = 0.645", "0.645"),
    (parabola(20, 10, 2.0, "gaussian"), "η* = 0.571", "0.571"),
    (parabola(10, 1, 0.0, "rademacher"), "leaves 0.000 of the error", "the step η = 1 lands on the task"),
    (parabola(10, 1, 0.0, "uniform"), "leaves 0.074 of the error", "0.074"),
    (parabola(10, 1, 0.0, "gaussian"), "leaves 0.167 of the error", "0.167"),
    (parabola(10, 40, 0.0, "gaussian"), "η = 1 leaves 4.1.", "4.1 times"),
    (parabola(10, 40, 0.0, "gaussian"), "η* = 0.196", "0.196, and leaves 0.804"),
    (scale(1.4, 20, 0.4), "One step leaves 0.931", "c = 1.40, where by the formula it leaves 0.931"),
    (scale(1.45, 20, 0.4), "One step leaves 1.15", "1.45, where it leaves 1.15"),
    (scale(1.5, 20, 0.0), "least squares 0 (round-off)", "right to round-off"),
    (scale(2.0, 100, 0.4), "One step leaves 8.52", "8.52 at N = 100"),
    (scale(2.0, 20, 0.4), "One step leaves 7.06", "7.06 at N = 20"),
    (length(20, 400, 0.0), "leaves 0.0621 of the error (these 200 prompts: 0.0682); the floor is 0.0533", "0.0621"),
    (length(100, 5, 0.0), "leaves 1.07", "At M = 5 it leaves 1.07"),
    (length(100, 6, 0.0), "leaves 0.893", "from M = 6 on it helps"),
    (length(20, 400, 2.0), "the floor is 0.111", "to 0.111"),
    (matrix(0.0, 0.0, "N(0, I)"), "The best number, 0.741, leaves 0.259", "all bars are 0.741"),
    (matrix(3.0, 0.0, "N(0, I)"), "The best number, 0.209", "held down to 0.209"),
    (matrix(3.0, 2.0, "N(0, I)"), "1.98 along 6", "to 2 with noise 2"),
    (matrix(3.0, 0.0, "N(0, Σ⁻¹)"), "leaves 0.794 of the error", "0.794"),
    (matrix(3.0, 0.0, "N(0, Σ⁻¹)"), "the best matrix 0.259", "0.259 at every κ"),
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
    (notebook, name, values), read_out, text = SCENARIOS[scenario]
    widget = ran(PATHS[notebook]).namespace[name]
    assert read_out in said(widget, values)
    assert text in folded(PATHS[notebook])


def test_another_setting_says_something_else(ran):
    """The twin: what item 3 of the first widget says if the inputs are left where item 2 had put them."""
    widget = ran(PATHS["04"]).namespace["parabola_widget"]
    assert "η = 1 leaves 4.1." not in said(widget, parabola(10, 40, 0.0, "rademacher")[2])


VERDICTS = {
    "the_papers_loss": verdicts.RESTATED,
    "the_step_does_not_scale": verdicts.RESTATED,
    "more_context_meets_a_floor": verdicts.RESTATED,
    "a_whole_layer_beats_the_matrix": verdicts.RESTATED,
    "the_cosine_shows_it": verdicts.ARTEFACT,
    "noise_lengthens_the_wait": verdicts.RESTATED,
    "the_loss_falls_once": verdicts.RESTATED,
    "training_finds_it": verdicts.RESTATED,
    "few_prompts_are_memorised": verdicts.RESTATED,
    "few_tasks_are_memorised_a_little": verdicts.RESTATED,
    "real_weights_look_like_it": verdicts.UNCHECKED,
}


@pytest.mark.parametrize(
    "claim", [each for number in PATHS for each in verdicts.claims_of(number)], ids=lambda c: c.name
)
def test_the_verdict_is_the_same_on_other_prompts(claim):
    """The notebooks measure with shift 0; scripts with more."""
    assert verdicts.row(claim, shift=3).verdict == VERDICTS.get(claim.name, verdicts.HOLDS)
