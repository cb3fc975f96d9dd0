"""The checks of notebook 06 accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_06 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"
GAMMA = 1 / (0.666 + math.sqrt(0.666 * 10.845) + 10.845)

CASES = {
    "degree, right": (exercises.check_degree, 40, RIGHT),
    "degree, as a tensor": (exercises.check_degree, torch.tensor(40), RIGHT),
    "degree, powers of three": (exercises.check_degree, 81, WRONG),
    "degree, three layers": (exercises.check_degree, 13, WRONG),
    "degree, of gradient descent": (exercises.check_degree, 4, WRONG),
    "degree, nothing": (exercises.check_degree, ..., "Not yet: expected one finite number"),
    "gamma, right": (exercises.check_gamma, GAMMA, RIGHT),
    "gamma, three digits": (exercises.check_gamma, 0.0704, RIGHT),
    "gamma, the best for the loss": (exercises.check_gamma, 0.056, WRONG),
    "gamma, without the root": (exercises.check_gamma, 1 / (0.666 + 10.845), WRONG),
    "gamma, a string": (exercises.check_gamma, "0.0704", "Not yet: expected one finite number"),
    "dampening, right": (exercises.check_dampening, (0.7174, 0.782), RIGHT),
    "dampening, a list": (exercises.check_dampening, [2 * 19.8 / 12 / 4.6, 2 * 19.8 / 12 / 4.22], RIGHT),
    "dampening, other order": (exercises.check_dampening, (0.782, 0.7174), WRONG),
    "dampening, without the 2": (exercises.check_dampening, (0.3587, 0.391), WRONG),
    "dampening, one": (exercises.check_dampening, 0.75, "Not yet: expected two numbers"),
    "dampening, three": (exercises.check_dampening, (1, 2, 3), "Not yet: expected two numbers"),
    "dampening, dots": (exercises.check_dampening, (..., ...), "Not yet: expected one finite number"),
    "dampening, NaN": (exercises.check_dampening, (0.7174, math.nan), "Not yet: expected one finite number"),
    "dampening, as in the paper": (exercises.check_dampening, (0.75, 0.75), WRONG),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
