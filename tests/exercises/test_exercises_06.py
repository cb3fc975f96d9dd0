"""The checks of notebook 06 accept right answers, refuse plausible wrong ones, and never raise."""

import math

import numpy as np
import pytest

from helpers.exercises import notebook_06 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"
H = np.polynomial.Polynomial([0, 1])


def step(rho, s, a, gamma):
    return rho * (1 - a * H * s * s), s * (1 - gamma * H * s * s)


def in_turn(rho, s, a, gamma):
    s = s * (1 - gamma * H * s * s)  # too early: rho must see the old s
    return rho * (1 - a * H * s * s), s


def roundest(low, high):
    return 1 / (high + math.sqrt(high * low) + low)


def critical(h_max, N, eta):
    return 2 * N / (eta * h_max)


CASES = {
    "step, right": (exercises.check_step, (step, 40), RIGHT),
    "step, powers of three": (exercises.check_step, (step, 81), WRONG),
    "step, three layers": (exercises.check_step, (step, 13), WRONG),
    "step, of gradient descent": (exercises.check_step, (lambda r, s, a, g: (r * (1 - a * H), s), 4), WRONG),
    "step, s not squared": (
        exercises.check_step,
        (lambda r, s, a, g: (r * (1 - a * H * s), s * (1 - g * H * s)), 40),
        WRONG,
    ),
    "step, s too early": (exercises.check_step, (in_turn, 40), WRONG),
    "step, the other sign": (exercises.check_step, (lambda *p: step(p[0], p[1], -p[2], p[3]), 40), WRONG),
    "step, nothing": (exercises.check_step, (lambda *p: None, ...), "Not yet: the function returns nothing"),
    "step, no degree": (exercises.check_step, (step, ...), "Not yet: expected one finite number"),
    "step, numbers": (exercises.check_step, (lambda *p: (1.0, 1.0), 40), "Not yet: expected a pair of polynomials"),
    "step, a slip": (exercises.check_step, (lambda rho: rho, 40), "Not yet: your function raised TypeError"),
    "roundest, right": (exercises.check_roundest, (roundest,), RIGHT),
    "roundest, a constant": (exercises.check_roundest, (lambda low, high: 0.0704,), WRONG),
    "roundest, without the root": (exercises.check_roundest, (lambda low, high: 1 / (low + high),), WRONG),
    "roundest, the flat top": (exercises.check_roundest, (lambda low, high: 2 / (3 * (low + high)),), WRONG),
    "roundest, a word": (exercises.check_roundest, (lambda low, high: "small",), "Not yet: expected one finite"),
    "roundest, nothing": (exercises.check_roundest, (lambda low, high: None,), "Not yet: the function returns nothing"),
    "critical, right": (exercises.check_critical, (critical,), RIGHT),
    "critical, without the 2": (exercises.check_critical, (lambda h, N, eta: N / (eta * h),), WRONG),
    "critical, without N": (exercises.check_critical, (lambda h, N, eta: 2 / (eta * h),), WRONG),
    "critical, a constant": (exercises.check_critical, (lambda h, N, eta: 0.75,), WRONG),
    "critical, NaN": (exercises.check_critical, (lambda h, N, eta: math.nan,), "Not yet: expected one finite number"),
    "critical, nothing": (exercises.check_critical, (lambda h, N, eta: None,), "Not yet: the function returns nothing"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answers, verdict = CASES[case]
    check(*answers)
    assert capsys.readouterr().out.startswith(verdict)
