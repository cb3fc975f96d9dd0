"""Each measure against three examples worked out by hand, its chance level against random numbers, and its traps."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from helpers.finetuning import similarity

EXACT = 1e-12


def vectors(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- predictions: three examples by hand -----------------------------------------------------------------------

ZSL, FT, ICL = (torch.tensor([right], dtype=torch.bool) for right in ([0, 0, 1], [1, 1, 0], [1, 0, 1]))


def test_rec2ftp_of_three_examples():
    """ZSL errs on two; FT corrects both, ICL one: recall 1/2, chance 1/2; of the two corrected by either, 1 by both."""
    counts = similarity.corrections(ZSL, FT, ICL)
    assert counts.tolist() == [[1, 2, 1, 2]]
    assert [part.item() for part in similarity.rec2ftp(counts)] == [0.5, 0.5, 0.0, 0.5]


def test_a_published_wrong_denominator_gives_another_number():
    """Of a later code: both / (FT right, ICL wrong) instead of both / (FT right, ZSL wrong)."""
    both, ft, *_ = similarity.corrections(ZSL, FT, ICL)[0]
    wrong = both / (FT & ~ICL).sum()
    assert wrong == 1.0 and both / ft == 0.5


def test_the_counts_of_all_sets_are_added_before_they_are_divided():
    counts = torch.tensor([[1.0, 1, 1, 2], [0, 3, 1, 3]])
    assert similarity.rec2ftp(counts).recall == 0.25 != (1 / 1 + 0 / 3) / 2
    assert similarity.rec2ftp(torch.zeros(1, 4)).recall.isnan()


def test_independent_corrections_have_no_lift():
    g = torch.Generator().manual_seed(1)
    zsl, ft, icl = (torch.rand(400, 50, generator=g) < p for p in (0.5, 0.7, 0.9))
    made = similarity.rec2ftp(similarity.corrections(zsl, ft, icl))
    assert abs(made.chance - 0.9) < 0.02 and abs(made.lift) < 0.05 and made.recall > 0.88


def test_dais_accuracies_alone_promise_a_recall_of_three_quarters():
    """P(ICL right | ZSL wrong) >= (ICL - ZSL) / (1 - ZSL), by counting: ICL can be right on all that ZSL is."""
    zsl, icl = torch.zeros(1000, dtype=torch.bool), torch.zeros(1000, dtype=torch.bool)
    zsl[:705], icl[:927] = True, True
    chance = similarity.rec2ftp(similarity.corrections(zsl[None], icl[None], icl[None])).chance.item()
    assert chance == pytest.approx((92.7 - 70.5) / (100 - 70.5), rel=1e-6) and round(chance, 3) == 0.753


# --- attention's output: three examples by hand ------------------------------------------------------------------


def test_sim_aou_of_three_examples():
    z = vectors([1, 0], [0, 2], [1, 1])
    icl, ft = z + vectors([0, 1], [1, 0], [3, 4]), z + vectors([0, 5], [-1, 0], [4, 3])
    assert similarity.sim_aou(icl, ft, z).tolist() == pytest.approx([1, -1, 24 / 25], abs=EXACT)
    # normalised, example 1: h_ICL at 45 degrees, h_FT at atan 5; half-angles: cos((atan 5 - 45 degrees) / 2)
    normalised = similarity.sim_aou(icl, ft, z, normalised=True)
    assert normalised[0].item() == pytest.approx(math.cos((math.atan(5) - math.pi / 4) / 2), abs=EXACT)
    assert normalised[0] < 0.96 < similarity.sim_aou(icl, ft, z)[0]


@pytest.mark.parametrize("rho, floor", [(0.5, 0.0528), (1.0, 0.1464), (3**0.5, 0.25), (5.0, 0.4019)])
def test_unrelated_updates_score_the_floor(rho, floor):
    z, r, s = (torch.nn.functional.normalize(normal(40, 4096, seed=k), dim=-1) for k in (1, 2, 3))
    scored = similarity.sim_aou(z + rho * r, z + rho * s, z, normalised=True).mean().item()
    assert similarity.aou_floor(rho, rho).item() == pytest.approx(floor, abs=1e-4)
    assert abs(scored - floor) < 0.02
    assert abs(similarity.sim_aou(z + rho * r, z + rho * s, z).mean()) < 0.02


def test_the_floor_is_exact_at_right_angles_and_below_a_half():
    z, r, s = torch.eye(5, dtype=torch.float64)[:3]
    for rho, other in [(0.3, 2.0), (1.0, 1.0), (50.0, 70.0)]:
        scored = similarity.sim_aou(z + rho * r, z + other * s, z, normalised=True)
        assert abs(scored - similarity.aou_floor(*vectors(rho, other))) < EXACT
        assert abs(scored - similarity.aou_floor_of(z + rho * r, z + other * s, z)) < EXACT and scored < 0.5
        along = z * 0.4 + rho * r, z * 1.7 + other * s  # updates that also go along h_ZSL
        scored = similarity.sim_aou(*along, z, normalised=True)
        assert abs(scored - similarity.aou_floor_of(*along, z)) < EXACT
        assert abs(scored - similarity.aou_floor(*vectors(rho, other))) > 1e-4


# --- attention's scores: three examples by hand -------------------------------------------------------------------


def test_sim_am_of_three_examples():
    icl, ft, zsl = vectors([1, 0], [1, 1], [3, 1]), vectors([0, 1], [2, 2], [1, 3]), vectors([0, 0], [1, 0], [1, 1])
    assert similarity.sim_am(icl, ft).tolist() == pytest.approx([0, 1, 0.6], abs=EXACT)
    assert similarity.sim_am(icl, ft, zsl).tolist() == pytest.approx([0, 2 / 5**0.5, 0], abs=EXACT)
    assert similarity.sim_am(icl[::2], ft[::2], centred=True).tolist() == pytest.approx([-1, -1], abs=EXACT)


def test_a_constant_on_a_row_moves_raw_scores_and_not_centred_ones():
    m, other, zsl = normal(3, 7, 6).unbind(0)
    shift = normal(7, 1, seed=4)
    for reference in (None, zsl):
        moved = [similarity.sim_am(m + 3 * shift, other, reference, centred=c) for c in (False, True)]
        still = [similarity.sim_am(m, other, reference, centred=c) for c in (False, True)]
        assert (moved[1] - still[1]).abs().max() < EXACT and (moved[0] - still[0]).abs().max() > 0.1
    assert ((m + shift).softmax(-1) - m.softmax(-1)).abs().max() < EXACT


def test_maps_that_share_a_base_are_alike_whatever_was_added():
    """cos(m + a, m + b) = 1 / (1 + rho^2) for unrelated a, b of relative size rho."""
    m, a, b = normal(3, 20, 4096).unbind(0)
    for rho in (0.5, 1.0):
        assert abs(similarity.sim_am(m + rho * a, m + rho * b).mean() - 1 / (1 + rho**2)) < 0.02
        assert abs(similarity.sim_am(m + rho * a, m + rho * b, m).mean()) < 0.02


# --- orders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_kendall_is_scipys(ties):
    a, b = normal(6, 5, 30), normal(6, 5, 30, seed=1)
    if ties:
        a, b = a.round(), b.round()
    found = similarity.kendall(a, b)
    for i in range(6):
        for j in range(5):
            assert abs(found[i, j] - scipy.stats.kendalltau(a[i, j], b[i, j]).statistic) < EXACT
    no_ties_counted = (a[0, 0, :, None] - a[0, 0]).sign() * (b[0, 0, :, None] - b[0, 0]).sign()
    assert (abs(found[0, 0] - no_ties_counted.sum() / (30 * 29)) > 1e-3) == ties
    assert similarity.kendall(torch.ones(4), torch.arange(4.0)).isnan()


def test_random_orders_spread_as_the_formula_says():
    taus = similarity.kendall(torch.arange(40.0).expand(4000, 40), normal(4000, 40).float())
    assert abs(taus.std().item() / similarity.kendall_sd(40) - 1) < 4 / (2 * 4000) ** 0.5
    assert abs(taus.mean()) < 4 * similarity.kendall_sd(40) / 4000**0.5


# --- intervals ------------------------------------------------------------------------------------------------


def test_the_bootstrap_of_a_mean_is_about_two_standard_errors_wide():
    values = normal(200, 3)
    interval = similarity.bootstrap(values)
    assert torch.equal(interval.value, values.mean(0))
    wide = (interval.high - interval.low) / (2 * 1.96 * values.std(0) / 200**0.5)
    assert ((wide - 1).abs() < 0.15).all()


def test_whole_sets_are_drawn_not_queries():
    """20 queries that all agree within a set tell as much as one: the interval must not shrink with their number."""
    sets = normal(30, 1)
    few, many = (similarity.bootstrap(sets.expand(30, Q).mean(1)) for Q in (1, 20))
    by_query = similarity.bootstrap(sets.expand(30, 20).flatten())
    assert abs((many.high - many.low) / (few.high - few.low) - 1) < 1e-6
    assert (by_query.high - by_query.low) < 0.4 * (many.high - many.low)


def test_a_statistic_of_counts_is_resampled_as_a_whole():
    counts = torch.tensor([[8.0, 10, 20, 25]]).expand(12, 4)
    interval = similarity.bootstrap(counts, lambda c: torch.stack(similarity.rec2ftp(c), -1))
    assert all(torch.allclose(part, interval.value) for part in interval)
    assert interval.value[0] == pytest.approx(0.8) and interval.value.shape == (4,)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"icl: expected bool of shape \(1, 3\), got torch.float32 \(1, 3\)"):
        similarity.corrections(ZSL, FT, ICL.float())
    with pytest.raises(ValueError, match="at least 2 to order"):
        similarity.kendall(torch.ones(3, 1), torch.ones(3, 1))
    with pytest.raises(ValueError, match="n: expected a whole number of at least 2"):
        similarity.kendall_sd(1)


def test_lift_is_how_far_recall_is_on_the_way_from_chance_to_one():
    recall = similarity.rec2ftp(torch.tensor([[3.0, 4.0, 4.0, 16.0]]))  # both, FT, ICL, wrong at zero-shot
    assert [part.item() for part in recall] == pytest.approx([3 / 4, 1 / 4, (3 / 4 - 1 / 4) / (1 - 1 / 4), 3 / 5])


def test_kendall_of_what_is_no_number_is_none():
    x, y = torch.tensor([[1.0, 2, torch.nan, 4], [1, 2, 3, 4]]), torch.tensor([[1.0, 2, 3, 4], [1, 2, 4, 3]])
    for found in (similarity.kendall(x, y), similarity.kendall(y, x)):
        assert found[0].isnan() and found[1].item() == pytest.approx(2 / 3)


def test_kendall_within_groups_is_that_of_the_pairs_of_each_group():
    g = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 4, 12, generator=g, dtype=torch.float64)
    groups = (torch.rand(4, 12, generator=g) < 0.4).double()
    found = similarity.kendall(a, b, groups)
    for row in range(4):
        pairs = [(i, j) for i in range(12) for j in range(i) if groups[row, i] == groups[row, j]]
        agree = sum(1 if (a[row, i] - a[row, j]) * (b[row, i] - b[row, j]) > 0 else -1 for i, j in pairs)
        assert found[row].item() == pytest.approx(agree / len(pairs), abs=1e-12)
    known = a + 100 * groups, b + 100 * groups  # both know the group, and nothing else in common
    assert similarity.kendall(*known).mean() > 0.3
    assert torch.allclose(similarity.kendall(*known, groups), found)


def test_rsa_against_a_loop_over_pairs():
    g = torch.Generator().manual_seed(4)
    a, b = torch.randn(5, 3, generator=g, dtype=torch.float64), torch.randn(5, 2, generator=g, dtype=torch.float64)
    sides = [x - x.mean(0) for x in (a, b)]
    each = np.array([[(x[i] @ x[j]).item() for i in range(5) for j in range(i)] for x in sides])
    assert similarity.rsa(a, b).item() == pytest.approx(np.corrcoef(each)[0, 1], abs=1e-12)
    many = torch.randn(2, 400, 8, 64, generator=g, dtype=torch.float64)  # unrelated ones, many more axes than things
    assert similarity.rsa(*many).mean().abs() < 0.03


def test_correlation_is_numpys_and_0_for_a_constant():
    g = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 9, generator=g, dtype=torch.float64)
    assert similarity.correlation(a, b).item() == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert abs(similarity.correlation(a, torch.full_like(a, 0.3)).item()) < 1e-12


def test_the_pattern_of_two_things_is_one_number_and_of_three_can_be_compared():
    a = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert similarity.rsa(a, 2 * a).item() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError):
        similarity.rsa(a[:2], a[:2])
