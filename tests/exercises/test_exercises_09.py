"""The checks of notebook 09's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_09 as exercises
from helpers.theory import mixing

RIGHT, WRONG = "✔ Right", "Not yet: "


def heads(k, y, q, tau):
    scores = q[:, None] @ k.mT / tau
    return mixing.read_out(scores, y)[:, 0], mixing.read_out(-scores, y)[:, 0]


def fixed_point(K, k_q, y):
    return k_q @ torch.linalg.solve(K, K.sum(1, keepdim=True) * y) / k_q.sum(1, keepdim=True)


CASES = {
    "gate, right": (exercises.check_gate, 0.75, RIGHT),
    "gate, the ratio": (exercises.check_gate, 3.0, WRONG),
    "gate, the other share": (exercises.check_gate, 0.25, WRONG),
    "gate, the log odds": (exercises.check_gate, math.log(3), WRONG),
    "gate, dots": (exercises.check_gate, ..., "Not yet: replace the dots"),
    "gate, a word": (exercises.check_gate, "x", "Not yet: expected one finite number"),
    "pair, right": (exercises.check_pair, lambda *a: heads(*a)[0] - heads(*a)[1], RIGHT),
    "pair, one head": (exercises.check_pair, lambda *a: heads(*a)[0], "Not yet: beside"),
    "pair, added": (exercises.check_pair, lambda *a: sum(heads(*a)), "Not yet: beside"),
    "pair, one head without the mean": (
        exercises.check_pair,
        lambda k, y, q, tau: 2 * (heads(k, y, q, tau)[0] - y.mean(1)),
        "Not yet: beside (2/tau) Cov(y, k) q there is something that falls like tau^-2",
    ),
    "pair, half of it": (
        exercises.check_pair,
        lambda *a: (heads(*a)[0] - heads(*a)[1]) / 2,
        "Not yet: beside (2/tau) Cov(y, k) q there is something that falls like tau^-1",
    ),
    "pair, the first order itself": (
        exercises.check_pair,
        lambda k, y, q, tau: heads(k, y, q, 1e4)[0] - heads(k, y, q, 1e4)[1],
        WRONG,
    ),
    "pair, right only when it is hot": (
        exercises.check_pair,
        lambda k, y, q, tau: heads(k, y, q, max(tau, 20))[0] - heads(k, y, q, max(tau, 20))[1],
        "Not yet: the largest difference",
    ),
    "pair, silent when it is cold": (
        exercises.check_pair,
        lambda k, y, q, tau: heads(k, y, q, tau)[0] - heads(k, y, q, tau)[1] if tau > 9 else None,
        "Not yet: the function returns nothing",
    ),
    "pair, wrong shape": (exercises.check_pair, lambda k, y, q, tau: q, "Not yet: expected a tensor of shape"),
    "pair, NaN": (exercises.check_pair, lambda *a: heads(*a)[0] * math.nan, WRONG),
    "pair, nothing": (exercises.check_pair, lambda *a: None, "Not yet: the function returns nothing"),
    "limit, right": (exercises.check_fixed_point, fixed_point, RIGHT),
    "limit, of notebook 08": (exercises.check_fixed_point, lambda K, k, y: k @ torch.linalg.solve(K, y), WRONG),
    "limit, one layer": (exercises.check_fixed_point, lambda K, k, y: k @ y / k.sum(1, keepdim=True), WRONG),
    "limit, without D": (
        exercises.check_fixed_point,
        lambda K, k, y: k @ torch.linalg.solve(K, y) / k.sum(1, keepdim=True),
        WRONG,
    ),
    "limit, a slip": (exercises.check_fixed_point, lambda K: K, "Not yet: your function raised TypeError"),
    "limit, wrong shape": (exercises.check_fixed_point, lambda K, k, y: y, "Not yet: expected a tensor of shape"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
