"""What notebook 11 says, besides its claims: every number in its prose, and the directions that it points out."""

import re

import nbformat
import pytest
import torch
from conftest import ROOT

from helpers import verdicts
from helpers.finetuning import published, scale, side_by_side, similarity, small_gpt, toy_language
from helpers.finetuning.small_gpt import Recipe
from helpers.trained import filter_gpts, word_gpts
from helpers.verdicts import exchange_11, measured_11, over_models_and_prompts
from helpers.verdicts.measured_11 import KINDS, LOSSES, SEEDS, alike, excess

NOTEBOOK = ROOT / "notebooks" / "11_icl_versus_finetuning.ipynb"
PER_QUERY = "SimAOU, per query"


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(NOTEBOOK)


def mean(values):
    return over_models_and_prompts(values)


def test_every_claim_is_shown_exactly_once():
    code = "\n".join(c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code")
    shown = re.findall(r"claims\.(\w+)", code)
    assert sorted(shown) == sorted(claim.name for claim in verdicts.claims_of("11"))


# --- section 1 ------------------------------------------------------------------------------------------------


def test_the_learning_rates_are_the_best_on_tasks_that_nothing_else_uses():
    for (kind, loss), rate in measured_11.RATES.items():
        assert measured_11.best_rate(kind, loss) == rate, (kind, loss)


@pytest.mark.parametrize("seed", SEEDS)
def test_trained_models_learn_both_ways_and_random_ones_only_from_fine_tuning(seed):
    (zsl, ft, icl), (_, ft_random, icl_random) = (measured_11.accuracies(kind)[:, seed].mean(1) for kind in KINDS)
    assert abs(zsl - 0.5) < 0.1 and icl > zsl + 0.3 and ft > zsl + 0.2
    assert abs(icl_random - 0.5) < 0.1 and ft_random > max(0.85, ft)


def test_the_common_optimizer_is_late_or_fails():
    muon, labels_only, adam = (
        [word_gpts.curves(how, seed)[0][-1, 0] for seed in range(3)] for how in word_gpts.RECIPES
    )
    assert min(muon) > 0.85 and max(labels_only) < 0.6
    assert max(adam) < min(muon) - 0.05 and max(adam) - min(adam) > 0.3  # one seed of three has not even begun


def test_a_fixed_meaning_is_known_and_never_overridden():
    for meaning, holds in (("fixed", lambda right: right > 0.95), ("flipped", lambda right: right < 0.1)):
        few = toy_language.few_shot(toy_language.draw(24, meaning=meaning, seed=1), k=32, Q=8, seed=1)
        for seed, k in ((seed, k) for seed in SEEDS for k in (0, 32)):
            at = small_gpt.in_context(measured_11.model("trained", seed), few.first(k))
            assert holds(side_by_side.accuracy(at, few).mean()), (meaning, seed, k)


# --- sections 2 to 4 --------------------------------------------------------------------------------------------


def test_deutch_et_al_find_trained_and_untrained_about_equal_on_average():
    found = {kind: sum(values) / 5 for kind, values in published.load()["untrained"]["SimAOU"].items()}
    assert abs(found["trained"] - found["no_training"]) < 0.01


def test_agreement_is_of_one_layer_and_one_loss():
    last = {loss: alike("SimAOU", "trained", loss)[..., -1].mean() for loss in LOSSES}
    assert last["label"] > 0.4 and abs(last["all tokens"]) < 0.15
    for seed in SEEDS:  # at other rates, too, with Dai's loss
        for rate in (0.03, 0.1, 0.3, 1.0):
            found = alike("SimAOU", "trained", of=Recipe(rate, loss="all tokens"))[seed].mean(0)
            assert found[2].abs() < 0.25 and found[:2].max() < 0.2, (seed, rate)


def test_simaou_falls_with_other_label_words_and_per_query_with_a_wrong_task():
    behind = {
        control: alike("SimAOU", "trained", "label", control)[..., -1].mean() for control in side_by_side.CONTROLS
    }
    same = behind.pop("the same")
    assert {name for name, value in behind.items() if value < same - 0.15} == {"of another task"}
    each = {control: alike(PER_QUERY, "trained", "label", control)[..., -1].mean() for control in side_by_side.CONTROLS}
    assert all(each[name] < 0.1 for name in ("labels shuffled", "of another task", "random words"))
    right = [measured_11.in_context("trained", s, "labels shuffled") for s in SEEDS]
    assert all(side_by_side.accuracy(at, measured_11.episode()).mean() < 0.65 for at in right)


@pytest.mark.parametrize("seed", SEEDS)
def test_in_every_seed_the_excess_is_nothing_and_that_of_readers_is_not(seed):
    for kind in KINDS:
        for loss in LOSSES:
            assert excess(PER_QUERY, kind, loss)[seed].mean(0).abs().max() < 0.06, (kind, loss)
    assert measured_11.excess_of_readers().mean() > 0.3


def test_even_fine_tuning_beside_itself_hardly_stands_out(notebook):
    (one, _), (readers, _) = (
        notebook.namespace["rows"][name] for name in ("FT beside FT, two rates", "two that store demonstrations")
    )
    assert 0.02 < one.value < 0.2 < 0.5 < readers.value


def test_another_seed_and_counting_are_as_like_the_fine_tuning():
    for loss in LOSSES:
        own, seed, count = (
            exchange_11.beside_finetuning(who, loss) for who in ("ICL", "ICL, another seed", exchange_11.COUNTING)
        )
        for name in ("answers", "pattern"):
            assert seed[name].mean() > own[name].mean() - 0.12
            assert count[name].mean() > own[name].mean() - 0.02


def test_the_trends_over_sizes_are_those_that_the_text_names():
    runs = [record for record in scale.load() if record["machine"] == "NVIDIA H200"]

    def at(n, case, measure):
        return torch.tensor([r["cases"][case][measure]["same"][-1] for r in runs if r["weights"] == n]).mean()

    small, large = min(r["weights"] for r in runs), max(r["weights"] for r in runs)
    assert large == 151_271_424
    assert at(large, "trained, label", "SimAOU") < at(small, "trained, label", "SimAOU") - 0.2
    assert at(large, "trained, all tokens", PER_QUERY) > at(small, "trained, all tokens", PER_QUERY) + 0.3
    sizes = {r["weights"] for r in runs}
    assert all(abs(at(n, "trained, all tokens", "SimAOU")) < 0.1 for n in sizes - {large})
    assert -0.3 < at(large, "trained, all tokens", "SimAOU") < -0.15  # "and below at the largest"


def test_without_weight_decay_the_level_is_another_and_the_excess_the_same():
    cpu = [r for r in scale.load() if r["machine"] == "one CPU core" and r["iterations"] == 1000]
    cases = {record["decay"]: record["cases"] for record in cpu}
    assert set(cases) == {0.0, 0.5}
    none, some = (cases[decay]["trained, label"] for decay in (0.0, 0.5))
    assert none["icl"] > 0.9 and none["ft"] < 0.6 < 0.7 < some["ft"]
    none, some = (cases[decay]["trained, all tokens"]["SimAOU"]["same"][-1] for decay in (0.0, 0.5))
    assert none > 0.7 and abs(some) < 0.1
    for each in cases.values():
        for case in each.values():
            assert abs(case[PER_QUERY]["excess"][-1][0]) < 0.03


# --- sections 5 to 7 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [4, 8, 32])
def test_under_exchange_counting_agrees_with_icl_as_much_as_fine_tuning_does(k):
    tuned = exchange_11.at_best_rate(lambda recipe: exchange_11.agreement("ICL", "FT", k=k, of=recipe))
    count, reverse = (exchange_11.agreement("ICL", who, k=k) for who in (exchange_11.COUNTING, "ICL, in reverse"))
    assert mean(tuned).low > 0.1 and mean(count - tuned).high > 0 and mean(tuned - count).low < 0
    assert mean(reverse - tuned).low > 0.1  # the positive control


def test_one_step_counting_and_matching_cannot_be_told_apart_but_two_rivals_are_out():
    assert len(exchange_11.RULES) == 5  # "which of the five?"
    near = ("counting (naive Bayes)", "matching (kernel)", "one step of GD on counts")
    found = {who: exchange_11.agreement("ICL", who) for who in (*exchange_11.RULES, "ICL, another seed")}
    for who in near:
        assert mean(found[who]).low > 0.15 and abs((found[who] - found[near[0]]).mean()) < 0.06
        assert found[who].mean() > found["ICL, another seed"].mean() - 0.05
    for who in ("nearest demonstration", "200 steps of GD on counts"):
        assert mean(found[near[0]] - found[who]).low > 0.1, who


def test_similarity_and_accuracy_peak_at_different_rates(notebook):
    right = [x.value for x in notebook.namespace["learned"]]
    looks = {name: [x.value for x in each] for name, each in notebook.namespace["looks_like"].items()}
    assert max(right) > max(right[0], right[-1]) + 0.05
    assert looks["SimAOU"][0] > max(looks["SimAOU"]) - 0.05 and looks["SimAOU"][-1] < looks["SimAOU"][0] - 0.15
    assert looks[PER_QUERY][0] == max(looks[PER_QUERY])
    assert min(looks["SimAOU, normalised"]) > looks["SimAOU"][-1] + 0.2
    shallow = looks["SimAOU, normalised"]
    assert shallow.index(max(shallow)) == right.index(max(right)) and max(shallow) < shallow[0] + 0.15


# --- section 8 ----------------------------------------------------------------------------------------------------


def test_a_key_bias_moves_simam_only(notebook):
    spread = {name: max(values) - min(values) for name, values in notebook.namespace["lines"].items()}
    assert spread["SimAM, centred"] < 1e-2 and min(spread["SimAM"], spread["SimAM Δ"]) > 0.02


def test_the_penalty_for_distance_makes_maps_alike():
    three = measured_11.conditions("trained", 0)
    back = torch.arange(3, -1, -1.0)
    slopes = measured_11.model("trained", 0).core.slopes[:, None]
    m_icl, m_ft, _ = three.scores()
    left_in = similarity.sim_am(m_icl - slopes * back, m_ft - slopes * back).mean()
    assert left_in > similarity.sim_am(m_icl, m_ft).mean() + 0.05


def test_other_demonstrations_at_the_same_places_give_the_same_order():
    taus = measured_11.orders()
    assert taus["penalty"].mean((0, 1)).min() > 0.75  # it makes nearly all of ICL's order
    for form in measured_11.FORMS:
        assert (taus["icl", form] - taus["icl", form, "null"]).mean((0, 1)).abs().max() < 0.05, form


def test_what_gradients_share_with_attention_is_the_label():
    taus = {name: values[..., -1] for name, values in measured_11.orders().items()}
    assert mean(taus["content", "gradients"] - taus["content", "gradients", "null"]).low > 0.05
    assert mean(taus["class"] - taus["content", "gradients"]).low > 0 and abs(taus["within"].mean()) < 0.05


def test_dais_recall_is_mostly_the_accuracy_of_icl():
    one = published.load()["dai"]["1.3B"]
    recall, chance = (sum(one[name]) / 6 for name in ("Rec2FTP", "chance"))
    assert recall == pytest.approx(85.56, abs=0.01) and chance == pytest.approx(69.8, abs=0.1)
    lift = [(r - c) / (100 - c) for r, c in zip(one["Rec2FTP"], one["chance"], strict=True)]
    assert max(lift) == lift[2] == pytest.approx(0.76, abs=0.01) and min(lift) > 0.25


# --- section 9 and 10 ---------------------------------------------------------------------------------------------


def test_in_the_last_layer_the_indirect_effect_is_the_larger_one(notebook):
    total, direct, indirect = notebook.namespace["lengths"]
    assert (indirect / total)[..., 0].max() < 1e-4
    assert mean(((indirect - direct) / total)[..., -1]).low > 0.1


def test_the_table_of_rules_says_what_the_text_says(notebook):
    rows = {name: values.mean((0, 1)) for name, values in notebook.namespace["rows_of"].items()}
    gd, code, paper = (rows[name, False] for name in ("GD", "layer-causal, code", "layer-causal, paper"))
    assert min(code[0], paper[0]) > gd[0] and code[1] > gd[1] + 0.1
    gd, code = (rows[name, True] for name in ("GD", "layer-causal, code"))
    assert code[0] > gd[0] and code[1] > gd[1] + 0.1
    plain, equal = ({name: row for (name, m), row in rows.items() if m == matched} for matched in (False, True))
    alike_most = sorted(plain, key=lambda name: -plain[name][2])[:2]
    learn_least = sorted(plain, key=lambda name: plain[name][0])[:2]
    assert set(alike_most) == set(learn_least) == {"first-order model", "GD, loss on all tokens"}
    assert equal["GD, loss on all tokens"][2] < equal["GD"][2] - 0.1


def test_moattn_helps_if_beta_is_small_and_a_plain_mean_gets_more_than_half_of_it():
    half, slow, plain, learned = (measured_11.with_filter(kind) for kind in filter_gpts.FILTERS)
    assert half.mean(1).min() > 0.07 and slow.mean(1).max() < -0.09 and learned.mean(1).abs().max() < 0.04
    assert plain.mean() > half.mean() / 2 and ((half - plain).mean(1) > 0.03).sum() == 2  # of three seeds
    losses = {kind: [filter_gpts.load(kind, seed)[1][-1] for seed in SEEDS] for kind in ("none", "4 taps, learned")}
    assert max(losses["4 taps, learned"]) < min(losses["none"]) - 0.1  # although it learns hardly more in context
