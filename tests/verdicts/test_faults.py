"""A wrong computation changes the verdict: one fault after the other, in the functions that all notebooks share."""

import sys

import pytest

from helpers import attention, constructions, learners, verdicts
from helpers.finetuning import similarity
from helpers.theory import bayes, closed_forms, dual, kernels, mixing, population, residuals
from helpers.trained import depth_gpts, regression_gpts, sine_runs
from helpers.verdicts import ARTEFACT, FAILS, HOLDS, RESTATED


def times(factor, function):
    """The function with its first argument, a step size, multiplied."""
    return lambda eta, *rest, **more: function(factor * eta, *rest, **more)


def step(factor, learner):
    """A learner with its step size multiplied."""
    return lambda x, y, x_query, eta, *rest, **more: learner(x, y, x_query, factor * eta, *rest, **more)


def scaled(factor, function):
    return lambda *args, **more: factor * function(*args, **more)


def scaled_coefficients(steps):
    start, c = REAL_COEFFICIENTS(steps)
    return start, 1.1 * c


def swapped(pair):
    return {
        "gradient": pair["gradient"],
        "attention": pair["attention"]._replace(model=sine_runs.untrained("attention")),
    }


def frozen(model):
    return model.double().requires_grad_(False)


REAL_COEFFICIENTS, LOAD_SINE = dual.coefficients, sine_runs.load
FAULTS = {  # notebook, claim, module, what is replaced, by what, the verdict then
    "a step by hand too long": (
        "03",
        "one_layer_is_one_step",
        constructions,
        "gd_step",
        lambda f: times(1.1, f),
        FAILS,
    ),
    "and four of them": ("03", "k_layers_are_k_steps", constructions, "gd_step", lambda f: times(1.001, f), FAILS),
    "a gradient step too long": ("01", "averaging_is_one_step", learners, "gd", lambda f: step(1.1, f), FAILS),
    "features, a step too long": (
        "08",
        "features_then_a_step",
        constructions,
        "gd_step",
        lambda f: times(1.1, f),
        FAILS,
    ),
    "one head for two": ("03", "two_relu_heads", constructions, "two_relu_heads", lambda f: lambda layer: layer, FAILS),
    "another best step": ("04", "the_best_step_is_known", closed_forms, "best_step", lambda f: scaled(1.1, f), FAILS),
    "and in the weights": (
        "05",
        "the_step_is_in_the_weights",
        closed_forms,
        "best_step",
        lambda f: scaled(1.1, f),
        FAILS,
    ),
    "too small a loss": ("05", "nothing_is_better", population, "half_loss", lambda f: scaled(0.9, f), FAILS),
    "a softmax that adds up": ("02", "blocks_add_up", attention, "softmax", lambda f: attention.linear, ARTEFACT),
    "no causal mask": (
        "02",
        "causal_attention_is_recurrent",
        attention,
        "causal_linear",
        lambda f: attention.linear,
        FAILS,
    ),
    "Hebb for the delta rule": (
        "02",
        "delta_rule_is_a_step",
        learners,
        "online_gd_weights",
        lambda f: scaled(1.1, f),
        FAILS,
    ),
    "one round more": (
        "06",
        "newton_squares",
        residuals,
        "newton",
        lambda f: lambda H, M, rounds: f(H, M, rounds + 1),
        FAILS,
    ),
    "values too large": (
        "07",
        "a_trained_layer_is_attention",
        dual,
        "coefficients",
        lambda f: scaled_coefficients,
        FAILS,
    ),
    "another filter": (
        "08",
        "functional_gradient_descent",
        kernels,
        "filtered",
        lambda f: lambda x, y, q, k, eta, T: f(x, y, q, k, 1.1 * eta, T),
        FAILS,
    ),
    "an untrained partner": (
        "08",
        "sine_waves",
        sine_runs,
        "load",
        lambda f: lambda seed: swapped(LOAD_SINE(seed)),
        FAILS,
    ),
    "an untrained GPT": (
        "01",
        "a_gpt_learns_linear_functions",
        regression_gpts,
        "load",
        lambda f: lambda: frozen(regression_gpts.RegressionGPT(5, longest=12)),
        FAILS,
    ),
    "a gate off by 10 %": ("09", "demonstrations_mix", mixing, "gate", lambda f: scaled(1.1, f), FAILS),
    "a copy too loud": (
        "10",
        "copy_then_step",
        constructions,
        "copying",
        lambda f: lambda *sizes, T: (layer := f(*sizes, T=T))._replace(P=1.1 * layer.P),
        FAILS,
    ),
    "a floor off by 1 %": ("11", "the_floor", similarity, "aou_floor", lambda f: scaled(1.01, f), FAILS),
    "SimAM without its centre": (
        "11",
        "simam_has_a_gauge",
        similarity,
        "sim_am",
        lambda f: lambda a, b, centred: f(a, b),
        FAILS,
    ),
    "untrained GPTs": (
        "12",
        "depth_moves_the_nearest_learner",
        depth_gpts,
        "load",
        lambda f: lambda *who: frozen(depth_gpts.untrained(*who)),
        FAILS,
    ),
    "another temperature": (
        "12",
        "dmmse_is_attention",
        bayes,
        "dmmse",
        lambda f: lambda x, y, q, W, noise: f(x, y, q, W, 1.1 * noise),
        FAILS,
    ),
    "one pass without an order": (
        "12",
        "order_refutes_gd",
        learners,
        "online_gd",
        lambda f: learners.gd,
        HOLDS,
    ),
    "a gauge that does nothing": (
        "12",
        "dense_weights_rule_it_out",
        constructions,
        "change_gauge",
        lambda f: lambda layer, *R: layer,
        ARTEFACT,
    ),
}


def forget():
    """Empty every cache of the package: what was measured before a fault says nothing of it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("helpers"):
            for each in vars(module).values():
                getattr(each, "cache_clear", lambda: None)()


@pytest.fixture(autouse=True)
def _nothing_is_kept():
    forget()
    yield
    forget()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_computation_changes_the_verdict(fault, monkeypatch):
    notebook, name, module, attribute, break_it, then = FAULTS[fault]
    (claim,) = [claim for claim in verdicts.claims_of(notebook) if claim.name == name]
    before = verdicts.row(claim).verdict
    assert before in (HOLDS, RESTATED)
    monkeypatch.setattr(module, attribute, break_it(getattr(module, attribute)))
    forget()
    after = verdicts.row(claim).verdict
    assert after == then != before
