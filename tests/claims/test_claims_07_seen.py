"""What notebook 07 lets the reader see: the numbers of its folded answers, at the settings that its items name."""

import pytest
from conftest import ROOT
from scenarios import holds

NOTEBOOK = ROOT / "notebooks" / "07_the_dual_form.ipynb"


def frozen(eta, T, loss="squared"):
    return {"eta": eta, "T": T, "loss": loss}


def ring(m, gap, kernel="quadratic"):
    return {"m": m, "gap": gap, "kernel": kernel}


def image(number, cls, t=2000, network="linear"):
    return {"image": number, "cls": cls, "t": t, "network": network}


def profile(beta, decay):
    return {"beta": beta, "decay": decay, "nesterov": False}


def missed(now):
    return 100 * now.far[now.T - 1][1]


def made(now):
    return now.alpha.sum()


def logit(cls):
    return lambda now: now.parts.sum(1)[cls]


SEEN = [
    ("frozen_widget", frozen(0.02, 20), missed, "12.8", ".1f"),
    ("frozen_widget", frozen(0.1, 5), missed, "10.4", ".1f"),
    ("frozen_widget", frozen(0.005, 40), missed, "8.4", ".1f"),
    ("frozen_widget", frozen(0.3, 20), missed, "314", ".0f"),
    ("frozen_widget", frozen(0.1, 20), missed, "78", ".0f"),
    ("frozen_widget", frozen(0.1, 20, "logistic"), missed, "21", ".0f"),
    ("perceptron_widget", ring(10, 0.05), lambda now: now.errors, "8", ".0f"),
    ("perceptron_widget", ring(30, 0.05), lambda now: now.errors, "10", ".0f"),
    ("perceptron_widget", ring(60, 0.05), made, "53", ".0f"),
    ("perceptron_widget", ring(60, 0.1), made, "32", ".0f"),
    ("perceptron_widget", ring(60, 0.2), made, "14", ".0f"),
    ("perceptron_widget", ring(60, 0.3), made, "15", ".0f"),
    ("perceptron_widget", ring(60, 0.0), made, "60", ".0f"),
    ("perceptron_widget", ring(60, 0.05, "linear"), lambda now: now.errors, "30", ".0f"),
    ("perceptron_widget", ring(60, 0.05, "gaussian"), made, "25", ".0f"),
    ("spotlight_widget", image(379, "9"), logit(9), "4.59", ".2f"),
    ("spotlight_widget", image(379, "9"), logit(5), "4.23", ".2f"),
    ("spotlight_widget", image(0, "3"), lambda now: -now.says[5][1], "0.27", ".2f"),
    ("profile_widget", profile(0.9, 0.0), lambda now: now.c[0] / now.c[-1], "9.98", ".2f"),
    ("profile_widget", profile(0.5, 0.0), lambda now: now.c[0] / now.c[-1], "2.00", ".2f"),
    ("profile_widget", profile(0.0, 0.2), lambda now: now.c[0], "0.55", ".2f"),
    ("profile_widget", profile(0.0, 0.2), lambda now: now.start, "0.55", ".2f"),
    ("profile_widget", profile(0.95, 0.1), lambda now: -now.c[0], "2.52", ".2f"),
]


@pytest.mark.parametrize("widget, settings, number, stated, style", SEEN)
def test_what_you_should_have_seen(ran, widget, settings, number, stated, style):
    holds(ran, NOTEBOOK, widget, settings, number, stated, style)


def test_the_verdicts_on_two_images_settle_when_the_text_says(ran):
    spotlight = ran(NOTEBOOK).namespace["spotlight_widget"]
    for number, last in [(379, 40), (436, 1930)]:
        says = [spotlight.compute(**image(number, "5", t)).parts.sum(1).argmax().item() for t in range(0, 2001, 10)]
        assert max(t for t in range(1, 201) if says[t] != says[t - 1]) * 10 == last
    assert [label for label, _ in spotlight.compute(**image(379, "5")).says] == [5] * 5 + [9, 0, 8, 0, 6]
    assert sorted(label for label, _ in spotlight.compute(**image(379, "9")).says[5:]) == [1, 5, 5, 5, 5]
    assert spotlight.compute(**image(0, "3")).says[5][0] == 3


def test_the_smallest_decay_with_a_wrong_sign_is_the_one_of_the_text(ran):
    compute = ran(NOTEBOOK).namespace["profile_widget"].compute
    assert (compute(0.95, 0.1, False).c < 0).any() and not (compute(0.95, 0.05, False).c < 0).any()
