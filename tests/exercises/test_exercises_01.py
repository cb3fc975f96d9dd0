"""The checks of notebook 01's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest

from helpers import learners
from helpers.exercises import notebook_01 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "


def averaging(x, y, x_query):
    return ((x * y).mean(dim=1) * x_query).sum(dim=1, keepdim=True)


def summing(x, y, x_query):
    return averaging(x, y, x_query) * x.shape[1]


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
    "smallest N, right": (exercises.check_smallest_N, 22, RIGHT),
    "smallest N, equality": (exercises.check_smallest_N, 21, WRONG),
    "smallest N, d": (exercises.check_smallest_N, 20, WRONG),
    "smallest N, one too many": (exercises.check_smallest_N, 23, WRONG),
    "smallest N, dots": (exercises.check_smallest_N, ..., "Not yet: expected one finite number"),
    "without noise, right": (exercises.check_excess_without_noise, 10, RIGHT),
    "without noise, over d": (exercises.check_excess_without_noise, 0.5, WRONG),
    "without noise, halved": (exercises.check_excess_without_noise, 5.0, WRONG),
    "without noise, the length that is known": (exercises.check_excess_without_noise, 20, WRONG),
    "without noise, a word": (exercises.check_excess_without_noise, "ten", "Not yet: expected one finite number"),
    "with noise, right": (exercises.check_excess_with_noise, 5 / 19, RIGHT),
    "with noise, to four digits": (exercises.check_excess_with_noise, 0.2632, RIGHT),
    "with noise, not squared": (exercises.check_excess_with_noise, 0.5 * 20 / 19, WRONG),
    "with noise, squared twice": (exercises.check_excess_with_noise, 0.25**2 * 20 / 19, WRONG),
    "with noise, without the 1": (exercises.check_excess_with_noise, 0.25, WRONG),
    "with noise, over d": (exercises.check_excess_with_noise, 0.25 / 19, WRONG),
    "with noise, NaN": (exercises.check_excess_with_noise, float("nan"), "Not yet: expected one finite number"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
