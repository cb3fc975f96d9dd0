"""The checks of notebook 01's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers import learners
from helpers.exercises import notebook_01 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "


def averaging(x, y, x_query):
    return ((x * y).mean(dim=1) * x_query).sum(dim=1, keepdim=True)


def summing(x, y, x_query):
    return averaging(x, y, x_query) * x.shape[1]


def look_up(x, y, x_query, W):
    """By a loop over prompts."""
    nearest = [min(W, key=lambda w: float(((y_b[:, 0] - x_b @ w) ** 2).sum())) for x_b, y_b in zip(x, y, strict=True)]
    return (torch.stack(nearest) * x_query).sum(dim=1, keepdim=True)


def pays_from(d, noise):
    return math.floor(d + 1 + noise**2) + 1


CASES = {
    "averaging, right": (exercises.check_averaging, averaging, RIGHT),
    "averaging, as a gradient step": (exercises.check_averaging, lambda *p: learners.gd(*p, eta=1.0), RIGHT),
    "averaging, the sum": (exercises.check_averaging, summing, WRONG),
    "averaging, the step off by 10 %": (exercises.check_averaging, lambda *p: learners.gd(*p, eta=1.1), WRONG),
    "averaging, the labels alone": (exercises.check_averaging, lambda x, y, x_query: y.mean(dim=1), WRONG),
    "averaging, least squares": (exercises.check_averaging, learners.least_squares, WRONG),
    "averaging, one axis short": (
        exercises.check_averaging,
        lambda *p: averaging(*p)[:, 0],
        "Not yet: expected a tensor of shape (8, 1)",
    ),
    "averaging, a slip": (exercises.check_averaging, lambda x, y: x, "Not yet: your function raised TypeError"),
    "averaging, nothing": (exercises.check_averaging, lambda *p: None, "Not yet: the function returns nothing"),
    "look up, right": (exercises.check_look_up, look_up, RIGHT),
    "look up, the first example only": (
        exercises.check_look_up,
        lambda x, y, x_query, W: look_up(x[:, :1], y[:, :1], x_query, W),
        WRONG,
    ),
    "look up, a mean of all tasks": (
        exercises.check_look_up,
        lambda x, y, x_query, W: (W.mean(0) * x_query).sum(1, keepdim=True),
        WRONG,
    ),
    "look up, least squares": (exercises.check_look_up, lambda x, y, q, W: learners.least_squares(x, y, q), WRONG),
    "look up, the worst": (
        exercises.check_look_up,
        lambda x, y, q, W: (W[(y - x @ W.T).square().sum(1).argmax(1)] * q).sum(1, keepdim=True),
        WRONG,
    ),
    "look up, in float32": (
        exercises.check_look_up,
        lambda *given: look_up(*given).float(),
        "Not yet: right as far as torch.float32 goes, but the numbers you were given are torch.float64.",
    ),
    "look up, the weights": (
        exercises.check_look_up,
        lambda x, y, q, W: W[(y - x @ W.T).square().sum(1).argmin(1)],
        "Not yet: expected a tensor of shape (8, 1)",
    ),
    "averaging pays, right": (exercises.check_averaging_pays_from, pays_from, RIGHT),
    "averaging pays, as a tensor": (
        exercises.check_averaging_pays_from,
        lambda *a: torch.tensor(float(pays_from(*a))),
        RIGHT,
    ),
    "averaging pays, noise forgotten": (exercises.check_averaging_pays_from, lambda d, noise: d + 2, WRONG),
    "averaging pays, not squared": (
        exercises.check_averaging_pays_from,
        lambda d, noise: int(d + 1 + noise) + 1,
        WRONG,
    ),
    "averaging pays, equality": (exercises.check_averaging_pays_from, lambda d, n: math.ceil(d + 1 + n**2), WRONG),
    "averaging pays, a constant": (exercises.check_averaging_pays_from, lambda d, noise: 22, WRONG),
    "averaging pays, a word": (
        exercises.check_averaging_pays_from,
        lambda d, noise: "ten",
        "Not yet: expected one finite number, got 'ten'.",
    ),
    "averaging pays, dots": (exercises.check_averaging_pays_from, lambda d, noise: None, "Not yet: the function"),
    "least squares pays, right": (exercises.check_least_squares_pays_from, pays_from, RIGHT),
    "least squares pays, d": (exercises.check_least_squares_pays_from, lambda d, noise: d, WRONG),
    "least squares pays, not squared": (
        exercises.check_least_squares_pays_from,
        lambda d, noise: int(d + 1 + noise) + 1,
        WRONG,
    ),
    "least squares pays, a slip": (
        exercises.check_least_squares_pays_from,
        lambda d: d,
        "Not yet: your function raised TypeError",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)


def test_a_stub_that_nobody_touched_gives_nothing_away(capsys):
    for check in (exercises.check_averaging_pays_from, exercises.check_least_squares_pays_from):
        check(lambda d, noise: None)
    exercises.check_look_up(lambda x, y, x_query, W: None)
    assert "Hint" not in capsys.readouterr().out
