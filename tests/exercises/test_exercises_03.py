"""The checks of the exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers import constructions
from helpers import exercises as shared
from helpers.exercises import notebook_03 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"


def slot(W_0, x_query, eta, N):
    return -(1 + eta / N * x_query.square().sum(1, keepdim=True)) * (x_query @ W_0.T)


def eigenvalues(x):
    return torch.linalg.eigvalsh(x.T @ x / len(x))


def matrices(eta, N, d_x, d_y, W_0, *, sign=-1.0, scale=None, start=True, keys=slice(2, 5)):
    """The four matrices for tokens (y ; x), and what is wrong with them on purpose."""
    W_K, W_V = torch.zeros(5, 5).double(), torch.zeros(5, 5).double()
    W_K[keys, keys] = torch.eye(len(range(*keys.indices(5)))).double()
    W_V[:d_y] = torch.cat([-torch.eye(d_y).double(), start * W_0], dim=1)
    return W_K, W_K, W_V, sign * (scale or eta / N) * torch.eye(5).double()


MATRICES = {
    "right": (matrices, RIGHT),
    "right, values with the other sign": (
        lambda *a: tuple(c * W for c, W in zip((1, 1, -1, -1), matrices(*a), strict=True)),
        RIGHT,
    ),
    "right, in another gauge": (
        lambda *a: tuple(c * W for c, W in zip((2, 0.5, 4, 0.25), matrices(*a), strict=True)),
        RIGHT,
    ),
    "the sign": (lambda *a: matrices(*a, sign=1.0), "Not yet: the sign."),
    "the scale": (lambda *a: matrices(*a, scale=a[0]), "Not yet: the step is 6 times as long"),
    "labels for errors": (lambda *a: matrices(*a, start=False), "Not yet: that is a step from W = 0."),
    "the paper's order": (lambda *a: constructions.gd_step(*a), "Not yet: the inputs moved, too."),
    "keys from the labels": (lambda *a: matrices(*a, keys=slice(0, 2)), "Not yet: the largest difference"),
    "no query": (lambda *a: (0 * matrices(*a)[0], *matrices(*a)[1:]), "Not yet: the query's slot did not move."),
    "three": (lambda *a: matrices(*a)[:3], "Not yet: expected four matrices"),
    "too small": (lambda *a: (torch.eye(3).double(),) * 4, "Not yet: expected a tensor of shape (5, 5)"),
    "nothing": (lambda *a: None, "Not yet: the function returns nothing. Replace the dots."),
}


@pytest.mark.parametrize("case", MATRICES)
def test_the_four_matrices_are_told_from_those_with_one_slip(case, capsys):
    answer, verdict = MATRICES[case]
    exercises.check_four_matrices(answer)
    said = capsys.readouterr().out
    assert said.startswith(verdict) and said.count("\n") == 1


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
