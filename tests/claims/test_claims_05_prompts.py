"""Claims D3, D10 and E8 on other prompts, few prompts, few tasks and more heads than one."""

import pytest
import torch
from sampling import all_contexts

from helpers import constructions, learners, metrics, tasks, training
from helpers.attention import Layer
from helpers.models.stacks import LinearTransformer
from helpers.theory import closed_forms, population, whole_layers

N = d_x = 10
UNIFORM = {"inputs": "uniform"}
ETA = closed_forms.best_step(N, d_x, **UNIFORM)
BEST = closed_forms.gd_excess(ETA, N, d_x, **UNIFORM) / 2


# --- D3, D10, E8: other prompts -------------------------------------------------------------------------------


def test_off_the_training_scale_the_step_fails_along_a_known_polynomial():
    """D3: alpha = .5, 1, 1.5, 2."""
    values = []
    for alpha in (0.5, 1, 1.5, 2):
        s2 = alpha**2 / 12
        values.append(d_x * s2 / 2 * (1 - 2 * ETA * s2 + (ETA * s2) ** 2 * (N + d_x - 0.2) / N))
        prompt = tasks.linear_regression(40_000, N, d_x, inputs="uniform", seed=6)
        x, y, x_query = alpha * prompt.x, alpha * prompt.y, alpha * prompt.x_query
        errors = (learners.gd(x, y, x_query, ETA) - alpha * prompt.y_query).square() / 2
        assert abs(errors.mean() - values[-1]) < 4 * errors.std() / len(errors) ** 0.5
    assert values == pytest.approx([0.0812, 0.2062, 1.204, 8.40], rel=2e-3)


def moments_of(prompt):
    z = torch.cat([prompt.x, prompt.y], dim=-1)
    return z.mT @ z


def test_a_layer_sees_a_context_through_its_moments_only():
    """The short cut of `linear_runs.on_fixed_prompts`."""
    prompt, model = tasks.linear_regression(20, N, d_x, inputs="uniform", seed=5), LinearTransformer(d_x, seed=1)
    read, key_query = population.products(model.layers()[0])
    y_hat = -((moments_of(prompt) @ read) * (prompt.x_query @ key_query[:, :d_x].T)).sum(1)
    assert metrics.max_gap(y_hat[:, None], model(*prompt.shown)) < 1e-12


def test_several_heads_are_no_better_than_the_best_step():
    """Averages that are exact: all contexts and tasks of a quadrature, d_x = N = 2, two heads near and far."""
    x, weights = all_contexts(2, 2, "gaussian")
    w, w_weights = whole_layers.gaussian_tasks(torch.zeros(2).double())
    best = closed_forms.gd_excess(closed_forms.best_step(2, 2), 2, 2)

    def excess(heads):
        total = 0.0
        for task, share in zip(w, w_weights, strict=True):
            z = torch.cat([x, (x @ task)[..., None]], dim=-1)
            S = z.mT @ z
            implied = -sum((S @ (L.P @ L.W_V)[-1]) @ (L.W_K.T @ L.W_Q)[:, :2] for L in heads)
            total += share * (weights * (implied - task).square().sum(1)).sum()
        return total.item()

    step = constructions.gd_step(closed_forms.best_step(2, 2), 2, 2)
    assert excess([step]) == pytest.approx(best, rel=1e-10)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.1, 0.5):
        for _ in range(15):
            half, other = (step._replace(P=step.P / 2) for _ in range(2))
            heads = [
                Layer(*(W + scale * torch.randn(W.shape, generator=generator, dtype=W.dtype) for W in L))
                for L in (half, other)
            ]
            assert excess(heads) > best
    assert excess([constructions.gd_step(1.1 * closed_forms.best_step(2, 2), 2, 2)]) > best


def test_rademacher_inputs_in_two_dimensions_are_slow_and_not_caught():
    law = {"N": N, "d_x": 2, "inputs": "rademacher"}
    low, zero = (closed_forms.gd_excess(eta, **law) / 2 for eta in (closed_forms.best_step(**law), 0.0))
    soon, late = ((population.train(**law, steps=n).losses[-1] - low) / (zero - low) for n in (300, 5000))
    assert soon > 0.01 > 0.002 > late


@pytest.mark.parametrize("seed", range(3))
def test_few_fixed_prompts_are_learned_by_heart(seed):
    losses = []
    for M in (128, 2048):
        prompt = tasks.linear_regression(M, N, d_x, inputs="uniform", seed=100 + seed)
        model = LinearTransformer(d_x, scale=0.1, seed=seed)

        def loss(_, prompt=prompt, model=model):
            return (model(*prompt.shown) - prompt.y_query).square().mean() / 2

        run = training.fit(model, loss, torch.optim.Adam(model.parameters(), 0.02), 250, seed=seed)
        losses.append((run.losses[-1].item(), population.half_loss(model.layers()[0], N, **UNIFORM).item()))
    (small_old, small_new), (large_old, large_new) = losses
    assert small_old < 0.05 < 0.15 < large_old and small_new > 1 > 0.25 > large_new > BEST
