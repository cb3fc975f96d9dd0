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


def exchange(h_icl, h_ft, other_icl, other_ft):
    icl, ft = h_icl - other_icl, h_ft - other_ft
    icl, ft = (change - change.mean(1, keepdim=True) for change in (icl, ft))
    return torch.cosine_similarity(icl, ft, dim=-1)


def uncentred(h_icl, h_ft, other_icl, other_ft):
    return torch.cosine_similarity(h_icl - other_icl, h_ft - other_ft, dim=-1)


def in_place(h_icl, h_ft, other_icl, other_ft):
    for h in (h_icl, h_ft, other_icl, other_ft):
        h.zero_()
    return torch.zeros(3, 5, dtype=torch.float64)


CASES = {
    "exchange, right": (exercises.check_exchange, exchange, RIGHT),
    "exchange, not centred": (exercises.check_exchange, uncentred, "Not yet: the queries still share"),
    "exchange, of h": (
        exercises.check_exchange,
        lambda a, b, c, d: torch.cosine_similarity(a, b, dim=-1),
        "Not yet: that is the cosine of h itself",
    ),
    "exchange, of learners": (
        exercises.check_exchange,
        lambda a, b, c, d: torch.cosine_similarity(a - b, c - d, dim=-1),
        "Not yet: that sets ICL against FT",
    ),
    "exchange, minus": (exercises.check_exchange, lambda *h: -exchange(*h), "Not yet: the largest difference"),
    "exchange, overwritten": (exercises.check_exchange, in_place, "Not yet: the largest difference"),
    "exchange, the mean": (exercises.check_exchange, lambda *h: exchange(*h).mean(), "Not yet: expected a tensor"),
    "exchange, dots": (exercises.check_exchange, lambda *h: None, "Not yet: the function returns nothing"),
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
