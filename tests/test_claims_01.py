"""What notebook 01 claims: frozen weights that learn, learners to compare with, and what memorising cannot do."""

import math

import pytest
import torch
from conftest import ROOT

from helpers import closed_forms, learners, metrics, tasks
from helpers.checkpoints import regression_gpt

PATH = ROOT / "notebooks" / "01_what_is_in_context_learning.ipynb"
NEW = tasks.linear_regression(B=1500, N=12, d_x=5, seed=31)  # neither the notebook's tasks nor those of training


@pytest.fixture(scope="module")
def gpt():
    return regression_gpt.load()


@pytest.fixture(scope="module")
def errors(gpt):
    """Squared error over d after 0, 1, …, 12 pairs, for each prompt (B, 13)."""
    truth = torch.cat([NEW.y, NEW.y_query[:, None]], dim=1)
    return (gpt.path(*NEW[:3]) - truth).square()[..., 0] / 5


# --- the weights are frozen -----------------------------------------------------------------------------------


def test_reading_leaves_no_trace_in_the_weights_and_one_training_step_does(ran, gpt):
    fingerprint = ran(PATH).namespace["fingerprint"]
    before, first = fingerprint(gpt), gpt(*NEW[:3])
    gpt(*tasks.linear_regression(B=7, N=3, d_x=5, seed=32)[:3])
    assert torch.equal(gpt(*NEW[:3]), first) and fingerprint(gpt) == before
    awake = regression_gpt.load().requires_grad_(True)
    (awake(*NEW[:3]) - NEW.y_query).square().mean().backward()
    torch.optim.SGD(awake.parameters(), lr=1e-9).step()
    assert fingerprint(awake.requires_grad_(False)) != before


def test_the_fingerprint_sees_a_single_bit(ran, gpt):
    fingerprint, other = ran(PATH).namespace["fingerprint"], regression_gpt.load()
    weight = next(other.parameters())
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0).double())
    assert fingerprint(other) != fingerprint(gpt)


# --- how good it is -------------------------------------------------------------------------------------------


def test_the_gpt_learns_from_its_prompt_beyond_any_single_gradient_step(errors):
    inputs = torch.cat([NEW.x, NEW.x_query[:, None]], dim=1)
    truth = torch.cat([NEW.y, NEW.y_query[:, None]], dim=1)
    for k in range(1, 13):  # both on the same tasks, asked the same question
        step = learners.gd(NEW.x[:, :k], NEW.y[:, :k], inputs[:, k], closed_forms.best_step(k, 5))
        gain = (step - truth[:, k]).square()[:, 0] / 5 - errors[:, k]
        assert gain.mean() > (4 if k > 1 else 0) * gain.std() / len(gain) ** 0.5, k
    mean = errors.mean(0)
    assert all(mean[k] < 1.15 * (5 - k) / 5 + 0.2 for k in range(5))
    assert mean[10] < 0.05 and abs(mean[0] - 1) < 0.2


def test_an_untrained_gpt_learns_nothing(errors):
    untrained = regression_gpt.frozen(regression_gpt.RegressionGPT(5, longest=12))
    truth = torch.cat([NEW.y, NEW.y_query[:, None]], dim=1)
    error = ((untrained.path(*NEW[:3]) - truth).square() / 5).mean((0, 2))
    assert error[12] > 0.8 > 10 * errors.mean(0)[12]


def test_it_follows_least_squares_more_closely_than_one_step(gpt):
    for k in (1, 2, 3, 4, 8):
        prompt = NEW.first(k)
        said = gpt(*prompt[:3])
        to_step = learners.gd(*prompt[:3], closed_forms.best_step(k, 5))
        to_fit = learners.least_squares(*prompt[:3])
        spd = metrics.squared_prediction_difference
        assert spd(said, to_step) > 3 * spd(said, to_fit)


@pytest.mark.parametrize("k", [2, 5, 12])
def test_its_answers_are_nearly_but_not_exactly_linear_in_the_query(gpt, k):
    p, g = NEW.first(k), torch.Generator().manual_seed(33)
    x, y, probes = p.x[:40], p.y[:40], torch.randn(100, 5, generator=g, dtype=torch.float64)
    W = metrics.implied_weights(gpt, x, y, probes)
    answers = gpt(x.repeat_interleave(100, 0), y.repeat_interleave(100, 0), probes.repeat(40, 1)).view(40, 100)
    rest = answers - (W @ probes.T)[:, 0]
    assert 0.004 < rest.square().sum() / answers.square().sum() < 0.02
    exact = metrics.implied_weights(learners.least_squares, x, y, probes)
    assert metrics.max_gap(exact, learners.least_squares_weights(x, y)) < 1e-10


# --- learners with every line to be read ----------------------------------------------------------------------


def test_averaging_is_one_gradient_step_of_size_one():
    p = tasks.linear_regression(B=64, N=9, d_x=5, noise=0.3, seed=34)
    average = (p.y * p.x).mean(1)
    by_hand = (average * p.x_query).sum(1, keepdim=True)
    assert metrics.max_gap(by_hand, learners.gd(*p[:3], eta=1.0)) < 1e-12
    assert metrics.max_gap(by_hand, learners.gd(*p[:3], eta=0.9)) > 1e-2


@pytest.mark.parametrize("N, expected", [(20, 1.05), (21, 1.0), (22, 21 / 22), (40, 0.525)])
def test_averaging_beats_silence_from_d_plus_2_examples_on(N, expected):
    p = tasks.linear_regression(B=4000, N=N, d_x=20, seed=35)
    off = (learners.gd_weights(p.x, p.y, eta=1.0) - p.W).square().sum((1, 2)) / 20  # all queries averaged
    assert abs(off.mean() - expected) < 4 * off.std() / 4000**0.5
    assert closed_forms.gd_excess(1.0, N, 20) / 20 == pytest.approx(expected)


def sherman_morrison(x, y, lam, forget=1.0):
    A, w = torch.eye(x.shape[1]).double() / lam, torch.zeros(x.shape[1]).double()
    for x_i, y_i in zip(x, y, strict=True):
        g = A @ x_i / (forget + x_i @ A @ x_i)
        w, A = w + g * (y_i - w @ x_i), A - torch.outer(g, A @ x_i)
    return w, A


@pytest.mark.parametrize("N, lam", [(4, 0.25), (30, 0.25), (30, 4.0)])
def test_ridge_can_be_computed_one_example_at_a_time(N, lam):
    p = tasks.linear_regression(B=1, N=N, d_x=10, noise=0.5, seed=36)
    w, A = sherman_morrison(p.x[0], p.y[0, :, 0], lam)
    assert metrics.max_gap(w, learners.ridge_weights(p.x, p.y, lam)[0, 0]) < 1e-12
    assert metrics.max_gap(A, torch.linalg.inv(p.x[0].T @ p.x[0] + lam * torch.eye(10).double())) < 1e-12
    wrong, _ = sherman_morrison(p.x[0], p.y[0, :, 0], lam, forget=1.1)
    assert metrics.max_gap(wrong, w) > 1e-3


@pytest.mark.parametrize("N, d, noise", [(5, 10, 0.5), (10, 10, 0.5), (20, 10, 0.5), (12, 6, 1.0), (30, 20, 0.2)])
def test_the_excess_of_ridge_is_the_noise_times_the_trace_and_no_other_penalty_is_better(N, d, noise):
    p = tasks.linear_regression(B=4000, N=N, d_x=d, noise=noise, seed=37)
    off = (learners.ridge_weights(p.x, p.y, lam=noise**2) - p.W).square().sum((1, 2))
    A = torch.linalg.inv(p.x.mT @ p.x + noise**2 * torch.eye(d).double())
    difference = off - noise**2 * A.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(difference.mean()) < 4 * difference.std() / 4000**0.5
    for other in (0.5, 2.0):
        worse = (learners.ridge_weights(p.x, p.y, lam=other * noise**2) - p.W).square().sum((1, 2)) - off
        assert worse.mean() > 2 * worse.std() / 4000**0.5


def test_the_explorers_curve_of_ridge_is_what_ridge_measures(ran):
    curve = ran(PATH).namespace["ridge_excess"](10, 0.5)
    for N in (5, 10, 20, 60):
        p = tasks.linear_regression(B=4000, N=N, d_x=10, noise=0.5, seed=38)
        off = (learners.ridge_weights(p.x, p.y, lam=0.25) - p.W).square().sum((1, 2))
        assert curve[N - 1] == pytest.approx(off.mean().item(), rel=0.1)


# --- memorising -----------------------------------------------------------------------------------------------


def best_by_draws(M, d, draws, seed):
    """E min |w_m - w|^2 / d by drawing the table anew for every w: mean and standard error."""
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(draws, 1, d, generator=g, dtype=torch.float64)
    nearest = torch.stack(
        [(torch.randn(M, d, generator=g, dtype=torch.float64) - each).square().sum(1).min() for each in w]
    )
    return nearest.mean().item() / d, nearest.std().item() / d / draws**0.5


@pytest.mark.parametrize(
    "M, d, draws", [(1, 20, 4000), (10, 5, 4000), (100, 2, 4000), (1000, 20, 600), (10_000, 20, 200)]
)
def test_the_best_of_stored_tasks_has_the_error_of_the_formula(ran, M, d, draws):
    formula = ran(PATH).namespace["best_of"](M, d)
    mean, error = best_by_draws(M, d, draws, seed=39)
    assert abs(formula - mean) < 4 * error
    assert abs(ran(PATH).namespace["best_of"](4 * M, d) - mean) > 4 * error  # another table would be noticed


def test_a_table_of_all_prompts_garg_et_al_trained_on_would_still_be_off_by_a_fifth(ran):
    best_of = ran(PATH).namespace["best_of"]
    assert best_of(3.2e7, 20) == pytest.approx(0.2, abs=0.025) and best_of(1e4, 20) == pytest.approx(0.5, abs=0.01)
    assert all(best_of(10**m, 20) > best_of(10 ** (m + 1), 20) for m in range(9))
    assert math.isclose(best_of(1, 7), 2.0, abs_tol=1e-3)
