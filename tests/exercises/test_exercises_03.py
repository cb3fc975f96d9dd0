"""The checks of the exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers import exercises as shared
from helpers.exercises import notebook_03 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"


def slot(W_0, x_query, eta, N):
    return -(1 + eta / N * x_query.square().sum(1, keepdim=True)) * (x_query @ W_0.T)


def eigenvalues(x):
    return torch.linalg.eigvalsh(x.T @ x / len(x))


CASES = {
    "slot, right": (exercises.check_error_of_the_empty_slot, slot, RIGHT),
    "slot, query forgotten": (
        exercises.check_error_of_the_empty_slot,
        lambda W, x, e, N: -x @ W.T,
        "Not yet: the largest",
    ),
    "slot, wrong shape": (
        exercises.check_error_of_the_empty_slot,
        lambda W, x, e, N: x,
        "Not yet: expected a tensor of shape",
    ),
    "slot, a number": (exercises.check_error_of_the_empty_slot, lambda W, x, e, N: 0.0, "Not yet: expected a tensor"),
    "labels, right": (exercises.check_cross_entropy_labels, lambda o, x, W: o - torch.softmax(x @ W.T, -1), RIGHT),
    "labels, those of W_0 = 0": (exercises.check_cross_entropy_labels, lambda o, x, W: o - 1 / 3, WRONG),
    "labels, nothing": (
        exercises.check_cross_entropy_labels,
        lambda o, x, W: None,
        "Not yet: the function returns nothing",
    ),
    "labels, wrong shape": (
        exercises.check_cross_entropy_labels,
        lambda o, x, W: o[..., :1],
        "Not yet: expected a tensor",
    ),
    "steps, right": (exercises.check_two_step_sizes, lambda x: (1 / eigenvalues(x)).tolist(), RIGHT),
    "steps, either order": (exercises.check_two_step_sizes, lambda x: (1 / eigenvalues(x)).flip(0).tolist(), RIGHT),
    "steps, eigenvalues": (exercises.check_two_step_sizes, lambda x: eigenvalues(x).tolist(), WRONG),
    "steps, one": (exercises.check_two_step_sizes, lambda x: [0.5], "Not yet: expected two step sizes"),
    "slot, float32": (exercises.check_error_of_the_empty_slot, lambda W, x, e, N: slot(W, x, e, N).float(), WRONG),
    "slot, off by a thousandth": (exercises.check_error_of_the_empty_slot, lambda *a: slot(*a) + 1e-3, WRONG),
    "slot, a slip": (exercises.check_error_of_the_empty_slot, lambda W: W, "Not yet: your function raised TypeError"),
    "steps, complex": (exercises.check_two_step_sizes, lambda x: [1j, 2j], "Not yet: expected two finite step sizes"),
    "steps, infinite": (exercises.check_two_step_sizes, lambda x: [1.0, float("inf")], "Not yet: expected two finite"),
    "steps, nothing": (exercises.check_two_step_sizes, lambda x: None, "Not yet: the function returns nothing"),
    "steps, a number": (exercises.check_two_step_sizes, lambda x: 0.5, "Not yet: expected two finite step sizes"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)


@pytest.mark.parametrize(
    "answer, verdict",
    [
        (0.5, RIGHT),
        (torch.tensor(0.5004), RIGHT),
        (0.501, WRONG),
        (..., "Not yet: expected one finite number"),
        ("½", WRONG),
    ],
)
def test_numbers_are_right_to_a_tolerance(answer, verdict, capsys):
    shared.number_verdict(answer, 0.5, "one half.")
    said = capsys.readouterr().out
    assert said.startswith(verdict) and "0.5 " not in said
