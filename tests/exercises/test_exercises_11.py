"""The checks of notebook 11's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers.exercises import notebook_11 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "


def layer_causal(blocks, z, loss):
    total = 0.0
    for block in blocks:
        z = block(z.detach())
        total = total + loss(z)
    return total


def full(blocks, z, loss):
    total = 0.0
    for block in blocks:
        z = block(z)
        total = total + loss(z)
    return total


def last_only(blocks, z, loss):
    for block in blocks:
        z = block(z.detach())
    return loss(z)


CASES = {
    "floor, right": (exercises.check_floor, 0.25, RIGHT),
    "floor, none": (exercises.check_floor, 0.0, WRONG),
    "floor, the limit": (exercises.check_floor, 0.5, WRONG),
    "floor, dots": (exercises.check_floor, ..., "Not yet: replace the dots"),
    "floor, a word": (exercises.check_floor, "x", "Not yet: expected one finite number"),
    "bound, right": (exercises.check_bound, 22.2 / 29.5, RIGHT),
    "bound, rounded": (exercises.check_bound, 0.753, RIGHT),
    "bound, in per cent": (exercises.check_bound, 75.3, WRONG),
    "bound, the accuracy": (exercises.check_bound, 0.927, WRONG),
    "bound, dots": (exercises.check_bound, ..., "Not yet: replace the dots"),
    "causal, right": (exercises.check_layer_causal, layer_causal, RIGHT),
    "causal, the mean": (exercises.check_layer_causal, lambda *a: layer_causal(*a) / 3, WRONG),
    "causal, gradients flow down": (exercises.check_layer_causal, full, WRONG),
    "causal, the last layer only": (exercises.check_layer_causal, last_only, "Not yet: some blocks get no gradient"),
    "causal, cut everywhere": (
        exercises.check_layer_causal,
        lambda *a: layer_causal(*a).detach(),
        "Not yet: no gradient reaches",
    ),
    "causal, a slip": (exercises.check_layer_causal, lambda b: b, "Not yet: your function raised TypeError"),
    "causal, a list": (exercises.check_layer_causal, lambda *a: [1.0], "Not yet: expected a tensor of shape ()"),
    "causal, NaN": (exercises.check_layer_causal, lambda *a: layer_causal(*a) * torch.nan, WRONG),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)
