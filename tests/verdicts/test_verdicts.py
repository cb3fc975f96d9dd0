"""The verdict table: how it judges, that it notices what is wrong, and what it says."""

import math
import re
import sys
import time

import pytest
import torch

from helpers import attention, constructions, learners, verdicts
from helpers.finetuning import similarity
from helpers.theory import bayes, closed_forms, dual, kernels, mixing, population
from helpers.trained import depth_gpts, regression_gpts, sine_runs
from helpers.verdicts import (
    ARTEFACT,
    EXACT,
    FAILS,
    HOLDS,
    MEASURED,
    REPORTED,
    RESTATED,
    UNCHECKED,
    Bounds,
    Evidence,
    number,
)

# --- how it judges --------------------------------------------------------------------------------------------

GOOD, BAD = number(1.0), number(3.0)


@pytest.mark.parametrize(
    "evidence, verdict",
    [
        (None, UNCHECKED),
        (Evidence(Bounds(GOOD, 0, 2)), HOLDS),
        (Evidence(Bounds(BAD, 0, 2)), FAILS),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0, 2)), RESTATED),
        (Evidence(Bounds(GOOD, 0, 2), Bounds(BAD, 0, 2)), HOLDS),
        (Evidence(Bounds(BAD, 0, 2), Bounds(BAD, 0, 2)), FAILS),
        (Evidence(Bounds(GOOD, 0, 2), control=BAD), HOLDS),
        (Evidence(Bounds(GOOD, 0, 2), control=number(1.5)), ARTEFACT),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0.5, 1.2), control=number(1.1)), ARTEFACT),
        (Evidence(Bounds(BAD, 0, 2), Bounds(GOOD, 0.5, 1.2), control=number(1.5)), RESTATED),
        (Evidence(Bounds(BAD, 0, 2), control=GOOD), FAILS),
        (Evidence(Bounds(number(math.nan), 0, 2)), FAILS),
        (Evidence(Bounds(number(math.inf), 0, 2)), FAILS),
    ],
)
def test_the_verdict_follows_from_the_numbers(evidence, verdict):
    assert verdicts.judge(evidence) == verdict


def test_all_of_the_interval_must_lie_within_the_bounds():
    ours = verdicts.over_seeds([0.9, 1.0, 1.1])
    assert Bounds(ours, 0.9, 1.1).passes()
    assert not Bounds(ours, 0.95, 1.1).passes() and not Bounds(ours, 0.9, 1.05).passes()


def test_intervals_are_two_standard_errors_or_the_range():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = verdicts.over_prompts(values)
    assert abs(mean.value - values.mean()) < 1e-12
    assert abs((mean.high - mean.low) / 4 - values.std() / 20) < 1e-12
    assert verdicts.over_seeds(values[:5])[:3] == (values[:5].sum() / 5, values[:5].min(), values[:5].max())


@pytest.mark.parametrize(
    "ours, words",
    [
        (number(3e-16), "round-off"),
        (number(-3e-16), "round-off"),
        (number(0.0, "n = 5"), "0, n = 5"),
        (number(0.12345), "0.12"),
        (number(12_345.6), "12,346"),
        (number(1.0), "1.0"),
        (verdicts.Number(0.5, 0.4, 0.61, "3 seeds"), "0.50 [0.40, 0.61], 3 seeds"),
    ],
)
def test_numbers_are_short(ours, words):
    assert str(ours) == words


def test_bad_claims_are_refused():
    with pytest.raises(ValueError, match="kind: expected one of ● exact, .*, got 'exact'"):
        verdicts.claim("exact", "?")
    with pytest.raises(ValueError, match="notebook: expected one of 01, 02, .*, got '99'"):
        verdicts.claims_of("99")


def test_the_table_in_html_is_whole_and_escaped():
    @verdicts.claim(EXACT, "1 < 2 & so on.", paper="<b>x</b>", instead="never shown")
    def small():
        return verdicts.identity(0.0, broken=1.0)

    page = verdicts.as_html(verdicts.table([small]))
    assert "1 &lt; 2 &amp; so on." in page and "<b>" not in page and "never shown" not in page
    assert page.count("<tr>") == page.count("</tr>") == 3 and page.count("<td>") == len(verdicts.HEADS)


# --- what it says ---------------------------------------------------------------------------------------------

ALL = [claim for notebook in verdicts.notebooks() for claim in verdicts.claims_of(notebook)]


@pytest.fixture(scope="module")
def rows():
    start = time.process_time()
    made = verdicts.table(ALL)
    return made, time.process_time() - start


def test_all_claims_are_measured_in_time(rows):
    made, seconds = rows
    assert len(made) >= 40 and seconds < 60
    assert len({(row.claim.notebook, row.claim.name) for row in made}) == len(made)


def test_sentences_are_sentences():
    for claim in ALL:
        assert re.fullmatch(r"[A-ZΔ].*[.]", claim.says), claim.says
        assert not claim.instead or claim.instead.endswith("."), claim.instead
        assert claim.kind in (EXACT, MEASURED, REPORTED)


def test_reported_claims_have_a_source_and_are_not_judged(rows):
    for row in rows[0]:
        assert (row.verdict == UNCHECKED) == (row.claim.kind == REPORTED)
        assert row.claim.kind != REPORTED or row.claim.paper


def test_what_is_exact_holds_as_stated_or_in_another_form(rows):
    assert all(row.verdict in (HOLDS, RESTATED) for row in rows[0] if row.claim.kind == EXACT)


def test_the_other_form_is_named_where_it_is_needed_and_only_there(rows):
    for row in rows[0]:
        if row.verdict == RESTATED:
            assert row.claim.instead, row.claim.name
        if row.claim.instead:
            assert row.evidence.restated is not None, row.claim.name


def test_what_holds_without_a_control_would_be_marked_and_there_is_none(rows):
    bare = [row for row in rows[0] if row.ours().endswith("no control")]
    assert bare == [row for row in rows[0] if row.verdict == HOLDS and row.evidence.control is None]
    assert bare == []


def test_the_table_shows_the_form_that_holds_where_the_stated_one_does_not(rows):
    for row in rows[0]:
        assert row.says() == row.claim.says + (f" Instead: {row.claim.instead}" if row.verdict == RESTATED else "")


def test_every_verdict_occurs_and_most_claims_have_a_control(rows):
    assert {row.verdict for row in rows[0]} == set(verdicts.VERDICTS)
    measured = [row for row in rows[0] if row.evidence]
    guarded = [row for row in measured if row.evidence.control or row.evidence.restated]
    assert len(guarded) > 0.8 * len(measured)


VERDICT = {
    ("01", "the_gpt_is_one_step"): FAILS,
    ("01", "more_examples_never_hurt"): RESTATED,
    ("03", "one_layer_is_one_step"): HOLDS,
    ("04", "the_papers_loss"): RESTATED,
    ("05", "the_cosine_shows_it"): ARTEFACT,
    ("05", "training_ends_at_the_loss_of_the_step"): HOLDS,
    ("06", "a_safe_damper"): RESTATED,
    ("06", "training_finds_gamma"): HOLDS,
    ("07", "any_optimiser"): RESTATED,
    ("08", "sine_waves"): HOLDS,
    ("09", "demonstrations_mix"): RESTATED,
    ("10", "two_layers_one_step"): RESTATED,
    ("11", "the_updates_agree"): HOLDS,
    ("11", "they_learn_the_same"): ARTEFACT,
    ("11", "per_query"): HOLDS,
    ("11", "per_query_in_all_layers"): FAILS,
    ("11", "the_normalised_measure"): UNCHECKED,
    ("11", "recall_above_chance"): UNCHECKED,
    ("11", "untrained_match_trained"): FAILS,
    ("11", "layer_causal_is_nearer"): HOLDS,
    ("11", "layer_causal_is_nearer_per_query"): FAILS,
    ("11", "moattn_learns_more"): RESTATED,
    ("11", "it_is_the_momentum"): ARTEFACT,
    ("12", "icl_is_order_free"): RESTATED,
    ("12", "the_gpt_is_least_squares"): FAILS,
    ("12", "depth_moves_the_nearest_learner"): HOLDS,
    ("12", "one_layer_is_nearest_to_the_step"): RESTATED,
    ("12", "selection_by_validation"): FAILS,
    ("12", "selection_by_weighing"): HOLDS,
    ("12", "beating_both_shows_selection"): ARTEFACT,
}


def test_these_verdicts_are_those_that_the_text_speaks_of(rows):
    found = {(row.claim.notebook, row.claim.name): row.verdict for row in rows[0]}
    assert {key: found[key] for key in VERDICT} == VERDICT


# --- a wrong computation changes the verdict -------------------------------------------------------------------


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
        learners,
        "newton_weights",
        lambda f: lambda x, y, steps: f(x, y, 6),
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
        HOLDS,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_computation_changes_the_verdict(fault, monkeypatch):
    notebook, name, module, attribute, break_it, then = FAULTS[fault]
    (claim,) = [claim for claim in verdicts.claims_of(notebook) if claim.name == name]
    before = verdicts.judge(claim.measure())
    assert before in (HOLDS, RESTATED)
    monkeypatch.setattr(module, attribute, break_it(getattr(module, attribute)))
    forget(claim)
    after = verdicts.judge(claim.measure())
    forget(claim)
    assert after == then != before


def forget(claim):
    """Empties the caches of a claim's module, which figure and claim share."""
    for each in vars(sys.modules[claim.measure.__module__]).values():
        getattr(each, "cache_clear", lambda: None)()
