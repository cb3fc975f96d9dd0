"""The checks of notebook 07's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers.exercises import notebook_07 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"
ROTATION = torch.linalg.qr(torch.arange(16.0).reshape(4, 4).double().sin()).Q

CASES = {
    "first, right": (exercises.check_first_coefficient, lambda lr, b, T: -lr * (1 - b**T) / (1 - b), RIGHT),
    "first, a sum": (exercises.check_first_coefficient, lambda lr, b, T: -lr * sum(b**s for s in range(T)), RIGHT),
    "first, sign": (exercises.check_first_coefficient, lambda lr, b, T: lr * (1 - b**T) / (1 - b), WRONG),
    "first, the average": (exercises.check_first_coefficient, lambda lr, b, T: -lr * b ** (T - 1), WRONG),
    "first, in the limit": (exercises.check_first_coefficient, lambda lr, b, T: -lr / (1 - b), WRONG),
    "first, one step less": (
        exercises.check_first_coefficient,
        lambda lr, b, T: -lr * (1 - b ** (T - 1)) / (1 - b),
        WRONG,
    ),
    "first, a word": (exercises.check_first_coefficient, lambda lr, b, T: "large", "Not yet: expected one finite"),
    "first, nothing": (exercises.check_first_coefficient, lambda lr, b, T: None, "Not yet: the function returns"),
    "first, a slip": (exercises.check_first_coefficient, lambda lr: lr, "Not yet: your function raised TypeError"),
    "crossover, right": (exercises.check_crossover, lambda i, o: i * o / (i + o), RIGHT),
    "crossover, rounded": (exercises.check_crossover, lambda i, o: round(i * o / (i + o), 1), RIGHT),
    "crossover, inputs only": (exercises.check_crossover, lambda i, o: o, WRONG),
    "crossover, halved": (exercises.check_crossover, lambda i, o: i * o / (i + o) / 2, WRONG),
    "crossover, dots": (exercises.check_crossover, lambda i, o: ..., "Not yet: expected one finite number"),
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
    assert abs(784 * 100 / 884 - 88.7) < 0.05
