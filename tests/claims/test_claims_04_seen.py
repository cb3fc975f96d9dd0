"""What the reader of notebook 04 should have seen is what the widgets say, and what the text says."""

import pytest
from conftest import ROOT
from scenarios import folded, said

from helpers import verdicts
from helpers.theory import closed_forms
from helpers.verdicts import notebook_04 as claims

PATH = ROOT / "notebooks" / "04_the_best_single_step.ipynb"


def parabola(N, d_x, noise, inputs):
    return "parabola_widget", {"N": N, "d_x": d_x, "noise": noise, "inputs": inputs}


def scale(c, N, noise):
    return "scale_widget", {"c": c, "N": N, "d_x": 5, "noise": noise}


def length(N, M, noise):
    return "length_widget", {"N": N, "M": M, "d_x": 5, "noise": noise}


def matrix(exponent, noise, prior):
    return "matrix_widget", {"exponent": exponent, "N": 20, "noise": noise, "prior": prior}


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
]


@pytest.mark.parametrize("scenario", range(len(SCENARIOS)))
def test_the_read_out_and_the_text_say_the_same(ran, scenario):
    (name, values), read_out, text = SCENARIOS[scenario]
    assert read_out in said(ran(PATH).namespace[name], values)
    assert text in folded(PATH)


def test_another_setting_says_something_else(ran):
    """The twin: what item 3 of the first widget says if the inputs are left where item 2 had put them."""
    widget = ran(PATH).namespace["parabola_widget"]
    assert "η = 1 leaves 4.1." not in said(widget, parabola(10, 40, 0.0, "rademacher")[1])


def test_the_floor_of_the_text_is_that_of_the_limit_and_the_number_with_it_that_of_1000_examples():
    eta = closed_forms.best_step(20, 5)
    assert f"{5 * (1 - eta) ** 2:.2f}" == "0.27" and f"{closed_forms.gd_excess(eta, 1000, 5):.2f}" == "0.28"
    claim = claims.more_context_meets_a_floor
    assert "0.28 with 1,000" in claim.instead and "in the limit d (1 − η)², 0.27" in claim.instead
    ours = claim.measure().restated.ours
    assert ours.low < closed_forms.gd_excess(eta, 1000, 5) < ours.high


VERDICTS = {
    "the_papers_loss": verdicts.RESTATED,
    "the_step_does_not_scale": verdicts.RESTATED,
    "more_context_meets_a_floor": verdicts.RESTATED,
    "a_whole_layer_beats_the_matrix": verdicts.RESTATED,
}


@pytest.mark.parametrize("claim", verdicts.claims_of("04"), ids=lambda claim: claim.name)
def test_the_verdict_is_the_same_on_other_prompts(claim):
    """The notebook measures with shift 0; scripts with more."""
    assert verdicts.row(claim, shift=3).verdict == VERDICTS.get(claim.name, verdicts.HOLDS)
