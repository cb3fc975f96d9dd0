"""The toy language: what its tasks promise, and that a prompt gives nothing away but its demonstrations."""

import math

import pytest
import torch

from helpers.finetuning import toy_language
from helpers.finetuning.toy_language import Episode, Task, draw, few_shot

FIXED = toy_language.WORDS + toy_language.FRESH_LABELS  # the first of the labels with a fixed meaning


@pytest.mark.parametrize("meaning", toy_language.MEANINGS)
@pytest.mark.parametrize("C, m", [(2, 1), (2, 16), (3, 5), (4, 8)])
def test_no_word_speaks_for_two_classes_and_no_label_stands_for_two(meaning, C, m):
    task = draw(200, C, m, meaning=meaning, seed=3)
    words, labels = task.words.flatten(1).sort().values, task.labels.sort().values
    assert task.words.shape == (200, C, m) and task.labels.shape == (200, C)
    assert (words.diff() > 0).all() and (labels.diff() > 0).all()
    assert words.min() >= 0 and words.max() < toy_language.WORDS
    low, high = (toy_language.WORDS, FIXED) if meaning == "fresh" else (FIXED, toy_language.VOCABULARY)
    assert labels.min() >= low and labels.max() < high


@pytest.mark.parametrize("C, m", [(2, 1), (2, 8), (4, 8), (2, 16)])
def test_training_and_held_out_tasks_have_no_word_lists_in_common(C, m):
    held_out = draw(500, C, m).words.sum((1, 2)) % 2
    training = draw(500, C, m, held_out=False).words.sum((1, 2)) % 2
    assert (held_out == 0).all() and (training == 1).all()


def test_there_are_too_many_tasks_to_meet_one_twice():
    words = math.comb(64, 8) * math.comb(56, 8)  # two lists of eight, in order: half of them are for training
    assert words // 2 > 3e18
    seen = draw(5000, 2, 8, held_out=False).words.sort().values.flatten(1)
    assert len(seen.unique(dim=0)) == 5000


@pytest.mark.parametrize("held_out", [True, False])
def test_holding_tasks_out_favours_no_word_and_no_label(held_out):
    task = draw(20_000, 2, 1, held_out=held_out, seed=1)
    for drawn, n in (
        (task.words[:, :, 0], toy_language.WORDS),
        (task.labels - toy_language.WORDS, toy_language.FRESH_LABELS),
    ):
        for column in drawn.T:
            count, expected = column.bincount(minlength=n), 20_000 / n
            assert len(count) == n and (count - expected).abs().max() < 4.5 * math.sqrt(expected)


def test_fixed_labels_mean_the_same_in_all_tasks_and_flipped_ones_something_else():
    for meaning, agrees in (("fixed", True), ("flipped", False)):
        task = draw(200, 2, 8, meaning=meaning)
        same = task.words // 16 == (task.labels - FIXED)[..., None]
        assert same.all() if agrees else not same.any()
    fixed, flipped = draw(200, 4, 3, meaning="fixed", seed=5), draw(200, 4, 3, meaning="flipped", seed=5)
    assert torch.equal(fixed.words, flipped.words)
    assert torch.equal(fixed.labels.sort().values, flipped.labels.sort().values)


def test_an_input_comes_from_its_class():
    task = draw(400, 2, 8, seed=1)
    e = few_shot(task, k=20, Q=20, seed=2)
    classes = (e.demos[..., -1:] == task.labels[:, None]).int().argmax(-1)  # (B, k)
    lists = task.words.gather(1, classes[..., None].expand(-1, -1, 8))
    own = (e.demos[..., :-1, None] == lists[:, :, None]).any(-1)  # (B, k, 4)
    assert own.any(-1).all()
    # of four words one is sure, the others come from the list with .8, or by chance with .2 * 8/64
    expected = 1 / 4 + 3 / 4 * (0.8 + 0.2 * 8 / 64)
    assert abs(own.double().mean() - expected) < 0.01
    assert abs(own.double().mean((0, 1)) - expected).max() < 0.02  # at each of the four places alike


def test_the_target_is_the_label_of_the_class_whose_words_the_query_has():
    task = draw(300, 4, 8, seed=4)
    e = few_shot(task, k=0, Q=16, seed=5)
    votes = (e.query[:, :, None, :, None] == task.words[:, None, :, None, :]).any(-1).sum(-1)  # (B, Q, C)
    best = task.labels.gather(1, votes.argmax(-1))
    assert (best == e.target).double().mean() > 0.9
    assert votes.gather(2, (e.options[:, None] == e.target[..., None]).int().argmax(-1, keepdim=True)).min() >= 1


@pytest.mark.parametrize("C", [2, 4])
def test_the_labels_are_balanced_and_their_order_gives_nothing_away(C):
    e = few_shot(draw(500, C), k=32, Q=32, seed=1)
    place = (e.target[..., None] == e.options[:, None]).double().mean(1)  # (B, C): how often each option is right
    assert torch.equal(place, torch.full_like(place, 1 / C))
    in_demos = (e.demos[..., -1:] == e.options[:, None]).double().mean((0, 1))
    assert (in_demos - 1 / C).abs().max() < 0.02
    rank = e.options.argsort().argsort().double().mean(0)  # neither do label words come in order of their numbers
    assert (rank - (C - 1) / 2).abs().max() < 0.15


@pytest.mark.parametrize("m", [1, 2, 8])
def test_no_query_repeats_a_demonstration(m, monkeypatch):
    def repeats(e):
        return (e.query[:, :, None] == e.demos[:, None, :, :-1]).all(-1).any()

    assert not repeats(few_shot(draw(200, 2, m), k=32, seed=3))
    monkeypatch.setattr(torch.Tensor, "any", lambda self, *a: torch.zeros((), dtype=torch.bool))  # the twin: no redraw
    e = few_shot(draw(200, 2, 1), k=32, seed=3)
    monkeypatch.undo()
    assert repeats(e)


def test_a_prompt_is_the_demonstrations_in_order_and_then_one_query():
    e = few_shot(draw(3, 2), k=4, Q=5)
    prompts = e.prompts()
    assert prompts.shape == (15, 4 * 5 + 4)
    for b in range(3):
        for q in range(5):
            row = [*e.demos[b].flatten().tolist(), *e.query[b, q].tolist()]
            assert prompts[b * 5 + q].tolist() == row
    short = e.first(1)
    assert torch.equal(short.prompts(), torch.cat([prompts[:, :5], prompts[:, -4:]], dim=1))
    assert torch.equal(e.first(0).prompts(), e.query.flatten(0, 1))


def test_an_answer_is_the_likeliest_of_the_tasks_own_labels():
    e = few_shot(draw(2, 2), k=0, Q=3)
    logits = torch.zeros(6, toy_language.VOCABULARY)
    logits[:, 5] = 9.0  # a word is likelier still, but it is no label
    logits[torch.arange(6), e.options.repeat_interleave(3, 0)[:, 1]] = 1.0
    assert torch.equal(toy_language.answers(logits, e), e.options[:, 1:].expand(2, 3))


@pytest.mark.parametrize("same_labels", [False, True])
def test_other_demonstrations_are_a_fresh_draw_of_the_same_task(same_labels):
    task = draw(300, 2, 8, seed=1)
    e = few_shot(task, k=20, Q=6, seed=2)
    other = toy_language.other_demonstrations(e, same_labels=same_labels, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(e[1:], other[1:], strict=True)) and other.demos.shape == e.demos.shape
    assert (other.demos[..., :4] == e.demos[..., :4]).all(-1).double().mean() < 0.01  # other words
    assert (other.demos[..., 4] == e.demos[..., 4]).all() == same_labels
    classes = (other.demos[..., -1:] == task.labels[:, None]).int().argmax(-1)
    lists = task.words.gather(1, classes[..., None].expand(-1, -1, 8))
    own = (other.demos[..., :-1, None] == lists[:, :, None]).any(-1)  # of the same word lists, at the same rate
    assert own.any(-1).all() and abs(own.double().mean() - (1 / 4 + 3 / 4 * (0.8 + 0.2 / 8))) < 0.01
    assert not (other.query[:, :, None] == other.demos[:, None, :, :-1]).all(-1).any()


def test_as_numbers_counts_words_and_signs_labels():
    e = few_shot(draw(4, 2, seed=1), k=3, Q=2, seed=2)
    x, y, x_query = toy_language.as_numbers(e)
    for b in range(4):
        for q in range(2):
            row = b * 2 + q
            assert x_query[row].tolist() == [e.query[b, q].tolist().count(w) for w in range(64)]
            for i in range(3):
                words, label = e.demos[b, i, :4].tolist(), e.demos[b, i, 4]
                assert x[row, i].tolist() == [words.count(w) for w in range(64)]
                assert y[row, i].item() == (1 if label == e.options[b, 0] else -1)
    with pytest.raises(ValueError, match="episode: expected tasks of 2 classes, got 4"):
        toy_language.as_numbers(few_shot(draw(4, 4), k=3))


def test_log_odds_have_the_sign_of_the_answer():
    e = few_shot(draw(3, 2), k=0, Q=4)
    logits = torch.randn(3, 4, toy_language.VOCABULARY, generator=torch.Generator().manual_seed(0))
    says_first = toy_language.answers(logits.flatten(0, 1), e) == e.options[:, :1]
    assert torch.equal(toy_language.log_odds(logits, e) > 0, says_first)


def test_the_same_seed_draws_the_same_and_another_does_not():
    for make in (lambda seed: draw(5, seed=seed), lambda seed: few_shot(draw(5), k=4, seed=seed)):
        first, again, other = make(1), make(1), make(2)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0], other[0])
    task = draw(5)  # one task, told by two sets of demonstrations
    assert torch.equal(few_shot(task, 4, seed=1).options, few_shot(task, 4, seed=2).options)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: draw(0), "B: expected a whole number of at least 1, got 0"),
        (lambda: draw(2, 1), "n_classes: expected a whole number of at least 2, got 1"),
        (lambda: draw(2, 5), "n_classes: expected at most 4, got 5"),
        (lambda: draw(2, 4, 9), "m: expected at most 8 words for each of 4 classes, got 9: 64 are shared"),
        (lambda: draw(2, 2, 17, meaning="fixed"), "m: expected at most 16 words"),
        (lambda: draw(2, meaning="new"), "meaning: expected one of fresh, fixed, flipped, got 'new'"),
        (lambda: few_shot(draw(2), -1), "k: expected a whole number of at least 0, got -1"),
        (lambda: few_shot(draw(2), 1, 0), "Q: expected a whole number of at least 1, got 0"),
        (lambda: few_shot(draw(2), 3).first(4), "k: expected 0 to 3, the demonstrations there are, got 4"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_parts_have_names():
    assert Task._fields == ("words", "labels") and Episode._fields == ("demos", "query", "target", "options", "words")


def test_the_seed_0_is_a_seed_like_others():
    episode = toy_language.few_shot(toy_language.draw(B=3), k=16, Q=8)
    first, again, other = (toy_language.other_demonstrations(episode, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.demos, again.demos) and not torch.equal(first.demos, other.demos)
