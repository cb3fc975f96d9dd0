"""Claims H1 and H6: attention on deep features is a gradient step on them; the models, the task, the checkpoints."""

import math

import pytest
import torch

from helpers import attention, checks, constructions, learners, metrics, tasks
from helpers.models import features
from helpers.models.features import AttentionLearner, Features, GradientLearner
from helpers.trained import sine_runs

EXACT = 1e-12
WRONG = 1e-3


def double(model, scale=0.3, seed=7):
    """In float64, with parameters that are all away from where they start."""
    g = torch.Generator().manual_seed(seed)
    model = model.double().requires_grad_(False)
    for W in model.parameters():
        W += scale * torch.randn(W.shape, generator=g, dtype=torch.float64)
    return model


def prompts(B=6, N=10, seed=3):
    return features.sines(B, N, seed=seed)[0]


def mapped(prompt, m):
    return tasks.Prompt(m(prompt.x), prompt.y, m(prompt.x_query))


# --- H1 -------------------------------------------------------------------------------------------------------


def by_autograd(model, prompt, eta):
    answers = []
    for x, y, x_query in zip(*prompt.shown, strict=True):
        m = model.features(x)
        gradient = torch.func.grad(lambda W, m=m, y=y: (m @ W.T - y).square().sum() / (2 * len(m)))(model.W_0)
        answers.append((model.W_0 - eta * gradient) @ model.features(x_query))
    return torch.stack(answers)


def test_mlp_and_attention_are_one_gradient_step_on_deep_features():
    model, prompt = double(GradientLearner(Features(12, 20), eta=0.02)), prompts()
    oracle = by_autograd(model, prompt, 0.02)
    assert metrics.max_gap(model(*prompt.shown), oracle) <= EXACT * oracle.abs().max()

    def attend(m, eta):
        layer = constructions.gd_step(eta, N=10, d_x=12, W_0=model.W_0)
        return constructions.learner([layer], model.W_0)(*mapped(prompt, m).shown)

    assert metrics.max_gap(attend(model.features, 0.02), oracle) <= EXACT * oracle.abs().max()
    assert metrics.max_gap(attend(model.features, 0.022), oracle) > WRONG  # the twins
    assert metrics.max_gap(attend(Features(12, 20, seed=1).double(), 0.02), oracle) > WRONG
    z = tasks.tokens(mapped(prompt, model.features), model.W_0)
    layer = constructions.gd_step(0.02, N=10, d_x=12, W_0=model.W_0)
    assert metrics.max_gap(tasks.read(attention.softmax(z, layer)), oracle) > WRONG
    assert metrics.max_gap(tasks.read(attention.linear(z, layer, include_query=True)), oracle) > WRONG


def test_from_zero_it_is_a_smoother_with_the_features_kernel():
    model, prompt = double(GradientLearner(Features(12, 20), eta=0.5)), prompts()
    model.W_0.zero_()
    m, m_q = model.features(prompt.x), model.features(prompt.x_query)
    smoothed = 0.5 / 10 * ((m @ m_q[..., None]) * prompt.y).sum(1)
    assert metrics.max_gap(model(*prompt.shown), smoothed) <= EXACT * smoothed.abs().max()
    assert metrics.max_gap(model(*prompt.shown), 10 / 0.5 * smoothed) > WRONG  # eta/N dropped: erratum P3


# --- the attention model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [1, 10, 17])
def test_the_models_short_form_is_its_layer(N):
    model, prompt = double(AttentionLearner(Features(12, 20)), scale=0.1), prompts(N=N)
    z = tasks.tokens(mapped(prompt, model.features), model.W_0)
    by_layer = tasks.read(attention.linear(z, model.layer(N)))
    tolerance = EXACT * max(1.0, by_layer.abs().max().item())
    assert metrics.max_gap(model(*prompt.shown), by_layer) <= tolerance
    for twin in (
        tasks.read(attention.linear(z, model.layer(N + 1))),
        tasks.read(attention.linear(z, model.layer(N), include_query=True)),
        tasks.read(attention.linear(tasks.tokens(mapped(prompt, model.features)), model.layer(N))),
    ):
        assert metrics.max_gap(twin, by_layer) > WRONG


def test_it_contains_the_gradient_step_and_starts_at_the_opposite():
    prompt, gradient = prompts(), double(GradientLearner(Features(12, 20), eta=0.3))
    model = AttentionLearner(gradient.features).double().requires_grad_(False)
    start = GradientLearner(gradient.features, eta=-1.0).double()  # the identity: a step of ascent, from W_0 = 0
    y_start = start(*prompt.shown)
    assert metrics.max_gap(model(*prompt.shown), y_start) <= EXACT * y_start.abs().max()
    model.W_0.copy_(gradient.W_0)
    step = constructions.gd_step(0.3, N=1, d_x=12, W_0=gradient.W_0)  # 1/N is in the model's P
    model.A.copy_(step.W_K.T @ step.W_Q)
    model.R.copy_((step.P @ step.W_V)[-1:])
    y_gd = gradient(*prompt.shown)
    assert metrics.max_gap(model(*prompt.shown), y_gd) <= EXACT * y_gd.abs().max()
    model.R *= 1.1
    assert metrics.max_gap(model(*prompt.shown), y_gd) > WRONG


@pytest.mark.parametrize("kind", sine_runs.KINDS)
def test_curves_are_the_predictions_at_all_points(kind):
    model, prompt = double(sine_runs.untrained(kind), scale=0.05), prompts()
    before, after = model.curves(prompt.x, prompt.y, prompt.x_query)
    y_hat = model(*prompt.shown)
    assert metrics.max_gap(after[torch.arange(6), torch.arange(6)], y_hat) <= EXACT * after.abs().max()
    assert metrics.max_gap(before, model.features(prompt.x_query) @ model.W_0.T) <= EXACT


@pytest.mark.parametrize("kind", sine_runs.KINDS)
def test_the_order_of_the_context_does_not_matter_and_the_labels_do(kind):
    model, prompt = double(sine_runs.untrained(kind), scale=0.05), prompts()
    y_hat = model(*prompt.shown)
    turned = model(prompt.x.flip(1), prompt.y.flip(1), prompt.x_query)
    assert metrics.max_gap(turned, y_hat) <= EXACT * max(1.0, y_hat.abs().max().item())
    assert metrics.max_gap(model(prompt.x, prompt.y.flip(1), prompt.x_query), y_hat) > WRONG


# --- the task -------------------------------------------------------------------------------------------------


def test_sines_are_sines_with_independent_amplitude_and_phase():
    B = 20_000
    prompt, amplitude, phase = features.sines(B, 3, seed=1)
    assert torch.equal(prompt.y, amplitude[:, None] * torch.sin(prompt.x + phase[:, None]))
    assert torch.equal(prompt.y_query, amplitude * torch.sin(prompt.x_query + phase))
    assert prompt.x.abs().max() <= 5 and abs(prompt.x.var() - 100 / 12) < 4 * 100 / 12 / B**0.5
    for value, low, high in [(amplitude, 0.1, 0.5), (phase, 0, math.pi)]:
        assert value.min() >= low and value.max() <= high
        assert abs(value.mean() - (low + high) / 2) < 4 * (high - low) / (12 * B) ** 0.5
    correlation = torch.corrcoef(torch.cat([amplitude, phase], 1).T)[0, 1]
    assert abs(correlation) < 4 / B**0.5
    one_key = 0.1 + 0.4 * phase / math.pi  # erratum P2: what one key for both would make
    assert torch.corrcoef(torch.cat([one_key, phase], 1).T)[0, 1] > 0.999


def test_every_sine_is_linear_in_sine_and_cosine():
    prompt, amplitude, phase = features.sines(50, 6, seed=2)
    both = mapped(prompt, lambda x: torch.cat([x.sin(), x.cos()], -1))
    assert metrics.max_gap(learners.least_squares(*both.shown), prompt.y_query) < 1e-9
    W = learners.least_squares_weights(both.x, both.y)
    assert torch.allclose(W[:, 0], torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], 1), atol=1e-9)


def test_the_same_seed_gives_the_same_tasks_and_the_same_loss():
    a, b = (features.sines(4, 5, seed=9)[0] for _ in range(2))
    assert all(torch.equal(u, v) for u, v in zip(a[:4], b[:4], strict=True))
    model = sine_runs.untrained("attention")
    losses = [features.loss(model, seed).item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_is_half_the_mean_squared_error_of_single_predictions():
    model = double(sine_runs.untrained("gradient"), scale=0.02)
    prompt, amplitude, phase = features.sines(5, 10, seed=4)
    x_query = features.sines(7, 1, seed=4 + 2**32)[0].x_query
    errors = [model(*prompt[:2], q.expand(5, 1)) - amplitude * torch.sin(q + phase) for q in x_query]
    by_hand = torch.stack(errors).square().mean() / 2
    assert torch.isclose(features.loss(model, 4, B=5, queries=7), by_hand, rtol=1e-10)


# --- the checkpoints ------------------------------------------------------------------------------------------


def held_out(model):
    with torch.no_grad():
        return features.loss(model, seed=777, B=4096, queries=128).item()


@pytest.mark.parametrize("seed", sine_runs.SEEDS)
def test_trained_attention_and_the_meta_learned_step_are_within_ten_percent(seed):
    """H6; the twin is the same model with its context taken away, or its labels in a wrong order."""
    losses = {kind: held_out(trained.model) for kind, trained in sine_runs.load(seed).items()}
    assert 0.9 < losses["attention"] / losses["gradient"] < 1.1
    assert all(loss < 0.002 for loss in losses.values())
    prompt = features.sines(512, 10, seed=5, dtype=torch.float32)[0]
    for trained in sine_runs.load(seed).values():
        error = lambda y, model=trained.model: (  # noqa: E731
            (model(prompt.x, y, prompt.x_query) - prompt.y_query).square().mean().item()
        )
        assert error(prompt.y) < 0.1 * error(prompt.y.roll(1, dims=0))


def test_trained_models_are_far_better_than_where_they_start():
    trained = sine_runs.load(0)
    for kind in sine_runs.KINDS:
        assert held_out(trained[kind].model) < 0.05 * held_out(sine_runs.untrained(kind))
        losses = trained[kind].losses
        assert len(losses) == sine_runs.ITERATIONS // sine_runs.EVERY and losses[-1] < losses[5] < losses[0]


def test_the_file_is_small_and_plain():
    assert sine_runs.FILE.stat().st_size < 1_000_000
    saved = torch.load(sine_runs.FILE, weights_only=True)
    for name, part in saved.items():
        checks.finite(**({name: part} if name.endswith("losses") else part))
    assert set(saved) == {
        f"{kind} {seed}{what}" for kind in sine_runs.KINDS for seed in sine_runs.SEEDS for what in ("", " losses")
    }


def test_a_short_training_goes_down_and_is_repeatable():
    losses = []
    for _ in range(2):
        model = sine_runs.untrained("attention")
        losses.append(sine_runs.train(model, 12, seed=3).losses)
    assert torch.equal(*losses) and losses[0][-4:].mean() < losses[0][:4].mean()


def test_bad_input():
    with pytest.raises(ValueError, match="kind: expected one of gradient, attention, got 'gd'"):
        sine_runs.untrained("gd")
    with pytest.raises(ValueError, match=r"seed: expected one of \(0, 1, 2\), got 3"):
        sine_runs.load(3)
    with pytest.raises(ValueError, match="N: expected a whole number of at least 1, got 0"):
        features.sines(3, 0)
    with pytest.raises(ValueError, match="x_query: expected .* it differs in d_x"):
        sine_runs.untrained("gradient")(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), torch.zeros(2, 2))
