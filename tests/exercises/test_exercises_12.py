"""The checks of notebook 12's exercises: right and wrong answers, and that the six boxes can be told apart."""

import pytest
import torch

from helpers import learners, probes, tasks, verdicts
from helpers.exercises import notebook_12 as exercises

RIGHT, WRONG = "✔ Right", "Not yet: "
CASE = tasks.linear_regression(B=100, N=12, d_x=4, noise=0.5, seed=3)
ANSWER = dict(exercises._NAMES)
SWAPPED = ANSWER | {"A": ANSWER["B"], "B": ANSWER["A"]}


def claim(kind=verdicts.EXACT, measure=lambda: verdicts.identity(0.0, broken=1.0)):
    def of_the_reader():
        return measure()

    return verdicts.claim(kind, "Mine.")(of_the_reader)


def against(control):
    return verdicts.Evidence(verdicts.Bounds(verdicts.number(1.0), at_least=0.5), control=control)


def beyond(low):
    difference = verdicts.Number(0.2, low, 0.3)
    return verdicts.Evidence(verdicts.Bounds(verdicts.number(1.0), 0.5), beyond=verdicts.Bounds(difference, at_least=0))


def drifting(calls=[]):  # noqa: B006  # it remembers how often it was called, as a careless reader's function might
    calls.append(1)
    return verdicts.identity(0.0, broken=float(len(calls)))


CASES = {
    "boxes, right": (exercises.check_boxes, ANSWER, "✔ Right: all six."),
    "boxes, two swapped": (exercises.check_boxes, SWAPPED, "Not yet: 4 of 6. Hint"),
    "boxes, dots": (exercises.check_boxes, dict.fromkeys("ABCDEF", ...), "Not yet: replace the dots"),
    "boxes, five": (exercises.check_boxes, dict.fromkeys("ABCDE", "ridge"), "Not yet: expected a dictionary"),
    "boxes, a list": (exercises.check_boxes, list(ANSWER.values()), "Not yet: expected a dictionary"),
    "boxes, another name": (exercises.check_boxes, ANSWER | {"A": "magic"}, "Not yet: expected names from one step"),
    "boxes, a number": (exercises.check_boxes, ANSWER | {"A": 1}, "Not yet: expected names from one step"),
    "boxes, an unhashable": (exercises.check_boxes, ANSWER | {"A": ["ridge"]}, "Not yet: expected names from one step"),
    "claim, right": (exercises.check_claim, claim(), RIGHT),
    "claim, measured": (exercises.check_claim, claim(verdicts.MEASURED), RIGHT),
    "claim, dots": (exercises.check_claim, ..., "Not yet: expected a claim, got ellipsis"),
    "claim, a plain function": (exercises.check_claim, lambda: 1, "Not yet: expected a claim, got function"),
    "claim, reported": (exercises.check_claim, claim(verdicts.REPORTED), "Not yet: a reported claim is not measured"),
    "claim, nothing": (exercises.check_claim, claim(measure=lambda: None), "Not yet: the function returns nothing"),
    "claim, it fails": (exercises.check_claim, claim(measure=lambda: 1 / 0), "Not yet: your function raised ZeroDiv"),
    "claim, a number": (exercises.check_claim, claim(measure=lambda: 0.0), "Not yet: expected verdicts.Evidence"),
    "claim, no control": (
        exercises.check_claim,
        claim(measure=lambda: verdicts.Evidence(verdicts.Bounds(verdicts.number(0.0), at_most=1))),
        "Not yet: there is no control",
    ),
    "claim, the control passes": (
        exercises.check_claim,
        claim(measure=lambda: verdicts.identity(0.0, broken=0.0)),
        "Not yet: the verdict is “artefact”",
    ),
    "claim, the control lies across the bound": (
        exercises.check_claim,
        claim(measure=lambda: against(verdicts.Number(5.0, 0.4, 9.0))),
        "Not yet: your control, 5.0 [0.40, 9.0], lies across your bound",
    ),
    "claim, the control is no number": (
        exercises.check_claim,
        claim(measure=lambda: against(verdicts.number(float("nan")))),
        "Not yet: your control, nan, lies across your bound, or is no number",
    ),
    "claim, the control fails": (exercises.check_claim, claim(measure=lambda: against(verdicts.number(0.1))), RIGHT),
    "claim, beyond its control": (exercises.check_claim, claim(measure=lambda: beyond(0.1)), RIGHT),
    "claim, no better than it": (
        exercises.check_claim,
        claim(measure=lambda: beyond(-0.1)),
        "Not yet: the verdict is “artefact”",
    ),
    "claim, it is false": (
        exercises.check_claim,
        claim(measure=lambda: verdicts.identity(0.5, broken=1.0)),
        "Not yet: the verdict is “does not reproduce here”",
    ),
    "claim, another number each time": (exercises.check_claim, claim(measure=drifting), "Not yet: measured twice"),
    "linear, right": (exercises.check_best_linear, 0.9, RIGHT),
    "linear, the mean of the two": (exercises.check_best_linear, 1.6, WRONG),
    "linear, mean deviation squared": (exercises.check_best_linear, (0.75 * 0.2**0.5 + 0.25 * 3**0.5) ** 2, WRONG),
    "linear, dots": (exercises.check_best_linear, ..., "Not yet: replace the dots"),
    "linear, a word": (exercises.check_best_linear, "x", "Not yet: expected one finite number"),
}


@pytest.mark.parametrize("case", CASES)
def test_checks_tell_right_from_wrong(case, capsys):
    check, answer, verdict = CASES[case]
    check(answer)
    assert capsys.readouterr().out.startswith(verdict)


def test_the_number_of_hits_does_not_say_which(capsys):
    exercises.check_boxes(SWAPPED)
    said = capsys.readouterr().out
    assert not any(name in said for name in exercises.LEARNERS) and not any(f" {each} " in said for each in "ABCDEF")


def signs(learner):
    """Which of five questions a learner answers with 0, to round-off."""
    return (
        probes.bend_in_labels(learner, CASE) < 1e-9,
        probes.bend_in_query(learner, CASE) < 1e-9,
        probes.repeated(learner, CASE) < 1e-9,
        abs(probes.growth(learner, CASE)) < 1e-9,
        abs(probes.growth(learner, CASE) - 2) < 1e-9,
    )


SIGNS = {
    "one step": (True, True, True, False, True),
    "five steps": (True, True, True, False, False),
    "ridge": (True, True, False, False, False),
    "least squares": (True, True, True, True, False),
    "dMMSE": (False, True, False, False, False),
    "softmax attention": (True, False, True, False, False),
}


@pytest.mark.parametrize("letter", "ABCDEF")
def test_each_box_can_be_told_by_what_is_zero(letter):
    assert signs(exercises.box(letter)) == SIGNS[ANSWER[letter]]
    assert len(set(SIGNS.values())) == 6


@pytest.mark.parametrize("missing", range(5))
def test_each_question_is_needed(missing):
    without = {signs[:missing] + signs[missing + 1 :] for signs in SIGNS.values()}
    assert len(without) == 5


@pytest.mark.parametrize("letter", "ABCDEF")
def test_the_order_tells_none_of_them_apart(letter):
    assert probes.order_spread(exercises.box(letter), CASE, shuffles=5) < 1e-9


def test_comparing_with_one_s_own_versions_gives_only_least_squares_away():
    own = {
        "one step": lambda *p: learners.gd(*p, 0.6),
        "ridge": lambda *p: learners.ridge(*p, lam=1.0),
        "least squares": learners.least_squares,
    }
    for letter, name in ANSWER.items():
        for learner_name, learner in own.items():
            gap = (exercises.box(letter)(*CASE.shown) - learner(*CASE.shown)).abs().max()
            assert (gap < 1e-9) == (name == learner_name == "least squares")


def test_boxes_refuse_other_prompts():
    with pytest.raises(ValueError, match="letter: expected one of A, B, C, D, E, F, got 'a'"):
        exercises.box("a")
    other = tasks.linear_regression(B=2, N=5, d_x=3)
    with pytest.raises(ValueError, match="x, y: expected 4 inputs and 1 label a pair, got 3 and 1"):
        exercises.box("A")(*other.shown)
    with pytest.raises(ValueError, match="x: expected finite numbers, got nan"):
        exercises.box("A")(CASE.x * torch.nan, *CASE[1:3])
