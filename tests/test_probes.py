"""Each probe is 0, or known, for its family whatever the parameters, and notices who does not belong."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import attention, constructions, learners, probes, tasks
from helpers.theory import bayes, closed_forms

PROMPT = tasks.linear_regression(B=40, N=9, d_x=3, noise=0.5, seed=1)
W = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXACT = 1e-12


def softmax(x, y, x_query):
    layer = constructions.gd_step(1.0, x.shape[1], 3)._replace(P=torch.eye(4).double())
    return constructions.learner([layer], attend=attention.softmax)(x, y, x_query)


def dmmse(*prompt):
    return bayes.dmmse(*prompt, W, noise=1.0)


@given(st.floats(0.01, 1.0), st.integers(1, 6), st.floats(0.01, 50))
def test_gradient_descent_and_ridge_are_linear_in_labels_and_query_and_blind_to_order(eta, steps, lam):
    for learner in (lambda *p: learners.gd(*p, eta, steps), lambda *p: learners.ridge(*p, lam)):
        assert probes.bend_in_labels(learner, PROMPT) < 1e-9
        assert probes.bend_in_query(learner, PROMPT) < 1e-9
        assert probes.order_spread(learner, PROMPT, shuffles=5) < 1e-9


def test_a_start_other_than_zero_bends_in_the_labels():
    W_0 = torch.ones(1, 3).double()
    assert probes.bend_in_labels(lambda *p: learners.gd(*p, 0.5, W_0=W_0), PROMPT) > 0.1  # affine, not linear


def test_those_who_weigh_bend():
    assert probes.bend_in_labels(dmmse, PROMPT) > 0.1 > EXACT > probes.bend_in_query(dmmse, PROMPT)
    assert probes.bend_in_query(softmax, PROMPT) > 0.1 > EXACT > probes.bend_in_labels(softmax, PROMPT)


def least_squares_of_all(*p):
    return learners.least_squares(*p)


CHANGES = {  # probe -> who stays with what it expects, and who does not
    "labels added": (probes.labels_added, least_squares_of_all, dmmse),
    "labels scaled": (lambda f, p: probes.labels_scaled(f, p, 1.7), softmax, dmmse),
    "query scaled": (lambda f, p: probes.query_scaled(f, p, 1.7), dmmse, softmax),
    "inputs scaled": (lambda f, p: probes.inputs_scaled(f, p, 1.7), least_squares_of_all, softmax),
    "and squared": (lambda f, p: probes.inputs_scaled(f, p, 1.7, power=2), lambda *p: learners.gd(*p, 0.4), softmax),
    "said again": (lambda f, p: probes.said_again(f, p, 2), softmax, dmmse),
    "reordered": (lambda f, p: probes.reordered(f, p, seed=1), dmmse, lambda *p: learners.online_gd(*p, 0.1)),
}


@pytest.mark.parametrize("probe", CHANGES)
def test_a_probe_expects_what_its_family_answers_and_others_do_not(probe):
    ask, member, stranger = CHANGES[probe]
    assert ask(member, PROMPT).change() < EXACT * 100 and ask(stranger, PROMPT).change() > 0.01
    answers = ask(stranger, PROMPT)
    by_hand = ((answers.got - answers.expected) ** 2).mean().sqrt() / (answers.expected**2).mean().sqrt()
    assert answers.change() == pytest.approx(by_hand.item(), rel=1e-12)


def test_what_the_probes_change_is_the_prompt_and_nothing_else():
    seen = []

    def remembers(x, y, x_query):
        seen.append((x, y, x_query))
        return y[:, 0]

    probes.inputs_scaled(remembers, PROMPT, 3.0)
    assert torch.equal(seen[0][0], 3 * PROMPT.x) and torch.equal(seen[0][2], 3 * PROMPT.x_query)
    assert torch.equal(seen[0][1], PROMPT.y) and torch.equal(seen[1][0], PROMPT.x)
    probes.labels_scaled(remembers, PROMPT, 3.0)
    assert torch.equal(seen[2][1], 3 * PROMPT.y) and torch.equal(seen[2][0], PROMPT.x)
    probes.query_scaled(remembers, PROMPT, 3.0)
    assert torch.equal(seen[4][2], 3 * PROMPT.x_query) and torch.equal(seen[4][0], PROMPT.x)
    probes.reordered(remembers, PROMPT, seed=2)
    assert torch.equal(seen[6][0].sum(1), PROMPT.x.sum(1)) or torch.allclose(seen[6][0].sum(1), PROMPT.x.sum(1))
    pairs = [torch.cat(each[:2], dim=2) for each in (seen[6], seen[7])]
    assert not torch.equal(*pairs) and torch.equal(*(each.sort(dim=1).values for each in pairs))


def test_a_learner_is_asked_a_part_at_a_time_and_the_parts_are_put_together(monkeypatch):
    def one_pass(*p):
        sizes.append(len(p[0]))
        return learners.online_gd(*p, eta=0.1)

    sizes = []
    whole = probes.shuffled(one_pass, PROMPT, 20)
    assert max(sizes) <= probes.AT_ONCE and sum(sizes) == 20 * 40
    monkeypatch.setattr(probes, "AT_ONCE", 7)
    assert torch.allclose(probes.shuffled(one_pass, PROMPT, 20), whole, rtol=0, atol=EXACT)


def test_the_spread_over_orders_is_that_of_a_plain_loop():
    def learner(*p):
        return learners.online_gd(*p, eta=0.1)

    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(9, generator=generator) for _ in range(20)]
    answers = torch.stack([learner(PROMPT.x[:, o], PROMPT.y[:, o], PROMPT.x_query) for o in orders])
    assert torch.allclose(probes.shuffled(learner, PROMPT, 20, seed=3), answers, rtol=0, atol=EXACT)
    expected = answers.std(0).square().mean().sqrt() / answers.square().mean().sqrt()
    assert abs(probes.order_spread(learner, PROMPT, 20, seed=3) - expected) < EXACT and expected > 0.05


def test_averages_and_exact_fits_do_not_feel_repetition_and_priors_do():
    for learner in (lambda *p: learners.gd(*p, 0.4, 3), learners.least_squares, softmax):
        assert probes.repeated(learner, PROMPT) < 1e-11
    for learner in (lambda *p: learners.ridge(*p, 2.0), dmmse, lambda *p: learners.online_gd(*p, 0.1)):
        assert probes.repeated(learner, PROMPT) > 1e-2


@pytest.mark.parametrize("c", [0.5, 2.0, 3.0])
def test_one_step_grows_by_the_square_and_least_squares_not_at_all(c):
    assert abs(probes.growth(lambda *p: learners.gd(*p, 0.4), PROMPT, c) - 2) < 1e-9
    assert abs(probes.growth(learners.least_squares, PROMPT, c)) < 1e-9
    for learner in (lambda *p: learners.gd(*p, 0.2, 5), lambda *p: learners.ridge(*p, 2.0), softmax):
        assert 0.01 < abs(probes.growth(learner, PROMPT, c)) and abs(probes.growth(learner, PROMPT, c) - 2) > 0.01


def test_errors_at_another_scale_are_in_units_of_the_labels():
    prompt = tasks.linear_regression(B=40, N=9, d_x=3, seed=2)
    for c in (1.0, 2.0):
        answers = learners.gd(c * prompt.x, c * prompt.y, c * prompt.x_query, 0.4)
        expected = (answers - c * prompt.y_query).square()[:, 0] / c**2
        got = probes.squared_errors(lambda *p: learners.gd(*p, 0.4), prompt, c)
        assert torch.allclose(got, expected, rtol=1e-12, atol=0)


def test_the_relative_error_of_a_step_is_the_closed_form():
    prompt, eta = tasks.linear_regression(B=50_000, N=10, d_x=4, seed=2), closed_forms.best_step(10, 4)
    for c in (0.5, 1.0, 2.0):
        known = closed_forms.gd_excess(eta * c**2, 10, 4) / 4
        assert abs(probes.relative_error(lambda *p: learners.gd(*p, eta), prompt, c) / known - 1) < 0.05
        assert probes.relative_error(learners.least_squares, prompt, c) < 1e-15


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: probes.growth(softmax, PROMPT, c=1), "c: expected a factor above 0 and other than 1, got 1"),
        (lambda: probes.growth(softmax, PROMPT, c=-2), "c: expected a factor above 0"),
        (lambda: probes.repeated(softmax, PROMPT, times=1), "times: expected a whole number of at least 2, got 1"),
        (lambda: probes.shuffled(softmax, PROMPT, shuffles=1), "shuffles: expected a whole number of at least 2"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_a_factor_the_scale_is_the_prompts_own():
    prompt = tasks.linear_regression(B=50, N=8, d_x=3, noise=0.5)
    step = lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.5)  # noqa: E731
    assert probes.relative_error(step, prompt) == probes.relative_error(step, prompt, c=1.0)
    assert probes.relative_error(step, prompt) != probes.relative_error(step, prompt, c=1.1)
