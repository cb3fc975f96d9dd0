"""The labelled sentences: balanced, and an error in a reader's own file is named by its line."""

import pytest

from helpers.finetuning import sentences


def test_demonstrations_are_balanced_and_are_not_asked_for():
    for k in (1, 7, 8, 32):
        demos, queries = sentences.split(sentences.sentiment(), k, seed=3)
        assert len(demos) == k and sorted(demos + queries) == sorted(sentences.sentiment())
        assert abs(sum(demo.label == "Positive" for demo in demos) - k / 2) <= 0.5
    orders = {tuple(demo.label for demo in sentences.split(sentences.sentiment(), 8, seed)[0]) for seed in range(20)}
    assert len(orders) > 10  # not one label after the other
    first, again, other = (sentences.split(sentences.sentiment(), 8, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_sentences_are_balanced_and_each_stands_once():
    examples = sentences.sentiment()
    assert sum(example.label == "Positive" for example in examples) == 32 == len(examples) / 2
    assert len({example.text for example in examples}) == 64
    assert all(20 <= len(example.text) <= 60 for example in examples)


@pytest.mark.parametrize(
    "lines, message",
    [
        (["", "{'text': 1}"], "line 2: expected JSON, got \"{'text': 1}\""),
        (['["a", "b"]'], r'line 1: expected \{"text": "…", "label": "…"\}, got'),
        (['{"text": "a", "label": "x"}', "", '{"label": "x", "text": "a "}'], "line 3: it stands there twice"),
        (['{"text": "a"}'], "line 1: expected"),
        (['{"text": "a", "label": "x"}', '{"text": " ", "label": "y"}'], "line 2: expected"),
        (['{"text": "a", "label": 1}'], "line 1: expected"),
        (['{"text": "a", "label": "x"}'], "expected examples with at least 2 labels, got 1 with fewer"),
        ([], "at least 2 labels, got 0"),
    ],
)
def test_data_that_cannot_be_read_is_named_by_its_line(lines, message, tmp_path):
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        sentences.read(tmp_path / "mine.jsonl")


def test_missing_data_is_said_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="data: there is no file"):
        sentences.read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "k, message", [(0, "k: expected a whole number"), (64, "k: expected fewer than the 64 examples")]
)
def test_too_few_or_too_many_demonstrations_are_refused(k, message):
    with pytest.raises(ValueError, match=message):
        sentences.split(sentences.sentiment(), k)
