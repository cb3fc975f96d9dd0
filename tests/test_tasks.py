"""Prompts are drawn as described, laid out as tokens and read back."""

import pytest
import torch

from helpers import tasks

MOMENTS = {"gaussian": (1.0, 3.0), "uniform": (1 / 12, 9 / 5), "rademacher": (1.0, 1.0)}  # variance, kurtosis


@pytest.mark.parametrize("inputs", MOMENTS)
def test_inputs_have_the_moments_of_their_law(inputs):
    x = tasks.linear_regression(B=400, N=50, d_x=10, inputs=inputs).x
    variance, kurtosis = MOMENTS[inputs]
    assert tasks.MOMENTS[inputs] == pytest.approx((variance, kurtosis), rel=1e-15)
    n = x.numel()
    assert abs(x.mean()) < 4 * (variance / n) ** 0.5
    spread = ((kurtosis - 1) / n) ** 0.5 + 1e-12  # standard error of the variance, relative
    assert abs(x.var() / variance - 1) < 4 * spread + 2 / n
    assert abs((x**4).mean() / variance**2 - kurtosis) < 4 * 10 * (1 / n) ** 0.5


@pytest.mark.parametrize("inputs", MOMENTS)
def test_tasks_noise_and_queries_have_laws_of_their_own_whatever_the_inputs(inputs):
    p = tasks.linear_regression(B=4000, N=1, d_x=3, d_y=2, noise=1.0, inputs=inputs)
    noise = (p.y - p.x @ p.W.mT)[:, 0]  # (B, d_y)
    n = p.W.numel()
    for normal in (p.W, noise):
        assert abs(normal.var() - 1) < 4 * (2 / normal.numel()) ** 0.5
        assert abs((normal**4).mean() - 3) < 4 * (96 / normal.numel()) ** 0.5
    variance, kurtosis = MOMENTS[inputs]
    assert abs((p.x_query**2).mean() / variance - 1) < 4 * ((kurtosis - 1) / n) ** 0.5 + 1e-12
    assert abs((p.x_query**4).mean() / variance**2 - kurtosis) < 4 * 10 / n**0.5
    columns = torch.cat([p.W.flatten(1), noise, p.x_query, p.x[:, 0]], dim=1).T
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 5 / 4000**0.5


def test_labels_follow_the_task_and_noise_has_its_size():
    clean, noisy = (tasks.linear_regression(B=200, N=50, d_x=3, d_y=2, noise=noise) for noise in (0.0, 0.7))
    assert torch.allclose(clean.y, torch.einsum("bij,bnj->bni", clean.W, clean.x), rtol=0, atol=1e-12)
    assert torch.allclose(clean.y_query, torch.einsum("bij,bj->bi", clean.W, clean.x_query), rtol=0, atol=1e-12)
    noise = noisy.y - clean.y
    assert abs(noise.std() / 0.7 - 1) < 4 / (2 * noise.numel()) ** 0.5
    assert torch.equal(noisy.y_query, clean.y_query)


def test_every_quantity_has_draws_of_its_own():
    p = tasks.linear_regression(B=4000, N=1, d_x=1, noise=1.0)
    noise = (p.y - p.x @ p.W.mT).flatten()
    columns = torch.stack([p.W.flatten(), p.x_query.flatten(), p.x.flatten(), noise])
    off_diagonal = torch.corrcoef(columns) - torch.eye(4)
    assert off_diagonal.abs().max() < 4 / 4000**0.5


def test_the_same_seed_gives_the_same_prompts_and_another_seed_others():
    a, b, c = (tasks.linear_regression(B=2, N=3, d_x=4, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(a.x, b.x) and not torch.equal(a.x, c.x)


def test_tokens_hold_the_pairs_and_minus_the_first_guess():
    p = tasks.linear_regression(B=2, N=3, d_x=4, d_y=2)
    W_0 = torch.arange(8.0, dtype=torch.float64).view(2, 4)
    z = tasks.tokens(p, W_0)
    assert z.shape == (2, 4, 6)
    assert torch.equal(z[1, 2], torch.cat([p.x[1, 2], p.y[1, 2]]))
    assert torch.allclose(z[1, 3], torch.cat([p.x_query[1], -W_0 @ p.x_query[1]]), rtol=0, atol=1e-12)
    assert torch.allclose(tasks.read(z, d_y=2), p.x_query @ W_0.T, rtol=0, atol=1e-12)
    assert torch.equal(tasks.tokens(p)[:, -1, 4:], torch.zeros(2, 2).double())


def test_first_keeps_task_and_query_and_drops_pairs():
    p = tasks.linear_regression(B=2, N=30, d_x=4)
    q = p.first(7)
    assert torch.equal(q.x, p.x[:, :7]) and torch.equal(q.y, p.y[:, :7]) and torch.equal(q.x_query, p.x_query)


def test_to_changes_the_dtype_of_all_that_is_there():
    assert {t.dtype for t in tasks.linear_regression(B=1, N=1, d_x=1).to(torch.float32)} == {torch.float32}
    assert tasks.Prompt(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1)).to(torch.float64).W is None


def test_a_token_without_room_for_an_input_has_no_prediction():
    with pytest.raises(ValueError, match="d_y: expected less than the token's width 2, got 2: no room for x"):
        tasks.read(torch.zeros(1, 2, 2), d_y=2)
