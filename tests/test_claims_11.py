"""What notebook 11 says of its three trained models, besides the identities in the helpers' own tests."""

import pytest
import torch
from conftest import ROOT

from helpers import comparison, finetuning, published, similarity


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "11_icl_versus_finetuning.ipynb")


def accuracies(notebook, kind, seed):
    three, _ = notebook.namespace["measured"](kind, seed)
    return [comparison.accuracy(at, notebook.namespace["unseen"]).mean().item() for at in three[:3]]


def over_seeds(notebook, kind, name):
    measure = comparison.METRICS[name]
    return torch.cat([measure(notebook.namespace["measured"](kind, seed)[0]).mean(1) for seed in range(3)])


@pytest.mark.parametrize("seed", range(3))
def test_trained_models_learn_from_the_prompt_and_from_fine_tuning(notebook, seed):
    zsl, ft, icl = accuracies(notebook, "trained", seed)
    assert abs(zsl - 0.5) < 0.1 and icl > zsl + 0.3 and ft > zsl + 0.1


def test_fine_tuning_is_worth_twenty_points(notebook):
    zsl, ft, _ = torch.tensor([accuracies(notebook, "trained", seed) for seed in range(3)]).mean(0)
    assert ft > zsl + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_random_weights_learn_nothing_in_context_and_much_from_fine_tuning(notebook, seed):
    _, ft, icl = accuracies(notebook, "random", seed)
    assert abs(icl - 0.5) < 0.1 and ft > 0.85


def test_updates_of_the_last_layer_are_more_alike_in_trained_models(notebook):
    for name in ("SimAOU", "SimAOU, per query"):
        mine, other = (similarity.bootstrap(over_seeds(notebook, kind, name)[:, -1]) for kind in ("trained", "random"))
        assert mine.low > other.high and other.low > 0


def test_random_models_score_about_the_floor(notebook):
    found, floor = (over_seeds(notebook, "random", name).mean(0) for name in ("SimAOU, normalised", "its floor"))
    assert ((found - floor).abs() < 0.1).all() and (found > 0.15).all()


def test_shuffled_labels_leave_simaou_and_take_away_what_tells_the_classes_apart(notebook):
    aou, per_query, right = (values.mean(1) for values in notebook.namespace["table"].values())
    same, shuffled, other, random, later = range(5)
    assert right[same] > 0.8 and all(right[control] < 0.6 for control in (shuffled, other, random))
    assert aou[shuffled] > aou[same] - 0.1 and aou[random] > aou[same] - 0.1
    assert aou[other] < aou[same] - 0.15 and aou[later] < aou[same] - 0.15
    assert all(per_query[control] < per_query[same] - 0.2 for control in (shuffled, other, random))


def test_a_third_or_more_of_the_change_was_made_on_the_way(notebook):
    direct, indirect = notebook.namespace["share"]
    assert indirect.value[0] < 1e-4 and indirect.low[2] > 0.5 and direct.low[2] > 0.3
    assert ((direct.value + indirect.value) > 0.999).all()  # triangle inequality


def test_kendalls_tau_is_that_of_other_demonstrations_at_the_same_positions(notebook):
    for form, taus in notebook.namespace["taus"].items():
        gap = similarity.bootstrap(torch.cat(taus) - torch.cat(notebook.namespace["nulls"][form])).value
        assert (gap.abs() < 0.03).all(), form
    raw = torch.cat(notebook.namespace["taus"]["queries"]).mean(0)
    assert raw.abs().max() > 0.1  # and yet it is not 0


def test_layer_causal_steps_are_no_worse_here(notebook):
    rules = {name: values.mean(0) for name, values in notebook.namespace["rules"].items()}
    for matched in (False, True):
        gd, code, paper = (rules[name, matched] for name in ("GD", "layer-causal, code", "layer-causal, paper"))
        assert code[0] > gd[0] and paper[0] > gd[0]  # accuracy
        assert code[1] > gd[1] + 0.1  # SimAOU


def test_the_most_alike_per_query_is_not_the_best(notebook):
    rules = {name: values.mean(0) for (name, matched), values in notebook.namespace["rules"].items() if not matched}
    linear, gd = rules["first-order model"], rules["GD"]
    assert linear[2] > gd[2] and linear[0] < gd[0] - 0.05
    words = rules["GD, loss on all tokens"]
    assert words[1] < 0.1 and words[2] > 0.2  # nothing by SimAOU, much per query


def test_similarity_and_accuracy_peak_at_different_rates(notebook):
    right = torch.cat(notebook.namespace["right"], 1).mean(1)
    aou = torch.cat(notebook.namespace["swept"]["SimAOU"], 1).mean(1)
    normalised = torch.cat(notebook.namespace["swept"]["SimAOU, normalised"], 1).mean(1)
    assert right[-1] < right.max() - 0.05 and aou[-1] < aou.max() - 0.15
    assert normalised.min() > aou.min() + 0.2  # the normalised one hardly falls


def test_a_key_bias_moves_simam_only(notebook):
    lines = notebook.namespace["lines"]
    spread = {name: max(values) - min(values) for name, values in lines.items()}
    assert spread["SimAM, centred"] < 1e-2 and spread["SimAM"] > 0.05 and spread["SimAM Δ"] > 0.05


def test_dais_recall_is_mostly_the_accuracy_of_icl():
    one = published.load()["dai"]["1.3B"]
    recall, chance = (sum(one[name]) / 6 for name in ("Rec2FTP", "chance"))
    assert recall == pytest.approx(85.56, abs=0.01) and chance == pytest.approx(69.8, abs=0.1)
    lift = [(r - c) / (100 - c) for r, c in zip(one["Rec2FTP"], one["chance"], strict=True)]
    assert max(lift) == lift[2] == pytest.approx(0.76, abs=0.01) and min(lift) > 0.25


def test_the_recall_calculator_has_no_lift_without_agreement(notebook):
    compute = notebook.explorers[2].compute
    for icl in (0.5, 0.7, 0.9):
        alone = compute(0.7, 0.4, icl, 0.0)
        assert abs(alone.lift) < 0.1 and abs(alone.recall - icl) < 0.03
        assert compute(0.7, 0.4, icl, 1.0).recall == (1.0 if icl >= 0.4 else icl / 0.4)


def test_the_comparison_widget_is_the_comparison(notebook):
    (value, low, high), _, right = notebook.explorers[0].compute("trained", "SimAOU", -1.0, 32)
    few = finetuning.Episode(*(part[:16] for part in notebook.namespace["unseen"]))
    three = comparison.compare(notebook.namespace["trained"][0], few, finetuning.Recipe(0.1))
    assert torch.allclose(value, comparison.METRICS["SimAOU"](three).mean((0, 1)), atol=1e-4)
    assert torch.allclose(right[1], comparison.accuracy(three.ft, few).mean()) and (low < high).all()
