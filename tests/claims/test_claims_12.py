"""What notebook 12 says of order, scale, tasks, depth and selection, on other draws than the notebook's."""

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import ROOT

from helpers import attention, constructions, learners, metrics, probes, tasks, verdicts
from helpers.theory import bayes, closed_forms
from helpers.trained import depth_gpts, regression_gpts
from helpers.verdicts import notebook_12 as claims

EXACT = 1e-12


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "12_what_we_may_conclude.ipynb")


# --- order ----------------------------------------------------------------------------------------------------


def order_prompt(seed, B=10):
    return tasks.linear_regression(B=B, N=12, d_x=5, noise=0.2, seed=seed)


@pytest.mark.parametrize("seed", [10, 11, 12])
def test_full_batch_and_one_causal_layer_are_order_free_and_the_others_are_not(seed):
    prompt, step = order_prompt(seed), constructions.gd_step(0.4, 12, 5)

    def spread(learner):
        return probes.order_spread(learner, prompt, shuffles=30)

    for k in (1, 2, 4):
        assert spread(lambda *p, k=k: learners.gd(*p, 0.4, k)) < EXACT
        assert spread(constructions.learner([step] * k)) < EXACT
        causal = spread(constructions.learner([step] * k, attend=attention.causal_linear))
        assert causal < EXACT if k == 1 else causal > 0.01
    assert spread(lambda *p: learners.online_gd(*p, eta=0.1)) > 0.05
    assert spread(regression_gpts.load()) > 0.03


def test_a_small_step_makes_one_pass_of_sgd_order_free_to_first_order():
    prompt = order_prompt(13)
    spreads = [probes.order_spread(lambda *p, e=eta: learners.online_gd(*p, eta=e), prompt) for eta in (1e-3, 1e-4)]
    assert 9 < spreads[0] / spreads[1] < 11  # the answer is of the order of eta, its spread of the order of eta^2


# --- scale ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [2, 3])
@pytest.mark.parametrize("seed", depth_gpts.SEEDS)
def test_a_gpt_neither_explodes_like_the_step_nor_stays_like_least_squares(n_layers, seed):
    prompt, gpt = tasks.linear_regression(B=300, N=10, d_x=4, seed=20), depth_gpts.load(n_layers, seed)
    eta = closed_forms.best_step(10, 4)
    at_1, at_3 = (probes.relative_error(gpt, prompt, c) for c in (1.0, 3.0))
    step = probes.relative_error(lambda *p: learners.gd(*p, eta), prompt, 3.0)
    assert at_3 > 2 * at_1 and at_3 < 0.1 * step
    assert probes.relative_error(learners.least_squares, prompt, 3.0) < 1e-20
    assert probes.bend_in_labels(gpt, prompt) > 0.1


# --- tasks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [30, 31, 32])
def test_on_new_tasks_the_list_needs_thousands_and_the_layer_a_few_times_d(seed):
    p, eye = tasks.linear_regression(B=300, N=16, d_x=8, noise=0.5, seed=seed), torch.eye(8).double()
    stored = torch.randn(2048, 8, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)
    ridge = (learners.ridge(*p.shown, lam=0.25) - p.y_query).square().mean()
    listed, layer = {}, {}
    for M in (1, 64, 2048):
        W = stored[:M]
        listed[M] = (bayes.dmmse(*p.shown, W, 0.5) - p.y_query).square().mean() / 8
        A = closed_forms.preconditioner(eye, 16, noise=0.5, prior=W.T @ W / M)
        layer[M] = closed_forms.preconditioned_excess(A, eye, 16, noise=0.5) / 8
    ideal = closed_forms.gd_excess(closed_forms.best_step(16, 8, noise=0.5), 16, 8, noise=0.5) / 8
    assert listed[1] > 1.3 and listed[1] > listed[64] > listed[2048] > 5 * ridge / 8
    assert layer[1] > 0.85 and layer[64] < 1.08 * ideal and layer[2048] < 1.01 * ideal
    assert listed[64] > layer[64]


# --- depth ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", depth_gpts.SEEDS)
def test_the_nearest_learner_moves_up_with_depth_on_other_prompts(seed):
    p, places = tasks.linear_regression(B=500, N=6, d_x=4, seed=40), []
    for n_layers in depth_gpts.DEPTHS:
        answer = depth_gpts.load(n_layers, seed)(*p.shown)
        apart = [metrics.squared_prediction_difference(answer, rival(*p.shown)) for rival in claims.RIVALS.values()]
        places.append(min(range(1, 5), key=apart.__getitem__))
        assert (apart[0] < min(apart[1:])) == (n_layers == 1 and seed in (0, 1))  # always answering 0
    assert places == [1, 2, 3]


@pytest.mark.parametrize("seed", depth_gpts.SEEDS)
def test_one_layer_is_worse_than_the_step_and_more_layers_are_better(seed):
    p = tasks.linear_regression(B=500, N=10, d_x=4, seed=41)
    errors = [(depth_gpts.load(n, seed)(*p.shown) - p.y_query).square().mean() / 4 for n in depth_gpts.DEPTHS]
    step = closed_forms.gd_excess(closed_forms.best_step(10, 4), 10, 4) / 4
    assert errors[0] > 1.5 * step > step > 2 * errors[1] and errors[1] > 2 * errors[2]


def test_the_shipped_file_is_small_and_holds_nine_models():
    assert depth_gpts.FILE.stat().st_size < 1e6
    saved = torch.load(depth_gpts.FILE, weights_only=True)
    assert len(saved) == 9 and all(W.dtype == torch.float16 for model in saved.values() for W in model.values())
    with pytest.raises(ValueError, match="n_layers, seed: expected one of .1, 2, 3. and of .0, 1, 2., got 4 and 0"):
        depth_gpts.load(4)


# --- selection ------------------------------------------------------------------------------------------------


def mixed(seed, B=3000, N=32, d=8):
    """Errors of a learner over prompts of both noise levels."""
    each = [tasks.linear_regression(B, N, d, noise=noise, seed=seed + i) for i, noise in enumerate(claims.NOISES)]
    return lambda learner: sum((learner(*p.shown) - p.y_query).square().mean().item() for p in each) / 2


@pytest.mark.parametrize("seed", [50, 60, 70])
def test_the_mixture_knows_the_noise_and_validation_half_knows_it(seed):
    error, (low, high) = mixed(seed), (noise**2 for noise in claims.NOISES)
    fixed = min(error(lambda *p, lam=lam: learners.ridge(*p, lam=lam)) for lam in (low, high))
    linear = error(lambda *p: learners.ridge(*p, lam=(low + high) / 2))
    pick = error(lambda *p: bayes.pick_ridge(*p, claims.NOISES, held_out=8))
    mixture = error(lambda *p: bayes.ridge_mixture(*p, claims.NOISES))
    assert mixture < 0.95 * min(linear, pick) and max(linear, pick) < fixed
    assert abs(linear / pick - 1) < 0.06


def test_ridge_with_the_mean_variance_is_the_best_that_is_linear_in_the_labels():
    p = tasks.linear_regression(B=6, N=9, d_x=3, seed=80)
    variances, odds = torch.tensor([[0.05, 4.0, 1.0], [0.5, 0.3, 0.2]], dtype=torch.float64)
    for x, x_query in zip(p.x, p.x_query, strict=True):
        covariances = [x @ x.T + variance * torch.eye(9).double() for variance in variances]
        second_moment = sum(share * each for share, each in zip(odds, covariances, strict=True))
        a = torch.linalg.solve(second_moment, x @ x_query)  # the minimum of E (a^T y - w^T x_q)^2 over a
        y = torch.randn(9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        wanted = (a @ y).reshape(1, 1)
        for lam, exact in (((odds * variances).sum().item(), True), (1.0, False)):
            gap = metrics.max_gap(learners.ridge(x[None], y[None], x_query[None], lam=lam), wanted)
            assert (gap < EXACT) if exact else (gap > 1e-4)


# --- weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gauge_makes_factors_dense_and_leaves_products_and_answers(seed):
    g = torch.Generator().manual_seed(seed)
    R, R_v = (torch.randn(11, 11, generator=g, dtype=torch.float64) for _ in range(2))
    layer = constructions.gd_step(0.7, 20, 10)
    dense, p = constructions.change_gauge(layer, R, R_v), tasks.linear_regression(B=16, N=20, d_x=10, seed=seed)

    def zeros(W):
        return (W.abs() < 1e-9).double().mean()

    assert zeros(layer.W_K) > 0.9 > 0.1 > zeros(dense.W_K) and zeros(dense.W_K.T @ dense.W_Q) > 0.9
    answers = [constructions.learner([each])(*p.shown) for each in (layer, dense)]
    assert metrics.max_gap(*answers) < 1e-9


# --- the notebook ---------------------------------------------------------------------------------------------


def test_the_table_of_the_notebook_has_all_claims_and_its_widget_shows_each(notebook):
    rows, widget = notebook.namespace["ROWS"], notebook.explorers[3]
    figure, shown = plt.figure(figsize=(9.6, 6.5)), []
    artists = notebook.namespace["stage"](figure)  # of the last widget
    for book in sorted({row.claim.notebook for row in rows}):
        now = widget.compute(book, "all kinds")
        notebook.namespace["draw"](artists, now)
        texts = [text for text, _ in artists.texts if text.get_text()]
        shown += [text.get_text().replace("\n", " ") for text in texts]
        assert len(texts) == len(now.shown)
        panel = texts[-1].axes.get_window_extent()
        assert all(panel.y0 <= text.get_window_extent().y0 for text in texts), book  # none falls off the page
    plt.close(figure)
    assert len(shown) == len(rows) >= 40
    assert all(any(row.claim.says[:40] in text for text in shown) for row in rows)


def test_the_broken_step_was_put_back(notebook):
    prompt = tasks.linear_regression(B=4, N=5, d_x=3)
    y_hat = constructions.learner([constructions.gd_step(0.5, 5, 3)])(*prompt.shown)
    assert metrics.max_gap(y_hat, learners.gd(*prompt.shown, 0.5)) < EXACT
    assert constructions.gd_step is notebook.namespace["right_step"]


def test_what_was_said_of_the_order_widget(notebook):
    compute = notebook.explorers[0].compute
    defaults = notebook.explorers[0].defaults
    spreads = {k: compute(**defaults | {"layers": k}).spreads[2] for k in (1, 2, 3, 4)}
    assert spreads[1] < EXACT < 0.01 < spreads[2] < spreads[3] < spreads[4]
    assert compute(**defaults | {"eta": 0.01}).spreads[1] < 0.2 * compute(**defaults | {"eta": 0.1}).spreads[1]


def test_the_detective_s_probes_have_the_zeros_of_the_table(notebook):
    compute = notebook.explorers[2].compute
    zero = {}
    for probe in notebook.namespace["PROBES"]:
        zero[probe] = [compute(letter, probe, 2.0, "ridge").here < EXACT for letter in "ABCDEF"]
    counts = {probe: sum(each) for probe, each in zero.items()}
    assert list(counts.values()) == [5, 5, 1, 1, 4, 6]


def test_a_normalised_step_passes_what_least_squares_passes_and_is_not_least_squares(notebook):
    def normalised(x, y, x_query):
        return (y * (x @ x_query[:, :, None])).sum(1) / x.square().sum((1, 2))[:, None]

    prompt = tasks.linear_regression(B=50, N=12, d_x=4, noise=0.5, seed=90)
    for name, probe in notebook.namespace["PROBES"].items():
        moved, wanted = probe(normalised, prompt, 2.0)
        known = metrics.max_gap(*probe(learners.least_squares, prompt, 2.0))
        assert (metrics.max_gap(moved, wanted) < EXACT) == (known < EXACT), name
    assert metrics.max_gap(normalised(*prompt.shown), learners.least_squares(*prompt.shown)) > 0.1


def test_the_verdict_widget_shows_the_form_that_holds(notebook):
    explorer = notebook.explorers[3]
    for book in ("03", "11", "12"):
        for row in explorer.compute(book, "all kinds").shown:
            assert (row.verdict == verdicts.RESTATED) == ("Instead: " in row.says())
