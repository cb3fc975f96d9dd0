"""Gaps are the largest ones, in plain numbers and in units of round-off."""

import math

import pytest
import torch

from helpers import learners, metrics, tasks


def test_max_gap_is_the_largest_difference_and_shows_nan():
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    b = a.clone()
    b[1, 0] -= 0.25
    assert metrics.max_gap(a, a) == 0 and metrics.max_gap(a, b) == 0.25
    b[0, 0] = math.nan
    assert math.isnan(metrics.max_gap(a, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_one_last_bit_is_about_one_unit(dtype, size):
    a = torch.tensor([size], dtype=dtype)
    b = torch.nextafter(a, torch.tensor([math.inf], dtype=dtype))
    assert metrics.gap_in_roundoff(a, b) <= 1.0
    if size >= 1:
        assert metrics.gap_in_roundoff(a, b) >= 0.5


def test_the_unit_is_that_of_the_larger_number_or_of_one():
    eps = torch.finfo(torch.float64).eps
    for a, b, unit in [(0.0, 1e6, 1e6), (-1e6, 0.0, 1e6), (1e-3, 2e-3, 1.0)]:
        a, b = torch.tensor([a]).double(), torch.tensor([b]).double()
        assert metrics.gap_in_roundoff(a, b) == pytest.approx((a - b).abs().item() / (eps * unit), rel=1e-12)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(3, 1\): they would be broadcast"):
        metrics.max_gap(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(TypeError, match="one dtype, got torch.float32 and torch.float64"):
        metrics.gap_in_roundoff(torch.zeros(3), torch.zeros(3).double())


def test_distances_are_those_of_a_plain_loop():
    g = torch.Generator().manual_seed(5)
    a, b = torch.randn(6, 2, 3, generator=g).double(), torch.randn(6, 2, 3, generator=g).double()
    norms = [math.sqrt(sum(float(v) ** 2 for v in (a[i] - b[i]).flatten())) for i in range(6)]
    assert metrics.mean_distance(a, b) == pytest.approx(sum(norms) / 6, rel=1e-12)
    assert metrics.squared_prediction_difference(a, b) == pytest.approx(sum(n**2 for n in norms) / 6, rel=1e-12)
    dots = [float((a[i] * b[i]).sum()) / math.sqrt(float(a[i].square().sum() * b[i].square().sum())) for i in range(6)]
    assert metrics.mean_cosine(a, b) == pytest.approx(sum(dots) / 6, rel=1e-12)


def test_the_cosine_is_blind_to_the_step_size_and_the_distance_is_not():
    p = tasks.linear_regression(B=9, N=12, d_x=4)
    one, three = (learners.gd_weights(p.x, p.y, eta) for eta in (0.3, 0.9))
    assert metrics.mean_cosine(one, three) == pytest.approx(1.0, abs=1e-12)
    assert metrics.mean_distance(one, three) > 0.1


def test_the_weights_of_a_linear_learner_are_found_exactly():
    p = tasks.linear_regression(B=9, N=12, d_x=4, d_y=2, noise=0.2)
    probes = torch.randn(7, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    found = metrics.implied_weights(lambda *prompt: learners.gd(*prompt, eta=0.4, steps=3), p.x, p.y, probes)
    assert torch.allclose(found, learners.gd_weights(p.x, p.y, 0.4, steps=3), rtol=0, atol=1e-12)
    assert metrics.max_gap(found, learners.gd_weights(p.x, p.y, 0.44, steps=3)) > 1e-3
    with pytest.raises(ValueError, match="probes: expected at least 4 independent ones, got 3"):
        metrics.implied_weights(learners.least_squares, p.x, p.y, probes[:3])
