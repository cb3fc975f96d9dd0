"""What notebook 10 says of its trained models, besides the identities in test_copying and test_induction."""

import math

import pytest
import torch
from conftest import ROOT

from helpers import attention, constructions, learners, metrics, tasks, training
from helpers.attention import Layer
from helpers.models import copying, induction
from helpers.trained import copying_runs, films, induction_runs

EXACT = 1e-12
ONE_STEP = 0.206229  # (d / 12) (c / (N + c)) / 2 with d = N = 10 and c = 10 + 9/5 - 2
TEST = copying_runs.prompts(B=4096, seed=555)
FILES = sorted((ROOT / "helpers" / "trained").glob("induction_runs_*.pt")) + [copying_runs.FILE]


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "10_from_tokens_to_pairs.ipynb")


def half_loss(y_hat):
    return (y_hat - TEST.y_query).square().mean().item() / 2


# --- the copying model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_the_trained_two_layers_make_one_gradient_step(seed):
    film = copying_runs.load(seed)
    end, start = film.frame(-1)(*TEST.shown), film.frame(film.at.index(500))(*TEST.shown)
    gd_1 = learners.gd(*TEST.shown, eta=120 / 19.8)
    gd_2 = learners.gd(*TEST.shown, eta=[4.0, 12.0], steps=2)
    apart = metrics.squared_prediction_difference
    assert abs(half_loss(end) / half_loss(gd_1) - 1) < 0.02 and half_loss(end) < 0.2269
    assert half_loss(gd_2) < 0.75 * half_loss(end)  # two steps would be much better
    assert apart(end, gd_1) < 0.01 < 0.1 < apart(end, gd_2)
    assert abs(half_loss(start) / half_loss(0 * start) - 1) < 0.02  # on the plateau: no better than 0


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_loss_attention_and_sensitivity_change_at_one_moment(notebook, seed):
    film, crossing = copying_runs.load(seed), notebook.namespace["crossing"]
    frames = [notebook.namespace["measured"](film.frame(k)) for k in range(len(film.at))]
    attends, fetched, own, after, before, others = torch.tensor(frames).T
    t = [film.every * (k + 0.5) for k in range(len(film.losses))]
    moments = [crossing(t, film.losses), *(crossing(film.at, curve) for curve in (attends, after, own))]
    assert max(moments) - min(moments) < 0.05 * copying_runs.ITERATIONS
    assert attends[0] < 0.06 and attends[-1] > 0.5 and fetched.max() < 0.08 and fetched[-1] < 0.04
    assert after[-1] > 20 * before[-1] and after[-1] > 20 * others[-1] and after[0] < 2 * others[0]
    assert 0.35 < own[-1] / after[-1] < 0.7 and own[-1] > 10 * others[-1]  # x reads itself, too: not so in the paper
    slow = torch.tensor(film.at) / 1600  # a measure that creeps up all the time, or comes late, is told apart
    late = (slow > 0.75).float()
    assert all(abs(crossing(film.at, other) - moments[0]) > 0.1 * copying_runs.ITERATIONS for other in (slow, late))


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_it_is_the_input_that_fetches_its_label(seed):
    model, prompt = copying_runs.load(seed).frame(-1), copying_runs.prompts(B=64, seed=3)
    pattern = attention.pattern(model.tokens(*prompt.shown), model.layers()[0])[:, 0]
    found = copying.neighbours(pattern)
    assert found["next"] > 0.5 and found["previous"] < 0.05
    among_labels = pattern[:, :-1:2, 1::2]  # what is read elsewhere is read from inputs, which hold no label
    assert (among_labels.diagonal(0, 1, 2).sum() / among_labels.sum()).item() > 0.85


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_without_the_first_layer_or_the_positions_nothing_is_left(seed):
    model = copying_runs.load(seed).frame(-1)
    assert half_loss(model(*TEST.shown)) < 0.22
    first = model.first.clone()
    model.first[3] = 0  # nothing is copied
    assert half_loss(model(*TEST.shown)) > 0.35
    model.first.copy_(first)
    model.positions.zero_()
    assert half_loss(model(*TEST.shown)) > 0.35


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_the_label_is_noted_where_the_position_stood(seed):
    model = copying_runs.load(seed).frame(-1)
    z, (layer_1, layer_2) = model.tokens(*TEST.shown), model.layers()
    full = attention.softmax(z, layer_1)

    def loss_without(tokens, coordinates):  # what layer 1 adds to these coordinates of these tokens
        cut = full.clone()
        cut[:, tokens, coordinates] = z[:, tokens, coordinates]
        return half_loss(copying.read(attention.linear(cut, layer_2), d_x=10))

    loss, inputs, everything = half_loss(model(*TEST.shown)), slice(0, 20, 2), slice(None)
    assert abs(loss_without(slice(0, 0), everything) - loss) < 1e-6  # nothing taken away: the model's own answer
    assert abs(loss_without(inputs, slice(10, 11)) - loss) < 0.002  # the label slot
    assert loss_without(inputs, slice(11, None)) > 0.38  # the position's coordinates
    assert max(loss_without(slice(1, 20, 2), everything), loss_without(slice(20, 21), everything)) < loss + 0.01
    of_labels = (layer_1.P @ layer_1.W_V)[:, 10]  # what layer 1 writes for a label of 1
    assert of_labels[10].abs() < 0.01 and of_labels[11:].norm() > 0.6
    found = (layer_2.P @ layer_2.W_V @ layer_1.P @ layer_1.W_V)[10]  # from the data to the answer
    assert found[10].abs() > 0.4 > 0.15 > found[:10].norm()


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_labels_read_the_next_token_too(seed):
    model, prompt = copying_runs.load(seed).frame(-1), copying_runs.prompts(B=64, seed=3)
    pattern = attention.pattern(model.tokens(*prompt.shown), model.layers()[0])[:, 0]
    assert pattern[:, 1:19:2, 2::2].diagonal(0, 1, 2).mean() > 0.5
    assert set(pattern[:, -1].mean(0).topk(3).indices.tolist()) == {14, 15, 19}  # x_q: x_8, y_8 and y_10


def test_a_short_run_drops_again():
    model = copying_runs.untrained(seed=5, positions="one-hot")
    losses = copying_runs.train(model, 500, B=256, seed=5).losses
    assert losses[:60].mean() > 0.38 and losses[-100:].mean() < 1.1 * ONE_STEP


def test_what_makes_the_drop_early(notebook):
    drop, runs = notebook.namespace["drop"], notebook.namespace["settings"]
    usual, plain = drop["as above"], runs["as above"]
    assert (drop["positions = one-hot"] < 0.75 * usual).all()  # told apart more easily
    assert (runs["B = 128"][:, -5:].mean(1) > 0.35).sum() >= 2  # a small batch: the plateau outlasts the run
    assert (plain[:, -5:].mean(1) < 1.05 * ONE_STEP).all() and usual.tolist() == [740] * 3
    half_way = (0.41 + ONE_STEP) / 2
    assert [int((curves < half_way).any(1).sum()) for curves in runs.values()] == [3, 3, 2, 3, 0, 2, 2, 0]
    wait = torch.cat(
        [drop[name][(runs[name] < half_way).any(1)] for name in ("lr = 0.005", "lr = 0.02", "scale = 0.05")]
    )
    assert wait.min() == 640 and drop["B = 256"][:2].min() == 740  # a smaller batch is never sooner


def test_the_large_beta_ends_in_round_off(notebook):
    gaps = notebook.namespace["gaps"]
    assert max(gaps[-3:]) < 1e-14 < gaps[-6]  # beta = 40 and more; 32.5


# --- induction ------------------------------------------------------------------------------------------------


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
    film, words, crossing = induction_runs.load(seed)[2], texts(), notebook.namespace["crossing"]
    curves = torch.tensor([notebook.namespace["scores"](film.frame(k), words) for k in range(len(film.at))]).T
    moments = [crossing(film.at, curve) for curve in curves]
    assert max(moments) - min(moments) < 0.15 * induction_runs.ITERATIONS
    assert curves[2, -1] > 2 * curves[2, 0] and curves[3, -1] > 0.8 > 0.15 > curves[3, 0]
    flat = torch.tensor([notebook.namespace["scores"](induction_runs.load(seed)[1].frame(k), words) for k in (0, -1)]).T
    assert flat[2, 1] < flat[2, 0] + 0.02 and flat[3, 1] < 0.25  # one layer: neither


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_the_trained_head_reads_a_phrase_and_beats_the_textbook(notebook, seed):
    words, model = texts(), induction_runs.load(seed)[2].frame(-1)
    textbook = induction.accuracy(notebook.namespace["read_words"](words, induction_layers(notebook)), words)
    assert induction.accuracy(model(words), words) > textbook + 0.03
    z, (layer_1, layer_2) = model.tokens(words), model.layers()
    notes, reads = induction.run(z, [layer_1, layer_2])[1]
    own, back_1, back_2 = (notes.diagonal(-k, 1, 2)[:, 8 - k : 15 - k].mean().item() for k in range(3))
    assert back_1 > 0.4 > own > 0.2 > back_2 > 0.05 and back_1 > own
    assert notes[:, 16:].diagonal(15, 1, 2).mean() < 0.15  # not where nobody needs it
    assert reads[:, 16:, :16].sum(-1).mean() > 0.95

    def accuracy_with(pattern):
        noted = z + pattern @ z @ layer_1.W_V.mT @ layer_1.P.mT
        return induction.accuracy(attention.causal_softmax(noted, layer_2) @ model.read.mT, words)

    sharp = notes.clone()
    sharp[:, 1:16] = torch.eye(32)[:15]
    assert accuracy_with(notes) == induction.accuracy(model(words), words) > accuracy_with(sharp) + 0.03


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_the_blur_helps_where_a_word_has_had_two_followers(seed):
    words, model = texts(), induction_runs.load(seed)[2].frame(-1)
    doubt = torch.zeros_like(words, dtype=torch.bool)
    for b, text in enumerate(words.tolist()):
        for t, word in enumerate(text):
            doubt[b, t] = len({text[j + 1] for j in range(t) if text[j] == word}) > 1
    doubt = doubt[:, 15:-1]
    z, (layer_1, layer_2) = model.tokens(words), model.layers()
    sharp = attention.pattern(z, layer_1, causal=True)[:, 0].clone()
    sharp[:, 1:16] = torch.eye(32)[:15]
    noted = z + sharp @ z @ layer_1.W_V.mT @ layer_1.P.mT
    logits = model(words), attention.causal_softmax(noted, layer_2) @ model.read.mT
    blurred, sharp = ((each[:, 15:-1].argmax(-1) == words[:, 16:]).float() for each in logits)
    assert 0.3 < doubt.float().mean() < 0.5
    assert blurred[doubt].mean() > sharp[doubt].mean() + 0.08
    assert (blurred - sharp)[~doubt].mean().abs() < 0.01 and blurred[~doubt].mean() > 0.97


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_where_words_differ_the_sharp_head_would_do_as_well(seed):
    words, model = texts(distinct=True), induction_runs.load(seed)[2].frame(-1)
    z, (layer_1, layer_2) = model.tokens(words), model.layers()
    sharp = attention.pattern(z, layer_1, causal=True)[:, 0].clone()
    sharp[:, 1:16] = torch.eye(32)[:15]
    noted = z + sharp @ z @ layer_1.W_V.mT @ layer_1.P.mT
    exact = induction.accuracy(attention.causal_softmax(noted, layer_2) @ model.read.mT, words)
    assert abs(exact - induction.accuracy(model(words), words)) < 0.01


@pytest.mark.parametrize("seed", [0, 2])
def test_one_layer_reads_the_band_where_the_next_word_must_stand(seed):
    words, model = texts(), induction_runs.load(seed)[1].frame(-1)
    pattern = induction.run(model.tokens(words), model.layers())[1][0]
    band = sum(pattern[:, 20:].diagonal(20 - k, 1, 2).mean().item() for k in range(7, 15))
    assert band > 0.7


def induction_layers(notebook):
    return [notebook.namespace["first"], notebook.namespace["second"]]


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


# --- the files and the scripts --------------------------------------------------------------------------------


def test_the_yardstick_is_the_best_single_step():
    assert abs(copying_runs.GD_LOSS - ONE_STEP) < 1e-6 and abs(copying_runs.GD_ETA - 120 / 19.8) < EXACT
    assert abs(ONE_STEP - (10 / 12) * (9.8 / 19.8) / 2) < 1e-6


def test_each_file_is_small():
    assert len(FILES) == 4 and all(file.stat().st_size <= 1_000_000 for file in FILES)


def test_the_first_frame_is_the_untrained_model():
    film = copying_runs.load(1)
    assert torch.equal(film.frame(0).first, copying_runs.untrained(1).first.half().float())
    assert not torch.equal(film.frame(0).first, copying_runs.untrained(2).first.half().float())


@pytest.mark.parametrize("load", [copying_runs.load, induction_runs.load])
def test_a_seed_that_was_not_trained(load):
    with pytest.raises(ValueError, match=r"seed: expected one of \(0, 1, 2\), got 3"):
        load(3)


def test_a_film_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    def film(keep):
        model = induction_runs.untrained(n_layers=1, seed=0)
        watch = films.camera(model, [0, 10, 40])
        return films.develop(induction_runs.train(model, 40, keep=keep, watch=watch), [0, 10, 40], every=10)

    undisturbed, calls, losses = film(tmp_path / "one"), [], induction.losses

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(induction, "losses", stops)
    with pytest.raises(KeyboardInterrupt):
        film(tmp_path / "two")
    assert (tmp_path / "two").exists()
    resumed = film(tmp_path / "two")
    assert len(calls) == 25 + 40 - 24 and torch.equal(resumed["losses"], undisturbed["losses"])
    assert all(torch.equal(resumed["weights"][name], W) for name, W in undisturbed["weights"].items())


def test_a_film_needs_the_frames_that_were_taken():
    history = training.History(torch.zeros(20), [{"W": torch.zeros(1)}])
    with pytest.raises(ValueError, match="at: expected the 1 iterations that were watched, got 2"):
        films.develop(history, [0, 20], every=10)


# --- widgets --------------------------------------------------------------------------------------------------


def test_the_editor_is_right_where_it_can_be(notebook):
    compute = notebook.explorers[1].compute
    assert compute(beta=8.0, period=12, position=5, letter=18).accuracy == 1
    assert compute(beta=3.0, period=12, position=5, letter=18).accuracy == 1
    assert compute(beta=1.0, period=12, position=5, letter=18).accuracy < 0.5
    assert 0.7 < compute(beta=8.0, period=12, position=5, letter=3).accuracy < 1
    assert compute(beta=8.0, period=16, position=5, letter=18).accuracy == pytest.approx(15 / 16)


def of_a_tie(notebook, position):
    now = notebook.explorers[1].compute(beta=8.0, period=12, position=5, letter=3)
    z, _ = induction.run(induction.one_hot(now.words[None], 20), constructions.induction(20, 32, beta=8.0))
    return z[0, position - 1, 47] - z[0, position - 1, 49]  # of H and J


def test_the_editor_breaks_ties_by_what_goes_astray(notebook):
    assert all(0.0035 < of_a_tie(notebook, position) < 0.0045 for position in (13, 25))
    assert all(of_a_tie(notebook, position) > 0.15 for position in (17, 29))


def test_the_editor_measures_each_layer_in_its_own_map(notebook):
    now = notebook.explorers[1].compute(beta=5.0, period=12, position=5, letter=18)
    assert now.previous == pytest.approx(0.905, abs=5e-4) and now.match == pytest.approx(0.87, abs=5e-3)
    leak = sum(t / (t + math.exp(5)) for t in range(1, 32)) / 31  # t others for the reader of t + 1 words
    assert 1 - now.previous == pytest.approx(leak, abs=EXACT)


@pytest.mark.parametrize("frame, loss, labels", [(16, 0.233, 0.59), (33, 0.207, 0.59)])
def test_the_films_widget_reads_off_what_it_says(notebook, frame, loss, labels):
    now, film = notebook.explorers[0].compute(frame=frame, seed=0), copying_runs.load(0)
    assert now.loss == pytest.approx(loss, abs=0.001) and now.labels == pytest.approx(labels, abs=0.02)
    rows = [sum(now.pattern[2 * i, 2 * j + 1].item() for j in range(10)) for i in range(10)]
    assert now.labels == pytest.approx(sum(rows) / 10, abs=1e-5)
    model, nothing = film.frame(frame), [torch.zeros(1, 10, d) for d in (10, 1)]
    of_positions = attention.pattern(model.tokens(*nothing, torch.zeros(1, 10)), model.layers()[0])[0, 0]
    assert metrics.max_gap(now.scores.softmax(-1), of_positions) < 1e-5


def test_the_words_widget_is_right_as_often_as_it_says(notebook):
    shown = [notebook.explorers[2].compute(frame=k, seed=0, period=10, text_seed=0)[2] for k in range(8, 13)]
    assert [now.accuracy for now in shown] == pytest.approx([0.24, 0.41, 0.65, 0.76, 0.81], abs=0.006)
    words, _ = induction.sequences(64, 32, 20, periods=(10, 10), seed=0)
    logits = induction_runs.load(0)[2].frame(12)(words)[:, :-1].flatten(0, 1)
    assert shown[-1].losses == pytest.approx(torch.nn.functional.cross_entropy(logits, words[:, 1:].flatten()).item())


@pytest.mark.parametrize("seed, band", [(0, 0.79), (1, 0.38), (2, 0.775)])
def test_the_words_widget_shows_the_band_of_the_single_layer(notebook, seed, band):
    now = notebook.explorers[2].compute(frame=20, seed=seed, period=10, text_seed=0)[1]
    rows = [sum(now.patterns[0][t, t - k].item() for k in range(7, 15)) for t in range(20, 32)]
    assert now.band == pytest.approx(sum(rows) / 12, abs=1e-5) and now.band == pytest.approx(band, abs=0.01)


def test_how_far_back_the_first_layer_reads(notebook):
    notes, found = notebook.namespace["notes"], [notebook.namespace[name] for name in ("own", "back_1", "back_2")]
    for k, mean in enumerate(found):  # of the readers 9 to 15
        assert mean.item() == pytest.approx(sum(notes[:, t, t - k].mean().item() for t in range(8, 15)) / 7, abs=1e-5)
