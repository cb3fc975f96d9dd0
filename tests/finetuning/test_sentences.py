"""The labelled sentences: balanced, and an error in a reader's own file is named by its line."""

import json
import time

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
        (
            ['{"text": "a", "label": "x"}', "", '{"label": "x", "text": "a "}'],
            "of the same text, keep one: lines 1 and 3",
        ),
        (['{"text": "a"}'], "line 1: expected"),
        (["[" * 100_000], "line 1: expected JSON"),
        (['{"text": ' + "1" * 5000 + "}"], "line 1: expected JSON"),
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


ROWS = [("Ça va\u2028très bien\x85!", "Positive"), ("Nein, 🙂 das nicht", "Negative")]


def jsonl(rows, ascii=False):
    return "\n".join(json.dumps({"text": text, "label": label}, ensure_ascii=ascii) for text, label in rows) + "\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with its mark", "utf-16-be with its mark"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n \r\n"])
def test_text_is_read_as_it_was_written(encoding, newline, tmp_path):
    mark = "\ufeff" if "mark" in encoding else ""
    content = (mark + jsonl(ROWS).replace("\n", newline)).encode(encoding.split()[0])
    (tmp_path / "mine.jsonl").write_bytes(content)
    assert [tuple(example) for example in sentences.read(tmp_path / "mine.jsonl")] == ROWS


def test_two_files_with_marks_one_behind_the_other_are_read(tmp_path):
    parts = [("\ufeff" + jsonl([row])).encode() for row in ROWS]
    (tmp_path / "mine.jsonl").write_bytes(b"".join(parts))
    assert [tuple(example) for example in sentences.read(tmp_path / "mine.jsonl")] == ROWS


@pytest.mark.parametrize(
    "content, message",
    [
        (jsonl([("plain", "a"), ("café", "b")]).encode("cp1252"), "line 2: expected UTF-8, .*: save the file as UTF-8"),
        (jsonl(ROWS[1:]).encode("utf-16-le"), "line 1: expected .*: save the file as UTF-8|save the file as UTF-8"),
        (jsonl([("plain", "a")]).encode("utf-16-be"), "line 1: expected JSON, .*save the file as UTF-8"),
        (b"\x1f\x8b\x08 packed", "line 1: expected UTF-8"),
        (
            jsonl([("ok", "a"), ("half \ud83d", "b")], ascii=True).encode(),
            r"line 2: '.ud83d' is half a character: write",
        ),
        (jsonl([("ok", "\udc00")], ascii=True).encode(), r"line 1: '.udc00' is half a character"),
    ],
    ids=["cp1252", "UTF-16 without a mark", "the other", "an archive", "a lone surrogate", "one in a label"],
)
def test_text_of_another_kind_is_refused_with_file_line_and_remedy(content, message, tmp_path):
    (tmp_path / "mine.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=f"mine.jsonl, ({message})"):
        sentences.read(tmp_path / "mine.jsonl")


def test_all_that_stands_twice_is_said_at_once_and_quickly(tmp_path):
    rows = [(f"text {i % 20_000}", "ab"[i % 2]) for i in range(40_000)]
    (tmp_path / "mine.jsonl").write_text(jsonl([("once", "a"), *rows]))
    start = time.process_time()
    with pytest.raises(ValueError, match="lines 2 and 20002; lines 3 and 20003; .*; and 19980 more") as caught:
        sentences.read(tmp_path / "mine.jsonl")
    assert time.process_time() - start < 5 and len(str(caught.value)) < 1000


def test_doubtful_labels_are_warned_of(tmp_path):
    (tmp_path / "mine.jsonl").write_text(jsonl([("a", "Yes"), ("b", "No"), ("a", "No"), ("c", "yes"), ("d", "YES")]))
    with pytest.warns(UserWarning) as seen:
        assert len(sentences.read(tmp_path / "mine.jsonl")) == 5
    both, case = (str(warning.message) for warning in seen)
    assert both.endswith("mine.jsonl: the same text has two labels: lines 1 and 3.")
    assert case.endswith("labels differ in case only, and count as different: Yes and yes and YES.")


def test_the_series_own_sentences_give_no_warning(recwarn):
    sentences.sentiment()
    assert not recwarn


def test_missing_data_is_said_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="data: there is no file"):
        sentences.read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "k, message", [(0, "k: expected a whole number"), (64, "k: expected fewer than the 64 examples")]
)
def test_too_few_or_too_many_demonstrations_are_refused(k, message):
    with pytest.raises(ValueError, match=message):
        sentences.split(sentences.sentiment(), k)
