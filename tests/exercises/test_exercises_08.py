"""The checks of notebook 08's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_08 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "


def sphere(radius, tau):
    return math.exp(radius**2 / tau), math.sqrt(tau)


def both(x):
    return torch.cat([x.sin(), x.cos()], dim=-1)


CASES = {
    "filter, right": (exercises.check_filter, 1.75, RIGHT),
    "filter, the limit": (exercises.check_filter, 2.0, WRONG),
    "filter, the share that is learned": (exercises.check_filter, 0.875, WRONG),
    "filter, the linear sum": (exercises.check_filter, 3.0, WRONG),
    "filter, dots": (exercises.check_filter, ..., "Not yet: replace the dots"),
    "filter, a word": (exercises.check_filter, "x", "Not yet: expected one finite number"),
    "sphere, right": (exercises.check_sphere, sphere, RIGHT),
    "sphere, radius 1 only": (exercises.check_sphere, lambda r, t: (math.exp(1 / t), math.sqrt(t)), WRONG),
    "sphere, tau for its root": (exercises.check_sphere, lambda r, t: (math.exp(r**2 / t), t), WRONG),
    "sphere, no constant": (exercises.check_sphere, lambda r, t: (1.0, math.sqrt(t)), WRONG),
    "sphere, off by a thousandth": (exercises.check_sphere, lambda r, t: (1.001 * sphere(r, t)[0], t**0.5), WRONG),
    "sphere, one number": (exercises.check_sphere, lambda r, t: 1.0, "Not yet: expected two finite numbers"),
    "sphere, infinite": (exercises.check_sphere, lambda r, t: (1.0, math.inf), "Not yet: expected two finite numbers"),
    "sphere, negative": (exercises.check_sphere, lambda r, t: (1.0, -1.0), "Not yet: expected a bandwidth above 0"),
    "sphere, a slip": (exercises.check_sphere, lambda r: r, "Not yet: your function raised TypeError"),
    "sines, right": (exercises.check_sine_features, both, RIGHT),
    "sines, any basis of the two": (exercises.check_sine_features, lambda x: both(x + 0.3), RIGHT),
    "sines, without the cosine": (
        exercises.check_sine_features,
        lambda x: torch.cat([x.sin(), torch.ones_like(x)], dim=-1),
        WRONG,
    ),
    "sines, straight": (exercises.check_sine_features, lambda x: torch.cat([x, x**0], dim=-1), WRONG),
    "sines, too many": (
        exercises.check_sine_features,
        lambda x: torch.cat([both(x), x], dim=-1),
        "Not yet: expected a tensor of shape",
    ),
    "sines, NaN": (exercises.check_sine_features, lambda x: both(x) * torch.nan, "Not yet: the features hold NaN"),
    "sines, nothing": (exercises.check_sine_features, lambda x: None, "Not yet: the function returns nothing"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
