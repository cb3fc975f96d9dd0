"""Gaps are the largest ones, in plain numbers and in units of round-off."""

import math

import pytest
import torch

from helpers import metrics


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
