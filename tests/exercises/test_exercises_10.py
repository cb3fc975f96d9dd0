"""The checks of notebook 10's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import math

import pytest
import torch

from helpers.exercises import notebook_10 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "


def look_back(T, k):
    return torch.diag(torch.ones(T - abs(k), dtype=torch.float64), k)


def by_mask(words, V, *, first=False, later=False, normalise=True, dtype=torch.float64):
    match = words[:, :, None] == words.roll(1, dims=1)[:, None, :]
    if not first:
        match[:, :, 0] = False
    match = (match if later else match.tril()).to(dtype)
    weights = match / match.sum(-1, keepdim=True).clamp(min=1) if normalise else match
    return weights @ torch.eye(V, dtype=dtype)[words]


def without_clamp(words, V):
    match = words[:, :, None] == words.roll(1, dims=1)[:, None, :]
    match[:, :, 0] = False
    match = match.tril().double()
    return match / match.sum(-1, keepdim=True) @ torch.eye(V, dtype=torch.float64)[words]


CASES = {
    "chance, right": (exercises.check_chance, math.log(50), RIGHT),
    "chance, to three digits": (exercises.check_chance, 3.91, RIGHT),
    "chance, to two digits": (exercises.check_chance, 3.9, WRONG),
    "chance, as a probability": (exercises.check_chance, 1 / 50, WRONG),
    "chance, in bits": (exercises.check_chance, math.log2(50), WRONG),
    "chance, of 20 words": (exercises.check_chance, math.log(20), WRONG),
    "chance, dots": (exercises.check_chance, ..., "Not yet: replace the dots"),
    "chance, a word": (exercises.check_chance, "ln 50", "Not yet: expected one finite number"),
    "back, right": (exercises.check_look_back, look_back, RIGHT),
    "back, the other way": (exercises.check_look_back, lambda T, k: look_back(T, k).mT, WRONG),
    "back, one only": (exercises.check_look_back, lambda T, k: look_back(T, 1), WRONG),
    "back, round the corner": (exercises.check_look_back, lambda T, k: torch.eye(T).double().roll(k, 1), WRONG),
    "back, whole numbers": (
        exercises.check_look_back,
        lambda T, k: look_back(T, k).long(),
        "Not yet: expected a tensor of shape",
    ),
    "back, too small": (exercises.check_look_back, lambda T, k: torch.eye(2), "Not yet: expected a tensor of shape"),
    "back, NaN": (exercises.check_look_back, lambda T, k: look_back(T, k) * torch.nan, "Not yet: the matrix holds NaN"),
    "back, nothing": (exercises.check_look_back, lambda T, k: None, "Not yet: the function returns nothing"),
    "back, a slip": (exercises.check_look_back, lambda T: T, "Not yet: your function raised TypeError"),
    "match, right": (exercises.check_induction, by_mask, RIGHT),
    "match, in float32": (exercises.check_induction, lambda w, V: by_mask(w, V, dtype=torch.float32), RIGHT),
    "match, a little off": (exercises.check_induction, lambda w, V: by_mask(w, V) + 1e-5, WRONG),
    "match, with the first word": (exercises.check_induction, lambda w, V: by_mask(w, V, first=True), WRONG),
    "match, from the future": (exercises.check_induction, lambda w, V: by_mask(w, V, later=True), WRONG),
    "match, not normalised": (exercises.check_induction, lambda w, V: by_mask(w, V, normalise=False), WRONG),
    "match, 0/0": (exercises.check_induction, without_clamp, "Not yet: the answer holds NaN or infinity"),
    "match, last words only": (
        exercises.check_induction,
        lambda w, V: by_mask(w, V)[:, -1],
        "Not yet: expected a tensor of shape",
    ),
    "match, nothing": (exercises.check_induction, lambda w, V: None, "Not yet: the function returns nothing"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
