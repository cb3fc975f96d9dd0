"""What notebook 01 says of the frozen GPT, and of the learners it is measured against."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from conftest import ROOT

from helpers import learners, metrics, tasks
from helpers.theory import closed_forms
from helpers.trained import regression_gpts

EXACT = 1e-12
WRONG = 1e-3


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "01_what_is_in_context_learning.ipynb")


@pytest.fixture(scope="module")
def gpt():
    return regression_gpts.load()


def weights_off(W, p):
    """Squared error of each prompt, averaged over all queries x_q ~ N(0, I)."""
    return (W - p.W).square().sum((1, 2))


def within_four_standard_errors(sample, expected):
    return abs(sample.mean().item() - expected) < 4 * sample.std().item() / len(sample) ** 0.5


# --- A1: the weights are frozen -------------------------------------------------------------------------------


def every_bit(model):
    return hashlib.sha256(b"".join(W.numpy().tobytes() for W in model.state_dict().values())).hexdigest()


def test_reading_changes_no_bit_of_any_weight_and_one_training_step_does(gpt, notebook):
    before, p = every_bit(gpt), tasks.linear_regression(B=50, N=12, d_x=5, seed=30)
    gpt(*p.shown)
    assert every_bit(gpt) == before
    awake = copy.deepcopy(gpt).requires_grad_(True)
    optimizer = torch.optim.SGD(awake.parameters(), lr=1e-6)
    (awake(*p.shown) - p.y_query).square().mean().backward()
    optimizer.step()
    assert every_bit(awake.requires_grad_(False)) != before  # the twin
    assert every_bit(notebook.namespace["gpt"]) == before  # after all that the notebook did to it


def test_the_fingerprint_notices_a_single_bit(gpt, notebook):
    other = copy.deepcopy(gpt)
    W = other.core.blocks[2].mlp[2].bias
    W[7] = torch.nextafter(W[7], W[7] + 1)
    fingerprint = notebook.namespace["fingerprint"]
    assert fingerprint(gpt) == fingerprint(copy.deepcopy(gpt)) != fingerprint(other)


def test_two_prompts_are_two_functions_and_leave_no_trace(gpt):
    A, B = (tasks.linear_regression(B=1, N=12, d_x=2, seed=seed) for seed in (31, 32))
    question = torch.ones(1, 2).double()
    first, other, again = gpt(A.x, A.y, question), gpt(B.x, B.y, question), gpt(A.x, A.y, question)
    assert torch.equal(first, again) and metrics.max_gap(first, other) > 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gpts_line_follows_the_prompts_slope(gpt, seed):
    x = tasks.linear_regression(B=1, N=6, d_x=1, seed=seed).x.expand(9, 6, 1)
    slopes = torch.linspace(-2, 2, 9).double()[:, None]
    said = gpt(x, slopes[..., None] * x, torch.ones(9, 1).double())
    assert (said - slopes).abs().max() < 0.2 and (said.diff(dim=0) > 0.3).all()


# --- A2: how good it is ---------------------------------------------------------------------------------------


def after_each(gpt, B, d, seed, **task):
    """Squared errors over d against the true labels, after 0, 1, … 12 pairs: of the GPT, the step, least squares."""
    p = tasks.linear_regression(B=B, N=12, d_x=d, seed=seed, **task)
    inputs = torch.cat([p.x, p.x_query[:, None]], dim=1)
    truth = inputs @ p.W.mT
    said = {"GPT": gpt.path(*p.shown), "step": torch.zeros_like(truth), "least squares": torch.zeros_like(truth)}
    for k in range(1, 13):
        x, y = p.x[:, :k], p.y[:, :k]
        said["step"][:, k] = learners.gd(x, y, inputs[:, k], closed_forms.best_step(k, d))
        said["least squares"][:, k] = learners.least_squares(x, y, inputs[:, k])
    return {name: (each - truth).square()[..., 0] / d for name, each in said.items()}, said


@pytest.fixture(scope="module")
def measured(gpt):
    return after_each(gpt, B=3000, d=5, seed=101)


def test_the_gpt_is_below_the_best_single_step_after_every_number_of_examples(measured):
    error, _ = measured
    gain = error["step"] - error["GPT"]
    for k in range(1, 13):
        assert gain[:, k].mean() > 4 * gain[:, k].std() / 3000**0.5, k


def test_the_gpt_is_close_to_least_squares_while_examples_are_few_and_small_at_the_end(measured):
    error, _ = measured
    mean = error["GPT"].mean(0)
    assert all(mean[k] < 1.15 * (5 - k) / 5 + 0.2 for k in range(5))
    assert (mean[9:] < 0.06).all() and (mean[10:] > 0.01).all()  # small, yet not exact as least squares is
    assert all(abs(mean[k] / expected - 1) < 0.2 for k, expected in [(5, 0.19), (10, 0.03)])


def test_an_untrained_gpt_would_not_pass(measured):
    error, _ = after_each(regression_gpts.frozen(regression_gpts.RegressionGPT(5, longest=12)), B=500, d=5, seed=101)
    assert (error["GPT"].mean(0) > 0.8).all()


def test_its_answers_are_nearer_to_least_squares_than_to_the_step(measured):
    _, said = measured
    for k in range(1, 13):
        to_step, to_ls = (
            metrics.squared_prediction_difference(said["GPT"][:, k], said[name][:, k])
            for name in ("step", "least squares")
        )
        assert to_ls < to_step and (k > 4 or to_step > 3 * to_ls)


def test_about_one_percent_of_its_answers_is_not_linear_in_the_query(gpt):
    probes = torch.randn(40, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    shares = []
    for k in (1, 3, 5, 8, 12):
        p = tasks.linear_regression(B=30, N=k, d_x=5, seed=3)
        W = metrics.implied_weights(gpt, p.x, p.y, probes)
        said = gpt(p.x.repeat_interleave(40, 0), p.y.repeat_interleave(40, 0), probes.repeat(30, 1)).view(30, 40)
        shares.append(((said - (probes @ W.mT)[..., 0]).square().mean() / said.square().mean()).item())
    assert all(0.003 < share < 0.02 for share in shares)  # another draw of the probes moves it by a third


# --- A3 to A6: closed forms against draws ---------------------------------------------------------------------


@pytest.mark.parametrize("N, d, expected", [(10, 20, 10), (4, 5, 1), (1, 5, 4), (5, 5, 0), (12, 5, 0)])
def test_without_noise_least_squares_lacks_one_for_each_direction_it_has_not_seen(N, d, expected):
    p = tasks.linear_regression(B=2000, N=N, d_x=d, seed=41)
    off = weights_off(learners.least_squares_weights(p.x, p.y), p)
    assert closed_forms.least_squares_excess(N, d) == expected
    if expected:
        assert within_four_standard_errors(off, expected) and not within_four_standard_errors(off, 1.3 * expected)
    else:
        assert off.median() < 1e-20


@pytest.mark.parametrize("N, expected", [(10, 10.278), (15, 5.938), (24, 1.667), (30, 0.5556), (40, 0.2632)])
def test_with_noise_least_squares_has_two_valleys(N, expected):
    p = tasks.linear_regression(B=20_000 if N == 10 else 2000, N=N, d_x=20, noise=0.5, seed=42)
    off = weights_off(learners.least_squares_weights(p.x, p.y), p)
    exact = closed_forms.least_squares_excess(N, 20, noise=0.5)
    assert abs(exact / expected - 1) < 1e-3 and within_four_standard_errors(off, exact)
    noise_not_squared = closed_forms.least_squares_excess(N, 20, noise=0.5**0.5)
    assert not within_four_standard_errors(off, noise_not_squared)


def test_the_peak_between_the_valleys_is_infinite():
    for N in (19, 20, 21):
        assert closed_forms.least_squares_excess(N, 20, noise=0.05) == float("inf")
    means = [  # draws: no mean is ever reached, but the peak stands above both sides
        weights_off(learners.least_squares_weights(p.x, p.y), p).mean()
        for p in (tasks.linear_regression(B=300, N=N, d_x=20, noise=0.5, seed=43) for N in (15, 20, 24))
    ]
    assert means[1] > 3 * means[0] > 3 * means[2]


@pytest.mark.parametrize("N", [5, 10, 20])
def test_ridge_with_lambda_noise_squared_is_the_best(N):
    p = tasks.linear_regression(B=4000, N=N, d_x=10, noise=0.5, seed=44)
    off = {lam: weights_off(learners.ridge_weights(p.x, p.y, lam), p) for lam in (0.05, 0.25, 1.25)}
    rivals = [off[0.05], off[1.25]]
    rivals.append(weights_off(learners.gd_weights(p.x, p.y, closed_forms.best_step(N, 10, noise=0.5)), p))
    if N != 10:  # there least squares has no mean
        rivals.append(weights_off(learners.least_squares_weights(p.x, p.y), p))
    for rival in rivals:
        gain = rival - off[0.25]
        assert gain.mean() > 2 * gain.std() / 4000**0.5


@pytest.mark.parametrize("d, N, expected", [(10, 5, 5.266), (10, 10, 1.632), (10, 20, 0.261)])
def test_the_excess_of_ridge_is_noise_squared_times_the_trace_of_the_inverse(d, N, expected):
    p = tasks.linear_regression(B=20_000, N=N, d_x=d, noise=0.5, seed=45)
    A = torch.linalg.inv(p.x.mT @ p.x + 0.25 * torch.eye(d, dtype=torch.float64))
    given_the_inputs = 0.25 * A.diagonal(dim1=1, dim2=2).sum(1)
    off = weights_off(learners.ridge_weights(p.x, p.y, 0.25), p)
    assert within_four_standard_errors(off - given_the_inputs, 0.0)
    assert not within_four_standard_errors(off - 1.1 * given_the_inputs, 0.0)
    assert abs(given_the_inputs.mean() / expected - 1) < 0.02


def test_one_step_is_fourteen_times_worse_than_ridge_at_twice_as_many_examples_as_unknowns():
    p = tasks.linear_regression(B=20_000, N=20, d_x=10, noise=0.5, seed=46)
    ridge = weights_off(learners.ridge_weights(p.x, p.y, 0.25), p).mean()
    step = weights_off(learners.gd_weights(p.x, p.y, closed_forms.best_step(20, 10, noise=0.5)), p)
    assert within_four_standard_errors(step, closed_forms.gd_excess(20 / 31.25, 20, 10, noise=0.5))
    assert 13 < step.mean() / ridge < 14.5


def test_the_explorers_ridge_is_the_exact_one_and_not_the_form_for_large_d(notebook):
    for d, N, noise in [(2, 2, 0.5), (5, 6, 0.5), (20, 20, 0.05), (40, 30, 1.0)]:
        drawn = torch.randn(20_000 // d, N, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        each = (noise**2 / (torch.linalg.svdvals(drawn.mT @ drawn) + noise**2)).sum(1)
        curve = notebook.namespace["ridge_excess"](d, noise)
        error = each.std() * ((1 / len(each)) + d / 1000) ** 0.5
        assert len(curve) == 80 and abs(curve[N - 1] - each.mean()) < 4 * error
    large_d = closed_forms.ridge_excess(6, 5, noise=0.5)
    assert large_d < 0.88 * notebook.namespace["ridge_excess"](5, 0.5)[5]


@pytest.mark.parametrize("d, N", [(20, 20), (20, 40), (5, 3)])
def test_averaging_is_one_gradient_step_of_size_one(d, N):
    p = tasks.linear_regression(B=8000, N=N, d_x=d, seed=47)
    average = (p.x * p.y).mean(1, keepdim=True)
    assert metrics.max_gap(average, learners.gd_weights(p.x, p.y, eta=1.0)) <= EXACT
    assert metrics.max_gap(average, learners.gd_weights(p.x, p.y, eta=1.1)) > WRONG
    assert within_four_standard_errors(weights_off(average, p) / d, (d + 1) / N)
    best = learners.gd_weights(p.x, p.y, N / (N + d + 1))
    assert within_four_standard_errors(weights_off(best, p) / d, (d + 1) / (N + d + 1))
    assert not within_four_standard_errors(weights_off(best, p) / d, (d + 1) / N)


# --- A7, A8: the recursion; two learners of one loss ----------------------------------------------------------


@pytest.mark.parametrize("noise_term, exact", [(1.0, True), (1.1, False)])
def test_sherman_morrison_is_ridge_regression_one_example_at_a_time(noise_term, exact):
    p = tasks.linear_regression(B=1, N=30, d_x=10, noise=0.5, seed=48)
    A, w = torch.eye(10).double() / 0.25, torch.zeros(10).double()
    for n, (x, y) in enumerate(zip(p.x[0], p.y[0, :, 0], strict=True), start=1):
        g = A @ x / (noise_term + x @ A @ x)
        w, A = w + g * (y - w @ x), A - torch.outer(g, A @ x)
        gap = metrics.max_gap(w, learners.ridge_weights(p.x[:, :n], p.y[:, :n], 0.25)[0, 0])
        inverse = torch.linalg.inv(p.x[0, :n].T @ p.x[0, :n] + 0.25 * torch.eye(10).double())
        assert (gap <= EXACT and metrics.max_gap(A, inverse) <= EXACT) if exact else gap > WRONG


def test_silent_and_loud_have_one_loss_and_are_far_apart():
    eta, p = closed_forms.best_step(10, 5), tasks.linear_regression(B=20_000, N=10, d_x=5, seed=49)
    assert closed_forms.gd_excess(2 * eta, 10, 5) == pytest.approx(closed_forms.gd_excess(0.0, 10, 5), abs=EXACT)
    assert abs(closed_forms.gd_excess(2.2 * eta, 10, 5) - closed_forms.gd_excess(0.0, 10, 5)) > 0.5  # the twin
    loud = learners.gd_weights(p.x, p.y, 2 * eta)
    assert within_four_standard_errors(weights_off(loud, p), 5.0)
    assert within_four_standard_errors(loud.square().sum((1, 2)), 4 * eta * 5)  # SPD to saying nothing


def test_implied_weights_of_a_linear_learner_are_its_weights():
    p = tasks.linear_regression(B=20, N=7, d_x=5, noise=0.3, seed=50)
    probes = torch.randn(5, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def ridge(x, y, x_query):
        return learners.ridge(x, y, x_query, 0.25)

    W = learners.ridge_weights(p.x, p.y, 0.25)
    assert metrics.max_gap(metrics.implied_weights(ridge, p.x, p.y, probes), W) <= EXACT
    bent = metrics.implied_weights(lambda *prompt: ridge(*prompt).tanh(), p.x, p.y, probes)
    assert metrics.max_gap(bent, W) > WRONG
    assert metrics.max_gap(W, learners.ridge_weights(p.x, p.y, 0.3)) > WRONG


# --- A9: has it memorised? ------------------------------------------------------------------------------------


@pytest.mark.parametrize("M, d", [(1, 20), (10, 20), (10_000, 20), (10, 1), (1000, 5)])
def test_the_best_of_M_stored_tasks_is_as_good_as_the_formula_says(notebook, M, d):
    g, off = torch.Generator().manual_seed(51), []
    for _ in range(200):
        w, stored = (torch.randn(n, d, generator=g, dtype=torch.float64) for n in (1, M))
        off.append((stored - w).square().sum(1).min() / d)
    exact = notebook.namespace["best_of"](M, d)
    assert within_four_standard_errors(torch.stack(off), exact)
    assert not within_four_standard_errors(torch.stack(off), 2 * exact)


def test_a_table_of_all_training_prompts_of_garg_et_al_would_be_off_by_a_fifth(notebook):
    best_of = notebook.namespace["best_of"]
    assert best_of(1e4, 20) == pytest.approx(0.505, rel=2e-3) and best_of(3.2e7, 20) == pytest.approx(0.217, rel=2e-3)
    assert abs(best_of(1, 20) - 2) < 1e-3 and abs(best_of(1, 3) - 2) < 1e-3
    in_order = [best_of(10**n, 20) for n in range(10)]
    assert all(more < fewer for fewer, more in zip(in_order, in_order[1:], strict=False))


def test_the_gpt_is_no_better_on_the_tasks_of_its_training(notebook):
    compared = notebook.namespace["compared"]
    (old, spread), (new, its_spread) = compared["tasks of its training"], compared["new tasks"]
    gap = (old - new).abs() / (spread**2 + its_spread**2).sqrt()
    assert (gap < 4).all() and len(notebook.namespace["seen"]) == 2080
    assert (0.5 * old[1:] - new[1:]).abs().max() > 4 * its_spread.max()  # knowing half of them would be seen


def test_the_tasks_said_to_be_of_its_training_are(notebook, monkeypatch):
    seeds, draw = [], regression_gpts.prompts
    monkeypatch.setattr(regression_gpts, "prompts", lambda B, seed: seeds.append(seed) or draw(B, seed))
    regression_gpts.train(regression_gpts.untrained(), 3)
    assert seeds == [int(np.random.SeedSequence([0, t]).generate_state(1)[0]) for t in range(3)]
    last, coordinates = draw(regression_gpts.BATCH, notebook.namespace["seeds"][-1])
    assert torch.equal(notebook.namespace["seen"][-13:], last.W[coordinates == 5].double())


# --- where it breaks ------------------------------------------------------------------------------------------


def test_other_scales_hurt_the_gpt_and_a_fixed_step_more(gpt):
    p, eta = tasks.linear_regression(B=1000, N=12, d_x=5, seed=61), closed_forms.best_step(12, 5)

    def off(learner, scale):
        said = learner(scale * p.x, scale * p.y, scale * p.x_query)
        return ((said - scale * p.y_query).square().mean() / 5 / scale**2).item()

    ours = {scale: off(gpt, scale) for scale in (0.25, 1, 2, 4)}
    assert ours[1] < 0.06 and ours[0.25] > 1.5 * ours[1] and ours[4] > 0.2 > ours[2]
    for scale in ours:
        assert ours[scale] < off(lambda *prompt: learners.gd(*prompt, eta), scale)
        assert off(learners.least_squares, scale) < 1e-10


def test_with_noise_the_gpt_has_a_peak_at_as_many_examples_as_coordinates_where_these_are_few(gpt):
    mean, spread = {}, {}
    for d in (1, 2, 5):
        squared = after_each(gpt, B=1500, d=d, seed=62, noise=1.0)[0]["GPT"]
        mean[d], spread[d] = squared.mean(0), squared.std(0) / 1500**0.5
    for d in (1, 2):
        assert mean[d].argmax() == d and mean[d][d] - 1 > 4 * spread[d][d]
    assert mean[5].argmax() == 0 and (mean[5][1:] < 1).all()


def test_the_gpts_own_widget_shows_what_the_text_says(notebook):
    player = notebook.explorers[0].compute
    errors = {name: round(error, 2) for name, error in player(60, 3, 1.0).errors.items()}
    assert (errors["the frozen GPT"], errors["least squares"]) == (2.97, 1.47)
    assert player(60, 0, 0.0).implied["the frozen GPT"].abs().max() < 0.05
    for angle in range(0, 360, 45):
        errors = player(angle, 3, 0.0).errors
        assert errors["the frozen GPT"] < 0.015 and errors["one gradient step"] > 0.07
