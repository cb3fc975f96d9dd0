"""What notebook 09 says of small scores: a mean, a covariance, and what the sum without softmax keeps of them."""

import pytest
import torch

from helpers import metrics, verdicts
from helpers.theory import mixing, small_scores
from helpers.verdicts import notebook_09 as claims


def test_the_claim_about_small_scores_falls_with_a_covariance_of_other_values(monkeypatch):
    """The mean is right in each, and all of the change as good as right; the covariance is not."""
    first_order, fresh = mixing.first_order, small_scores.alignment.__wrapped__
    monkeypatch.setattr(small_scores, "alignment", fresh)
    wrong = [
        lambda scores, values: values.mean(-2, keepdim=True) + 0 * first_order(scores, values),
        lambda scores, values: values.mean(-2, keepdim=True) + scores @ values / values.shape[-2],  # not centred
        lambda scores, values: first_order(scores.roll(1, -1), values),
    ]
    for other in wrong:
        monkeypatch.setattr(mixing, "first_order", other)
        assert fresh(0.01).first.mean() > 0.999
        assert verdicts.row(claims.dropping_the_softmax).verdict == verdicts.FAILS


@pytest.mark.parametrize("shift", range(3))
def test_for_tiny_scores_the_change_is_its_mean_and_half_of_the_rest_survives_without_softmax(shift):
    for size in (0.01, 0.1, 0.5):
        now = small_scores.alignment(size, shift)
        assert now.covariance.mean() > 0.97 and 0.5 < now.dropped_beyond.mean() < 0.6 and now.dropped.mean() < 0.25
    assert small_scores.alignment(0.01, shift).mean.mean() > 0.999
    assert small_scores.alignment(3.0, shift).mean.mean() < 0.6


@pytest.mark.parametrize("sizes", [(12, 4, 16), (64, 4, 16), (200, 1, 3)])
def test_without_softmax_the_direction_is_wrong_for_other_numbers_of_tokens(sizes):
    n, m, d_v = sizes
    new, own = small_scores.normal(2000, 1, n, seed=0), small_scores.normal(2000, 1, m, seed=10)
    V_new, V_own = small_scores.normal(2000, n, d_v, seed=20), small_scores.normal(2000, m, d_v, seed=30)
    V = torch.cat([V_new, V_own], 1)
    for size, chance in [(0.01, 0.05), (0.1, 0.12), (1.0, 0.5), (3.0, 0.5)]:
        both = size * torch.cat([new, own], -1)
        change = mixing.read_out(both, V) - mixing.read_out(size * own, V_own)
        assert metrics.mean_cosine(size * new @ V_new, change) < chance
        if size < 1:
            mean = V.mean(1, keepdim=True) - V_own.mean(1, keepdim=True)
            covariance = mixing.first_order(both, V) - mixing.first_order(size * own, V_own) - mean
            assert metrics.mean_cosine(covariance, change - mean) > 0.99
            first = mixing.first_order(both, V) - mixing.first_order(size * own, V_own)
            assert metrics.mean_cosine(first, change) > 0.99
