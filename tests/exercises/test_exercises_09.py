"""The checks of notebook 09's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_09 as exercises
from helpers.theory import mixing

RIGHT, WRONG = "✔ Right", "Not yet: "


def join(read_1, lse_1, read_2, lse_2, weight=torch.sigmoid, together=torch.logaddexp):
    share = weight(lse_2 - lse_1)[:, None]
    return (1 - share) * read_1 + share * read_2, together(lse_1, lse_2)


def join_by_exp(read_1, lse_1, read_2, lse_2):
    Z_1, Z_2 = lse_1.exp()[:, None], lse_2.exp()[:, None]
    return (Z_1 * read_1 + Z_2 * read_2) / (Z_1 + Z_2), (Z_1 + Z_2).log()[:, 0]


def quiet(k, q, half=0.5, sign=-1):
    more = sign * half * k.square().sum(1, keepdim=True)
    return torch.cat([k, more], dim=1), torch.cat([q, torch.ones_like(q[:, :1])], dim=1)


def unit(k, q):
    return k / k.norm(dim=1, keepdim=True), q


def difference(k, y, q, tau):
    scores = q[:, None] @ k.mT / tau
    return (mixing.read_out(scores, y) - mixing.read_out(-scores, y))[:, 0]


def four(k, y, q, tau, c=8.0):
    return (c * difference(k, y, q, 2 * tau) - difference(k, y, q, tau)) / (c / 2 - 1)


def the_step_itself(k, y, q, tau):
    return 2 / tau * ((k - k.mean(1, keepdim=True)) @ q[..., None] * (y - y.mean(1, keepdim=True))).mean(1)


CASES = {
    "join, right": (exercises.check_join, join, RIGHT),
    "join, right as a list": (exercises.check_join, lambda *a: list(join(*a)), RIGHT),
    "join, the mean of both": (exercises.check_join, lambda *a: join(*a, weight=lambda x: 0 * x + 0.5), WRONG),
    "join, the other weight": (exercises.check_join, lambda *a: join(*a, weight=lambda x: torch.sigmoid(-x)), WRONG),
    "join, ln Z added": (exercises.check_join, lambda *a: join(*a, together=torch.add), WRONG),
    "join, the larger ln Z": (exercises.check_join, lambda *a: join(*a, together=torch.maximum), WRONG),
    "join, overflows": (exercises.check_join, join_by_exp, "Not yet: right for small scores, but exp overflows"),
    "join, the read only": (exercises.check_join, lambda *a: join(*a)[0], "Not yet: expected two tensors"),
    "join, wrong shape": (
        exercises.check_join,
        lambda *a: (join(*a)[0], join(*a)[1][:, None]),
        "Not yet: expected a tensor of shape (6,)",
    ),
    "join, nothing": (exercises.check_join, lambda *a: None, "Not yet: the function returns nothing"),
    "join, a slip": (exercises.check_join, lambda a: a, "Not yet: your function raised TypeError"),
    "quiet, right": (exercises.check_quiet, quiet, RIGHT),
    "quiet, right with the lengths in the query": (
        exercises.check_quiet,
        lambda k, q: (quiet(k, q)[0] * 2, quiet(k, q)[1] / 2),
        RIGHT,
    ),
    "quiet, without the half": (exercises.check_quiet, lambda k, q: quiet(k, q, half=1), WRONG),
    "quiet, twice as loud": (exercises.check_quiet, lambda k, q: quiet(k, q, sign=1), WRONG),
    "quiet, keys made short": (exercises.check_quiet, unit, WRONG),
    "quiet, keys only": (exercises.check_quiet, lambda k, q: quiet(k, q)[0], "Not yet: expected two tensors"),
    "quiet, widths differ": (exercises.check_quiet, lambda k, q: (quiet(k, q)[0], q), "Not yet: expected a tensor of"),
    "quiet, nothing": (exercises.check_quiet, lambda k, q: None, "Not yet: the function returns nothing"),
    "four, right": (exercises.check_four_heads, four, RIGHT),
    "four, right with another temperature": (
        exercises.check_four_heads,
        lambda k, y, q, tau: (27 * difference(k, y, q, 3 * tau) - difference(k, y, q, tau)) / 8,
        RIGHT,
    ),
    "four, two heads": (exercises.check_four_heads, difference, "Not yet: beside (2/tau) Cov(y, k) q there is"),
    "four, the second order's weight": (exercises.check_four_heads, lambda *a: four(*a, c=4.0), WRONG),
    "four, not divided": (exercises.check_four_heads, lambda *a: 3 * four(*a), WRONG),
    "four, no heads": (exercises.check_four_heads, the_step_itself, "Not yet: that is the covariance itself"),
    "four, NaN": (exercises.check_four_heads, lambda *a: four(*a) * math.nan, WRONG),
    "four, wrong shape": (exercises.check_four_heads, lambda k, y, q, tau: q, "Not yet: expected a tensor of shape"),
    "four, nothing": (exercises.check_four_heads, lambda *a: None, "Not yet: the function returns nothing"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
