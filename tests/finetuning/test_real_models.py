"""The comparison on real language models: held against plain loops over what tiny ones say; stopped; and printed."""

import copy
import importlib.util
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

if importlib.util.find_spec("transformers") is None:
    pytest.skip('transformers is not installed: pip install -e ".[lm]" brings it', allow_module_level=True)

import tokenizers.processors
from test_hugging_face import saved  # noqa: F401 - a fixture

from helpers.finetuning import hugging_face, one_set, real_models, sentences
from helpers.finetuning.hugging_face import Reading

EXAMPLES = sentences.sentiment()[:14]
RATES = (0.3, 0.03)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def loaded(request, saved):  # noqa: F811
    return hugging_face.load(saved(request.param))


@pytest.fixture(scope="module")
def found(loaded):
    return real_models.compare(*loaded, EXAMPLES, k=4, rates=RATES, sets=3, seed=5)


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def centred(m):
    return m - m.mean()


@pytest.mark.parametrize("s, r", [(0, 0), (2, 1)])
def test_each_measure_is_what_a_plain_loop_finds(loaded, found, s, r):
    model, tokenizer = loaded
    demos, queries = sentences.split(EXAMPLES, 4, seed=5 + s)
    zsl, icl = (hugging_face.ask(model, tokenizer, queries, ["Negative", "Positive"], which) for which in ((), demos))
    with hugging_face.temporarily_finetuned(model, tokenizer, demos, RATES[r]) as heard:
        ft = hugging_face.ask(model, tokenizer, queries, ["Negative", "Positive"])
    assert torch.equal(found.zsl[s], zsl.right) and torch.equal(found.icl[s], icl.right)
    assert torch.equal(found.ft[s, r], ft.right)
    twins = []
    for layer in range(2):
        h = [[reading.updates[q, layer] for q in range(10)] for reading in (icl, ft, zsl)]
        by_hand = {"SimAOU": [cosine(a - z, b - z) for a, b, z in zip(*h, strict=True)]}
        unit = [[v / v.norm() for v in part] for part in h]
        by_hand["SimAOU, normalised"] = [cosine(a - z, b - z) for a, b, z in zip(*unit, strict=True)]
        own = [len(tokens) - 1 for tokens in zsl.tokens]  # all but the first
        assert all(a[-n:] == z[1:] for a, n, z in zip(icl.tokens, own, zsl.tokens, strict=True))
        for head in range(icl.scores[0].shape[1]):
            rows = [[centred(part.scores[q][layer, head, -own[q] :]) for part in (icl, ft, zsl)] for q in range(10)]
            by_hand.setdefault("SimAM, centred", []).extend(cosine(a, b) for a, b, _ in rows)
            by_hand.setdefault("SimAM, before FT", []).extend(cosine(a, z) for a, _, z in rows)
            by_hand.setdefault("SimAM Δ, centred", []).extend(cosine(a - z, b - z) for a, b, z in rows)
        for name, values in by_hand.items():
            if layer == 0 and "Δ" in name and name.startswith("SimAM"):
                continue  # in the first layer a context changes no score but by rounding
            assert found.alike[name][s, r, layer].item() == pytest.approx(sum(values) / len(values), abs=1e-4), name
        spans = spans_of(tokenizer, demos)
        for name in ("queries", "inputs"):
            taus, others = [], []
            for q in range(10):
                listened = [icl.scores[q][layer].sum(0)[span].mean().item() for span in spans]
                alike = [(getattr(ft, name)[q, layer] @ getattr(heard, name)[i, layer]).item() for i in range(4)]
                taus.append(scipy.stats.kendalltau(listened, alike).statistic)
                others.append(scipy.stats.kendalltau(listened[::-1], alike).statistic)
            assert found.alike[f"Kendall, {name}"][s, r, layer].item() == pytest.approx(sum(taus) / 10, abs=1e-4)
            twins.append(abs(sum(taus) - sum(others)))
    assert max(twins) > 0.1  # demonstrations in another order


def spans_of(tokenizer, demos, *, added=0):
    """Where each demonstration is in the context; the tiny tokenizers make a token of each word."""
    lengths = [len(tokenizer(hugging_face.told(demo))["input_ids"]) - added for demo in demos]
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    return [slice(*span) for span in zip(ends, ends[1:], strict=False)]


def test_the_other_order_is_that_of_the_next_set(loaded, found):
    model, tokenizer = loaded
    demos, queries = sentences.split(EXAMPLES, 4, seed=5)
    theirs, asked = sentences.split(EXAMPLES, 4, seed=7)  # set 3, before set 1 in a ring
    icl = hugging_face.ask(model, tokenizer, queries, ["Negative", "Positive"], demos)
    with hugging_face.temporarily_finetuned(model, tokenizer, theirs, RATES[0]) as heard:
        ft = hugging_face.ask(model, tokenizer, asked, ["Negative", "Positive"])
    taus = [
        scipy.stats.kendalltau(
            [icl.scores[q][1].sum(0)[span].mean().item() for span in spans_of(tokenizer, demos)],
            [(ft.inputs[q, 1] @ heard.inputs[i, 1]).item() for i in range(4)],
        ).statistic
        for q in range(10)
    ]
    assert found.alike["  inputs of another set"][0, 0, 1].item() == pytest.approx(sum(taus) / 10, abs=1e-4)


def test_a_learning_rate_of_zero_leaves_nothing_alike(loaded):
    still = real_models.compare(*loaded, EXAMPLES, k=4, rates=(0.0,), sets=2)
    assert torch.equal(still.ft[:, 0], still.zsl)
    assert all((still.alike[name] == 0).all() for name in ("SimAOU", "SimAOU, normalised"))
    # ... except by the measure that does not ask what fine-tuning changed
    assert torch.allclose(still.alike["SimAM, centred"], still.alike["SimAM, before FT"])
    assert still.alike["SimAM, centred"].mean() > 0.1


OPTIONS = {"k": 4, "rates": RATES, "sets": 3, "seed": 5}


def test_what_was_stopped_goes_on_where_it_was(loaded, tmp_path, monkeypatch, found):
    keep, done, measure = tmp_path / "kept.pt", [], one_set.measure

    def stopped(*arguments):
        if len(done) == 2:
            raise RuntimeError("stopped")
        done.append(1)
        return measure(*arguments)

    monkeypatch.setattr(one_set, "measure", stopped)
    with pytest.raises(RuntimeError, match="stopped"):
        real_models.compare(*loaded, EXAMPLES, **OPTIONS, keep=keep)
    done.pop()
    again = real_models.compare(*loaded, EXAMPLES, **OPTIONS, keep=keep)
    assert len(done) == 2 and torch.equal(again.ft, found.ft)
    assert all(torch.equal(again.alike[name], found.alike[name]) for name in found.alike)
    fewer = real_models.compare(*loaded, EXAMPLES, **OPTIONS | {"sets": 2}, keep=keep)
    assert torch.equal(fewer.ft, found.ft[:2]) and len(done) == 2


def test_whoever_is_stopped_while_saving_still_has_what_was_saved_before(loaded, tmp_path, monkeypatch):
    keep, save = tmp_path / "kept.pt", torch.save

    def stopped(what, file):
        if len(what["now"]["done"]) == 2:
            raise RuntimeError("stopped")
        save(what, file)

    monkeypatch.setattr(torch, "save", stopped)
    with pytest.raises(OSError, match="keep: .*kept.pt cannot be written: stopped"):
        real_models.compare(*loaded, EXAMPLES, **OPTIONS, keep=keep)
    assert len(torch.load(keep, weights_only=True)["now"]["done"]) == 1


@pytest.fixture(scope="module")
def kept(loaded, tmp_path_factory):
    keep = tmp_path_factory.mktemp("kept") / "kept.pt"
    real_models.compare(*loaded, EXAMPLES, **OPTIONS | {"sets": 2}, keep=keep)
    return keep


@pytest.mark.parametrize(
    "other, differs",
    [({"k": 3}, "k, tokens"), ({"rates": (0.1,)}, "rates"), ({"seed": 6}, "seed, tokens"), ({"queries": 3}, "queries")],
)
def test_a_file_of_another_comparison_is_not_gone_on_from(other, differs, loaded, kept):
    with pytest.raises(ValueError, match=rf"keep: .*kept.pt holds another comparison \(it differs in {differs}\)"):
        real_models.compare(*loaded, EXAMPLES, **OPTIONS | other, keep=kept)


def test_a_file_of_other_examples_weights_or_wording_is_not_gone_on_from(loaded, kept, monkeypatch):
    model, tokenizer = loaded
    with pytest.raises(ValueError, match=r"\(it differs in examples, tokens\)"):
        real_models.compare(model, tokenizer, EXAMPLES[1:], **OPTIONS, keep=kept)
    other = copy.deepcopy(model)
    matrix = next(W for W in other.parameters() if W.ndim == 2)
    matrix.copy_(matrix.flip(0))  # of the same sum
    with pytest.raises(ValueError, match=r"\(it differs in weights\)"):
        real_models.compare(other, tokenizer, EXAMPLES, **OPTIONS, keep=kept)
    monkeypatch.setattr(hugging_face, "TEMPLATE", "Label: {text} Sentence:")
    with pytest.raises(ValueError, match=r"\(it differs in tokens\)"):
        real_models.compare(model, tokenizer, EXAMPLES, **OPTIONS, keep=kept)


@pytest.mark.parametrize("content", [b"", b"words", None])
def test_a_file_that_holds_no_comparison_is_said_to_hold_none(content, loaded, tmp_path):
    keep = tmp_path / "other.pt"
    keep.write_bytes(content) if content is not None else torch.save({"run": 1}, keep)
    with pytest.raises(ValueError, match="keep: .*other.pt (holds something else|is not all there)"):
        real_models.compare(*loaded, EXAMPLES, **OPTIONS, keep=keep)
    with pytest.raises(FileNotFoundError, match="keep: there is no folder .*nowhere: make it first"):
        real_models.compare(*loaded, EXAMPLES, **OPTIONS, keep=tmp_path / "nowhere" / "kept.pt")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"k": 1}, "k: expected"),
        ({"k": 14}, "k: expected fewer than the 14 examples"),
        ({"sets": 1}, "sets: expected"),
        ({"queries": 0}, "queries: expected"),
        ({"rates": ()}, "rates: expected some learning rates"),
        ({"rates": 0.1}, "rates: expected some learning rates"),
        ({"rates": (float("nan"),)}, "rates: expected"),
        ({"examples": EXAMPLES[::2]}, "examples: expected at least 2 labels, got Positive"),
    ],
)
def test_what_does_not_fit_is_said_before_the_work_begins(changed, message, loaded, monkeypatch):
    monkeypatch.setattr(hugging_face, "ask", None)
    with pytest.raises((ValueError, TypeError), match=message):
        real_models.compare(*loaded, **{"examples": EXAMPLES} | OPTIONS | changed)


def with_ends(tokenizer, start, end):
    """The tokenizer, adding a token before or after each text."""
    changed, V = copy.deepcopy(tokenizer), tokenizer.vocab_size
    changed.eos_token = changed.bos_token = "[UNK]"
    parts = f"{'[UNK]:0' if start else ''} $A:0 {'[UNK]:0' if end else ''}".split()
    inner = changed.backend_tokenizer
    inner.post_processor = tokenizers.processors.TemplateProcessing(single=parts, special_tokens=[("[UNK]", 0)])
    assert changed.vocab_size == V and len(changed("The soup")["input_ids"]) == 2 + start + end
    return changed


def test_a_token_that_ends_texts_is_left_out(loaded, found):
    model, tokenizer = loaded
    ended = real_models.compare(model, with_ends(tokenizer, False, True), EXAMPLES, **OPTIONS)
    assert torch.equal(ended.ft, found.ft) and torch.equal(ended.icl, found.icl)
    assert all(torch.allclose(ended.alike[name], found.alike[name], atol=1e-4) for name in found.alike)


def test_a_token_that_begins_texts_stands_before_the_first_demonstration(loaded):
    model, tokenizer = loaded
    tokenizer, (demos, queries) = with_ends(tokenizer, True, False), sentences.split(EXAMPLES, 4, seed=5)
    icl = hugging_face.ask(model, tokenizer, queries[:2], ["Negative", "Positive"], demos)
    spans = [slice(span.start + 1, span.stop + 1) for span in spans_of(tokenizer, demos, added=1)]
    by_hand = [[icl.scores[q][1].sum(0)[span].mean() for span in spans] for q in range(2)]
    assert torch.allclose(one_set.listened(tokenizer, demos, icl)[:, 1], torch.tensor(by_hand), atol=1e-4)


def test_a_model_that_reads_a_window_only_is_refused(saved):  # noqa: F811
    model, tokenizer = hugging_face.load(saved("mistral"))
    with pytest.raises(ValueError, match="k: attention to a demonstration is exactly 0: the model reads a window only"):
        real_models.compare(model, tokenizer, EXAMPLES, k=4)


def test_the_model_is_what_it_was(loaded):
    model, tokenizer = loaded
    before = copy.deepcopy(model.state_dict())
    real_models.compare(model, tokenizer, EXAMPLES, k=4, rates=(0.3,), sets=2)
    assert all(torch.equal(W, before[name]) for name, W in model.state_dict().items())


def test_own_tokens_are_those_at_the_end_that_both_prompts_share():
    def reading(tokens):
        n = len(tokens)
        return Reading(None, None, None, None, [tokens], [torch.arange(float(n)).expand(1, 1, n)])

    for zsl, icl in (
        ([0, 7, 8, 9], [0, 7, 8, 5, 1, 8, 9]),  # a token of its own begins each text
        ([1, 8, 9], [7, 8, 5, 1, 8, 9]),  # none does: all of the query is at the end of both, but for its first token
    ):
        ((few, tuned, alone),) = one_set.Readings(reading(zsl), reading(zsl), reading(icl)).scores()
        assert few.tolist() == [[[len(icl) - 2.0, len(icl) - 1.0]]]
        assert tuned.tolist() == alone.tolist() == [[[len(zsl) - 2.0, len(zsl) - 1.0]]]


def hand_made():
    """Two sets of four queries, one learning rate, two layers."""
    right = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    ft = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 0]], dtype=torch.bool)
    icl = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    alike = {"SimAOU": torch.tensor([[[0.1, 0.3]], [[0.5, 0.7]]])}
    return real_models.Comparison(2, (0.1,), right, icl, ft[:, None], alike)


def test_the_table_by_hand():
    lines = real_models.table(hand_made()).splitlines()
    assert lines[0].startswith("2 sets of 2 demonstrations, 4 queries each")
    numbers = {line[:26].strip(): line[26:] for line in lines[3:] if line}
    assert numbers["accuracy, zero-shot"] == "0.38 [0.25, 0.50]"  # both sets, or one of them twice
    assert numbers["accuracy, in context"] == "0.88 [0.75, 1.00]"
    assert numbers["accuracy, fine-tuned"] == "0.62 [0.50, 0.75]"
    # zero-shot has 5 errors: fine-tuning corrects 3 of them, the context 4, both 2. Set 1 alone: 1 of 2; set 2: 1 of 1
    assert numbers["Rec2FTP"] == "0.67 [0.50, 1.00]" and numbers["by chance"] == "0.80 [0.67, 1.00]"
    assert numbers["SimAOU"] == "0.40 [0.20, 0.60]" and numbers["learning rate"] == "0.1"


def test_fine_tuning_that_blows_up_is_a_result(loaded):
    blown = real_models.compare(*loaded, EXAMPLES, k=4, rates=(1e38,), sets=2)
    lines = {line[:26].strip(): line[26:] for line in real_models.table(blown).splitlines()}
    assert lines["accuracy, fine-tuned"] == "0.00 [0.00, 0.00]"  # no answer is no right answer
    assert lines["Rec2FTP"] == "nan [nan, nan]"  # nothing was corrected


def test_the_command_prints_a_table_and_its_twin_with_random_weights(saved, tmp_path, capsys):  # noqa: F811
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(json.dumps(example._asdict()) for example in EXAMPLES))
    options = ["--data", str(data), "--k", "4", "--sets", "2", "--rates", "0", "0.1", "--keep", str(tmp_path / "kept")]
    real_models.main(["--model", str(saved("gpt2")), "--untrained", *options])
    trained, untrained = capsys.readouterr().out.strip().split("\n\nwith random weights\n")
    trained, untrained = trained.splitlines()[1:], untrained.splitlines()
    assert len(trained) == len(untrained) and trained != untrained
    assert [line[:26] for line in trained] == [line[:26] for line in untrained]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "kept untrained", "mine.jsonl"]


BASIC = ["--k", "4", "--sets", "2", "--queries", "2", "--rates", "0.1"]


def said_by(arguments, monkeypatch, encoding="utf-8"):
    """The status of a command, and its lines on both streams, on a console of this encoding."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    try:
        real_models.main(arguments)
        status = 0
    except SystemExit as stop:
        status = stop.code
    for stream in streams.values():
        stream.flush()
    return status, *(stream.buffer.getvalue().decode(encoding).splitlines() for stream in streams.values())


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "cp437", "ascii"])
def test_the_table_is_printed_whatever_the_console_knows(encoding, saved, monkeypatch):  # noqa: F811
    status, out, _ = said_by(["--model", str(saved("gpt2")), *BASIC], monkeypatch, encoding)
    (line,) = [line for line in out if "centred" in line and not line.startswith("SimAM, ")]
    assert status == 0 and line.startswith("SimAM Δ, " if encoding == "utf-8" else "SimAM ?, ")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "cp437", "ascii"])
def test_help_is_printed_whatever_the_console_knows(encoding):
    command = [sys.executable, "-m", "helpers.finetuning.real_models", "--help"]
    around = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(real_models.__file__).parents[2])}
    done = subprocess.run(command, env=around, capture_output=True)
    assert done.returncode == 0 and b"--keep" in done.stdout and not done.stderr


@pytest.mark.parametrize(
    "given, message",
    [
        (["--data", "none.jsonl"], "data: there is no file none.jsonl."),
        (["--model", "no/model"], "model: no/model was not found whole on this machine."),
        (["--k", "64"], "k: expected fewer than the 64 examples, got 64"),
        (["--k", "1"], "k: expected"),
        (["--k", "four"], "argument --k: invalid int value: 'four'"),
        (["--rates", "nan"], "rates: expected one finite number"),
        (["--rates", "0.1", "-0.1"], "rates: expected learning rates of at least 0, got -0.1."),
        (["--seed", "-1"], "seed: expected a whole number of at least 0"),
        (["--sets", "1"], "sets: expected"),
        (["--k", "40"], "k: a prompt has"),
        (["--what"], "unrecognized arguments: --what"),
        (["--keep", "/no/such/folder/kept.pt"], "keep: there is no folder /no/such/folder: make it first"),
        (["--keep", "/proc/kept.pt"], "keep: /proc/kept.pt cannot be written: "),
        (["--keep", "."], "keep: . is a folder: name a file."),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(given, message, saved, monkeypatch):  # noqa: F811
    monkeypatch.setattr(one_set, "measure", None)
    status, out, said = said_by(["--model", str(saved("gpt2")), *given], monkeypatch)
    said = [line for line in said if "Loading" not in line and line]
    assert status == 2 and not out and len(said) == 1
    assert said[0].startswith(f"python -m helpers.finetuning.real_models: error: {message}")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not all there (0 bytes, cut off or damaged): delete it or use a new name."),
        (b"version https://git-lfs.github.com/spec/v1\n", "is only a pointer of Git LFS"),
        (b"my notes", "holds something else, not plain values: delete it or use a new name."),
    ],
    ids=["empty", "pointer", "notes"],
)
def test_a_file_to_keep_that_is_damaged_is_named_in_one_line(content, message, saved, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "kept").write_bytes(content)
    options = ["--model", str(saved("gpt2")), *BASIC, "--keep", str(tmp_path / "kept")]
    status, _, said = said_by(options, monkeypatch)
    assert status == 2 and f"error: keep: {tmp_path / 'kept'} {message}" in said[-1]
    assert (tmp_path / "kept").read_bytes() == content


@pytest.mark.parametrize("keep, how", [(True, "the same command goes on from there."), (False, "with --keep FILE")])
def test_whoever_stops_the_command_is_told_how_to_go_on(keep, how, saved, tmp_path, monkeypatch):  # noqa: F811
    options = ["--model", str(saved("gpt2")), *BASIC, *(["--keep", str(tmp_path / "kept")] if keep else [])]
    expected, measure, calls = said_by(options[:10], monkeypatch)[1], one_set.measure, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(one_set, "measure", stops)
        status, out, said = said_by(options, patch)
    assert status == 130 and not out and how in said[-1] and not any("Traceback" in line for line in said)
    assert said_by(options, monkeypatch)[1] == expected


def test_a_warning_of_the_data_is_one_line(saved, tmp_path, monkeypatch):  # noqa: F811
    rows = [*EXAMPLES, EXAMPLES[0]._replace(label="POSITIVE")]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(example._asdict()) for example in rows))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        options = ["--model", str(saved("gpt2")), *BASIC, "--data", str(tmp_path / "mine.jsonl")]
        status, _, said = said_by(options, monkeypatch)
    notes = [line for line in said if "mine.jsonl" in line]
    assert len(notes) == 2 and all(line.startswith(f"{real_models.COMMAND}: note: ") for line in notes)


@pytest.mark.parametrize("rates", [np.logspace(-2, -1, 2), list(np.logspace(-2, -1, 2)), torch.tensor([0.01, 0.1])])
def test_rates_of_any_kind_are_kept_as_numbers(rates, loaded, tmp_path):
    options = {"k": np.int64(4), "sets": 2, "queries": np.int32(2), "rates": rates, "keep": tmp_path / "kept.pt"}
    first, again = (real_models.compare(*loaded, EXAMPLES, **options) for _ in range(2))
    assert torch.equal(first.ft, again.ft) and all(type(lr) is float for lr in first.rates)


@pytest.fixture
def unusual_torch():
    """float64 by default, new tensors without data, no gradients, other threads."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device("cpu")
    torch.set_grad_enabled(True)


def test_torchs_global_state_changes_nothing(saved, found, loaded, unusual_torch):  # noqa: F811
    again = real_models.compare(*loaded, EXAMPLES, k=4, rates=RATES, sets=3, seed=5)
    assert torch.equal(again.ft, found.ft)
    assert all(torch.allclose(again.alike[name], found.alike[name], atol=1e-5) for name in found.alike)
    twin = hugging_face.untrained(loaded[0])
    assert {(W.dtype, W.device.type) for W in twin.parameters()} == {(torch.float32, "cpu")}
