"""The checks of notebook 04's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_04 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"

STEPS = {
    "right": ((0.6337, 2.9307), RIGHT),
    "right, as fractions": ((16 / 25.25, 8 * 9.25 / 25.25), RIGHT),
    "right, as tensors": ((torch.tensor(16 / 25.25), torch.tensor(2.9307)), RIGHT),
    "noise forgotten": ((16 / 25, 2.88), "Not yet: 0.64 is not it"),
    "noise for noise squared": ((16 / 25.5, 8 * 9.5 / 25.5), WRONG),
    "per example": ((1 / 25.25, 2.9307), WRONG),
    "the step alone": ((0.6337, ...), "Not yet: expected one finite number, got Ellipsis. Hint: eta is right"),
    "half the excess": ((0.6337, 2.9307 / 2), "Not yet: 1.46535 is not it. Hint: eta is right"),
    "per dimension": ((0.6337, 2.9307 / 8), WRONG),
    "with the query's noise": ((0.6337, 2.9307 + 0.25), WRONG),
    "dots": ((..., ...), "Not yet: expected one finite number"),
    "infinite": ((math.inf, 1.0), "Not yet: expected one finite number"),
    "words": (("a", "b"), "Not yet: expected one finite number"),
    "two numbers in one": (([0.6, 0.7], 1.0), "Not yet: expected one finite number"),
}


@pytest.mark.parametrize("case", STEPS)
def test_the_best_step(case, capsys):
    answers, verdict = STEPS[case]
    exercises.check_best_step(*answers)
    said = capsys.readouterr().out
    assert said.startswith(verdict) and said.count("\n") == 1


FUNCTIONS = {
    "loss, right": (exercises.check_half_loss, lambda a, N, d: a**2 / 6 * d * (d - 0.2) / (N + d - 0.2), RIGHT),
    "loss, a tensor": (
        exercises.check_half_loss,
        lambda a, N, d: torch.tensor(a).double() ** 2 / 6 * d * (d - 0.2) / (N + d - 0.2),
        RIGHT,
    ),
    "loss, Gaussian": (exercises.check_half_loss, lambda a, N, d: a**2 / 6 * d * (d + 1) / (N + d + 1), WRONG),
    "loss, not halved": (exercises.check_half_loss, lambda a, N, d: a**2 / 3 * d * (d - 0.2) / (N + d - 0.2), WRONG),
    "loss, the one number": (exercises.check_half_loss, lambda a, N, d: 0.206229, "Not yet: the largest difference"),
    "loss, the variance of U(0, a)": (
        exercises.check_half_loss,
        lambda a, N, d: a**2 / 24 * d * (d - 0.2) / (N + d - 0.2),
        WRONG,
    ),
    "loss, nothing": (exercises.check_half_loss, lambda a, N, d: None, "Not yet: the function returns nothing"),
    "loss, a slip": (exercises.check_half_loss, lambda a, N: 1.0, "Not yet: your function raised TypeError"),
    "loss, NaN": (exercises.check_half_loss, lambda a, N, d: math.nan, "Not yet: expected one finite number, got nan"),
    "ReLU, right": (exercises.check_relu_step, lambda N, d: N / (N + 2 * d + 3), RIGHT),
    "ReLU, the straight target's": (exercises.check_relu_step, lambda N, d: N / (N + d + 1), WRONG),
    "ReLU, i = j counted twice": (exercises.check_relu_step, lambda N, d: N / (N + 2 * d + 4), WRONG),
    "ReLU, half": (exercises.check_relu_step, lambda N, d: N / (N + 2 * d + 3) / 2, WRONG),
    "ReLU, as measured": (exercises.check_relu_step, lambda N, d: 0.606, "Not yet: the largest difference"),
    "ReLU, a tensor of many": (exercises.check_relu_step, lambda N, d: torch.ones(3), "Not yet: expected one finite"),
    "ReLU, words": (exercises.check_relu_step, lambda N, d: "N", "Not yet: expected one finite number, got 'N'"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_formulas(case, capsys):
    check, answer, verdict = FUNCTIONS[case]
    check(answer)
    said = capsys.readouterr().out
    assert said.startswith(verdict) and said.count("\n") == 1
