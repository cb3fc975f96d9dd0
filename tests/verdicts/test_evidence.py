"""How a verdict follows from numbers, and that the intervals cover what they should."""

import math
import random

import numpy as np
import pytest
import torch

from helpers.verdicts.evidence import (
    ARTEFACT,
    FAILS,
    HOLDS,
    RESTATED,
    UNCHECKED,
    UNDECIDED,
    Bounds,
    Evidence,
    Number,
    identity,
    judge,
    number,
    over_models_and_prompts,
    over_prompts,
    over_seeds,
)

# --- how it judges --------------------------------------------------------------------------------------------

GOOD, BAD, NAN = number(1.0), number(3.0), number(math.nan)
WORSE, BETTER, AS_GOOD = Number(-0.2, -0.3, -0.1), Number(0.2, 0.1, 0.3), Number(0.01, -0.02, 0.04)


def beyond(ours):
    return Bounds(ours, at_least=0)


@pytest.mark.parametrize(
    "evidence, verdict",
    [
        (None, UNCHECKED),
        (Evidence(Bounds(GOOD, 0, 2)), HOLDS),
        (Evidence(Bounds(BAD, 0, 2)), FAILS),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0, 2)), RESTATED),
        (Evidence(Bounds(GOOD, 0, 2), Bounds(BAD, 0, 2)), HOLDS),
        (Evidence(Bounds(BAD, 0, 2), Bounds(BAD, 0, 2)), FAILS),
        (Evidence(Bounds(NAN, 0, 2)), FAILS),
        (Evidence(Bounds(number(math.inf), 0)), HOLDS),
        (Evidence(Bounds(number(math.inf), 0, 2)), FAILS),
        # the control on its own
        (Evidence(Bounds(GOOD, 0, 2), control=BAD), HOLDS),
        (Evidence(Bounds(GOOD, 0, 2), control=number(1.5)), ARTEFACT),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0.5, 1.2), control=number(1.1)), ARTEFACT),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0.5, 1.2), control=number(1.5)), RESTATED),
        (Evidence(Bounds(BAD, 0, 2), control=GOOD), FAILS),
        (Evidence(Bounds(GOOD, at_least=0.5), control=Number(5.0, 0.4, 9.0)), UNDECIDED),
        (Evidence(Bounds(GOOD, at_least=0.5), control=Number(0.2, 0.1, 0.6)), UNDECIDED),
        (Evidence(Bounds(GOOD, 0, 2), control=Number(1.0, -1.0, 3.0)), UNDECIDED),
        (Evidence(Bounds(GOOD, at_least=0.5), control=NAN), UNDECIDED),
        (Evidence(Bounds(GOOD, at_least=0.5), control=Number(0.1, 0.0, math.nan)), UNDECIDED),
        # the paired difference to it
        (Evidence(Bounds(GOOD, 0, 2), control=Number(1.0, 0.0, 9.0), beyond=beyond(BETTER)), HOLDS),
        (Evidence(Bounds(GOOD, 0, 2), control=number(1.5), beyond=beyond(BETTER)), HOLDS),
        (Evidence(Bounds(GOOD, 0, 2), control=BAD, beyond=beyond(AS_GOOD)), ARTEFACT),
        (Evidence(Bounds(GOOD, 0, 2), beyond=beyond(WORSE)), ARTEFACT),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0, 2), beyond=beyond(AS_GOOD)), ARTEFACT),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0, 2), beyond=beyond(BETTER)), RESTATED),
        (Evidence(Bounds(BAD, 0, 2), beyond=beyond(BETTER)), FAILS),
        (Evidence(Bounds(GOOD, 0, 2), control=BAD, beyond=beyond(NAN)), UNDECIDED),
        (Evidence(Bounds(GOOD, 0, 2), beyond=Bounds(WORSE, at_most=0)), HOLDS),
    ],
)
def test_the_verdict_follows_from_the_numbers(evidence, verdict):
    assert judge(evidence) == verdict


def test_a_control_is_compared_with_the_bounds_of_the_form_that_passes():
    stated, restated = Bounds(number(5.0), at_most=1), Bounds(number(5.0), at_least=1)
    assert judge(Evidence(stated, restated, control=number(0.5))) == RESTATED
    assert judge(Evidence(stated, restated, control=number(2.0))) == ARTEFACT


@pytest.mark.parametrize("gap, broken, verdict", [
    (1e-16, 0.1, HOLDS), (0.1, 0.1, FAILS), (-0.1, 0.1, FAILS), (0.0, 1e-15, ARTEFACT), (0.0, math.nan, UNDECIDED),
])  # fmt: skip
def test_an_identity_is_round_off_whose_twin_is_not(gap, broken, verdict):
    assert judge(identity(gap, broken)) == verdict


# --- intervals ------------------------------------------------------------------------------------------------


def test_all_of_the_interval_must_lie_within_the_bounds():
    ours = over_seeds([0.9, 1.0, 1.1])
    assert Bounds(ours, 0.9, 1.1).passes()
    assert not Bounds(ours, 0.95, 1.1).passes() and not Bounds(ours, 0.9, 1.05).passes()


def test_intervals_are_two_standard_errors_or_the_range():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = over_prompts(values)
    assert abs(mean.value - values.mean()) < 1e-12
    assert abs((mean.high - mean.low) / 4 - values.std() / 20) < 1e-12
    assert over_seeds(values[:5])[:3] == (values[:5].sum() / 5, values[:5].min(), values[:5].max())
    with pytest.raises(ValueError, match="values: expected at least two, got 1: one prompt has no interval"):
        over_prompts(values[:1])


def crossed(M, B, models, prompts, rest, generator):
    """Values with mean 0 that differ from model to model, from prompt to prompt, and besides."""
    draws = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((M, 1), (1, B), (M, B))]
    return models * draws[0] + prompts * draws[1] + rest * draws[2]


def by_hand(values, over, draws, seed):
    """The ends of the interval, by plain loops and another generator."""
    pick, (M, B), means = random.Random(seed), values.shape, []
    for _ in range(draws):
        models, prompts = pick.choices(range(M), k=M), pick.choices(range(B), k=B)
        above, below = (sum(each[m][b] for m in models for b in prompts) for each in (values.tolist(), over.tolist()))
        means.append(above / below)
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize("share", [(1.0, 0.3, 0.3), (0.1, 1.0, 0.5)])
def test_the_bootstrap_over_models_and_prompts_is_that_of_plain_loops(share):
    values = 5 + crossed(4, 12, *share, torch.Generator().manual_seed(1))
    below = 2 + torch.rand(1, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for over in (None, below):
        ours = over_models_and_prompts(values, over)
        ends = by_hand(values, torch.ones(4, 12) if over is None else over.expand(4, 12), 4000, seed=3)
        assert np.abs(ends - ours[1:3]).max() < 0.08 * (ours.high - ours.low)
        mean = values.mean() / (1 if over is None else over.mean())
        assert abs(ours.value - mean) < 1e-12 and ours.low < ours.value < ours.high


def test_a_learner_that_is_no_trained_model_is_one_row():
    values, row = 5 + crossed(3, 9, 1, 1, 1, torch.Generator().manual_seed(6)), torch.arange(1.0, 10.0)[None]
    for pair in ((values, row), (row, values)):
        same = over_models_and_prompts(*(each.double().expand(3, 9) for each in pair))
        assert over_models_and_prompts(*pair) == same and same.how == "3 models x 9 prompts"


def exact_variance(values):
    """Of the bootstrap's mean: with counts u, v of models and prompts, E u_m u_n = 1 + (m = n) - 1/M, and alike."""
    (M, B), x = values.shape, values.numpy()
    u, v = (np.ones((n, n)) + np.eye(n) - 1 / n for n in (M, B))
    return np.einsum("mb,mn,bc,nc->", x, u, v, x) / (M * B) ** 2 - x.mean() ** 2


def test_the_width_is_that_of_the_exact_variance_and_pooling_is_too_narrow():
    values = crossed(12, 200, 1.0, 0.5, 0.5, torch.Generator().manual_seed(4))
    ours, wanted = over_models_and_prompts(values), 2 * 1.96 * exact_variance(values) ** 0.5
    assert abs((ours.high - ours.low) / wanted - 1) < 0.1
    pooled = over_prompts(values)
    assert pooled.high - pooled.low < 0.2 * wanted


def coverage(interval, M, B, *share, worlds=300):
    """In which part of many worlds the interval contains the true mean, 0."""
    g = torch.Generator().manual_seed(5)
    found = [interval(crossed(M, B, *share, g)) for _ in range(worlds)]
    return sum(each.low <= 0 <= each.high for each in found) / worlds


@pytest.mark.parametrize("M, B, share, low, high, pooled", [
    (20, 20, (1, 1, 1), 0.90, 0.98, 0.6),    # models and prompts alike
    (3, 50, (0, 1, 0.2), 0.90, 0.98, 0.9),   # three models that hardly differ
    (3, 50, (1, 0.2, 0.2), 0.65, 0.85, 0.3),  # three that do: a range of three, as its text says
])  # fmt: skip
def test_the_interval_covers_what_it_says_and_a_pooled_one_does_not(M, B, share, low, high, pooled):
    assert low <= coverage(over_models_and_prompts, M, B, *share) <= high
    assert coverage(over_prompts, M, B, *share) < pooled


# --- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ours, words",
    [
        (number(3e-16), "round-off"),
        (number(-3e-16), "round-off"),
        (number(0.0, "n = 5"), "0, n = 5"),
        (number(-0.0, "n = 5"), "0, n = 5"),
        (number(0.12345), "0.12"),
        (number(9.96), "10"),
        (number(0.996), "1.0"),
        (number(-1e-5), "−1.0e−05"),
        (number(12_345.6), "12,346"),
        (number(math.nan), "nan"),
        (number(1.0), "1.0"),
        (Number(0.5, 0.4, 0.61, "3 seeds"), "0.50 [0.40, 0.61], 3 seeds"),
        (Number(0.0, -0.1, 0.1), "0 [−0.10, 0.10]"),
    ],
)
def test_numbers_are_short(ours, words):
    assert str(ours) == words
