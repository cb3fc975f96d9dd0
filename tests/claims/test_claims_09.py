"""What notebook 09 says, besides the theory in test_mixing and the shipped runs in test_softmax_runs."""

import math

import numpy as np
import pytest
import torch
from conftest import ROOT
from scenarios import in_order

from helpers import attention, constructions, metrics, tasks, verdicts
from helpers.attention import Layer
from helpers.models import heads
from helpers.theory import mixing
from helpers.trained import softmax_runs
from helpers.verdicts import notebook_09 as claims

EXACT, WRONG = 1e-12, 1e-3
GATE, FEATURES, TEMPERATURE, HEADS = range(4)


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "09_softmax_attention.ipynb")


# --- the claims, for other draws of prompts -------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 4, 11])
def test_the_verdicts_do_not_depend_on_the_draw(shift):
    found = {each.name: verdicts.row(each, shift=shift).verdict for each in verdicts.claims_of("09")}
    restated = {"demonstrations_mix", "a_kernel_smoother", "the_end_of_the_stack", "dropping_the_softmax"}
    assert {name for name, verdict in found.items() if verdict == verdicts.RESTATED} == restated
    assert all(verdict == verdicts.HOLDS for name, verdict in found.items() if name not in restated)


def test_each_claim_bites(monkeypatch):
    """Swap the trained pairs for single heads, and the claims about pairs fall."""
    ends, losses = softmax_runs.ends, softmax_runs.trained_losses
    monkeypatch.setattr(softmax_runs, "trained_losses", lambda kind, shift=0: losses("one head", shift))
    assert verdicts.row(claims.two_heads_are_needed).verdict == verdicts.FAILS
    monkeypatch.setattr(softmax_runs, "trained_losses", losses)
    monkeypatch.setattr(softmax_runs, "ends", lambda kind: ends("two heads, slowly")[:4])
    assert verdicts.row(claims.two_numbers_describe_a_pair).verdict != verdicts.HOLDS  # they hold a common part, too
    monkeypatch.setattr(softmax_runs, "ends", ends)
    monkeypatch.setattr(mixing, "gate", lambda new, own: torch.full(new.shape[:-1], 0.75, dtype=torch.float64))
    assert verdicts.row(claims.demonstrations_mix).verdict == verdicts.FAILS


# --- sections 1 to 4 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_one_head_of_the_pair_gives_mostly_the_mean_of_the_labels(seed):
    p = tasks.linear_regression(B=2000, N=10, d_x=10, inputs="uniform", seed=seed)
    step = constructions.gd_step(6.0, N=10, d_x=10)
    pair = constructions.two_softmax_heads(step, N=10, tau=2.0)
    assert metrics.max_gap(pair.W_Q, 11**0.5 / 2 * torch.stack([step.W_Q, -step.W_Q])) <= EXACT
    assert metrics.max_gap(pair.P, 10 * torch.stack([step.P, -step.P])) <= EXACT
    single, mean = Layer(*(W[:1] for W in pair)), p.y.mean(1)[:, 0]
    one, both = (constructions.learner([layer], attend=attention.softmax)(*p.shown)[:, 0] for layer in (single, pair))
    assert abs(mean @ one / mean.square().sum() - 6) < 0.1
    assert np.corrcoef(one, mean)[0, 1] > 0.97 and abs(np.corrcoef(both, mean)[0, 1]) < 0.1


def test_the_first_picture_starts_at_the_own_tokens_and_ends_at_the_widgets_numbers(notebook):
    paths, now = notebook.namespace["paths"], notebook.explorers[GATE].compute(n=64, m=4, gap=0.0)
    for name, end in [("softmax", now.mixed), ("adding", now.added)]:
        assert len(paths[name]) == 65 and metrics.max_gap(paths[name][0], now.zero_shot) <= EXACT
        assert metrics.max_gap(paths[name][-1], end) < 1e-11


def test_the_gate_of_the_widget_counts_tokens_and_adding_leaves_the_segment(notebook):
    now = notebook.explorers[GATE].compute(n=64, m=4, gap=0.0)
    assert abs(now.share[64] - 64 / 68) < 0.02 and (now.share.diff() > 0).all()
    between = (now.mixed - now.zero_shot) / (now.demos - now.zero_shot)
    assert metrics.max_gap(between, now.share[64].expand(2)) < 1e-9
    assert math.isclose(now.ratio, (now.share[64] / (1 - now.share[64])).item())
    assert (now.added - now.mixed).norm() > 5 * (now.demos - now.zero_shot).norm()
    own, V_own, new, V_new = notebook.namespace["crowd"](4)
    numerator = own.exp()[0] @ V_own + new.exp()[0] @ V_new
    assert metrics.max_gap(now.added, numerator / own.exp().sum()) < 1e-11  # the denominator stays that of the own
    assert metrics.max_gap(now.mixed, numerator / (own.exp().sum() + new.exp().sum())) < EXACT


@pytest.mark.parametrize("n, m", [(6, 4), (64, 1), (1, 16)])
def test_what_adding_misses_of_a_small_change_is_the_zero_shot_answer(notebook, n, m):
    now = notebook.explorers[GATE].compute(n=n, m=m, gap=-20.0)
    missed = (now.added - now.mixed).norm() / (now.mixed - now.zero_shot).norm()
    limit = now.zero_shot.norm() / (now.demos - now.zero_shot).norm()
    assert abs(missed / limit - 1) < 1e-3 and now.share[n] < 1e-5 and limit > 0.2


def test_the_gate_of_the_widget_is_compared_with_equal_scores(notebook):
    explorer = notebook.explorers[GATE]
    explorer.draw(explorer.picture.artists, explorer.compute(n=8, m=6, gap=0.0))
    counts, shares = explorer.picture.artists.equal.get_data()
    assert [float(share) for share in shares] == pytest.approx([n / (n + 6) for n in range(65)])
    assert list(counts) == list(range(65))


def test_the_stack_moves_up_with_all_labels_and_the_kernel_curve_falls_back_to_zero(notebook):
    s, f = notebook.namespace["s"], notebook.namespace["f"]
    limits = [mixing.stack_limit(s.K, s.k_q, labels) for labels in (s.y, s.y + 1)]
    plain = s.k_q @ torch.linalg.solve(s.K, s.y)
    assert metrics.max_gap(limits[1], limits[0] + 1) <= EXACT and metrics.max_gap(limits[0], f) < 1e-9
    far = torch.cdist(s.q, s.k).min(1).values > 0.7
    assert far.any() and (plain[far].abs() < 0.2).all() and (limits[0][far] > 0.3).all()


def test_the_residuals_of_the_temperature_widget_fall_with_the_powers(notebook):
    now = notebook.explorers[TEMPERATURE].compute(log_tau=1.0, heads="two", N=12)
    late = now.taus > 30
    for column, power in enumerate([-2, -3]):
        slope = np.polyfit(now.taus[late].log(), now.residuals[:-1][late, column].log(), 1)[0]
        assert abs(slope - power) < 0.05


# --- section 5: the trained layers ----------------------------------------------------------------------------


def times_the_step(kind):
    return softmax_runs.trained_losses(kind).mean(1) / softmax_runs.half_losses(softmax_runs.one_step).mean()


def test_behind_a_layer_norm_the_error_tends_to_that_of_always_0_as_one_over_the_size():
    for model in softmax_runs.ends("layer norm"):
        missing = [alpha * (1 - claims.relative_errors(model, alpha).mean().item()) for alpha in (5.0, 20.0, 100.0)]
        assert all(0.65 < each < 0.85 for each in missing)


def test_how_many_runs_are_caught():
    caught = {kind: int(softmax_runs.trapped(kind).sum()) for kind in softmax_runs.SETTINGS}
    assert caught == {
        "one head": 3, "two heads": 0, "linear": 0, "one head, scale 0.03": 6, "one head, scale 0.01": 5,
        "two heads, scale 0.03": 2, "two heads, slowly": 1, "layer norm": 0,
    }  # fmt: skip
    for kind in caught:  # a clear cut: nobody is in between
        lost = times_the_step(kind)
        assert ((lost < 1.5) | (lost > 1.9)).all()


def test_the_others_end_where_the_notebook_says():
    free = times_the_step("one head")[~softmax_runs.trapped("one head")]
    assert ((1.4 < free) & (free < 1.5)).all()
    assert ((1.0 < times_the_step("two heads")) & (times_the_step("two heads") < 1.1)).all()
    assert ((times_the_step("linear") - 1).abs() < 0.01).all()
    assert ((1.2 < times_the_step("layer norm")) & (times_the_step("layer norm") < 1.3)).all()  # a quarter more


@pytest.mark.parametrize("shift", range(3))
def test_a_finite_strength_is_a_little_better_than_the_step_on_centred_data(shift):
    p, step = softmax_runs.held_out(shift), softmax_runs.half_losses(softmax_runs.centred_step, shift)
    best = (heads.pair(2.6, 1.35, p) - p.y_query).square()[:, 0] / 2
    assert 0.001 < (step - best).mean() / step.mean() < 0.03


def test_each_single_head_has_gone_one_of_three_ways(notebook):
    found, ways = notebook.namespace["found"], notebook.namespace["way"]
    assert sorted(set(found)) == sorted(
        ["looks for examples like the query", "looks for their opposites", "scores labels and reads inputs"]
    )
    for seed, (model, out) in enumerate(
        zip(softmax_runs.ends("one head"), softmax_runs.trapped("one head"), strict=True)
    ):
        A, read = (part[0] for part in heads.scores(model))
        a, c, b, u = A[:10].diagonal().mean(), read[-1], A[10], read[:10]
        assert found[seed] == ways(model)
        if out:
            assert abs(a * c) < 0.1 and b.norm() > 3 and u.norm() > 0.5 and "labels" in found[seed]
            assert torch.cosine_similarity(b, u, dim=0) > 0.98
        else:
            assert a * c > 4 and b.norm() < 1 and u.norm() < 0.2  # like with like, or opposites with the sign turned


def test_a_head_that_looks_at_the_opposites_is_as_good():
    p = tasks.linear_regression(100_000, 10, 10, inputs="uniform", seed=8)
    errors = [(s * 0.8 * heads.head(s * 7.3, p)[:, 0] - p.y_query[:, 0]).square() for s in (1, -1)]
    difference = errors[0] - errors[1]
    assert difference.mean().abs() < 4 * difference.std() / 100_000**0.5
    assert metrics.max_gap(errors[0], errors[1]) > 0.1  # other predictions, though


def test_cancelling_is_a_stage_of_the_fast_training_for_most_pairs():
    cancel = 0
    for seed in softmax_runs.SETTINGS["two heads"].seeds:
        early, end = (heads.parts(softmax_runs.load("two heads", seed).frame(k)) for k in (3, -1))
        cancel += int(heads.off_diagonal(early.sum(0)) < 0.7 * heads.off_diagonal(early).min())
        assert heads.off_diagonal(end).max() < 0.2 < heads.off_diagonal(early).max()
    assert softmax_runs.AT[3] == 80 and cancel == 9


def test_the_common_part_is_unseen_in_the_sum_and_costs_more_when_scores_are_strong(notebook):
    compute = notebook.explorers[HEADS].compute
    opening, without = (compute(1.0, 1.0, 1.0, gamma) for gamma in (1.0, 0.0))
    assert (opening.shown - without.shown).abs().max() < 0.05 * opening.shown.abs().max()
    weak, strong = (compute(1.0, 1.0, t, 1.0).ratio - compute(1.0, 1.0, t, 0.0).ratio for t in (1.0, 3.0))
    assert strong > 3 * abs(weak)


# --- the numbers of the folded answers, read off the widgets in the order of the items -------------------------

SAID = [  # widget, what an item sets (the rest stays as the reader left it), what the read-out says
    (GATE, {"n": 64, "m": 4, "gap": 0.0}, ["λ = 0.944", "n/(n + m) = 0.941", "by 11 times"]),
    (GATE, {"n": 4, "m": 16, "gap": 1.25}, ["λ = 0.482", "n/(n + m) = 0.200"]),
    (GATE, {"gap": 1.5}, ["λ = 0.544"]),
    (GATE, {"n": 6, "m": 4, "gap": 0.0}, ["by 0.91 times"]),
    (GATE, {"gap": -5.0}, ["λ = 0.011", "by 0.3 times"]),
    (FEATURES, {"norm": 1.0, "log_m": 8}, ["error 0.43"]),
    (FEATURES, {"log_m": 11}, ["error 0.14"]),
    (FEATURES, {"norm": 1.5}, ["error 0.40"]),
    (FEATURES, {"norm": 2.0}, ["error 0.73"]),
    (FEATURES, {"norm": 3.0}, ["error 0.91", "1.17 times that spread"]),
    (FEATURES, {"log_m": 14, "seed": 4}, ["error 0.63"]),
    (FEATURES, {"seed": 5}, ["error 0.99"]),
    (TEMPERATURE, {"heads": "one", "N": 12, "log_tau": 3.0}, ["One head alone varies by 0.00027"]),
    (TEMPERATURE, {"log_tau": 0.0}, ["curves are 0.22 apart"]),
    (TEMPERATURE, {"log_tau": 0.5}, ["curves are 0.067 apart"]),
    (TEMPERATURE, {"heads": "two", "log_tau": 0.0}, ["curves are 0.13 apart"]),
    (TEMPERATURE, {"log_tau": 0.3}, ["curves are 0.037 apart"]),
    (TEMPERATURE, {"log_tau": 1.0}, ["curves are 0.0016 apart"]),
    (HEADS, {"m1": 2.0, "m2": 0.0, "t": 1.0, "gamma": 1.0}, ["Half-loss 7.99", "-5.84"]),
    (HEADS, {"m1": 1.0, "m2": 1.0, "t": 1.0, "gamma": 0.0}, ["Half-loss 0.998"]),
    (HEADS, {"gamma": 1.0}, ["Half-loss 1.004"]),
    (HEADS, {"gamma": 2.0}, ["Half-loss 1.036"]),
    (HEADS, {"gamma": 5.0}, ["Half-loss 1.210"]),
    (HEADS, {"m1": 1.0, "m2": 1.0, "t": 3.0, "gamma": 1.0}, ["Half-loss 1.060"]),
    (HEADS, {"gamma": 0.0}, ["Half-loss 0.997"]),
    (HEADS, {"t": 2.3}, ["Half-loss 0.994"]),
]


def test_the_widgets_say_what_the_folded_answers_say_when_the_items_are_followed_in_order(notebook):
    in_order(notebook.explorers, SAID)
    seeds = [notebook.explorers[FEATURES].compute(log_m=14, norm=3.0, seed=seed).errors[-1] for seed in range(6)]
    assert np.argmin(seeds) == 4 and np.argmax(seeds) == 5
