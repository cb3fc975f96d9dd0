"""The checks of notebook 08's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_08 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "


def sphere(radius, tau):
    return math.exp(radius**2 / tau), math.sqrt(tau)


def waves(x):
    return torch.cat([torch.sin(2 * x), torch.cos(2 * x), torch.ones_like(x)], dim=-1)


def ridge(f, f_query, K, k_q, y, eta, r):
    return (1 - eta * r) * f + eta * K @ (y - f), (1 - eta * r) * f_query + eta * k_q @ (y - f)


def without_penalty(f, f_query, K, k_q, y, eta, r):
    return ridge(f, f_query, K, k_q, y, eta, 0.0)


def not_at_the_queries(f, f_query, K, k_q, y, eta, r):
    return ridge(f, f_query, K, k_q, y, eta, r)[0], f_query + eta * k_q @ (y - f)


def decay_without_eta(f, f_query, K, k_q, y, eta, r):
    return (1 - r) * f + eta * K @ (y - f), (1 - r) * f_query + eta * k_q @ (y - f)


def the_limit_at_once(f, f_query, K, k_q, y, eta, r):
    alpha = torch.linalg.solve(K + r * torch.eye(len(K)).double(), y)
    return K @ alpha, k_q @ alpha


def in_place(f, f_query, K, k_q, y, eta, r):
    error = y - f
    return f.mul_(1 - eta * r).add_(eta * K @ error), f_query.mul_(1 - eta * r).add_(eta * k_q @ error)


step, features = exercises.check_ridge_step, exercises.check_wave_features
CASES = {
    "ridge, right": (step, ridge, RIGHT),
    "ridge, in place": (step, in_place, RIGHT),
    "ridge, without the penalty": (step, without_penalty, WRONG),
    "ridge, not at the queries": (step, not_at_the_queries, WRONG),
    "ridge, decay without eta": (step, decay_without_eta, WRONG),
    "ridge, the limit at once": (step, the_limit_at_once, WRONG),
    "ridge, one tensor": (step, lambda f, *rest: f, "Not yet: expected a pair"),
    "ridge, other shapes": (step, lambda f, q, *rest: (q, f), "Not yet: expected a tensor of shape"),
    "ridge, NaN": (step, lambda f, q, *rest: (f * torch.nan, q), WRONG),
    "ridge, nothing": (step, lambda *p: None, "Not yet: the function returns nothing"),
    "ridge, a slip": (step, lambda f: f, "Not yet: your function raised TypeError"),
    "sphere, right": (exercises.check_sphere, sphere, RIGHT),
    "sphere, radius 1 only": (exercises.check_sphere, lambda r, t: (math.exp(1 / t), math.sqrt(t)), WRONG),
    "sphere, tau for its root": (exercises.check_sphere, lambda r, t: (math.exp(r**2 / t), t), WRONG),
    "sphere, no constant": (exercises.check_sphere, lambda r, t: (1.0, math.sqrt(t)), WRONG),
    "sphere, off by a thousandth": (exercises.check_sphere, lambda r, t: (1.001 * sphere(r, t)[0], t**0.5), WRONG),
    "sphere, one number": (exercises.check_sphere, lambda r, t: 1.0, "Not yet: expected two finite numbers"),
    "sphere, infinite": (exercises.check_sphere, lambda r, t: (1.0, math.inf), "Not yet: expected two finite numbers"),
    "sphere, negative": (exercises.check_sphere, lambda r, t: (1.0, -1.0), "Not yet: expected a bandwidth above 0"),
    "sphere, a slip": (exercises.check_sphere, lambda r: r, "Not yet: your function raised TypeError"),
    "waves, right": (features, waves, RIGHT),
    "waves, any basis of the three": (features, lambda x: waves(x + 0.3), RIGHT),
    "waves, those of section 6": (features, lambda x: torch.cat([x.sin(), x.cos(), x**0], dim=-1), WRONG),
    "waves, without the constant": (features, lambda x: torch.cat([waves(x)[..., :2], x], dim=-1), WRONG),
    "waves, without the cosine": (features, lambda x: torch.cat([waves(x)[..., ::2], x], dim=-1), WRONG),
    "waves, too many": (features, lambda x: torch.cat([waves(x), x], dim=-1), "Not yet: expected a tensor of shape"),
    "waves, NaN": (features, lambda x: waves(x) * torch.nan, "Not yet: the features hold NaN"),
    "waves, nothing": (features, lambda x: None, "Not yet: the function returns nothing"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
