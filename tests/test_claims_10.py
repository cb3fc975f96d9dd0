"""What notebook 10 says of its trained models, besides the identities in test_copying and test_induction."""

import math

import pytest
import torch
from conftest import ROOT

from helpers import attention, copying, induction, learners, metrics, tasks, training
from helpers.attention import Layer
from helpers.checkpoints import copying as copying_runs
from helpers.checkpoints import induction as induction_runs
from helpers.checkpoints import snapshots

EXACT = 1e-12
ONE_STEP = 0.206229  # (d / 12) (c / (N + c)) / 2 with d = N = 10 and c = 10 + 9/5 - 2
TEST = copying_runs.prompts(B=4096, seed=555)
FILES = sorted((ROOT / "helpers" / "checkpoints").glob("induction_*.pt")) + [copying_runs.FILE]


@pytest.fixture(scope="module")
def notebook(ran):
    return ran(ROOT / "notebooks" / "10_from_tokens_to_pairs.ipynb")


def half_loss(y_hat):
    return (y_hat - TEST.y_query).square().mean().item() / 2


# --- the copying model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_the_trained_two_layers_make_one_gradient_step(seed):
    film = copying_runs.load(seed)
    end, start = film.frame(-1)(*TEST[:3]), film.frame(film.at.index(500))(*TEST[:3])
    gd_1 = learners.gd(*TEST[:3], eta=120 / 19.8)
    gd_2 = learners.gd(*TEST[:3], eta=[4.0, 12.0], steps=2)
    apart = metrics.squared_prediction_difference
    assert abs(half_loss(end) / half_loss(gd_1) - 1) < 0.02 and half_loss(end) < 0.2269
    assert half_loss(gd_2) < 0.75 * half_loss(end)  # two steps would be much better
    assert apart(end, gd_1) < 0.01 < 0.1 < apart(end, gd_2)
    assert abs(half_loss(start) / half_loss(0 * start) - 1) < 0.02  # on the plateau: no better than 0


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_loss_attention_and_sensitivity_change_at_one_moment(notebook, seed):
    film, crossing = copying_runs.load(seed), notebook.namespace["crossing"]
    attends, own, after, before, others = notebook.namespace["measured"](film)
    t = [film.every * (k + 0.5) for k in range(len(film.losses))]
    moments = [crossing(t, film.losses), crossing(film.at, attends), crossing(film.at, after)]
    assert max(moments) - min(moments) < 0.05 * copying_runs.ITERATIONS
    assert attends[0] < 0.06 and attends[-1] > 0.5
    assert after[-1] > 20 * before[-1] and after[-1] > 20 * others[-1] and after[0] < 2 * others[0]
    slow = torch.tensor(film.at) / 1600  # a measure that creeps up all the time, or comes late, is told apart
    late = (slow > 0.75).float()
    assert all(abs(crossing(film.at, other) - moments[0]) > 0.1 * copying_runs.ITERATIONS for other in (slow, late))


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_it_is_the_input_that_fetches_its_label(seed):
    model, prompt = copying_runs.load(seed).frame(-1), copying_runs.prompts(B=64, seed=3)
    pattern = attention.pattern(model.tokens(*prompt[:3]), model.layers()[0])[:, 0]
    found = copying.neighbours(pattern)
    assert found["next"] > 0.5 and found["previous"] < 0.05
    among_labels = pattern[:, :-1:2, 1::2]  # what is read elsewhere is read from inputs, which hold no label
    assert (among_labels.diagonal(0, 1, 2).sum() / among_labels.sum()).item() > 0.85


@pytest.mark.parametrize("seed", copying_runs.SEEDS)
def test_without_the_first_layer_or_the_positions_nothing_is_left(seed):
    model = copying_runs.load(seed).frame(-1)
    assert half_loss(model(*TEST[:3])) < 0.22
    first = model.first.clone()
    model.first[3] = 0  # nothing is copied
    assert half_loss(model(*TEST[:3])) > 0.35
    model.first.copy_(first)
    model.positions.zero_()
    assert half_loss(model(*TEST[:3])) > 0.35


def test_a_short_run_drops_again():
    model = copying_runs.untrained(seed=5, positions="one-hot")
    losses = copying_runs.train(model, 500, B=256, seed=5).losses
    assert losses[:60].mean() > 0.38 and losses[-100:].mean() < 1.1 * ONE_STEP


def test_what_makes_the_drop_early(notebook):
    drop, runs = notebook.namespace["drop"], notebook.namespace["runs"]
    usual, plain = drop["as above"], runs["as above"]
    assert (drop["positions = one-hot"] < 0.75 * usual).all()  # told apart more easily
    assert (runs["B = 128"][:, -5:].mean(1) > 0.35).sum() >= 2  # a small batch: the plateau outlasts the run
    assert (plain[:, -5:].mean(1) < 1.05 * ONE_STEP).all()


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
        return induction.accuracy(attention.causal(noted, layer_2) @ model.read.mT, words)

    sharp = notes.clone()
    sharp[:, 1:16] = torch.eye(32)[:15]
    assert accuracy_with(notes) == induction.accuracy(model(words), words) > accuracy_with(sharp) + 0.03


@pytest.mark.parametrize("seed", induction_runs.SEEDS)
def test_where_words_differ_the_sharp_head_would_do_as_well(seed):
    words, model = texts(distinct=True), induction_runs.load(seed)[2].frame(-1)
    z, (layer_1, layer_2) = model.tokens(words), model.layers()
    sharp = attention.pattern(z, layer_1, causal=True)[:, 0].clone()
    sharp[:, 1:16] = torch.eye(32)[:15]
    noted = z + sharp @ z @ layer_1.W_V.mT @ layer_1.P.mT
    exact = induction.accuracy(attention.causal(noted, layer_2) @ model.read.mT, words)
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
        (attention.causal, 1, True),
        (attention.softmax, 2, True),
        (attention.linear, 2, True),
        (attention.causal, 2, False),
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
    before, after = (tasks.read(attention.causal(tokens + p, layer)) for tokens in (z, z[:, order]))
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
        watch = snapshots.camera(model, [0, 10, 40])
        return snapshots.develop(induction_runs.train(model, 40, keep=keep, watch=watch), [0, 10, 40], every=10)

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


def test_both_scripts_write_what_load_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(induction_runs, "FOLDER", tmp_path)
    for runs in (induction_runs, copying_runs):
        monkeypatch.setattr(runs, "ITERATIONS", 20)
        monkeypatch.setattr(runs, "AT", [0, 20])
    monkeypatch.setattr(copying_runs, "FILE", tmp_path / "copying.pt")
    monkeypatch.setattr(copying_runs, "OTHERS", {"B": [16]})
    monkeypatch.setattr(copying_runs, "USUAL", copying_runs.USUAL | {"B": 32})
    (tmp_path / "runs").mkdir()
    induction_runs.main(tmp_path / "runs")
    copying_runs.main(tmp_path / "runs")
    assert induction_runs.load(2, folder=tmp_path)[2].frame(-1).attention.shape == (2, 4, 32, 32)
    assert copying_runs.load(1, file=tmp_path / "copying.pt").at == [0, 20]
    assert copying_runs.other_settings(file=tmp_path / "copying.pt")["B = 16"].shape == (3, 1)
    before = torch.load(tmp_path / "copying.pt", weights_only=True)
    monkeypatch.setattr(training._Run, "save", lambda self: pytest.fail("finished runs are read back, not trained"))
    copying_runs.main(tmp_path / "runs")
    after = torch.load(tmp_path / "copying.pt", weights_only=True)
    assert all(torch.equal(before["films"][s]["losses"], after["films"][s]["losses"]) for s in copying_runs.SEEDS)


def test_a_film_needs_the_frames_that_were_taken():
    history = training.History(torch.zeros(20), [{"W": torch.zeros(1)}])
    with pytest.raises(ValueError, match="at: expected the 1 iterations that were watched, got 2"):
        snapshots.develop(history, [0, 20], every=10)


# --- widgets --------------------------------------------------------------------------------------------------


def test_the_editor_is_right_where_it_can_be(notebook):
    compute = notebook.explorers[1].compute
    assert compute(beta=8.0, period=12, position=5, letter=18).accuracy == 1
    assert compute(beta=3.0, period=12, position=5, letter=18).accuracy == 1
    assert compute(beta=1.0, period=12, position=5, letter=18).accuracy < 0.5
    assert 0.7 < compute(beta=8.0, period=12, position=5, letter=3).accuracy < 1
    assert compute(beta=8.0, period=16, position=5, letter=18).accuracy == pytest.approx(15 / 16)
