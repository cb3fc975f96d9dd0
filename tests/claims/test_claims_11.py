"""What notebook 11 says of its three trained models, besides the identities in the helpers' own tests."""

import pytest
import torch
from conftest import ROOT

from helpers.finetuning import published, side_by_side, similarity, small_gpt, toy_language
from helpers.trained import filter_gpts, word_gpts


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "11_icl_versus_finetuning.ipynb")


def accuracies(notebook, kind, seed):
    three, _ = notebook.namespace["measured"](kind, seed)
    return [side_by_side.accuracy(at, notebook.namespace["unseen"]).mean().item() for at in three[:3]]


def over_seeds(notebook, kind, name):
    measure = side_by_side.METRICS[name]
    return torch.cat([measure(notebook.namespace["measured"](kind, seed)[0]).mean(1) for seed in range(3)])


@pytest.mark.parametrize("seed", range(3))
def test_trained_models_learn_from_the_prompt_and_from_fine_tuning(notebook, seed):
    zsl, ft, icl = accuracies(notebook, "trained", seed)
    assert abs(zsl - 0.5) < 0.1 and icl > zsl + 0.3 and ft > zsl + 0.2


def test_four_classes_are_learned_and_fixed_meanings_never_overridden(notebook):
    for seed, model in enumerate(notebook.namespace["trained"]):
        four = toy_language.few_shot(toy_language.draw(64, 4, seed=1), k=32, Q=4, seed=1)
        assert 0.15 < word_gpts.score(model, four.first(0)) < 0.35 and word_gpts.score(model, four) > 0.65, seed
        known, flipped = (
            toy_language.few_shot(toy_language.draw(24, 2, meaning=meaning, seed=1), k=32, Q=8, seed=1)
            for meaning in ("fixed", "flipped")
        )
        assert word_gpts.score(model, known.first(0)) > 0.95
        assert max(word_gpts.score(model, flipped.first(k)) for k in (0, 32)) < 0.1


def test_the_common_optimizer_is_late_or_fails():
    muon, labels_only, adam = (
        [word_gpts.curves(how, seed)[0][-1, 0] for seed in range(3)] for how in word_gpts.RECIPES
    )
    assert min(muon) > 0.85 and max(labels_only) < 0.6
    assert 0.6 < adam[0] < min(muon) - 0.1
    assert max(adam) < min(muon) - 0.05 and max(adam) - min(adam) > 0.3  # one seed of three has not even begun


@pytest.mark.parametrize("seed", range(3))
def test_random_weights_learn_nothing_in_context_and_much_from_fine_tuning(notebook, seed):
    _, ft, icl = accuracies(notebook, "random", seed)
    assert abs(icl - 0.5) < 0.1 and ft > 0.85


def test_updates_of_the_last_layer_are_more_alike_in_trained_models(notebook):
    for name in ("SimAOU", "SimAOU, per query"):
        mine, other = (similarity.bootstrap(over_seeds(notebook, kind, name)[:, -1]) for kind in ("trained", "random"))
        assert mine.low > other.high and other.low > 0


def test_averaged_over_layers_random_models_match_trained_ones_per_query(notebook):
    mine, other = (over_seeds(notebook, kind, "SimAOU, per query") for kind in ("trained", "random"))
    assert abs(mine.mean() - other.mean()) < 0.04
    low, high = (similarity.bootstrap(values) for values in (mine, other))
    assert (low.high[:2] < high.low[:2]).all()  # in the first two layers random ones are even higher


def test_with_dais_loss_simaou_is_gone(notebook):
    def found(seed, rate):
        recipe = small_gpt.Recipe(rate, loss="all tokens")
        model, unseen = notebook.namespace["trained"][seed], notebook.namespace["unseen"]
        one = notebook.namespace["measured"]("trained", seed)[0]
        return one._replace(ft=side_by_side.after_finetuning(model, unseen, recipe))

    for seed in range(3):
        one, _ = notebook.namespace["measured"]("trained", seed, "all tokens")
        zsl, ft = (side_by_side.accuracy(at, notebook.namespace["unseen"]).mean() for at in one[:2])
        assert ft > zsl + 0.03  # it learns, if less than with the label's loss
        for rate in (0.03, 0.1, 0.3, 1.0):
            alike = side_by_side.METRICS["SimAOU"](found(seed, rate)).mean((0, 1))
            assert alike[2].abs() < 0.25 and alike[:2].max() < 0.2, (seed, rate)
    alike, each = (notebook.namespace["over_seeds"](m, loss="all tokens") for m in ("SimAOU", "SimAOU, per query"))
    assert abs(alike.mean(0)[2]) < 0.1 and each.mean(0)[2] > 0.12


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


def gaps(notebook, order, form):
    """tau minus that of another task's demonstrations at the same positions, by layer."""
    mine, null = (torch.cat(notebook.namespace[each][order, form]) for each in ("taus", "nulls"))
    return similarity.bootstrap(mine - null)


def test_with_the_penalty_kendalls_tau_is_that_of_the_same_positions(notebook):
    assert torch.cat(notebook.namespace["by_penalty"]).mean(0).min() > 0.75  # it makes nearly all of ICL's order
    for form in ("queries", "keys", "gradients"):
        assert (gaps(notebook, "icl", form).value.abs() < 0.03).all(), form
    raw = torch.cat(notebook.namespace["taus"]["icl", "queries"]).mean(0)
    assert raw.abs().max() > 0.1  # and yet it is not 0


def test_without_the_penalty_gradients_agree_a_little_in_the_last_layer(notebook):
    found = gaps(notebook, "content", "gradients")
    assert found.low[2] > 0.05 and found.high[2] < 0.25
    assert (found.low[:2] < 0.01).all() and found.value[:2].abs().max() < 0.06
    each = zip(*(notebook.namespace[name]["content", "gradients"] for name in ("taus", "nulls")), strict=True)
    assert all((mine - null).mean(0)[2] > 0.05 for mine, null in each)  # in every seed


def test_without_the_penalty_the_first_layers_order_is_reversed_more_than_by_position(notebook):
    assert gaps(notebook, "content", "queries").high[0] < -0.1
    assert gaps(notebook, "content", "keys").high[0] < -0.03
    assert gaps(notebook, "content", "queries").value[1:].abs().max() < 0.05  # and no more so further up
    assert gaps(notebook, "content", "keys").value[1:].abs().max() < 0.06


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


def test_at_equal_steps_the_loss_on_all_tokens_is_the_least_alike(notebook):
    rules = {name: values.mean(0) for (name, matched), values in notebook.namespace["rules"].items() if matched}
    least = min(rules, key=lambda name: rules[name][2])
    assert least == "GD, loss on all tokens" and rules[least][0] < rules["GD"][0] - 0.1
    assert abs(rules["layer-causal, paper"][2] - rules["GD"][2]) < 0.08  # not resolved


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


def test_moattn_helps_if_beta_is_small_and_a_plain_mean_helps_too():
    kinds = ("none", *filter_gpts.FILTERS)
    tried = {kind: torch.stack([filter_gpts.load(kind, seed)[2][..., -1] for seed in range(3)]) for kind in kinds}
    plain, half, slow, mean, learned = (tried[kind].mean(2).T for kind in kinds)  # (2, 3): 2 and 4 classes, seeds
    assert (half > plain + 0.02).all() and (half[1] > plain[1] + 0.07).all()
    assert (slow < plain - 0.09).all() and (slow[1] < 0.35).sum() == 2
    assert (mean > plain + 0.02).all() and (mean[1] > plain[1] + 0.07).all()
    assert (learned[1] - plain[1]).abs().max() < 0.04
    losses = {kind: [filter_gpts.load(kind, seed)[1][-1] for seed in range(3)] for kind in kinds}
    assert max(losses["4 taps, learned"]) < min(losses["none"]) - 0.1  # although it learns hardly more in context


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
    few = small_gpt.Episode(*(part[:16] for part in notebook.namespace["unseen"]))
    three = side_by_side.compare(notebook.namespace["trained"][0], few, small_gpt.Recipe(0.1))
    assert torch.allclose(value, side_by_side.METRICS["SimAOU"](three).mean((0, 1)), atol=1e-4)
    assert torch.allclose(right[1], side_by_side.accuracy(three.ft, few).mean()) and (low < high).all()
