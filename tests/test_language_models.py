"""The comparison on real language models: held against plain loops over what tiny ones say; stopped; and printed."""

import copy
import importlib.util
import json

import pytest
import scipy.stats
import torch

if importlib.util.find_spec("transformers") is None:
    pytest.skip('transformers is not installed: pip install -e ".[lm]" brings it', allow_module_level=True)

from test_pretrained import saved  # noqa: F401 - a fixture

from helpers import language_models, pretrained, sentences
from helpers.pretrained import Reading

EXAMPLES = sentences.sentiment()[:14]
RATES = (0.3, 0.03)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def loaded(request, saved):  # noqa: F811
    return pretrained.load(saved(request.param))


@pytest.fixture(scope="module")
def found(loaded):
    return language_models.compare(*loaded, EXAMPLES, k=4, rates=RATES, sets=3, seed=5)


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def centred(m):
    return m - m.mean()


@pytest.mark.parametrize("s, r", [(0, 0), (2, 1)])
def test_each_measure_is_what_a_plain_loop_finds(loaded, found, s, r):
    model, tokenizer = loaded
    demos, queries = sentences.split(EXAMPLES, 4, seed=5 + s)
    zsl, icl = (pretrained.ask(model, tokenizer, queries, ["Negative", "Positive"], which) for which in ((), demos))
    with pretrained.finetuned(model, tokenizer, demos, RATES[r]) as heard:
        ft = pretrained.ask(model, tokenizer, queries, ["Negative", "Positive"])
    assert torch.equal(found.zsl[s], zsl.right) and torch.equal(found.icl[s], icl.right)
    assert torch.equal(found.ft[s, r], ft.right)
    twins = []
    for layer in range(2):
        h = [[reading.updates[q, layer] for q in range(10)] for reading in (icl, ft, zsl)]
        by_hand = {"SimAOU": [cosine(a - z, b - z) for a, b, z in zip(*h, strict=True)]}
        unit = [[v / v.norm() for v in part] for part in h]
        by_hand["SimAOU, normalised"] = [cosine(a - z, b - z) for a, b, z in zip(*unit, strict=True)]
        own = [len(tokens) for tokens in zsl.tokens]
        assert all(a[-n:] == z for a, n, z in zip(icl.tokens, own, zsl.tokens, strict=True))
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


def spans_of(tokenizer, demos):
    """Where each demonstration is in the context; the tiny tokenizers make a token of each word."""
    lengths = [len(tokenizer(pretrained.told(demo))["input_ids"]) for demo in demos]
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    return [slice(*span) for span in zip(ends, ends[1:], strict=False)]


def test_the_other_order_is_that_of_the_next_set(loaded, found):
    model, tokenizer = loaded
    demos, queries = sentences.split(EXAMPLES, 4, seed=5)
    theirs, asked = sentences.split(EXAMPLES, 4, seed=7)  # set 3, before set 1 in a ring
    icl = pretrained.ask(model, tokenizer, queries, ["Negative", "Positive"], demos)
    with pretrained.finetuned(model, tokenizer, theirs, RATES[0]) as heard:
        ft = pretrained.ask(model, tokenizer, asked, ["Negative", "Positive"])
    taus = [
        scipy.stats.kendalltau(
            [icl.scores[q][1].sum(0)[span].mean().item() for span in spans_of(tokenizer, demos)],
            [(ft.inputs[q, 1] @ heard.inputs[i, 1]).item() for i in range(4)],
        ).statistic
        for q in range(10)
    ]
    assert found.alike["  inputs of another set"][0, 0, 1].item() == pytest.approx(sum(taus) / 10, abs=1e-4)


def test_a_learning_rate_of_zero_leaves_nothing_alike(loaded):
    still = language_models.compare(*loaded, EXAMPLES, k=4, rates=(0.0,), sets=2)
    assert torch.equal(still.ft[:, 0], still.zsl)
    assert all((still.alike[name] == 0).all() for name in ("SimAOU", "SimAOU, normalised"))
    # ... except by the measure that does not ask what fine-tuning changed
    assert torch.allclose(still.alike["SimAM, centred"], still.alike["SimAM, before FT"])
    assert still.alike["SimAM, centred"].mean() > 0.1


def test_what_was_stopped_goes_on_where_it_was(loaded, tmp_path, monkeypatch, found):
    model, tokenizer = loaded
    keep, done, one_set = tmp_path / "kept.pt", [], language_models._one_set

    def stopped(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return one_set(*arguments)

    options = {"k": 4, "rates": RATES, "sets": 3, "seed": 5, "keep": keep}
    monkeypatch.setattr(language_models, "_one_set", stopped)
    with pytest.raises(KeyboardInterrupt):
        language_models.compare(model, tokenizer, EXAMPLES, **options)
    done.pop()
    again = language_models.compare(model, tokenizer, EXAMPLES, **options)
    assert len(done) == 2 and torch.equal(again.ft, found.ft)
    assert all(torch.equal(again.alike[name], found.alike[name]) for name in found.alike)
    for other in ({"k": 3}, {"rates": (0.1,)}, {"seed": 6}):
        with pytest.raises(
            ValueError, match=rf"keep: .*kept.pt holds another comparison \({next(iter(other))} differ\)"
        ):
            language_models.compare(model, tokenizer, EXAMPLES, **options | other)
    with pytest.raises(ValueError, match=r"\(examples differ\)"):
        language_models.compare(model, tokenizer, EXAMPLES[1:], **options)
    with pytest.raises(ValueError, match=r"\(weights differ\)"):
        language_models.compare(pretrained.untrained(model), tokenizer, EXAMPLES, **options)
    torch.save([1], keep)
    with pytest.raises(ValueError, match="kept.pt holds another comparison"):
        language_models.compare(model, tokenizer, EXAMPLES, **options)


def test_the_model_is_what_it_was(loaded):
    model, tokenizer = loaded
    before = copy.deepcopy(model.state_dict())
    language_models.compare(model, tokenizer, EXAMPLES, k=4, rates=(0.3,), sets=2)
    assert all(torch.equal(W, before[name]) for name, W in model.state_dict().items())


def test_own_tokens_are_those_at_the_end_that_both_prompts_share():
    def reading(tokens):
        n = len(tokens)
        return Reading(None, None, None, None, [tokens], [torch.arange(float(n)).expand(1, 1, n)])

    zsl, icl = reading([0, 7, 8, 9]), reading([0, 7, 8, 5, 1, 8, 9])  # a token of its own begins each text
    ((few, tuned, alone),) = language_models.Asked(zsl, zsl, icl).scores()
    assert few.tolist() == [[[5.0, 6.0]]] and tuned.tolist() == alone.tolist() == [[[2.0, 3.0]]]


def hand_made():
    """Two sets of four queries, one learning rate, two layers."""
    right = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    ft = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 0]], dtype=torch.bool)
    icl = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    alike = {"SimAOU": torch.tensor([[[0.1, 0.3]], [[0.5, 0.7]]])}
    return language_models.Comparison(2, (0.1,), right, icl, ft[:, None], alike)


def test_the_table_by_hand():
    lines = language_models.table(hand_made()).splitlines()
    assert lines[0].startswith("2 sets of 2 demonstrations, 4 queries each")
    numbers = {line[:26].strip(): line[26:] for line in lines[3:] if line}
    assert numbers["accuracy, zero-shot"] == "0.38 [0.25, 0.50]"  # both sets, or one of them twice
    assert numbers["accuracy, in context"] == "0.88 [0.75, 1.00]"
    assert numbers["accuracy, fine-tuned"] == "0.62 [0.50, 0.75]"
    # zero-shot has 5 errors: fine-tuning corrects 3 of them, the context 4, both 2. Set 1 alone: 1 of 2; set 2: 1 of 1
    assert numbers["Rec2FTP"] == "0.67 [0.50, 1.00]" and numbers["by chance"] == "0.80 [0.67, 1.00]"
    assert numbers["SimAOU"] == "0.40 [0.20, 0.60]" and numbers["learning rate"] == "0.1"


def test_fine_tuning_that_blows_up_is_a_result(loaded):
    blown = language_models.compare(*loaded, EXAMPLES, k=4, rates=(1e30,), sets=2)
    assert "nan" in language_models.table(blown)


def test_the_command_prints_a_table_and_its_twin_with_random_weights(saved, tmp_path, capsys):  # noqa: F811
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(json.dumps(example._asdict()) for example in EXAMPLES))
    options = ["--data", str(data), "--k", "4", "--sets", "2", "--rates", "0", "0.1", "--keep", str(tmp_path / "kept")]
    language_models.main(["--model", str(saved("gpt2")), "--untrained", *options])
    trained, untrained = capsys.readouterr().out.strip().split("\n\n" + str(saved("gpt2")))
    assert untrained.startswith(" untrained\n") and trained.splitlines()[1:] != untrained.splitlines()[1:]
    for text in (trained, untrained):
        assert len(text.splitlines()) == len(untrained.splitlines()) and "learning rate             0" in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "kept untrained", "mine.jsonl"]


@pytest.mark.parametrize(
    "given, message",
    [
        (["--data", "none.jsonl"], "data: there is no file none.jsonl."),
        (["--model", "no/model"], "model: no/model was not found whole on this machine."),
        (["--k", "64"], "k: expected fewer than the 64 examples, got 64"),
        (["--k", "1"], "k: expected"),
        (["--sets", "1"], "sets: expected"),
        (["--k", "40"], "k: a prompt has"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(given, message, saved, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        language_models.main(["--model", str(saved("gpt2")), *given])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"python -m helpers.language_models: error: {message}")
