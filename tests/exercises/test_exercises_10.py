"""The checks of notebook 10's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers import constructions
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


def pairs(d_x, d_y, T, shift=1, times=1.0, erase=False, slot="y"):
    x, y, p = torch.eye(d_x + d_y + T).double().split([d_x, d_y, T])
    S = torch.diag(torch.ones(T - abs(shift)).double(), shift)
    to = {"y": y, "x": x[:d_y], "both": y + p[:d_y]}[slot]
    W_V, P = torch.cat([times * y, -p]) if erase else times * y, torch.cat([to, p]).mT if erase else to.mT
    return constructions.Layer(S.mT @ p, p, W_V, P)


CASES = {
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
    "pairs, right": (exercises.check_pairs, pairs, RIGHT),
    "pairs, right as a plain tuple": (exercises.check_pairs, lambda *a: tuple(pairs(*a)), RIGHT),
    "pairs, the other neighbour": (
        exercises.check_pairs,
        lambda *a: pairs(*a, shift=-1),
        "Not yet: each input has the label of the example before it",
    ),
    "pairs, the sign": (exercises.check_pairs, lambda *a: pairs(*a, times=-1.0), "Not yet: in the label slots"),
    "pairs, twice": (
        exercises.check_pairs,
        lambda *a: pairs(*a, times=2.0),
        "Not yet: in the label slots of the inputs",
    ),
    "pairs, itself": (exercises.check_pairs, lambda *a: pairs(*a, shift=0), "Not yet: the label slots of the inputs"),
    "pairs, into x": (exercises.check_pairs, lambda *a: pairs(*a, slot="x"), "Not yet: the label slots of the inputs"),
    "pairs, and elsewhere": (
        exercises.check_pairs,
        lambda *a: pairs(*a, slot="both"),
        "Not yet: the labels are where they belong, but",
    ),
    "pairs, the position erased": (
        exercises.check_pairs,
        lambda *a: pairs(*a, erase=True),
        "Not yet: the labels are where they belong, but",
    ),
    "pairs, x to y": (exercises.check_pairs, constructions.copying, "Not yet: the label slots of the inputs are still"),
    "pairs, NaN": (exercises.check_pairs, lambda *a: pairs(*a, times=torch.nan), "Not yet: the layer makes NaN"),
    "pairs, no layer": (exercises.check_pairs, lambda *a: 3, "Not yet: your function raised TypeError"),
    "pairs, wrong widths": (
        exercises.check_pairs,
        lambda *a: pairs(1, 1, 5),
        "Not yet: your function raised ValueError",
    ),
    "pairs, nothing": (exercises.check_pairs, lambda *a: None, "Not yet: the function returns nothing"),
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
