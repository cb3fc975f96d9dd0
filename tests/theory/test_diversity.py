"""Two learners that were made for a list of tasks, on tasks that are not on it."""

import pytest
import torch

from helpers import constructions, learners, tasks
from helpers.theory import bayes, closed_forms, diversity, whole_layers


def test_the_errors_are_those_of_dmmse_prompt_by_prompt():
    p, W = tasks.linear_regression(B=6, N=7, d_x=3, noise=0.5, seed=1), bayes.draw_list(9, 3)
    one_by_one = [bayes.dmmse(p.x[[b]], p.y[[b]], p.x_query[[b]], W, 0.5) - p.y_query[b] for b in range(6)]
    assert torch.allclose(diversity.listed_errors(p, W, 0.5), torch.cat(one_by_one)[:, 0] ** 2, rtol=0, atol=1e-12)


def test_the_excess_of_the_layer_is_that_of_a_layer_on_drawn_prompts():
    W, N = bayes.draw_list(8, 4, seed=2), 8
    best = constructions.learner([whole_layers.best_layer(W, N, noise=0.5)])
    p = tasks.linear_regression(B=100_000, N=N, d_x=4, noise=0.5, seed=3)
    errors = (best(*p.shown) - p.y_query).square()
    assert abs(errors.mean() - diversity.layer_excess(W, N, 0.5)) < 4 * errors.std() / 100_000**0.5
    assert abs(errors.mean() - diversity.layer_excess(W, N, 1.0)) > 8 * errors.std() / 100_000**0.5


@pytest.mark.parametrize("seed", [30, 31, 32])
def test_on_new_tasks_the_list_needs_thousands_and_the_layer_a_few_times_d(seed):
    p = tasks.linear_regression(B=300, N=16, d_x=8, noise=0.5, seed=seed)
    stored = torch.randn(2048, 8, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)
    ridge = (learners.ridge(*p.shown, lam=0.25) - p.y_query).square().mean()
    listed = {M: diversity.listed_errors(p, stored[:M], 0.5).mean() / 8 for M in (1, 64, 2048)}
    layer = {M: diversity.layer_excess(stored[:M], 16, 0.5) / 8 for M in (16, 64, 2048)}
    ideal = closed_forms.gd_excess(closed_forms.best_step(16, 8, noise=0.5), 16, 8, noise=0.5) / 8
    assert listed[1] > 1.3 and listed[1] > listed[64] > listed[2048] > 5 * ridge / 8
    assert layer[16] > 1.15 * ideal and layer[64] < 1.08 * ideal and layer[2048] < 1.01 * ideal
    assert listed[64] > layer[64]


def test_the_layer_for_a_list_is_better_on_the_list_than_the_preconditioned_step_and_worse_off_it():
    W, eye = bayes.draw_list(64, 8, seed=3), torch.eye(8, dtype=torch.float64)
    A = closed_forms.preconditioner(eye, 16, noise=0.5, prior=W.mT @ W / 64)
    step, best = whole_layers.preconditioned_step(A, 16), whole_layers.best_layer(W, 16, noise=0.5)
    on_the_list = [whole_layers.excess(layer, W, 16, noise=0.5).item() for layer in (best, step)]
    assert on_the_list[0] < 0.995 * on_the_list[1]
    assert diversity.layer_excess(W, 16, 0.5) > closed_forms.preconditioned_excess(A, eye, 16, noise=0.5)


@pytest.mark.parametrize("M", [1, 4])
def test_no_layer_is_the_best_for_as_many_tasks_as_coordinates(M):
    with pytest.raises(ValueError, match="not unique"):
        diversity.layer_excess(bayes.draw_list(M, 4), 8, 0.5)
