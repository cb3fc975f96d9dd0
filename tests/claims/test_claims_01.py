"""What notebook 01 says of the frozen GPT, and of the learners it is measured against."""

import copy
import hashlib
import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from scenarios import follow

from helpers import learners, metrics, tasks
from helpers.theory import closed_forms
from helpers.theory.stored_tasks import best_of
from helpers.trained import regression_gpts
from helpers.verdicts import frozen_gpt

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


def test_the_measurement_asks_each_learner_what_a_reader_would_ask(gpt):
    """`frozen_gpt.read_along` in one pass and float32, against one prompt after the other in float64."""
    said = frozen_gpt.read_along(5, 0.5, B=20, shift=7)
    p = tasks.linear_regression(B=20, N=12, d_x=5, noise=0.5, seed=7)
    assert metrics.max_gap(said["GPT"][:, 12:], gpt(*p.shown)) < 1e-4
    assert metrics.max_gap(said["truth"][:, 12:], p.y_query) <= EXACT
    for k in (1, 7):  # after k pairs, asked at the next input
        shown, ask = (p.x[:, :k], p.y[:, :k]), p.x[:, k]
        assert metrics.max_gap(said["GPT"][:, k : k + 1], gpt(*shown, ask)) < 1e-4
        ridge = learners.ridge(*shown, ask, lam=0.25)
        assert metrics.max_gap(said["ridge"][:, k : k + 1], ridge) <= EXACT
        assert metrics.max_gap(said["least squares"][:, k : k + 1], ridge) > WRONG


@pytest.fixture(scope="module")
def error():
    """Squared errors over d (2000, 13) on prompts that the notebook does not show."""
    return {
        name: torch.cat([frozen_gpt.apart(name, "truth", shift=shift) for shift in (101, 102)])
        for name in ("GPT", "best single step", "least squares")
    }


def test_the_gpt_is_below_the_best_single_step_after_every_number_of_examples(error):
    gain = error["best single step"] - error["GPT"]
    for k in range(1, 13):
        assert gain[:, k].mean() > (4 if k > 1 else 2) * gain[:, k].std() / 2000**0.5, k


def test_the_gpt_is_close_to_least_squares_while_examples_are_few_and_small_at_the_end(error):
    mean = error["GPT"].mean(0)
    assert all(mean[k] < 1.15 * (5 - k) / 5 + 0.2 for k in range(5))
    assert (mean[9:] < 0.06).all() and (mean[10:] > 0.01).all()  # small, yet not exact as least squares is


def test_its_answers_are_nearer_to_least_squares_than_to_the_step():
    for k in range(1, 13):
        step, least = (
            frozen_gpt.apart("GPT", name, shift=101)[:, k].mean() for name in ("best single step", "least squares")
        )
        assert least < step and (k > 3 or step > 5 * least)
    errors = {name: frozen_gpt.apart(name, "truth", shift=101)[:, 1].mean() for name in ("best single step", "GPT")}
    assert abs(errors["GPT"] - errors["best single step"]) < 0.1  # after one example the loss alone does not tell


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


@pytest.mark.parametrize("M, d", [(1, 20), (1, 1), (10, 20), (10_000, 20), (10, 1), (1000, 5)])
def test_the_best_of_M_stored_tasks_is_as_good_as_the_formula_says(M, d):
    g, off = torch.Generator().manual_seed(51), []
    for _ in range(200):
        w, stored = (torch.randn(n, d, generator=g, dtype=torch.float64) for n in (1, M))
        off.append((stored - w).square().sum(1).min() / d)
    exact = best_of(M, d)
    assert within_four_standard_errors(torch.stack(off), exact)
    assert not within_four_standard_errors(torch.stack(off), 2 * exact)


def test_a_table_of_all_training_prompts_of_garg_et_al_would_be_off_by_a_fifth():
    assert best_of(1e4, 20) == pytest.approx(0.505, rel=2e-3) and best_of(3.2e7, 20) == pytest.approx(0.217, rel=2e-3)
    assert all(abs(best_of(1, d) - 2) < 1e-3 for d in range(1, 41))  # two independent vectors, whatever d is
    assert best_of(65_000, 5) < frozen_gpt.apart("GPT", "truth")[:, 10].mean()
    in_order = [best_of(10**n, 20) for n in range(10)]
    assert all(more < fewer for fewer, more in zip(in_order, in_order[1:], strict=False))


def test_the_gpt_is_no_better_on_the_tasks_of_its_training_at_any_length():
    found = frozen_gpt.seen_before(shift=0)
    new, seen = found["new tasks"], found["tasks of its training"]
    assert new.shape == seen.shape == (2080, 13)
    error = ((new.var(0) + seen.var(0)) / 2080).sqrt()
    assert ((new - seen).mean(0).abs() < 4 * error).all()
    assert ((new - 0.5 * seen).mean(0) > 3.5 * error).all()  # half the error would be seen at any length


def test_the_tasks_said_to_be_of_its_training_are(monkeypatch):
    seeds, draw = [], regression_gpts.prompts
    monkeypatch.setattr(regression_gpts, "prompts", lambda B, seed: seeds.append(seed) or draw(B, seed))
    regression_gpts.train(regression_gpts.untrained(), 3)
    assert seeds == [int(np.random.SeedSequence([0, t]).generate_state(1)[0]) for t in range(3)]
    last = int(np.random.SeedSequence([0, regression_gpts.ITERATIONS - 1]).generate_state(1)[0])
    prompt, coordinates = draw(regression_gpts.BATCH, last)
    assert torch.equal(frozen_gpt.seen_before(shift=0)["W"][-13:], prompt.W[coordinates == 5].double())


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


def test_with_noise_the_gpt_has_a_peak_at_as_many_examples_as_coordinates_where_these_are_few():
    for d in (1, 2, 5):
        squared = frozen_gpt.apart("GPT", "truth", d, 1.0, shift=62)
        mean, spread = squared.mean(0), squared.std(0) / len(squared) ** 0.5
        if d < 5:
            assert mean.argmax() == d and mean[d] - 1 > 4 * spread[d]
        else:
            assert mean.argmax() == 0 and (mean[2:] < 1).all()


def gain(name, d, k, shift):
    """The error of the GPT less that of another after k noisy examples, in standard errors, and as it is."""
    less = frozen_gpt.apart("GPT", "truth", d, 1.0, shift=shift) - frozen_gpt.apart(name, "truth", d, 1.0, shift=shift)
    less = less[:, k].mean(1)
    return less.mean() / less.std() * 1000**0.5, less.mean()


@pytest.mark.parametrize("shift", [0, 62, 101])
def test_with_noise_the_gpt_is_worse_than_the_step_up_to_six_examples_and_no_better_afterwards(shift):
    assert all(gain("best single step", 2, [k], shift)[0] > 2 for k in range(1, 7))
    assert all(gain("best single step", 2, [k], shift)[0] > -2 for k in range(7, 13))
    assert gain("best single step", 2, range(7, 13), shift)[1] > 0
    assert gain("best single step", 5, range(8, 13), shift)[0] < -2  # with five coordinates it ends below the step
    for d in (2, 5):
        assert gain("least squares", d, [11, 12], shift)[0] > 2 and gain("ridge", d, [11, 12], shift)[0] > 2


@pytest.mark.parametrize("shift", [0, 62, 101])
@pytest.mark.parametrize("d", [2, 5])
def test_with_noise_its_answers_are_nearest_to_least_squares_and_to_ridge(d, shift):
    least, ridge, truth, step = (
        frozen_gpt.apart("GPT", name, d, 1.0, shift=shift)[:, 10].mean()
        for name in ("least squares", "ridge", "truth", "best single step")
    )
    assert max(least, ridge) < 0.8 * truth < truth < 0.8 * step


def test_three_queries_stand_for_the_whole_circle():
    typical = frozen_gpt.around_the_circle(5, 0.5, B=2000)
    p = tasks.linear_regression(B=2000, N=5, d_x=2, noise=0.5, seed=63)
    w = 1.5 * p.W / p.W.norm(dim=-1, keepdim=True)
    y = p.x @ w.mT + p.y - p.x @ p.W.mT
    off = 1.5**2 / 2 * (learners.ridge_weights(p.x, y, 0.25) - w).square().sum((1, 2))
    both = (typical["ridge"].var() / 2000 + off.var() / 2000) ** 0.5
    assert abs(typical["ridge"].mean() - off.mean()) < 4 * both < 0.2 * off.mean()


# --- what the reader should have seen -------------------------------------------------------------------------


def test_the_players_items_followed_in_order_show_what_the_text_says(notebook):
    player = notebook.namespace["player_widget"]
    for angle, step in [
        (45, "0.08"),
        (90, None),
        (135, "1.53"),
        (180, None),
        (225, "0.08"),
        (270, None),
        (315, "1.53"),
    ]:
        said = follow(player, N=3, noise=0.0, angle=angle)
        assert re.search(r"prompt: GPT 0\.0[01],", said) and said.endswith("weights: e9f93beb.")
        assert step is None or f"best single step {step}" in said
    follow(player, angle=60, noise=0.0)
    assert "prompt: GPT 0.01, best single step 0.32, least squares 0.00" in follow(player, N=2)
    assert "prompt: GPT 0.90, best single step 0.96, least squares 0.82" in follow(player, N=1)
    assert player.compute(60, 0, 0.0).implied["GPT"].abs().max() < 0.05
    said = follow(player, N=0, angle=60) and follow(player, N=12, noise=1.0)
    assert "prompt: GPT 0.04, best single step 0.31, least squares 0.05" in said
    assert "100: GPT 0.51 ± 0.11, best single step 0.55 ± 0.10, least squares 0.24 ± 0.06" in said


def test_the_explorers_items_followed_in_order_show_what_the_text_says(notebook):
    explorer = notebook.namespace["explorer_widget"]
    assert "least squares inf (7.06)" in follow(explorer, d=20, noise=0.5, N=20)
    said = follow(explorer, N=40)
    assert "averaging 0.531" in said and "least squares 0.0132" in said and "ridge 0.0127" in said
    follow(explorer, d=20, N=20, noise=0.0)
    assert "least squares inf" in follow(explorer, noise=0.05)
    said = follow(explorer, noise=0.15)
    assert "step 0.512 (0.511), least squares inf (0.635)" in said
    assert "least squares inf (1.13)" in follow(explorer, noise=0.2)
    for d, N in [(20, 22), (10, 12)]:
        before, at = (follow(explorer, d=d, noise=0.0, N=n) for n in (N - 1, N))
        assert "averaging 1 " in before and re.search(r"averaging 0\.9", at)
    said = follow(explorer, N=5, d=40, noise=2.0)
    assert "step 0.9 " in said and re.search(r"ridge 0\.89|ridge 0\.888", said)


def test_the_tables_items_followed_in_order_show_what_the_text_says(notebook):
    table = notebook.namespace["memory_widget"]
    assert all("error 2.000" in follow(table, log_M=0.0, d=d) for d in (1, 5, 20, 40))
    assert "Best of 32 tasks with d = 20: error 1.036, not better" in follow(table, d=20, log_M=1.5)
    assert "Best of 56 tasks with d = 20: error 0.953, better" in follow(table, log_M=1.75)
    assert "error 0.205" in follow(table, log_M=7.75) and "error 0.193" in follow(table, log_M=8.0)
    assert "error 0.095" in follow(table, log_M=9.0, d=16) and "error 0.109" in follow(table, d=17)
