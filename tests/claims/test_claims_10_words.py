"""What notebook 10 says of words: the trained induction heads, and the order that a causal mask lets in."""

import math

import pytest
import torch
from conftest import ROOT

from helpers import attention, metrics, tasks
from helpers.attention import Layer
from helpers.models import induction
from helpers.trained import copying_measures, induction_runs, textbook_runs


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "10_from_tokens_to_pairs.ipynb")


def texts(seed=77, **kind):
    return induction.sequences(400, induction_runs.L, induction_runs.V, seed=seed, **kind)[0]


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_two_layers_learn_induction_and_one_does_not(seed):
    words, film = texts(), induction_runs.load(seed)
    one, two = (film[n].frame(-1)(words) for n in (1, 2))
    assert induction.accuracy(two, words) > 0.8 > 0.6 and induction.accuracy(one, words) < 0.35 < 0.4
    assert induction.in_context_score(induction.losses(two, words)) < -1.5
    assert -0.8 < induction.in_context_score(induction.losses(one, words)) < -0.3
    for n_layers in (1, 2):
        start = induction.losses(film[n_layers].frame(0)(words), words).mean().item()
        assert abs(start - math.log(20)) < 0.1


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_the_scores_of_both_layers_rise_with_the_accuracy(notebook, seed):
    curves, flat = (notebook.namespace["word_curves"][seed, n] for n in (2, 1))
    moments = [copying_measures.crossing(induction_runs.AT, curve) for curve in curves]
    assert max(moments) - min(moments) < 0.15 * induction_runs.ITERATIONS
    assert curves[2, -1] > 2 * curves[2, 0] and curves[3, -1] > 0.8 > 0.15 > curves[3, 0]
    assert flat[2, -1] < flat[2, 0] + 0.02 and flat[3, -1] < 0.25  # one layer: neither


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_the_first_layer_is_blurred_and_the_second_reads_the_first_pattern(notebook, seed):
    words, model = texts(), induction_runs.load(seed)[2].frame(-1)
    notes, reads = induction.run(model.tokens(words), model.layers())[1]
    own, back_1, back_2 = (notes.diagonal(-k, 1, 2)[:, 8 - k : 15 - k].mean().item() for k in range(3))
    assert back_1 > 0.4 > own > 0.2 > back_2 > 0.05 and back_1 > own
    by_hand = sum(notes[:, t, t - 1].mean().item() for t in range(8, 15)) / 7  # of the readers 9 to 15
    assert back_1 == pytest.approx(by_hand, abs=1e-5)
    assert notes[:, 16:].diagonal(15, 1, 2).mean() < 0.15  # not where nobody needs it
    assert reads[:, 16:, :16].sum(-1).mean() > 0.95


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_a_sharp_first_layer_only_hurts_whom_was_not_trained_behind_it(seed):
    words, model = texts(), induction_runs.load(seed)[2].frame(-1)
    own, learned, put = (
        induction.hits(logits, words)
        for logits in (model(words), textbook_runs.load(seed)(words), induction.with_sharp_notes(model, words))
    )
    doubt = induction.in_doubt(words)
    assert 0.3 < doubt.float().mean() < 0.5
    assert own.mean() - put.mean() > 0.03 and learned.mean() > own.mean() - 0.02
    assert own[doubt].mean() > put[doubt].mean() + 0.08 and (own - put)[~doubt].mean().abs() < 0.01
    assert learned[doubt].mean() > put[doubt].mean() + 0.08 and learned[~doubt].mean() > 0.97


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_matches_that_are_too_near_are_not_read(seed):
    words, model = texts(), induction_runs.load(seed)[2].frame(-1)
    reads, match = induction.run(model.tokens(words), model.layers())[1][1], induction.followed(words)
    back = torch.arange(32)[:, None] + 1 - torch.arange(32)
    late = torch.arange(32)[:, None] >= 16
    share = {
        name: (reads * match)[:, where].sum() / match[:, where].sum()
        for name, where in {"near": late & (back < 8), "possible": late & (8 <= back) & (back <= 15)}.items()
    }
    assert share["near"] < 0.05 < 0.15 < share["possible"]


def test_a_vote_that_knows_the_periods_needs_the_right_ones():
    words = texts()
    right = {d: induction.accuracy(induction.vote(words, 20, distances=d), words) for d in [(8, 15), (1, 31), (2, 7)]}
    assert right[8, 15] > 0.83 > 0.75 > right[1, 31] > right[2, 7]


@pytest.mark.parametrize("seed", [0, 2])
def test_one_layer_reads_the_band_where_the_next_word_must_stand(seed):
    words, model = texts(), induction_runs.load(seed)[1].frame(-1)
    pattern = induction.run(model.tokens(words), model.layers())[1][0]
    band = sum(pattern[:, 20:].diagonal(20 - k, 1, 2).mean().item() for k in range(7, 15))
    assert band > 0.7


def test_one_layer_is_enough_when_the_period_is_fixed():
    model = induction_runs.untrained(n_layers=1, seed=3)
    induction_runs.train(model, 500, periods=(12, 12), seed=3)
    assert induction.accuracy(model(texts(periods=(12, 12))), texts(periods=(12, 12))) > 0.95
    assert induction.accuracy(model(texts(periods=(9, 9))), texts(periods=(9, 9))) < 0.2


# --- causal masks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "attend, depth, blind",
    [
        (attention.causal_softmax, 1, True),
        (attention.softmax, 2, True),
        (attention.linear, 2, True),
        (attention.causal_softmax, 2, False),
    ],
    ids=["one causal layer", "two without mask", "two linear", "two causal layers"],
)
def test_order_is_seen_by_the_second_causal_layer(seed, attend, depth, blind):
    g = torch.Generator().manual_seed(seed)
    layers = [Layer(*0.5 * torch.randn(4, 5, 5, generator=g, dtype=torch.float64)) for _ in range(depth)]
    z = tasks.tokens(tasks.linear_regression(B=3, N=8, d_x=4, seed=seed))
    order = torch.cat([torch.randperm(8, generator=g), torch.tensor([8])])

    def answer(z):
        for layer in layers:
            z = attend(z, layer)
        return tasks.read(z)

    gap = metrics.max_gap(answer(z), answer(z[:, order])) / answer(z).abs().max().item()
    assert gap < 1e-11 if blind else gap > 1e-4


def test_positions_break_the_invariance_of_one_layer():
    g = torch.Generator().manual_seed(0)
    layer = Layer(*0.5 * torch.randn(4, 5, 5, generator=g, dtype=torch.float64))
    z, p = tasks.tokens(tasks.linear_regression(B=3, N=8, d_x=4)), torch.randn(9, 5, generator=g).double()
    order = torch.cat([torch.randperm(8, generator=g), torch.tensor([8])])
    before, after = (tasks.read(attention.causal_softmax(tokens + p, layer)) for tokens in (z, z[:, order]))
    assert metrics.max_gap(before, after) > 1e-4
