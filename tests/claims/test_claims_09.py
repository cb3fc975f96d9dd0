"""What notebook 09 says, besides the gate in test_softmax and the two heads in test_constructions."""

import math
import re

import numpy as np
import pytest
import torch
from conftest import ROOT

from helpers import attention, constructions, learners, metrics, tasks
from helpers.attention import Layer
from helpers.theory import closed_forms, kernels, mixing

EXACT, WRONG = 1e-12, 1e-3


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "09_softmax_attention.ipynb")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the dual form and random features ------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_numerator_and_denominator_add_for_any_features(notebook, norm):
    features, written = notebook.namespace["features"], notebook.namespace["written"]
    k, q, v, w = norm * normal(9, 5, seed=1), normal(4, 5, seed=2), normal(9, 3, seed=3), normal(5, 20, seed=4)
    num, den = (features(q, w) @ (written(k[:3], v[:3], w) + written(k[3:], v[3:], w)).T).split([3, 1], dim=1)
    kernel = features(q, w) @ features(k, w).T
    by_hand = kernel @ v / kernel.sum(1, keepdim=True)
    assert metrics.max_gap(num / den, by_hand) <= EXACT
    old = features(q, w) @ written(k[:3], v[:3], w).T
    assert metrics.max_gap(num / old[:, 3:], by_hand) > WRONG  # the denominator left as it was
    assert metrics.max_gap(old[:, :3] / old[:, 3:], by_hand) > WRONG  # the demonstrations left out


def test_the_features_have_the_right_inner_product_on_average(notebook):
    x, w = normal(2, 4, seed=5) / 2, normal(4, 400_000, seed=6)
    a, b = notebook.namespace["features"](x, w) * 400_000**0.5
    products = a * b
    assert abs(products.mean() - torch.exp(x[0] @ x[1])) < 4 * products.std() / 400_000**0.5
    assert (a > 0).all()


def random_feature_slope(notebook, norm, seed):
    features, written = notebook.namespace["features"], notebook.namespace["written"]
    k, q = (norm * torch.nn.functional.normalize(normal(n, 8, seed=seed + n), dim=1) for n in (32, 64))
    v, sizes, errors = normal(32, 1, seed=seed), 2 ** np.arange(4, 13), []
    for m in sizes:
        found = [features(q, w) @ written(k, v, w).T for w in normal(30, 8, int(m), seed=seed + 1)]
        off = torch.stack([r[:, :1] / r[:, 1:] for r in found]) - mixing.read_out(q @ k.T, v)
        errors.append(off.square().mean().sqrt().item())
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_random_features_converge_for_short_keys_and_hardly_for_long_ones(notebook, seed):
    assert abs(random_feature_slope(notebook, 1.0, seed) + 0.5) < 0.1
    assert random_feature_slope(notebook, 3.0, seed) > -0.25


# --- smoothing, and a stack of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("d, tau", [(2, 0.1), (5, 1.0), (8, 3.0)])
def test_softmax_is_nadaraya_watson_when_each_key_counts_by_its_length(d, tau):
    k, q, v = normal(12, d, seed=7), normal(30, d, seed=8), normal(12, 2, seed=9)

    def smoother(k, loudness=1.0, h=tau**0.5):
        weights = loudness * kernels.rbf(h)(q, k)
        return weights @ v / weights.sum(1, keepdim=True)

    on_sphere, loud = k / k.norm(dim=1, keepdim=True), torch.exp(k.square().sum(1) / (2 * tau))
    assert metrics.max_gap(mixing.read_out(q @ on_sphere.T / tau, v), smoother(on_sphere)) <= EXACT
    assert metrics.max_gap(mixing.read_out(q @ on_sphere.T / tau, v), smoother(on_sphere, h=1.1 * tau**0.5)) > WRONG
    read = mixing.read_out(q @ k.T / tau, v)
    assert metrics.max_gap(read, smoother(k, loud)) <= 1e-11 * loud.log().max().clamp(min=1)
    assert metrics.max_gap(read, smoother(k)) > WRONG  # keys of different length


@pytest.mark.parametrize("seed", range(3))
def test_a_row_normalised_stack_interpolates_along_another_curve(seed):
    x = torch.arange(7).double()[:, None] + 0.4 * torch.rand(7, 1, generator=torch.Generator().manual_seed(seed))
    x, y, line = x.double(), normal(7, 1, seed=seed), torch.linspace(-1, 8, 50, dtype=torch.float64)[:, None]
    kernel = kernels.rbf(0.5)
    K = kernel(x, x)

    def stack(points, normalised=True):
        k_q = kernel(points, x)
        d_q, D = (k_q.sum(1, keepdim=True), K.sum(1, keepdim=True)) if normalised else (1.0, K.sum(1).max())
        r, f = y, torch.zeros(len(points), 1, dtype=torch.float64)
        for _ in range(4000):
            f, r = f + k_q @ r / (d_q if normalised else D), r - K @ r / D
        return f

    k_q = kernel(line, x)
    plain = k_q @ torch.linalg.solve(K, y)
    limit = k_q @ torch.linalg.solve(K, K.sum(1, keepdim=True) * y) / k_q.sum(1, keepdim=True)
    assert metrics.max_gap(stack(line), limit) < 1e-9 and metrics.max_gap(stack(x), y) < 1e-9
    assert metrics.max_gap(stack(line, normalised=False), plain) < 1e-9
    assert metrics.max_gap(limit, plain) > 0.05
    rates = torch.linalg.eigvals(K / K.sum(1, keepdim=True))
    assert rates.imag.abs().max() < EXACT and rates.real.min() > 0 and rates.real.max() < 1 + EXACT


def test_the_stack_moves_up_with_all_labels_and_the_kernel_curve_falls_back_to_zero(notebook):
    n = notebook.namespace
    K, k_q, D, d_q, y = (n[name] for name in ("K", "k_q", "D", "d_q", "labels"))
    limits = [k_q / d_q @ torch.linalg.solve(K, D * labels) for labels in (y, y + 1)]
    plain = [k_q @ torch.linalg.solve(K, labels) for labels in (y, y + 1)]
    assert metrics.max_gap(limits[1], limits[0] + 1) <= EXACT and metrics.max_gap(limits[0], n["f"]) < 1e-9
    assert metrics.max_gap(plain[1], plain[0] + 1) > 0.5
    far = torch.cdist(n["q"], n["k"]).min(1).values > 0.7
    assert far.any() and (plain[0][far].abs() < 0.2).all() and (limits[0][far] > 0.3).all()


# --- small scores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d, N, seed", [(1, 3, 0), (4, 8, 1), (10, 20, 2)])
def test_residuals_fall_as_the_second_and_the_third_power(d, N, seed):
    k, y, q, *_ = tasks.linear_regression(B=200, N=N, d_x=d, noise=0.5, seed=seed)
    y, taus = y + 1, np.geomspace(100 * d**0.5, 3000, 8)
    step = learners.gd(k - k.mean(1, keepdim=True), y - y.mean(1, keepdim=True), q, eta=1.0)

    def slope(order):
        left_over = []
        for tau in taus:
            plus, minus = (mixing.read_out(s * q[:, None] @ k.mT / tau, y)[:, 0] for s in (1, -1))
            left_over.append(order(plus, minus, tau).square().mean().sqrt().item())
        return np.polyfit(np.log(taus), np.log(left_over), 1)[0]

    uncentred = learners.gd(k, y, q, eta=1.0)
    assert abs(slope(lambda plus, minus, tau: plus - y.mean(1) - step / tau) + 2) < 0.05
    assert abs(slope(lambda plus, minus, tau: plus - minus - 2 * step / tau) + 3) < 0.05
    assert abs(slope(lambda plus, minus, tau: plus - minus - 2.2 * step / tau) + 1) < 0.05  # a step 10 % too long
    assert abs(slope(lambda plus, minus, tau: plus - minus - 2 * uncentred / tau) + 1) < 0.05
    assert abs(slope(lambda plus, minus, tau: plus - uncentred / tau)) < 0.05  # no mean


@pytest.mark.parametrize("seed", range(3))
def test_dropping_the_softmax_is_not_the_limit_of_small_scores(notebook, seed):
    first_order = notebook.namespace["first_order"]
    new, own = normal(2000, 1, 12, seed=seed), normal(2000, 1, 4, seed=seed + 10)
    V_new, V_own = normal(2000, 12, 16, seed=seed + 20), normal(2000, 4, 16, seed=seed + 30)
    V = torch.cat([V_new, V_own], 1)
    found = {}
    for size in (0.01, 0.1, 1.0):
        both = size * torch.cat([new, own], -1)
        change = mixing.read_out(both, V) - mixing.read_out(size * own, V_own)
        right = first_order(both, V) - first_order(size * own, V_own)
        found[size] = [metrics.mean_cosine(guess, change) for guess in (right, size * new @ V_new)]
    assert found[0.01][0] > 0.99999 and found[0.1][0] > 0.999 and found[1.0][0] > 0.9
    assert abs(found[0.01][1]) < 0.03 and abs(found[0.1][1]) < 0.08 and found[1.0][1] < 0.4


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


# --- training -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", tasks.MOMENTS)
def test_the_best_step_on_centred_data_has_the_loss_of_the_formula(notebook, inputs):
    (s2, k4), N, d_x = tasks.MOMENTS[inputs], 7, 4
    G = 1 + (d_x - 1) / (N - 1) + (k4 - (N - 3) / (N - 1)) / N
    p = tasks.linear_regression(200_000, N, d_x, inputs=inputs, seed=3)
    eta = N / (N - 1) / (s2 * G)  # minimum of the parabola d - 2 eta tr + eta^2 |C|^2
    step = learners.gd(p.x - p.x.mean(1, keepdim=True), p.y - p.y.mean(1, keepdim=True), p.x_query, eta)
    errors = (step - p.y_query).square()[:, 0] / 2
    assert abs(errors.mean() - s2 * d_x / 2 * (1 - 1 / G)) < 4 * errors.std() / 200_000**0.5
    if inputs == "gaussian":  # exactly one example fewer
        fewer = closed_forms.gd_excess(closed_forms.best_step(N - 1, d_x), N - 1, d_x)
        assert abs(d_x * (1 - 1 / G) - fewer) <= EXACT
    assert round(notebook.namespace["loss_centred"], 4) == 0.2185


def test_one_head_two_heads_and_linear_attention_end_where_the_notebook_says(notebook):
    losses, loss_gd = notebook.namespace["losses"], notebook.namespace["loss_gd"]
    one, two, linear = losses.T
    assert losses.shape == (3, 3) and (one >= 0.28).all()
    assert ((0.212 <= two) & (two <= 0.23)).all() and (abs(linear / loss_gd - 1) < 0.005).all()
    assert 0.95 < one.max() / notebook.namespace["always_0"] < 1 and len(notebook.namespace["held_out"].x) == 20_000
    cosine = notebook.namespace["curves"][:, -1, 1]
    assert (cosine[:, 2] > 0.998).all() and (abs(cosine[:, 1] - 0.96) < 0.02).all() and (cosine[:, 0] < 0.8).all()


def test_two_numbers_describe_two_heads_and_one_head_that_is_not_stuck(notebook):
    best_one, best_two = notebook.namespace["family"].min(0)
    losses = notebook.namespace["losses"]
    assert (abs(losses[:, 1] / best_two - 1) < 0.015).all()
    assert abs(losses[:, 0].min() / best_one - 1) < 0.015
    assert best_two < notebook.namespace["family"][0, 1] < best_one  # a finite temperature beats the gradient step


def test_each_single_head_has_gone_one_of_three_ways(notebook):
    scores_of = notebook.namespace["scores_of"]
    for models, loss in zip(notebook.namespace["trained"], notebook.namespace["losses"][:, 0], strict=True):
        layer = models["one head"].layer()
        A, read = scores_of(layer)[0], -(layer.P @ layer.W_V)[0, -1]
        a, c, b, u = A[:10].diagonal().mean(), read[-1], A[10], read[:10]
        if loss < 0.3:
            assert a * c > 4 and b.norm() < 1 and u.norm() < 0.2  # like with like, or opposites with the sign turned
        else:
            assert abs(a * c) < 0.1 and b.norm() > 3 and u.norm() > 0.5  # labels are scored, inputs are read
            assert torch.cosine_similarity(b, u, dim=0) > 0.98 and loss > 0.39


def test_a_head_that_looks_at_the_opposites_is_as_good(notebook):
    p = tasks.linear_regression(100_000, 10, 10, inputs="uniform", seed=8)
    scores = 7.3 * (p.x_query[:, None] @ p.x.mT)
    errors = [(s * 0.8 * mixing.read_out(s * scores, p.y)[:, 0] - p.y_query).square()[:, 0] for s in (1, -1)]
    difference = errors[0] - errors[1]
    assert difference.mean().abs() < 4 * difference.std() / 100_000**0.5
    assert metrics.max_gap(errors[0], errors[1]) > 0.1  # other predictions, though


def test_slowly_trained_heads_cancel_and_quickly_trained_ones_need_not(notebook):
    n = notebook.namespace
    first, second, both = n["off_diagonals"](n["slow"]["two head"].layer())
    A = -(n["slow"]["two head"].P @ n["slow"]["two head"].W_V)[0, -1, -1] * n["scores_of"](n["slow"]["two head"])[0]
    by_hand = [A[i, j] ** 2 for i in range(10) for j in range(10) if i != j]
    assert abs(first - np.mean(by_hand) ** 0.5) < 1e-5
    assert both < 0.4 * min(first, second) and n["curves"][:, -1, 2].max() < 0.25 * min(first, second)
    early = n["curves"][:, 2, 2]  # after 80 fast steps
    assert (early[:, :2] > 0.5).all() and (early[:, 2] < 0.7 * early[:, :2].min(1)).all()
    slow, *fast = (m["two head"].layer() for m in (n["slow"], *n["trained"]))
    for layer, low, high in [(slow, 1.0, 1.2), *((layer, 2.2, 2.8) for layer in fast)]:
        A, r = n["scores_of"](layer), -(layer.P @ layer.W_V)[:, -1, -1]
        a = A[:, :10].diagonal(dim1=1, dim2=2).mean(1)
        assert abs(r.sum()) < 0.05 * r.abs().max() and ((low < a.abs()) & (a.abs() < high)).all() and a.prod() < 0
        B = (A[0] - A[1]) / 2
        assert metrics.max_gap((r[:, None, None] * A).sum(0), 2 * r[0] * B) < 0.2 < (r[0] * B).abs().max()


def test_the_common_part_is_unseen_in_the_sum_and_costs_more_when_scores_are_strong(notebook):
    compute = notebook.explorers[3].compute
    opening, without = (compute(1.0, 1.0, 1.0, gamma) for gamma in (1.0, 0.0))
    assert (opening.shown - without.shown).abs().max() < 0.05 * opening.shown.abs().max()
    weak, strong = (compute(1.0, 1.0, t, 1.0).ratio - compute(1.0, 1.0, t, 0.0).ratio for t in (1.0, 3.0))
    assert strong > 3 * abs(weak) and compute(1.0, 1.0, 1.0, 5.0).ratio > 1.1 * opening.ratio
    assert compute(2.0, 0.0, 1.0, 1.0).ratio > 4 * opening.ratio  # one head alone


# --- layer norm -----------------------------------------------------------------------------------------------


def test_a_layer_norm_hides_the_length_of_the_query_and_of_each_example(notebook):
    p, model = tasks.linear_regression(64, 10, 10, inputs="uniform", seed=9), notebook.namespace["Normed"](seed=1)
    lengths = 0.5 + torch.rand(64, 10, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def gap(learner):
        return metrics.max_gap(learner(lengths * p.x, lengths * p.y, 3 * p.x_query), learner(*p.shown))

    model.double()
    with torch.no_grad():
        scale = model(*p.shown).abs().max().item()
        assert gap(model) < 1e-11 * scale
        assert metrics.max_gap(model(lengths * p.x, p.y, p.x_query), model(*p.shown)) > WRONG * scale
        model.norm = torch.nn.Identity()
        assert gap(model) > WRONG * model(*p.shown).abs().max()
    assert gap(lambda *prompt: learners.gd(*prompt, 6.0)) > WRONG


def test_layer_norm_is_worse_aligned_and_better_only_than_a_divergence(notebook):
    n = notebook.namespace
    assert min(n["normed_losses"]) > 1.2 * n["loss_gd"] and all(abs(c - 0.83) < 0.05 for c in n["normed_cosines"])
    for model in n["normed"].values():
        assert n["relative"](model, 0.2) > 2 and n["relative"](model, 5.0) < 1 and n["relative"](model, 50.0) > 0.95
    assert n["relative"](lambda *p: learners.gd(*p, n["eta_star"]), 5.0) > 100
    for models in n["trained"]:  # two softmax heads: bounded by the labels
        far, farther = (n["relative"](models["two head"], alpha) for alpha in (50.0, 200.0))
        assert 2 < far < 5 and abs(farther / far - 1) < 0.01


def test_the_gate_of_the_widget_counts_tokens_and_adding_leaves_the_segment(notebook):
    now = notebook.explorers[0].compute(n=64, m=4, gap=0.0)
    assert abs(now.share[64] - 64 / 68) < 0.02 and (now.share.diff() > 0).all()
    between = (now.mixed - now.zero_shot) / (now.demos - now.zero_shot)
    assert metrics.max_gap(between, now.share[64].expand(2)) < 1e-9
    assert math.isclose(now.ratio, (now.share[64] / (1 - now.share[64])).item())
    assert (now.added - now.mixed).norm() > 5 * (now.demos - now.zero_shot).norm()
    own, V_own, new, V_new = notebook.namespace["tokens_of"](4)
    numerator = own.exp()[0] @ V_own + new.exp()[0] @ V_new
    assert metrics.max_gap(now.added, numerator / own.exp().sum()) < 1e-11  # the denominator stays that of the own
    assert metrics.max_gap(now.mixed, numerator / (own.exp().sum() + new.exp().sum())) < EXACT
    assert metrics.max_gap(now.added, now.zero_shot + now.demos) > 1


# --- the numbers of the folded answers, read off the widgets ----------------------------------------------------

SAID = {
    "gate, 64 for 4": (0, {"n": 64}, ["λ = 0.942", "n/(n + m) = 0.941", "ends 8.8 times"]),
    "gate, below one half": (0, {"n": 4, "m": 16, "gap": 1.5}, ["λ = 0.488", "n/(n + m) = 0.200"]),
    "gate, above one half": (0, {"n": 4, "m": 16, "gap": 1.75}, ["λ = 0.550"]),
    "gate, a small share": (0, {"gap": -3.0}, ["λ = 0.060", "ends 0.024 times"]),
    "gate, as it opens": (0, {}, ["λ = 0.562", "ends 0.25 times"]),
    "features, enough of them": (1, {"log_m": 11}, ["error 0.17"]),
    "features, as it opens": (1, {}, ["error 0.89"]),
    "features, norm 3": (1, {"log_m": 11, "norm": 3.0}, ["error 0.81", "0.96 times that spread"]),
    "features, norm 3, the most": (1, {"log_m": 14, "norm": 3.0}, ["error 0.40"]),
    "features, another seed": (1, {"log_m": 14, "norm": 3.0, "seed": 1}, ["error 0.84"]),
    "one head, hot": (2, {"log_tau": 3.0}, ["One head alone varies by 0.00027"]),
    "one head, τ = 1": (2, {"log_tau": 0.0}, ["curves are 0.22 apart"]),
    "two heads, τ = 2": (2, {"log_tau": 0.3, "heads": "two"}, ["curves are 0.037 apart"]),
    "two heads, τ = 10": (2, {"log_tau": 1.0, "heads": "two"}, ["curves are 0.0016 apart"]),
}


@pytest.mark.parametrize("case", SAID)
def test_the_widgets_say_what_the_folded_answers_say(notebook, case):
    number, settings, numbers = SAID[case]
    explorer = notebook.explorers[number]
    readout = explorer.draw(explorer.picture.artists, explorer.compute(**explorer.defaults | settings))
    readout = re.sub("<.*?>", "", readout)
    assert all(said in readout for said in numbers), readout


def test_the_gate_of_the_widget_is_compared_with_equal_scores(notebook):
    explorer = notebook.explorers[0]
    explorer.draw(explorer.picture.artists, explorer.compute(n=8, m=6, gap=0.0))
    counts, shares = explorer.picture.artists.equal.get_data()
    assert [float(share) for share in shares] == pytest.approx([n / (n + 6) for n in range(65)])
    assert list(counts) == list(range(65))


def test_the_residuals_of_the_temperature_widget_fall_with_the_powers(notebook):
    now = notebook.explorers[2].compute(log_tau=1.0, heads="two", N=12)
    late = now.taus > 30
    for column, power in enumerate([-2, -3]):
        slope = np.polyfit(now.taus[late].log(), now.residuals[:-1][late, column].log(), 1)[0]
        assert abs(slope - power) < 0.05


def test_the_heads_widget_is_compared_with_the_best_step_on_centred_data(notebook):
    """The widget's numbers follow a training in float32, so they get a margin."""
    compute = notebook.explorers[3].compute
    p = tasks.linear_regression(3000, 10, 10, inputs="uniform", seed=77)
    x, y = (part - part.mean(1, keepdim=True) for part in p[:2])
    G = 1 + 1 + (9 / 5 - 7 / 9) / 10
    by_hand = (10 / 9) * 12 / G * ((x @ p.x_query[..., None]) * y).mean(1)[:, 0]
    assert metrics.max_gap(compute(1.0, 1.0, 1.0, 1.0).step, by_hand) < 1e-12
    said = {(1, 1, 1, 1): 1.004, (1, 1, 1, 0): 0.998, (1, 1, 1, 2): 1.036, (1, 1, 1, 5): 1.21, (2, 0, 1, 1): 8.0}
    said |= {(1, 1, 3, 1): 1.06, (1, 1, 3, 0): 0.997, (1, 1, 2.3, 0): 0.994}
    for settings, ratio in said.items():
        assert compute(*map(float, settings)).ratio == pytest.approx(ratio, rel=0.002 if ratio < 1.1 else 0.01)
