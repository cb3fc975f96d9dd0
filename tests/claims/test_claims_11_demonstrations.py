"""Notebook 11: what it says of similarity and these demonstrations, and of what is left when counting is taken out."""

import pytest
import torch

from helpers.finetuning import side_by_side, similarity
from helpers.finetuning.small_gpt import Recipe
from helpers.verdicts import FAILS, HOLDS, exchange_11, judge, measured_11
from helpers.verdicts import notebook_11 as claims
from helpers.verdicts import over_models_and_prompts as mean
from helpers.verdicts.measured_11 import LOSSES, PER_QUERY, SEEDS, alike, excess_with


def right(states):
    return torch.stack([side_by_side.accuracy(state, measured_11.episode()) for state in states]).mean()


# --- what similarity needs --------------------------------------------------------------------------------------


def test_simaou_needs_the_label_words_only_and_per_query_right_labels():
    raw, each = (
        {control: alike(name, "trained", control=control)[..., -1].mean() for control in side_by_side.CONTROLS}
        for name in ("SimAOU", PER_QUERY)
    )
    assert raw["random words"] > raw["the same"] - 0.06 > 0.4 and raw["of another task"] < 0.3
    assert abs(right([measured_11.in_context("trained", s, "random words") for s in SEEDS]) - 0.5) < 0.06
    for wrong in ("labels shuffled", "of another task", "random words"):
        assert abs(each[wrong]) < 0.06 < 0.3 < each["the same"], wrong


def test_with_the_loss_on_all_tokens_both_learn_and_simaou_is_about_zero():
    assert abs(alike("SimAOU", "trained", "all tokens")[..., -1].mean()) < 0.1
    zsl, ft, icl = measured_11.accuracies("trained", LOSSES[1]).mean((1, 2))
    assert ft > zsl + 0.05 and icl > zsl + 0.3


@pytest.mark.parametrize("shift", [0, 1])
def test_with_few_demonstrations_similarity_knows_which_and_with_32_it_does_not(shift):
    for name, seen_at in (("SimAOU", (1, 2, 4)), (PER_QUERY, (1, 2, 4, 8))):
        few = [mean(excess_with(k, name, shift)) for k in seen_at]
        assert all(0 < one.low and one.value < 0.15 for one in few), name
        assert abs(mean(excess_with(32, name, shift)).value) < 0.03, name
    assert abs(excess_with(8, "SimAOU", shift).mean()) < 0.03  # it goes sooner


def test_simaou_is_highest_with_one_demonstration_when_both_are_at_chance():
    by_k = {k: excess_with(k, "SimAOU", less=False).mean() for k in (1, 2, 4, 8, 32)}
    assert max(by_k, key=by_k.get) == 1
    one = measured_11.recipe("trained")
    for states in (
        [measured_11.in_context("trained", s, k=1) for s in SEEDS],
        [measured_11.tuned("trained", s, one, k=1) for s in SEEDS],
    ):
        assert abs(right(states) - 0.5) < 0.1


# --- the exchange -----------------------------------------------------------------------------------------------


def test_fine_tuning_moves_with_itself_in_reverse_at_the_smallest_rate_only():
    small, large = (
        mean(exchange_11.agreement_inside("FT", "FT, in reverse", of=Recipe(lr))[..., -1]) for lr in (0.01, 0.1)
    )
    assert small.low > 0.5 and large.high < 0.3
    ours = {lr: exchange_11.agreement_inside(of=Recipe(lr))[..., -1].mean() for lr in exchange_11.RATES}
    assert max(ours, key=ours.get) == 0.01 and ours[0.01] < small.value - 0.4  # there the measure can see


def test_its_own_fine_tuning_agrees_most_where_it_has_hardly_learned():
    rates = [Recipe(lr) for lr in (0.01, 0.1)]
    agree = [exchange_11.agreement("ICL", "FT", of=recipe).mean() for recipe in rates]
    learned = [right([measured_11.tuned("trained", seed, recipe) for seed in SEEDS]) for recipe in rates]
    assert agree[0] > agree[1] + 0.2 and learned[0] < 0.6 < 0.7 < learned[1]
    count = exchange_11.agreement("ICL", exchange_11.COUNTING)
    assert abs(agree[0] - count.mean()) < 0.08  # "about as much"


def test_one_to_five_steps_cannot_be_told_apart_and_then_agreement_fades():
    by_steps = {steps: exchange_11.with_steps(steps) for steps in exchange_11.STEPS}
    for few in (2, 3, 5):
        apart = mean(by_steps[few] - by_steps[1])
        assert apart.low < 0 < apart.high or abs(apart.value) < 0.03, few
    later = [by_steps[steps].mean() for steps in (5, 10, 20, 50, 200)]
    assert later == sorted(later, reverse=True) and later[-1] < 0.05
    one = exchange_11.agreement("ICL", "one step of GD on counts")
    assert (one - by_steps[1]).abs().max() < 1e-9  # whatever the rate of the one step


def test_counting_and_one_step_agree_with_each_other_more_than_with_icl():
    rules = (exchange_11.exchanged(rule, 0) for rule in ("one step of GD on counts", exchange_11.COUNTING))
    assert similarity.correlation(*rules).mean() > 0.7


def test_a_remainder_beyond_naive_bayes_is_a_models_own():
    assert [judge(claims.beyond_naive_bayes.measure(shift)) for shift in (0, 1)] == [HOLDS, HOLDS]


def test_beyond_all_counting_it_is_above_zero_and_another_seeds_is_not_surely_less():
    found = [claims.beyond_all_counting.measure(shift) for shift in (0, 1, 2)]
    assert all(each.stated.passes() for each in found)
    assert [each.beyond.passes() for each in found] == [False, True, True]  # "in two other draws it is"


def test_the_partial_correlation_is_that_of_residuals_of_a_regression():
    rule, (a, b) = exchange_11.COUNTING, (exchange_11.exchanged(who, 0) for who in ("ICL", "ICL, another seed"))
    c = exchange_11.exchanged(rule, 0)
    ab, ac, bc = (similarity.correlation(*pair) for pair in ((a, b), (a, c), (b, c)))
    textbook = (ab - ac * bc) / ((1 - ac**2) * (1 - bc**2)).sqrt()
    assert (exchange_11.beyond_counting("ICL, another seed", rules=(rule,))[0] - textbook).abs().max() < 1e-9


# --- the papers' measures ---------------------------------------------------------------------------------------


def test_whether_recall_knows_the_model_depends_on_the_draw():
    here, *others = (claims.recall_knows_the_model.measure(shift) for shift in (0, 1, 2))
    assert judge(here) == FAILS
    assert all(each.stated.ours.value > here.stated.ours.value for each in others)


def test_without_the_penalty_the_first_layer_runs_against_fine_tuning():
    taus = {name: values[..., 0] for name, values in measured_11.orders().items()}
    for form in ("queries", "keys"):
        true, null = taus["content", form], taus["content", form, "null"]
        assert mean(true).high < 0 and mean(true - null).high < 0, form
    assert taus["content", "queries"].mean() < 2 * taus["content", "keys"].mean()  # "and a little"


def test_layer_causal_steps_are_nearer_behind_other_demonstrations_too():
    steps, prompts = Recipe(0.1, "layer-causal (code)"), ("the same", "others of the task")
    gains = [
        (alike("SimAOU", "trained", control=each, of=steps) - alike("SimAOU", "trained", control=each))[..., -1]
        for each in prompts
    ]
    assert gains[0].mean() > 0.15 and abs((gains[0] - gains[1]).mean()) < 0.03
