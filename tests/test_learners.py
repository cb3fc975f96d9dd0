"""Gradient descent, against automatic differentiation of the loss as written and against closed forms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import learners, tasks


def by_autograd(x, y, x_query, etas, W_0):
    """One task at a time, W <- W - eta grad L(W), with L(W) = 1/(2N) sum_i |W x_i - y_i|^2 as written."""
    answers = []
    for b in range(len(x)):
        W = W_0.clone()
        for eta in etas:
            W = W.detach().requires_grad_()
            loss = sum(((W @ x_i - y_i) ** 2).sum() for x_i, y_i in zip(x[b], y[b], strict=True)) / (2 * len(x[b]))
            loss.backward()
            W = W - eta * W.grad
        answers.append(W.detach() @ x_query[b])
    return torch.stack(answers)


@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 4),
    etas=st.lists(st.floats(-0.5, 1.0), min_size=0, max_size=4),
    start=st.booleans(),
    seed=st.integers(0, 999),
)
def test_gd_follows_the_gradient_of_the_loss(sizes, etas, start, seed):
    B, N, d_x, d_y = sizes
    p = tasks.linear_regression(B, N, d_x, d_y, noise=0.3, seed=seed)
    W_0 = torch.full((d_y, d_x), 0.5 if start else 0.0, dtype=torch.float64)
    y_hat = learners.gd(*p.shown, eta=etas or 1.0, steps=len(etas), W_0=W_0 if start else None)
    expected = by_autograd(*p.shown, etas, W_0)
    assert torch.allclose(y_hat, expected, rtol=1e-12, atol=1e-12)


def test_a_step_size_off_by_ten_percent_is_noticed():
    p = tasks.linear_regression(B=4, N=9, d_x=5)
    expected = by_autograd(*p.shown, [0.5, 0.5], torch.zeros(1, 5).double())
    assert (learners.gd(*p.shown, eta=0.55, steps=2) - expected).abs().max() > 1e-3


def test_no_step_is_the_starting_point():
    p = tasks.linear_regression(B=4, N=9, d_x=5)
    W_0 = torch.ones(1, 5).double()
    assert torch.equal(learners.gd(*p.shown, eta=0.5, steps=0), torch.zeros(4, 1).double())
    assert torch.allclose(learners.gd(*p.shown, eta=0.5, steps=0, W_0=W_0), p.x_query @ W_0.T, rtol=0, atol=1e-12)


def test_the_path_holds_what_each_number_of_steps_predicts():
    p, W_0 = tasks.linear_regression(B=4, N=9, d_x=5), torch.ones(1, 5).double()
    path = learners.gd_path(*p.shown, eta=[0.5, 0.2, 0.1], steps=3, W_0=W_0)
    assert len(path) == 4
    for steps, y_hat in enumerate(path):
        assert torch.equal(y_hat, learners.gd(*p.shown, eta=[0.5, 0.2, 0.1][:steps] or 1.0, steps=steps, W_0=W_0))


def test_the_gradient_flows_through_the_step_size():
    p, eta = tasks.linear_regression(B=4, N=9, d_x=5), torch.tensor(0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(learners.gd(*p.shown, eta, steps=2).sum(), eta)
    near = [learners.gd(*p.shown, 0.3 + d, steps=2).sum() for d in (-1e-5, 1e-5)]
    assert torch.isclose(slope.double(), (near[1] - near[0]) / 2e-5, rtol=1e-4)


def test_many_small_steps_reach_least_squares():
    p = tasks.linear_regression(B=8, N=30, d_x=3, noise=0.5)
    least_squares = (p.x_query[:, None] @ torch.linalg.lstsq(p.x, p.y).solution)[:, 0]
    assert torch.allclose(learners.gd(*p.shown, eta=0.3, steps=2000), least_squares, rtol=0, atol=1e-9)
    assert not torch.allclose(learners.gd(*p.shown, eta=0.3, steps=2), least_squares, rtol=0, atol=1e-2)


def test_too_large_a_step_diverges_without_complaint():
    p = tasks.linear_regression(B=8, N=30, d_x=3)
    errors = [(learners.gd(*p.shown, eta=4.0, steps=k) - p.y_query).abs().max() for k in (1, 5, 9, 900)]
    assert errors[0] < errors[1] < errors[2] and not errors[3].isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_has_the_prompts_dtype(dtype):
    assert learners.gd(*tasks.linear_regression(B=2, N=3, d_x=2).to(dtype).shown, eta=0.1).dtype == dtype


# --- GD++ -----------------------------------------------------------------------------------------------------


def gd_pp_by_loop(x, y, x_query, etas, gammas):
    """One task, one token at a time: the label slot of the query starts at 0 and holds minus the prediction."""
    tokens = [(a.clone(), b.clone()) for a, b in zip(x, y, strict=True)]
    query = (x_query.clone(), torch.zeros_like(y[0]))
    for eta, gamma in zip(etas, gammas, strict=True):

        def moved(token, before=tuple(tokens), eta=eta, gamma=gamma):
            dots = [a @ token[0] for a, _ in before]
            new_x = token[0] - gamma * sum(dot * a for dot, (a, _) in zip(dots, before, strict=True))
            return new_x, token[1] - eta / len(x) * sum(dot * b for dot, (_, b) in zip(dots, before, strict=True))

        tokens, query = [moved(token) for token in tokens], moved(query)
    return -query[1]


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    steps=st.lists(st.tuples(st.floats(-0.3, 0.6), st.floats(-0.02, 0.05)), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_gd_pp_moves_inputs_and_labels_as_written(sizes, steps, seed):
    p, (etas, gammas) = tasks.linear_regression(*sizes, noise=0.3, seed=seed), map(list, zip(*steps, strict=True))
    expected = torch.stack([gd_pp_by_loop(*task, etas, gammas) for task in zip(*p.shown, strict=True)])
    y_hat = learners.gd_pp(*p.shown, eta=etas, gamma=gammas, steps=len(steps))
    assert torch.allclose(y_hat, expected, rtol=1e-11, atol=1e-11)


def test_gd_pp_without_gamma_is_gd_and_with_another_gamma_is_not_the_same():
    p = tasks.linear_regression(B=4, N=9, d_x=5)
    plain = learners.gd(*p.shown, eta=0.4, steps=3)
    assert torch.allclose(learners.gd_pp(*p.shown, eta=0.4, gamma=0.0, steps=3), plain, rtol=0, atol=1e-12)
    curved, more = (learners.gd_pp(*p.shown, eta=0.4, gamma=gamma, steps=3) for gamma in (0.02, 0.022))
    assert (curved - plain).abs().max() > 1e-2 and (curved - more).abs().max() > 1e-3


# --- Newton, ridge, least squares -----------------------------------------------------------------------------


@pytest.mark.parametrize("N", [3, 30])
def test_newton_squares_its_residual_each_round(N):
    p = tasks.linear_regression(B=4, N=N, d_x=5)
    S = p.x.mT @ p.x
    a = 1.98 / torch.linalg.eigvalsh(S)[:, -1:, None] ** 2
    least_squares = learners.least_squares_weights(p.x, p.y)
    for k in range(6):
        residual = torch.linalg.matrix_power(torch.eye(5).double() - a * S @ S, 2**k)
        assert torch.allclose(
            learners.newton_weights(p.x, p.y, k), least_squares - least_squares @ residual, atol=1e-11
        )
    off = torch.linalg.matrix_power(torch.eye(5).double() - 1.1 * a * S @ S, 4)
    assert not torch.allclose(learners.newton_weights(p.x, p.y, 2), least_squares - least_squares @ off, atol=1e-3)


def test_newton_arrives_at_least_squares():
    p = tasks.linear_regression(B=8, N=30, d_x=5, noise=0.3)
    assert torch.allclose(learners.newton(*p.shown, 20), learners.least_squares(*p.shown), rtol=0, atol=1e-10)


def test_ridge_has_no_slope_left_in_its_loss():
    p = tasks.linear_regression(B=5, N=7, d_x=4, d_y=2, noise=0.5)
    W = learners.ridge_weights(p.x, p.y, lam=0.6).requires_grad_()
    loss = (p.x @ W.mT - p.y).square().sum() + 0.6 * W.square().sum()
    (slope,) = torch.autograd.grad(loss, W)
    assert slope.abs().max() < 1e-11
    W = learners.ridge_weights(p.x, p.y, lam=0.66).requires_grad_()
    (slope,) = torch.autograd.grad((p.x @ W.mT - p.y).square().sum() + 0.6 * W.square().sum(), W)
    assert slope.abs().max() > 1e-2


def test_least_squares_is_the_limit_of_ridge_also_where_many_fit():
    for N in (3, 9):
        p = tasks.linear_regression(B=5, N=N, d_x=5)
        W = learners.least_squares_weights(p.x, p.y)
        assert torch.allclose(W, learners.ridge_weights(p.x, p.y, lam=1e-9), rtol=0, atol=1e-6)
        assert torch.allclose(p.x @ W.mT, p.y, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "learner",
    [
        lambda *p: learners.gd_pp(*p, eta=0.3, gamma=0.01, steps=2),
        lambda *p: learners.newton(*p, steps=3),
        lambda *p: learners.ridge(*p, lam=0.5),
        learners.least_squares,
    ],
    ids=["gd_pp", "newton", "ridge", "least squares"],
)
def test_every_learner_keeps_dtype_and_turns_with_the_inputs(learner):
    p = tasks.linear_regression(B=3, N=6, d_x=4, d_y=2, noise=0.2)
    R = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    assert torch.allclose(learner(p.x @ R, p.y, p.x_query @ R), learner(*p.shown), rtol=0, atol=1e-10)
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(learner(p.x[:, shuffled], p.y[:, shuffled], p.x_query), learner(*p.shown), rtol=0, atol=1e-10)
    assert learner(*p.to(torch.float32).shown).dtype == torch.float32


# --- one pair at a time ---------------------------------------------------------------------------------------


def test_online_gd_takes_each_pair_s_own_gradient_in_turn():
    p = tasks.linear_regression(B=3, N=6, d_x=4, d_y=2, noise=0.5, seed=3)
    for eta, exact in ((0.1, True), (0.11, False)):
        answers = []
        for x, y, x_query in zip(*p.shown, strict=True):
            W = torch.zeros(2, 4, dtype=torch.float64)
            for x_i, y_i in zip(x, y, strict=True):
                grad = torch.func.grad(lambda W, x_i=x_i, y_i=y_i: (W @ x_i - y_i).square().sum() / 2)
                W = W - 0.1 * grad(W)
            answers.append(W @ x_query)
        off = (learners.online_gd(*p.shown, eta) - torch.stack(answers)).abs().max()
        assert (off < 1e-12) if exact else (off > 1e-3)


def test_online_gd_depends_on_the_order_and_full_batch_gd_does_not():
    p = tasks.linear_regression(B=8, N=6, d_x=4, seed=3)
    other = p._replace(x=p.x.flip(1), y=p.y.flip(1))
    assert (learners.online_gd(*p.shown, 0.1) - learners.online_gd(*other.shown, 0.1)).abs().max() > 1e-2
    assert (learners.gd(*p.shown, 0.6) - learners.gd(*other.shown, 0.6)).abs().max() < 1e-12


def test_with_one_pair_online_gd_is_gd():
    p = tasks.linear_regression(B=8, N=1, d_x=4, seed=3)
    assert torch.allclose(learners.online_gd(*p.shown, 0.3), learners.gd(*p.shown, 0.3), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="eta: expected one finite number, got nan"):
        learners.online_gd(*p.shown, eta=float("nan"))
    with pytest.raises(ValueError, match="y: expected .*differs in N"):
        learners.online_gd(p.x, p.y.repeat(1, 2, 1), p.x_query, eta=0.1)
