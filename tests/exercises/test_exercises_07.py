"""The checks of notebook 07's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers.exercises import notebook_07 as exercises
from helpers.theory import dual

RIGHT, WRONG = "✔ Right", "Not yet"
ROTATION = torch.linalg.qr(torch.arange(16.0).reshape(4, 4).double().sin()).Q


def run(lrs, beta, decay, W, gradients):
    m = 0.0
    for lr, G in zip(lrs, gradients, strict=True):
        m = beta * m + G + decay * W
        W = W - lr * m
    return W


def coefficients(lrs, beta, decay, *, run=run):
    T = len(lrs)
    impulses = [[float(t == s) for s in range(T)] for t in range(T)]
    return run(lrs, beta, decay, 1.0, [0.0] * T), [run(lrs, beta, decay, 0.0, G) for G in impulses]


def by_library(lrs, beta, decay):
    return dual.coefficients([{"lr": lr, "momentum": beta, "weight_decay": decay} for lr in lrs])


def no_decay(lrs, beta, decay):
    return coefficients(lrs, beta, 0.0)


def decoupled(lrs, beta, decay, W, gradients):  # as AdamW decays: not through the velocity
    m = 0.0
    for lr, G in zip(lrs, gradients, strict=True):
        m = beta * m + G
        W = (1 - lr * decay) * W - lr * m
    return W


def backwards(lrs, beta, decay):
    a, c = coefficients(lrs, beta, decay)
    return a, c[::-1]


def constant_rate(lrs, beta, decay):
    return coefficients([lrs[0]] * len(lrs), beta, decay)


first, crossover = exercises.check_coefficients, exercises.check_crossover
CASES = {
    "coefficients, right": (first, coefficients, RIGHT),
    "coefficients, by the library": (first, by_library, RIGHT),
    "coefficients, sign": (first, lambda *p: (coefficients(*p)[0], [-c for c in coefficients(*p)[1]]), WRONG),
    "coefficients, no decay": (first, no_decay, WRONG),
    "coefficients, decoupled decay": (first, lambda *p: coefficients(*p, run=decoupled), WRONG),
    "coefficients, other end first": (first, backwards, WRONG),
    "coefficients, one rate": (first, constant_rate, WRONG),
    "coefficients, NaN": (first, lambda lrs, b, d: (1.0, [float("nan")] * len(lrs)), WRONG),
    "coefficients, one number": (first, lambda lrs, b, d: 1.0, "Not yet: expected a number and a list"),
    "coefficients, too few": (first, lambda lrs, b, d: (1.0, []), "Not yet: expected 1 coefficients"),
    "coefficients, nothing": (first, lambda lrs, b, d: None, "Not yet: the function returns"),
    "coefficients, a slip": (first, lambda lrs: lrs, "Not yet: your function raised TypeError"),
    "crossover, right": (crossover, lambda i, o: i * o // (i + o), RIGHT),
    "crossover, a whole float": (crossover, lambda i, o: float(i * o // (i + o)), RIGHT),
    "crossover, a constant": (crossover, lambda i, o: 88, WRONG),
    "crossover, one more": (crossover, lambda i, o: i * o // (i + o) + 1, WRONG),
    "crossover, strictly fewer": (crossover, lambda i, o: (i * o - 1) // (i + o), WRONG),
    "crossover, outputs only": (crossover, lambda i, o: o, WRONG),
    "crossover, not whole": (crossover, lambda i, o: i * o / (i + o), "Not yet: for 784 x 100 expected a whole"),
    "crossover, dots": (crossover, lambda i, o: ..., "Not yet: for 784 x 100 expected a whole"),
    "contexts, right": (exercises.check_contexts, lambda X: (2 * X, -X), RIGHT),
    "contexts, rotated": (exercises.check_contexts, lambda X: (-2 * X, X @ ROTATION), RIGHT),
    "contexts, four times": (exercises.check_contexts, lambda X: (4 * X, -X), WRONG),
    "contexts, rotated on the left": (
        exercises.check_contexts,
        lambda X: (2 * X, torch.linalg.qr(torch.arange(36.0).reshape(6, 6).double().sin()).Q @ X),
        "Not yet: the largest difference",
    ),
    "contexts, the same tokens": (exercises.check_contexts, lambda X: (2 * X, X.flip(1)), "Not yet: the second"),
    "contexts, one": (exercises.check_contexts, lambda X: 2 * X, "Not yet: expected a pair"),
    "contexts, another shape": (exercises.check_contexts, lambda X: (2 * X, X[:, :2]), "Not yet: expected a tensor"),
    "contexts, in place": (exercises.check_contexts, lambda X: (X.mul_(2), -X / 2), RIGHT),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)


def test_the_numbers_in_the_text_are_those_of_the_solutions():
    assert abs(-0.05 * (1 - 0.9**60) / (1 - 0.9) + 0.4991) < 1e-4
    assert 784 * 100 // 884 == 88
