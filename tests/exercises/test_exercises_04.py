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
    "the step alone": ((0.6337, ...), "Not yet: replace the dots"),
    "half the excess": ((0.6337, 2.9307 / 2), "Not yet: 1.46535 is not it. Hint: eta is right"),
    "per dimension": ((0.6337, 2.9307 / 8), WRONG),
    "with the query's noise": ((0.6337, 2.9307 + 0.25), WRONG),
    "dots": ((..., ...), "Not yet: replace the dots by your two numbers."),
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


def test_dots_get_no_hint(capsys):
    exercises.check_best_step(..., ...)
    exercises.check_preconditioned(lambda A, N: (...,) * 4)
    assert "Hint" not in capsys.readouterr().out


def built(A, N, *, transpose=True, sign=-1.0, mean=True, slot=True):
    """The layer of exercise 4, and its plausible slips."""
    d_x = len(A)
    W_Q, W_K, W_V, P = (torch.zeros(d_x + 1, d_x + 1).double() for _ in range(4))
    W_Q[:d_x, :d_x], W_K[:d_x, :d_x] = A.T if transpose else A, torch.eye(d_x)
    W_V[d_x if slot else 0, d_x] = sign
    return W_Q, W_K, W_V, torch.eye(d_x + 1).double() / (N if mean else 1)


LAYERS = {
    "right": (built, RIGHT),
    "right, A in W_K": (lambda A, N: (built(A, N)[1], built(A.T, N)[0], *built(A, N)[2:]), RIGHT),
    "transposed": (lambda A, N: built(A, N, transpose=False), "through which of the matrices does the query pass?"),
    "plus": (lambda A, N: built(A, N, sign=1.0), "the sign"),
    "a sum": (lambda A, N: built(A, N, mean=False), "the scale"),
    "another slot": (lambda A, N: built(A, N, slot=False), "it always answers 0"),
    "A is symmetric, is it not": (lambda A, N: built((A + A.T) / 2, N), "block by block"),
    "another N": (lambda A, N: built(A, 20), "block by block"),
    "dots": (lambda A, N: (...,) * 4, "Not yet: expected four matrices"),
    "three": (lambda A, N: built(A, N)[:3], "Not yet: expected four matrices"),
    "in float32": (lambda A, N: tuple(W.float() for W in built(A, N)), "in float64"),
    "nothing": (lambda A, N: None, "Not yet: the function returns nothing"),
    "a slip": (lambda A: A, "Not yet: your function raised TypeError"),
}


@pytest.mark.parametrize("case", LAYERS)
def test_the_layer_that_the_reader_builds(case, capsys):
    answer, wanted = LAYERS[case]
    exercises.check_preconditioned(answer)
    said = capsys.readouterr().out
    assert wanted in said and said.startswith("✔ Right" if wanted == RIGHT else "Not yet") and said.count("\n") == 1
