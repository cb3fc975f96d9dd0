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
    y_hat = learners.gd(*p[:3], eta=etas or 1.0, steps=len(etas), W_0=W_0 if start else None)
    expected = by_autograd(*p[:3], etas, W_0)
    assert torch.allclose(y_hat, expected, rtol=1e-12, atol=1e-12)


def test_a_step_size_off_by_ten_percent_is_noticed():
    p = tasks.linear_regression(B=4, N=9, d_x=5)
    expected = by_autograd(*p[:3], [0.5, 0.5], torch.zeros(1, 5).double())
    assert (learners.gd(*p[:3], eta=0.55, steps=2) - expected).abs().max() > 1e-3


def test_no_step_is_the_starting_point():
    p = tasks.linear_regression(B=4, N=9, d_x=5)
    W_0 = torch.ones(1, 5).double()
    assert torch.equal(learners.gd(*p[:3], eta=0.5, steps=0), torch.zeros(4, 1).double())
    assert torch.allclose(learners.gd(*p[:3], eta=0.5, steps=0, W_0=W_0), p.x_query @ W_0.T, rtol=0, atol=1e-12)


def test_the_path_holds_what_each_number_of_steps_predicts():
    p, W_0 = tasks.linear_regression(B=4, N=9, d_x=5), torch.ones(1, 5).double()
    path = learners.gd_path(*p[:3], eta=[0.5, 0.2, 0.1], steps=3, W_0=W_0)
    assert len(path) == 4
    for steps, y_hat in enumerate(path):
        assert torch.equal(y_hat, learners.gd(*p[:3], eta=[0.5, 0.2, 0.1][:steps] or 1.0, steps=steps, W_0=W_0))


def test_the_gradient_flows_through_the_step_size():
    p, eta = tasks.linear_regression(B=4, N=9, d_x=5), torch.tensor(0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(learners.gd(*p[:3], eta, steps=2).sum(), eta)
    near = [learners.gd(*p[:3], 0.3 + d, steps=2).sum() for d in (-1e-5, 1e-5)]
    assert torch.isclose(slope.double(), (near[1] - near[0]) / 2e-5, rtol=1e-4)


def test_many_small_steps_reach_least_squares():
    p = tasks.linear_regression(B=8, N=30, d_x=3, noise=0.5)
    least_squares = (p.x_query[:, None] @ torch.linalg.lstsq(p.x, p.y).solution)[:, 0]
    assert torch.allclose(learners.gd(*p[:3], eta=0.3, steps=2000), least_squares, rtol=0, atol=1e-9)
    assert not torch.allclose(learners.gd(*p[:3], eta=0.3, steps=2), least_squares, rtol=0, atol=1e-2)


def test_too_large_a_step_diverges_without_complaint():
    p = tasks.linear_regression(B=8, N=30, d_x=3)
    errors = [(learners.gd(*p[:3], eta=4.0, steps=k) - p.y_query).abs().max() for k in (1, 5, 9, 900)]
    assert errors[0] < errors[1] < errors[2] and not errors[3].isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_has_the_prompts_dtype(dtype):
    assert learners.gd(*tasks.linear_regression(B=2, N=3, d_x=2).to(dtype)[:3], eta=0.1).dtype == dtype
