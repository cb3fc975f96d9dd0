"""Real language models: the loading, the fine-tuning and the comparison, on tiny ones that the tests make and save."""

import copy
import importlib.util
import json
import math
import os
import socket

import pytest
import torch
from torch.nn import functional as F

from helpers import language_models as lm
from helpers import sentences

os.environ["HF_HUB_OFFLINE"] = "1"
if importlib.util.find_spec("transformers") is None:
    pytest.skip('transformers is not installed: pip install -e ".[lm]" brings it', allow_module_level=True)

import tokenizers
import transformers

SIZES = {
    "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
    "gpt_neox": ("GPTNeoX", {"num_attention_heads": 2, "intermediate_size": 32}),
    "llama": ("Llama", {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32}),
    "qwen2": ("Qwen2", {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32}),
    "opt": ("OPT", {"num_attention_heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 16}),
    "phi3": ("Phi3", {"num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 0}),  # not known
}
KNOWN = ["gpt2", "gpt_neox", "llama", "opt"]


def save(folder, family):
    """A model with random weights, and a tokenizer with a token for each word of the sentences."""
    words = {"[UNK]": 0}
    for example in sentences.sentiment():
        for word in lm._told(example).split():
            words.setdefault(word, len(words))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    name, sizes = SIZES[family]
    end = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    common = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 0, "max_position_embeddings": 256}
    common |= {} if family == "gpt2" else {"hidden_size": 16, "num_hidden_layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(transformers, f"{name}{end}")(getattr(transformers, f"{name}Config")(**common, **sizes))
        for W in model.parameters():
            torch.nn.init.normal_(W, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    made = {}

    def get(family):
        if family not in made:
            made[family] = save(tmp_path_factory.mktemp(family), family)
        return made[family]

    return get


@pytest.fixture(params=KNOWN)
def known(request, saved):
    return lm.load(saved(request.param))


DEMOS, QUERIES = sentences.split(sentences.sentiment(), k=4)
LABELS = ["Negative", "Positive"]


def keys_and_values(model):
    """Names of the weights that Dai et al. fine-tune, where each has a projection of its own."""
    return [name for name, _ in model.named_parameters() if "k_proj" in name or "v_proj" in name]


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_fine_tuning_is_plain_sgd_on_keys_and_values_in_the_contexts_order(family, saved):
    model, tokenizer = lm.load(saved(family))

    def by_torch(demos, lr):
        other = copy.deepcopy(model)
        chosen = [other.get_parameter(name).requires_grad_(True) for name in keys_and_values(other)]
        sgd = torch.optim.SGD(chosen, lr)
        for demo in demos:
            tokens = tokenizer(f"Sentence: {demo.text} Label: {demo.label}", return_tensors="pt")["input_ids"]
            sgd.zero_grad()
            other(tokens, labels=tokens).loss.backward()
            sgd.step()
        return torch.cat([W.detach().flatten() for W in other.parameters()])

    with lm.finetuned(model, tokenizer, DEMOS, lr=0.5):
        ours = torch.cat([W.detach().flatten() for W in model.parameters()])
    gap = [(ours - by_torch(*args)).abs().max() for args in ((DEMOS, 0.5), (DEMOS[::-1], 0.5), (DEMOS, 0.55))]
    assert gap[0] < 1e-5 and min(gap[1:]) > 1e-3


def test_fine_tuning_leaves_queries_as_they_are(known):
    model, tokenizer = known
    tokens = torch.tensor([tokenizer(lm._told(QUERIES[0]))["input_ids"]])

    def first_layer():
        """Queries, keys and values of the first layer, as the model itself cuts them."""
        seen, kind = [], model.config.model_type
        names = [name for name, _ in model.named_modules() if name.endswith(("c_attn", "query_key_value", "_proj"))]
        names = [
            name for name in names if ".0." in name and name.endswith(("attn", "value", "q_proj", "k_proj", "v_proj"))
        ]
        hooks = [
            model.get_submodule(name).register_forward_hook(lambda m, x, y, name=name: seen.append((name, y[0])))
            for name in names
        ]
        with torch.no_grad():
            model(tokens)
        for hook in hooks:
            hook.remove()
        if kind == "gpt2":
            return dict(zip("qkv", seen[0][1].split(model.config.n_embd, dim=-1), strict=True))
        if kind == "gpt_neox":
            return dict(zip("qkv", seen[0][1].view(tokens.shape[1], 2, 3 * 8).chunk(3, dim=-1), strict=True))
        return {name.split(".")[-1][0]: y for name, y in seen}

    before = first_layer()
    with lm.finetuned(model, tokenizer, DEMOS, lr=0.5):
        after = first_layer()
    assert set(before) == set("qkv")
    assert torch.equal(before["q"], after["q"])
    assert not torch.equal(before["k"], after["k"]) and not torch.equal(before["v"], after["v"])


def test_afterwards_the_model_is_what_it_was_even_after_an_error(known):
    model, tokenizer = known
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError), lm.finetuned(model, tokenizer, DEMOS, lr=0.5):
        changed = [name for name, W in model.state_dict().items() if not torch.equal(W, before[name])]
        raise KeyError
    assert changed and all(torch.equal(W, before[name]) for name, W in model.state_dict().items())
    assert not any(W.requires_grad for W in model.parameters())


def test_the_answer_is_the_label_that_the_model_finds_least_surprising(known):
    model, tokenizer = known
    queries, labels = QUERIES[:6], ["Positive", "Negative film", "Negative"]  # one of two tokens

    def surprise(query, label):
        prompt = " ".join([*(lm._told(demo) for demo in DEMOS), f"Sentence: {query.text} Label:"])
        tokens = tokenizer([prompt, f"{prompt} {label}"])["input_ids"]
        n, row = len(tokens[0]), torch.tensor(tokens[1:])
        with torch.no_grad():
            return F.cross_entropy(model(row).logits[0, n - 1 : -1], row[0, n:]).item()

    best = [min(labels, key=lambda label: surprise(query, label)) for query in queries]
    got = lm.ask(model, tokenizer, queries, labels, DEMOS).right
    assert got.tolist() == [label == query.label for label, query in zip(best, queries, strict=True)]
    renamed = [query._replace(label=label) for query, label in zip(queries, best, strict=True)]
    assert lm.ask(model, tokenizer, renamed, labels, DEMOS).right.all()
    worst = [max(labels, key=lambda label: surprise(query, label)) for query in queries]
    renamed = [query._replace(label=label) for query, label in zip(queries, worst, strict=True)]
    assert not lm.ask(model, tokenizer, renamed, labels, DEMOS).right.any()  # the twin


def test_attention_outputs_are_read_where_the_label_is_predicted(known):
    model, tokenizer = known
    query, seen = QUERIES[0], []
    attention = [m for name, m in model.named_modules() if name.endswith((".attn", ".attention", ".self_attn"))]
    hooks = [m.register_forward_hook(lambda m, x, y: seen.append(y[0][0])) for m in attention]
    with torch.no_grad():
        model(torch.tensor([tokenizer(lm.TEMPLATE.format(text=query.text))["input_ids"]]))
    for hook in hooks:
        hook.remove()
    outputs = lm.ask(model, tokenizer, [query], LABELS).outputs
    assert outputs.shape == (1, 2, 16)
    assert (outputs[0] - torch.stack([y[-1] for y in seen])).abs().max() < 1e-5
    assert (outputs[0] - torch.stack([y[-2] for y in seen])).abs().max() > 1e-3


def test_the_comparison_by_hand(monkeypatch):
    def reading(right, outputs):
        return lm.Reading(torch.tensor(right, dtype=torch.bool), torch.tensor(outputs)[:, None])

    zero = reading([1, 0, 0, 0], [[1.0, 0.0]] * 4)
    few = reading([1, 1, 1, 0], [[1.0, 1.0]] * 4)
    tuned = reading([0, 1, 0, 1], [[1.0, 2.0], [1.0, 2.0], [2.0, 0.0], [1.0, -1.0]])
    row = lm._beside("fine-tuned", zero, few, tuned)
    assert row.accuracy == 0.5
    assert row.rec2ftp == 0.5  # of queries 2 and 4 that fine-tuning put right, the context did 2. (Of few - tuned: 0.)
    assert row.chance == pytest.approx(2 / 3)  # of the wrong ones 2, 3, 4 it did 2 and 3
    assert row.sim_aou == pytest.approx((1 + 1 + 0 - 1) / 4)
    by_hand = [_cosine_of_unit_updates((1, 0), (1, 1), v) for v in ((1, 2), (1, 2), (1, -1))]
    assert row.sim_aou_norm == pytest.approx(sum(by_hand) / 4)  # the third update is along the output: it counts 0
    never = lm._beside("", zero, few, zero)
    assert math.isnan(never.rec2ftp) and never.chance == pytest.approx(2 / 3)


def _cosine_of_unit_updates(zero, few, tuned):
    unit = [torch.tensor(v) / torch.tensor(v, dtype=torch.float).norm() for v in (zero, few, tuned)]
    a, b = unit[1] - unit[0], unit[2] - unit[0]
    return (a @ b / (a.norm() * b.norm())).item()


def test_the_command_prints_a_table(saved, tmp_path, capsys):
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(json.dumps(example._asdict()) for example in sentences.sentiment()[:10]))
    lm.main(["--model", str(saved("gpt2")), "--data", str(data), "--k", "4", "--rates", "0", "0.1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18].strip() for line in lines] == [
        "",
        "zero-shot",
        "4 demonstrations",
        "fine-tuned, lr 0",
        "fine-tuned, lr 0.1",
    ]
    assert all(0 <= float(line[20:30]) <= 1 for line in lines[1:])
    assert lines[1].split()[1] == lines[3].split()[3]  # a learning rate of 0 changes nothing


@pytest.mark.parametrize("given", [["--data", "none.jsonl"], ["--model", "no/model"], ["--k", "64"]])
def test_the_command_says_what_is_wrong_in_one_line(given, saved, capsys):
    with pytest.raises(SystemExit):
        lm.main(["--model", str(saved("gpt2")), *given])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith(f"python -m helpers.language_models: error: {given[0][2:]}: ")


def test_fine_tuning_that_blows_up_is_a_result(saved):
    rows = lm.compare(*lm.load(saved("gpt2")), sentences.sentiment()[:12], k=8, rates=(1e9,))
    assert 0 <= rows[-1].accuracy <= 1 and len(lm.table(rows).splitlines()) == 4


def test_labels_that_a_tokenizer_does_not_tell_apart_are_refused(saved):
    with pytest.raises(
        ValueError, match="labels: the model's tokenizer does not tell gut, schlecht apart: rename them"
    ):
        lm.ask(*lm.load(saved("gpt2")), QUERIES[:1], ["gut", "schlecht"])  # the tiny tokenizer knows neither


def test_a_label_may_begin_with_another(saved):
    right = [
        lm.ask(*lm.load(saved("gpt2")), [sentences.Example("We laughed", label)], labels).right
        for labels in [["Positive", "Positive film"]]
        for label in labels
    ]
    assert torch.cat(right).sum() == 1


def test_a_prompt_that_is_too_long_is_refused(saved):
    with pytest.raises(ValueError, match=r"k: a prompt has \d+ tokens, but the model reads 256: take fewer"):
        lm.compare(*lm.load(saved("gpt2")), sentences.sentiment(), k=40)


def test_a_model_whose_keys_and_values_are_not_known_is_refused(saved):
    with pytest.raises(ValueError, match="model: no key and value projections found in a phi3: expected k_proj"):
        lm.key_value_weights(lm.load(saved("phi3"))[0])


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no/folder/at/all"])
def test_offline_it_says_what_is_missing_and_reaches_for_nothing(name, tmp_path, monkeypatch):
    def refused(self, address):
        raise AssertionError(f"reached for {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"model: {name} was not found whole on this machine\. To fetch it"):
        lm.load(name)


def test_a_folder_without_a_model_is_said_to_have_none(tmp_path):
    with pytest.raises(ValueError, match="model: .* cannot be loaded: Unrecognized model"):
        lm.load(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(saved, tmp_path):
    folder, ran = save(tmp_path / "model", "llama"), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M"
    )
    with pytest.raises((ValueError, FileNotFoundError), match="model: .* cannot be loaded"):
        lm.load(folder)
    assert not ran.exists()


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match=r'transformers is not installed: pip install -e "\.\[lm\]" brings it'):
        lm.load("gpt2")
