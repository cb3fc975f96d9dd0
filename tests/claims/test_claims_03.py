"""What notebook 03 says: one attention layer is one step of gradient descent. Each identity has a twin that fails.

The oracle, `learners.gd`, is held against automatic differentiation in test_learners.py.
"""

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scenarios import follow
from stacked import EXACT, WRONG, prompts, stack_of_layers, start

from helpers import attention, constructions, learners, metrics, tasks
from helpers.verdicts import notebook_03 as claims

step_sizes = st.lists(st.floats(-0.1, 0.12), min_size=1, max_size=8)


@given(prompts, step_sizes, st.sampled_from([0.0, 1.0]))
def test_k_layers_are_k_steps_of_gradient_descent(prompt, etas, scale):
    """C1 and C6."""
    d_y, d_x = prompt.y.shape[-1], prompt.x.shape[-1]
    W_0 = start(d_y, d_x, scale) if scale else None
    y_attn = stack_of_layers(prompt, etas, W_0)
    assert metrics.max_gap(y_attn, learners.gd(*prompt.shown, etas, len(etas), W_0)) <= EXACT


@pytest.mark.parametrize("etas", [[1.0], [0.4, 1.2], [0.3] * 8])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_twins_fail(etas, scale):
    prompt = tasks.linear_regression(B=16, N=20, d_x=7, d_y=3, noise=0.2, seed=3)
    W_0 = start(3, 7, scale)
    y_gd = learners.gd(*prompt.shown, etas, len(etas), W_0)
    assert metrics.max_gap(stack_of_layers(prompt, etas, W_0), y_gd) <= EXACT
    too_far = [1.1 * eta for eta in etas]
    assert metrics.max_gap(stack_of_layers(prompt, too_far, W_0), y_gd) > WRONG
    unmasked = metrics.max_gap(stack_of_layers(prompt, etas, W_0, include_query=True), y_gd)
    harmless = len(etas) == 1 and scale == 0  # the only case in which the mask does not matter
    assert (unmasked <= EXACT) if harmless else (unmasked > WRONG)


def test_leaving_W_0_out_of_one_layer_is_noticed():
    prompt, W_0 = tasks.linear_regression(B=16, N=20, d_x=7, d_y=3), start(3, 7)
    z = tasks.tokens(prompt, W_0)
    z = attention.linear(z, constructions.gd_step(0.3, 20, 7, 3, W_0))
    z = attention.linear(z, constructions.gd_step(0.3, 20, 7, 3))
    assert metrics.max_gap(tasks.read(z, 3), learners.gd(*prompt.shown, 0.3, 2, W_0)) > WRONG


def test_every_token_moves_by_the_same_step():
    """C1, token by token: (x_j, y_j) -> (x_j, y_j - dW x_j)."""
    prompt, W_0 = tasks.linear_regression(B=4, N=11, d_x=7, d_y=3, noise=0.5), start(3, 7)
    before = tasks.tokens(prompt, W_0)
    after = attention.linear(before, constructions.gd_step(0.7, 11, 7, 3, W_0))
    delta_W = learners.gd_weights(prompt.x, prompt.y, 0.7, W_0=W_0) - W_0
    assert torch.equal(after[..., :7], before[..., :7])
    assert torch.allclose(after[..., 7:], before[..., 7:] - before[..., :7] @ delta_W.mT, rtol=0, atol=EXACT)


def test_moving_the_points_leaves_the_loss_of_moving_the_line():
    """C2."""

    def loss(W, x, y):
        return ((W @ x.T - y.T) ** 2).sum() / (2 * len(x))

    prompt, W_0 = tasks.linear_regression(B=1, N=11, d_x=7, d_y=3, noise=0.5), start(3, 7)
    x, y = prompt.x[0], prompt.y[0]
    z = attention.linear(tasks.tokens(prompt, W_0), constructions.gd_step(0.7, 11, 7, 3, W_0))
    W = learners.gd_weights(prompt.x, prompt.y, 0.7, W_0=W_0)[0]
    assert torch.isclose(loss(W_0, x, z[0, :-1, 7:]), loss(W, x, y), rtol=1e-12, atol=0)
    assert not torch.isclose(loss(W_0, x, y), loss(W, x, y), rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_the_query_among_the_keys_makes_exactly_this_error(scale):
    """C3: the y entry gets (eta/N) 2 W_0 x_q |x_q|^2 too much."""
    prompt, W_0 = tasks.linear_regression(B=4, N=11, d_x=7, d_y=3), start(3, 7, scale)
    error = stack_of_layers(prompt, [0.7], W_0, include_query=True) - stack_of_layers(prompt, [0.7], W_0)
    norm2 = (prompt.x_query**2).sum(1, keepdim=True)
    formula = -2 * 0.7 / 11 * norm2 * (prompt.x_query @ W_0.T)
    assert torch.allclose(error, formula, rtol=0, atol=EXACT)
    assert scale == 0 or not torch.allclose(error, formula / 2, rtol=0, atol=WRONG)


def test_the_prediction_from_zero_is_a_kernel_smoother():
    """C4: (eta/N) sum_i y_i <x_i, x_q>."""
    prompt = tasks.linear_regression(B=4, N=11, d_x=7, d_y=3)
    smoothed = torch.stack(
        [
            sum(0.7 / 11 * y_i * (x_i @ q) for x_i, y_i in zip(x, y, strict=True))
            for x, y, q in zip(*prompt.shown, strict=True)
        ]
    )
    assert torch.allclose(stack_of_layers(prompt, [0.7]), smoothed, rtol=0, atol=EXACT)
    assert not torch.allclose(stack_of_layers(prompt, [0.7], start(3, 7)), smoothed, rtol=0, atol=WRONG)


@pytest.mark.parametrize("scale", [1.0, -3.0, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_gauge_changes_no_token(scale, seed):
    """C5."""
    prompt, W_0 = tasks.linear_regression(B=4, N=11, d_x=7, d_y=3), start(3, 7)
    layer = constructions.gd_step(0.7, 11, 7, 3, W_0)
    R, R_v = start(10, 10, seed=seed), start(10, 10, seed=seed + 100)
    other = constructions.change_gauge(layer, R, R_v, scale)
    z = tasks.tokens(prompt, W_0)
    assert metrics.max_gap(attention.linear(z, other), attention.linear(z, layer)) < 1e-10 * torch.linalg.cond(R).item()
    assert metrics.max_gap(other.W_K, layer.W_K) > WRONG and metrics.max_gap(other.W_V, layer.W_V) > WRONG
    assert torch.allclose(other.P @ other.W_V, scale * layer.P @ layer.W_V, rtol=0, atol=1e-9)
    assert torch.allclose(other.W_K.mT @ other.W_Q, layer.W_K.mT @ layer.W_Q / scale, rtol=0, atol=1e-9)


def test_the_gauge_needs_its_inverse():
    """P8: R W_K and R W_V, with nothing to undo them, is another layer; the inverses on the other side repair it."""
    prompt, layer = tasks.linear_regression(B=4, N=11, d_x=7), constructions.gd_step(0.7, 11, 7)
    R = torch.linalg.qr(start(8, 8)).Q  # a rotation is its own inverse's transpose
    z = tasks.tokens(prompt)
    broken = layer._replace(W_K=R @ layer.W_K, W_V=R @ layer.W_V)
    repaired = broken._replace(W_Q=R @ layer.W_Q, P=layer.P @ R.T)
    assert metrics.max_gap(attention.linear(z, broken), attention.linear(z, layer)) > WRONG
    assert metrics.max_gap(attention.linear(z, repaired), attention.linear(z, layer)) <= EXACT


def test_centred_one_hot_labels_make_it_a_step_on_cross_entropy():
    """C7."""
    g = torch.Generator().manual_seed(7)
    x, x_query = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in [(1, 12, 5), (1, 5)])
    classes = torch.randint(0, 4, (12,), generator=g)
    W = torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(x[0] @ W.T, classes).backward()
    logits = -0.9 * x_query @ W.grad.T
    onehot = torch.nn.functional.one_hot(classes, 4).double()[None]
    learn = constructions.learner([constructions.gd_step(0.9, 12, 5, 4)])
    assert metrics.max_gap(learn(x, onehot - 1 / 4, x_query), logits) <= EXACT
    assert metrics.max_gap(learn(x, onehot, x_query), logits) > WRONG


def test_two_relu_heads_are_one_linear_head():
    """C8."""
    prompt, W_0 = tasks.linear_regression(B=4, N=11, d_x=7, d_y=3), start(3, 7)
    layer, z = constructions.gd_step(0.7, 11, 7, 3, W_0), tasks.tokens(prompt, W_0)
    linear = attention.linear(z, layer)
    assert metrics.max_gap(attention.relu(z, constructions.two_relu_heads(layer)), linear) <= EXACT
    assert metrics.max_gap(attention.relu(z, layer), linear) > WRONG


def test_the_layer_holds_a_linear_model_and_softmax_does_not():
    """C9: d y_hat / d x_query does not depend on x_query."""
    x, y, _ = tasks.linear_regression(B=1, N=11, d_x=7).shown
    here, there = start(1, 7, seed=1), start(1, 7, seed=2)

    def sensitivity(attend, at):
        learn = constructions.learner([constructions.gd_step(5.0, 11, 7)], attend=attend)
        return torch.func.jacrev(lambda q: learn(x, y, q))(at)[0, 0, 0]

    w = learners.gd_weights(x, y, 5.0)[0, 0]
    assert metrics.max_gap(sensitivity(attention.linear, here), w) <= EXACT
    assert metrics.max_gap(sensitivity(attention.linear, there), w) <= EXACT
    assert metrics.max_gap(sensitivity(attention.softmax, here), sensitivity(attention.softmax, there)) > WRONG


def test_float32_agrees_to_its_own_round_off():
    prompt = tasks.linear_regression(B=64, N=20, d_x=10).to(torch.float32)
    gap = metrics.gap_in_roundoff(stack_of_layers(prompt, [0.3] * 4), learners.gd(*prompt.shown, 0.3, 4))
    assert gap < 100  # units of 1.2e-7; measured: 4


def test_where_the_run_diverges_the_gap_stays_round_off_of_the_large_numbers():
    prompt = tasks.linear_regression(B=64, N=20, d_x=10)
    y_attn, y_gd = stack_of_layers(prompt, [4.0] * 8), learners.gd(*prompt.shown, 4.0, 8)
    assert y_gd.abs().max() > 1e6
    assert metrics.gap_in_roundoff(y_attn, y_gd) < 1000


def test_the_depth_that_the_figure_draws_is_the_gap_to_gradient_descent():
    """Round-off for all depths, and for one layer alone where the query is read; anything else is far off."""
    for k in range(1, 9):
        assert claims.depth_gap(k) <= EXACT and claims.depth_gap(k, from_zero=True) <= EXACT
        assert claims.depth_gap(k, off=1.1) > WRONG and claims.depth_gap(k, attend=claims.unmasked) > WRONG
        gap = claims.depth_gap(k, from_zero=True, attend=claims.unmasked)
        assert gap <= EXACT if k == 1 else gap > WRONG


# --- what the reader should have seen -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def widget(ran):
    return lambda name: ran(ROOT / "notebooks" / "03_one_attention_layer_is_one_gd_step.ipynb").namespace[name]


def test_the_views_items_followed_in_order_show_what_the_text_says(widget):
    views = widget("views_widget")
    follow(views, w_0=0.0, eta=0.6)
    now = views.compute(0.6, 0.0)
    assert now.before[-1, 1] == 0 and now.after[-1, 1] < 0 < now.w  # the diamond starts at 0, goes down, the line up
    losses = {eta / 20: views.compute(eta / 20, 0.0).losses[1].item() for eta in range(-20, 81)}
    assert min(losses, key=losses.get) == 1.1
    assert "loss 1.22 → 0.07 in both views" in follow(views, eta=1.1)
    start = views.compute(0.0, 0.0).losses[1].item()
    assert losses[2.2] < start < losses[2.25]
    assert "loss 1.22 → 4.23" in follow(views, eta=-1.0)


def test_the_inspectors_items_followed_in_order_show_what_the_text_says(widget):
    inspector = widget("inspector_widget")
    follow(inspector, eta=1.0, scale=0.0, unmasked=False)
    assert "Largest gap: 8.52." in follow(inspector, erase="W_V: −I")
    assert inspector.compute(1.0, 0.0, "W_V: −I", False).y_attn.abs().max() == 0
    assert "Largest gap: 8.52." in follow(inspector, scale=1.0) and "gap: 8.52." in follow(inspector, scale=3.0)
    follow(inspector, erase="W_V: W₀")
    assert "round-off" in follow(inspector, scale=0.0) and "round-off" not in follow(inspector, scale=0.1)
    follow(inspector, erase="nothing")
    assert "round-off" in follow(inspector, scale=0.0, unmasked=True)
    assert "Largest gap: 9.82. The formula of section 5 says 9.82." in follow(inspector, scale=1.0)
    assert "Largest gap: 19.6. The formula of section 5 says 19.6." in follow(inspector, scale=2.0)


def test_the_contexts_items_followed_in_order_show_what_the_text_says(widget):
    context = widget("context_widget")
    follow(context, k=5, eta=0.1)
    for N, apart in [(200, "0.014"), (12, "0.24"), (2, "0.99")]:
        assert f"moves the predictions by {apart}." in follow(context, N=N)
    follow(context, k=8)
    for N, last in [(200, 1.45), (12, 0.6)]:
        assert "the steps help" in follow(context, N=N, eta=last)
        assert "the steps do harm" in follow(context, eta=last + 0.05)


def test_the_gauges_items_followed_in_order_show_what_the_text_says(widget):
    gauge = widget("gauge_widget")
    assert "the same predictions" in follow(gauge, c=1.0, one_sided=False, far=1.5)
    assert "the same predictions" in follow(gauge, seed=3)
    changed, layer = (getattr(gauge.compute(1.5, 1.0, 3, False), name) for name in ("changed", "layer"))
    assert metrics.max_gap(changed.W_K, layer.W_K) > 0.5
    assert changed.W_K[:, 4:].abs().max() <= EXACT  # the white columns: labels are ignored
    follow(gauge, far=0.5)
    assert "the same predictions" in follow(gauge, c=1.8)
    changed, layer = (getattr(gauge.compute(0.5, 1.8, 3, False), name) for name in ("changed", "layer"))
    assert metrics.max_gap(changed.P @ changed.W_V, 1.8 * layer.P @ layer.W_V) < 1e-12
    assert "the same predictions" in follow(gauge, far=0.0, one_sided=True)
    assert "other predictions" in follow(gauge, far=0.05)


def test_the_items_of_follow_the_numbers_show_what_the_text_says(widget):
    numbers = widget("follow_widget")
    follow(numbers, x_q=1.0, y_1=2.0, eta=1.2)
    said = {step: follow(numbers, step=step) for step in range(10)}
    assert "key times query: 1, 2, −1." in said[4]
    for step, total in [(5, "−1.5"), (6, "−3.5"), (7, "−4.5")]:
        assert f"The sum is now {total}." in said[step] and f"at x_q its sum says {total}." in said[step]
    assert "= −2.3: prediction 2.3. Gradient descent: (1.9, 0.4) at x_q is 2.3." in said[9]
    follow(numbers, step=7)
    for x_q, before, after in [(1.0, "−4.5", "−5.5"), (2.0, "−8", "−10")]:
        assert f"The sum is now {before}." in follow(numbers, x_q=x_q, y_1=2.0)
        assert f"The sum is now {after}." in follow(numbers, y_1=3.0)
    assert numbers.compute(7, 1.0, 3.0, 1.2).numbers["v"][0, 2] == -2.5
    assert numbers.compute(7, 2.0, 3.0, 1.2).numbers["score"][0] == 2
    follow(numbers, step=9, x_q=0.0, eta=1.2)
    assert all("prediction 0.4. " in follow(numbers, y_1=y_1) for y_1 in (-3.0, 0.0, 2.0, 3.0))
    assert numbers.compute(9, 0.0, 3.0, 1.2).numbers["q"][0].tolist() == [0, 1, 0]
    assert "prediction 0.5. " in follow(numbers, x_q=1.0, y_1=2.0, eta=0.0)
    left = {eta: numbers.compute(9, 1.0, 2.0, eta).origins["y_attn"].flatten().tolist() for eta in (0.0, 1.2)}
    assert left == {1.2: [True] * 5, 0.0: [False, False, True, True, True]}  # no inputs, no labels


def test_the_two_roads_of_the_picture_are_the_first_item(widget):
    roads, numbers = widget("on_both_roads"), widget("follow_widget").compute(9, 1.0, 2.0, 1.2).numbers
    assert all(torch.equal(roads[name], numbers[name]) for name in numbers)
