"""What notebook 08 says of its models and figures, besides the identities in test_kernels and test_deep_features."""

import copy

import pytest
import torch
from conftest import ROOT
from scenarios import holds

from helpers import metrics, tasks
from helpers.models import features
from helpers.theory import kernels
from helpers.trained import sine_runs
from helpers.verdicts import notebook_08 as claims

EXACT = 1e-12
WRONG = 1e-3


NOTEBOOK = ROOT / "notebooks" / "08_beyond_straight_lines.ipynb"


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(NOTEBOOK)


def prompts(seed=0, B=4, N=7, d_x=2):
    g = torch.Generator().manual_seed(seed)
    x, y, x_query = (torch.randn(s, generator=g, dtype=torch.float64) for s in [(B, N, d_x), (B, N, 1), (B, d_x)])
    return tasks.Prompt(x, y, x_query)


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_stacked_attention_with_kernel_scores_is_functional_gradient_descent(notebook, steps):
    prompt, layer = prompts(), notebook.namespace["kernel_layer"]

    def stack(kernel=None, eta=0.2, read_query=False):
        kernel, z = kernel or kernels.rbf(0.8), tasks.tokens(prompt)
        for _ in range(steps):
            if read_query:
                again = torch.cat([z, z[:, -1:]], 1)  # the last token is read by nobody: a copy of the query is
                z = layer(again, kernel, eta)[:, :-1]
            else:
                z = layer(z, kernel, eta)
        return tasks.read(z)

    x_query = prompt.x_query[:, None]
    f = kernels.functional_gd(prompt.x, prompt.y, x_query, kernels.rbf(0.8), 0.2, steps)[0][:, 0]
    assert metrics.max_gap(stack(), f) <= EXACT
    assert metrics.max_gap(stack(eta=0.22), f) > WRONG
    assert metrics.max_gap(stack(kernel=kernels.rbf(0.9)), f) > WRONG
    assert metrics.max_gap(stack(kernel=lambda a, b: kernels.rbf(0.8)(a, b).softmax(-1)), f) > WRONG
    assert (metrics.max_gap(stack(read_query=True), f) > WRONG) == (steps > 1)  # its slot is 0 in the first layer


def test_early_stopping_helps_with_noise_and_depth_then_harms(notebook):
    compute = notebook.namespace["depth_widget"].compute

    def error(log_layers, **changed):
        settings = {"bandwidth": 1.0, "step": 0.9, "sigma": 0.5} | changed
        return compute(log_layers, settings["bandwidth"], settings["step"], settings["sigma"]).errors[0]

    assert error(1.0) < 0.6 * error(0.0) and error(1.0) < 0.5 * error(2.7)
    assert error(2.7, sigma=0.0) < error(1.0, sigma=0.0) < error(0.0, sigma=0.0)  # without noise: the more the better
    assert error(2.7, step=2.1) > 1e6 > 1 > error(2.7, step=1.9)


def test_the_late_layers_of_a_wide_kernel_are_out_of_reach(notebook):
    compute = notebook.namespace["depth_widget"].compute
    assert compute(2.7, 3.0, 0.9, 0.0).misfit > 0.1 > 1e-3 > compute(2.0, 0.5, 0.9, 0.0).misfit


# --- the sine task --------------------------------------------------------------------------------------------


def held_out(model):
    with torch.no_grad():
        return features.loss(model, seed=4321, B=8192, queries=128).item()


def hand(eta, W_0=(0.0, 0.6 / torch.pi)):
    model = features.by_hand(eta)
    model.W_0.copy_(torch.tensor([W_0]))
    return model


def test_always_answering_zero_has_the_loss_of_the_closed_form():
    nothing = held_out(hand(eta=0.0, W_0=(0.0, 0.0)))
    exact = (0.5**3 - 0.1**3) / (3 * 0.4) / 4  # E a^2 / 2 * E sin^2, over all phases 1/2
    assert abs(nothing / exact - 1) < 0.03 and round(exact, 3) == 0.026


def test_the_start_by_hand_is_the_mean_task():
    _, amplitude, phase = features.sines(40_000, 1, seed=6)
    coefficients = torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], 1)
    off = coefficients.mean(0) - torch.tensor([0.0, 0.6 / torch.pi])
    assert (off.abs() < 4 * coefficients.std(0) / 200).all()


@pytest.mark.parametrize("seed", sine_runs.SEEDS)
def test_a_trained_gradient_step_does_what_sine_and_cosine_by_hand_do(seed):
    by_hand, pair = held_out(hand(1.75)), sine_runs.load(seed)
    assert abs(held_out(pair["gradient"].model) / by_hand - 1) < 0.05
    assert held_out(hand(1.2)) > 1.2 * by_hand < held_out(hand(2.3))  # other steps are worse
    assert held_out(hand(1.75, W_0=(0.0, 0.0))) > 1.2 * by_hand  # and so is another start


@pytest.mark.parametrize("seed", sine_runs.SEEDS)
def test_both_have_learned_the_kernel_of_sine_and_cosine(seed):
    points = torch.linspace(-5, 5, 101)[:, None]
    right, pair = torch.cos(points - points.T), sine_runs.load(seed)
    m = pair["gradient"].model.features(points)
    layer = pair["attention"].model
    m_layer = layer.features(points)
    score = -layer.R[0, -1] * m_layer @ layer.A[:-1, :-1] @ m_layer.T
    assert metrics.mean_cosine((m @ m.T)[None], right[None]) > 0.98
    assert metrics.mean_cosine(score[None], right[None]) > 0.9
    random = sine_runs.untrained("gradient", seed).features(points).detach()
    assert metrics.mean_cosine((random @ random.T)[None], right[None]) < 0.5


@pytest.mark.parametrize("seed", sine_runs.SEEDS)
def test_the_two_are_wrong_together(seed):
    prompt, amplitude, phase = features.sines(500, 10, seed=31, dtype=torch.float32)
    line = torch.linspace(-5, 5, 101)[:, None]
    truth = amplitude * torch.sin(line.T + phase)
    step, layer = (
        sine_runs.load(seed)[kind].model.curves(prompt.x, prompt.y, line)[1][..., 0] for kind in sine_runs.KINDS
    )
    assert (step - layer).square().mean() < 0.1 * (step - truth).square().mean()
    errors = torch.stack([(step - truth).flatten(), (layer - truth).flatten()])
    assert torch.corrcoef(errors)[0, 1] > 0.9


@pytest.mark.parametrize("seed", sine_runs.SEEDS)
def test_attention_is_ahead_by_its_first_guess(seed):
    pair = sine_runs.load(seed)
    blind = copy.deepcopy(pair["attention"].model)
    blind.A[:-1, -1] = 0
    gradient, attends = held_out(pair["gradient"].model), held_out(pair["attention"].model)
    assert attends < gradient
    assert abs(held_out(blind) / gradient - 1) < 0.04 and held_out(blind) > 1.03 * attends


@pytest.mark.parametrize("kind, is_affine", [("gradient", True), ("attention", False)])
def test_only_the_gradient_step_is_affine_in_the_labels(kind, is_affine):
    model, prompt = sine_runs.load(0)[kind].model.double(), features.sines(20, 10, seed=8)[0]
    at = [model(prompt.x, c * prompt.y, prompt.x_query) for c in (0.0, 1.0, 3.0)]
    bend = metrics.max_gap(at[2] - at[0], 3 * (at[1] - at[0]))
    assert (bend < EXACT) if is_affine else (bend > 1e-2)


# --- what you should have seen ----------------------------------------------------------------------------------


def deep(layers, bandwidth, step, sigma):
    return {"log_layers": layers, "bandwidth": bandwidth, "step": step, "sigma": sigma}


def task(a, phi, N, seed):
    return {"a": a, "phi": phi, "N": N, "seed": seed}


def misfit(now):
    return now.misfit


def by_stack(now):
    return now.errors[0]


def by_step(now):
    return now.errors[0]


def by_attention(now):
    return now.errors[1]


SEEN = [
    ("depth_widget", deep(1.5, 0.5, 0.9, 0.0), misfit, "0.0089", ".2g"),
    ("depth_widget", deep(2.0, 0.5, 0.9, 0.0), misfit, "0.00027", ".2g"),
    ("depth_widget", deep(2.7, 3.0, 0.9, 0.0), misfit, "0.37", ".2g"),
    ("depth_widget", deep(1.0, 1.0, 0.9, 0.5), by_stack, "0.18", ".2g"),
    ("depth_widget", deep(1.3, 1.0, 0.9, 0.5), by_stack, "0.18", ".2g"),
    ("depth_widget", deep(1.3, 1.0, 0.9, 0.5), lambda now: now.errors[1], "0.18", ".2g"),
    ("depth_widget", deep(2.7, 1.0, 0.9, 0.5), by_stack, "0.46", ".2g"),
    ("depth_widget", deep(1.0, 1.0, 2.1, 0.5), by_stack, "0.19", ".2g"),
    ("depth_widget", deep(1.0, 1.0, 2.0, 0.5), by_stack, "0.19", ".2g"),
    ("depth_widget", deep(2.7, 1.0, 2.0, 0.5), by_stack, "0.55", ".2g"),
    ("sine_widget", task(0.4, 1.0, 10, 5), by_attention, "0.049", ".3f"),
    ("sine_widget", task(0.4, 1.0, 10, 5), by_step, "0.051", ".3f"),
    ("sine_widget", task(1.5, 1.0, 10, 5), by_attention, "0.275", ".3f"),
    ("sine_widget", task(1.5, 1.0, 10, 5), by_step, "0.254", ".3f"),
    ("sine_widget", task(1.5, 1.0, 10, 0), by_attention, "0.301", ".3f"),
    ("sine_widget", task(1.5, 1.0, 10, 0), by_step, "0.220", ".3f"),
    ("sine_widget", task(1.5, 1.0, 10, 13), by_attention, "0.031", ".3f"),
    ("sine_widget", task(1.5, 1.0, 10, 13), by_step, "0.053", ".3f"),
    ("sine_widget", task(0.4, 4.0, 10, 5), by_step, "0.100", ".3f"),
    ("sine_widget", task(0.4, 4.0, 10, 5), by_attention, "0.100", ".3f"),
    ("sine_widget", task(0.4, 1.0, 1, 5), by_step, "0.169", ".3f"),
    ("sine_widget", task(0.4, 1.0, 3, 5), by_step, "0.059", ".3f"),
    ("sine_widget", task(0.4, 1.0, 40, 5), by_step, "0.045", ".3f"),
]


@pytest.mark.parametrize("widget, settings, number, stated, style", SEEN)
def test_what_you_should_have_seen(ran, widget, settings, number, stated, style):
    holds(ran, NOTEBOOK, widget, settings, number, stated, style)


def test_beyond_two_over_the_largest_eigenvalue_five_hundred_layers_blow_up(notebook):
    assert 1e18 < notebook.namespace["depth_widget"].compute(**deep(2.7, 1.0, 2.1, 0.5)).errors[0] < 1e19


def test_the_default_task_is_like_the_average_one(notebook):
    """Ours is seed 5: its ratio of errors is near the mean over 400 tasks, in the training and beyond it."""
    compute, defaults = notebook.namespace["sine_widget"].compute, notebook.namespace["sine_widget"].defaults
    for a, like in [(0.4, 0.3), (1.5, 1.5)]:
        step, attention = compute(**defaults | {"a": a}).errors
        mean = {kind: errors[0].mean() for kind, errors in claims.beyond_training(like).items()}
        assert abs(attention / step - mean["attention"] / mean["gradient"]) < 0.06
