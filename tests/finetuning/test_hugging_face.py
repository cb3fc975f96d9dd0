"""Real language models: loaded, asked and fine-tuned; tiny ones of several families, made and saved by the tests."""

import copy
import importlib.util
import json
import logging
import os
import shutil
import socket

import pytest
import torch
from torch.nn import functional as F

from helpers import metrics
from helpers.finetuning import hugging_face, projections, real_models, sentences

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
    "mistral": (
        "Mistral",
        {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32, "sliding_window": 16},
    ),
    "phi3": ("Phi3", {"num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 0}),  # not known
}
KNOWN = ["gpt2", "gpt_neox", "llama", "opt"]


def save(folder, family):
    """A model with random weights, and a tokenizer with a token for each word of the sentences."""
    words = {"[UNK]": 0}
    for example in sentences.sentiment():
        for word in hugging_face.told(example).split():
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
    return hugging_face.load(saved(request.param))


DEMOS, QUERIES = sentences.split(sentences.sentiment(), k=4)
LABELS = ["Negative", "Positive"]
WRONG = 1e-3


@pytest.mark.parametrize("change, lacks", [({"n_layer": 3}, "transformer.h.2"), ({"n_embd": 32}, "transformer.h.0")])
def test_a_model_that_lacks_weights_is_refused_since_they_would_be_random(change, lacks, saved, tmp_path, caplog):
    shutil.copytree(saved("gpt2"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    logger, level = logging.getLogger("transformers"), transformers.logging.get_verbosity()
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(ValueError, match=rf"{tmp_path} has no {lacks}.* of its size, and \d+ others: is it whole?"):
            hugging_face.load(tmp_path)
    finally:
        logger.removeHandler(caplog.handler)
    assert transformers.logging.get_verbosity() == level and not caplog.records  # one line, not a report besides


def keys_and_values(model):
    """Names of the weights that Dai et al. fine-tune, where each has a projection of its own."""
    return [name for name, _ in model.named_parameters() if "k_proj" in name or "v_proj" in name]


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_fine_tuning_is_plain_sgd_on_keys_and_values_in_the_contexts_order(family, saved):
    model, tokenizer = hugging_face.load(saved(family))

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

    with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS, lr=0.5):
        ours = torch.cat([W.detach().flatten() for W in model.parameters()])
    gap = [(ours - by_torch(*args)).abs().max() for args in ((DEMOS, 0.5), (DEMOS[::-1], 0.5), (DEMOS, 0.55))]
    assert gap[0] < 1e-5 and min(gap[1:]) > 1e-3


def test_fine_tuning_leaves_queries_as_they_are(known):
    model, tokenizer = known
    tokens = torch.tensor([tokenizer(hugging_face.told(QUERIES[0]))["input_ids"]])

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
    with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS, lr=0.5):
        after = first_layer()
    assert set(before) == set("qkv")
    assert torch.equal(before["q"], after["q"])
    assert not torch.equal(before["k"], after["k"]) and not torch.equal(before["v"], after["v"])


def test_afterwards_the_model_is_what_it_was_even_after_an_error(known):
    model, tokenizer = known
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError), hugging_face.temporarily_finetuned(model, tokenizer, DEMOS, lr=0.5):
        changed = [name for name, W in model.state_dict().items() if not torch.equal(W, before[name])]
        raise KeyError
    assert changed and all(torch.equal(W, before[name]) for name, W in model.state_dict().items())
    assert not any(W.requires_grad for W in model.parameters())


def test_the_answer_is_the_label_that_the_model_finds_least_surprising(known):
    model, tokenizer = known
    queries, labels = QUERIES[:6], ["Positive", "Negative film", "Negative"]  # one of two tokens

    def surprise(query, label):
        prompt = " ".join([*(hugging_face.told(demo) for demo in DEMOS), f"Sentence: {query.text} Label:"])
        tokens = tokenizer([prompt, f"{prompt} {label}"])["input_ids"]
        n, row = len(tokens[0]), torch.tensor(tokens[1:])
        with torch.no_grad():
            return F.cross_entropy(model(row).logits[0, n - 1 : -1], row[0, n:]).item()

    best = [min(labels, key=lambda label: surprise(query, label)) for query in queries]
    got = hugging_face.ask(model, tokenizer, queries, labels, DEMOS).right
    assert got.tolist() == [label == query.label for label, query in zip(best, queries, strict=True)]
    renamed = [query._replace(label=label) for query, label in zip(queries, best, strict=True)]
    assert hugging_face.ask(model, tokenizer, renamed, labels, DEMOS).right.all()
    worst = [max(labels, key=lambda label: surprise(query, label)) for query in queries]
    renamed = [query._replace(label=label) for query, label in zip(queries, worst, strict=True)]
    assert not hugging_face.ask(model, tokenizer, renamed, labels, DEMOS).right.any()  # the twin


def test_updates_are_read_where_the_label_is_predicted(known):
    model, tokenizer = known
    query, seen = QUERIES[0], []
    attention = [m for name, m in model.named_modules() if name.endswith((".attn", ".attention", ".self_attn"))]
    hooks = [m.register_forward_hook(lambda m, x, y: seen.append(y[0][0])) for m in attention]
    with torch.no_grad():
        model(torch.tensor([tokenizer(hugging_face.TEMPLATE.format(text=query.text))["input_ids"]]))
    for hook in hooks:
        hook.remove()
    updates = hugging_face.ask(model, tokenizer, [query], LABELS).updates
    assert updates.shape == (1, 2, 16)
    assert metrics.max_gap(updates[0], torch.stack([y[-1] for y in seen])) < 1e-5
    assert metrics.max_gap(updates[0], torch.stack([y[-2] for y in seen])) > 1e-3


NORMS = ("ln_1", "input_layernorm", "self_attn_layer_norm")  # before attention, in the families that are known


def before_attention(model, tokens):
    """What attention gets, layer by layer, each (T, d): what the norm before it says."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda m, x, y: seen.append(y[0]))
        for n, m in model.named_modules()
        if n.endswith(NORMS)
    ]
    with torch.no_grad():
        model(torch.tensor([tokens]))
    for hook in hooks:
        hook.remove()
    return torch.stack(seen)


def test_inputs_and_queries_are_those_of_the_token_before_the_label(known):
    model, tokenizer = known
    read = hugging_face.ask(model, tokenizer, QUERIES[:1], LABELS, DEMOS)
    inputs = before_attention(model, read.tokens[0])
    assert (
        metrics.max_gap(read.inputs[0], inputs[:, -1]) < 1e-5 < WRONG < metrics.max_gap(read.inputs[0], inputs[:, -2])
    )
    kind, x = model.config.model_type, inputs[0, -1]
    layer = model.get_submodule(
        next(n for n, _ in model.named_modules() if n.endswith(("c_attn", "query_key_value", "q_proj")))
    )
    with torch.no_grad():
        asks = {"gpt2": lambda y: y[:16], "gpt_neox": lambda y: y.view(2, 3, 8)[:, 0].flatten()}.get(kind, lambda y: y)(
            layer(x)
        )
    assert metrics.max_gap(read.queries[0, 0], asks) < 1e-5


def test_scores_are_attentions_own_but_for_a_constant_in_each_row(saved):
    model, tokenizer = hugging_face.load(saved("gpt2"))
    read = hugging_face.ask(model, tokenizer, QUERIES[:1], LABELS, DEMOS)
    for layer, block in enumerate(model.transformer.h):
        with torch.no_grad():
            q, k, _ = block.attn.c_attn(before_attention(model, read.tokens[0])[layer]).view(-1, 3, 2, 8).unbind(1)
        m = torch.einsum("hd,thd->ht", q[-1], k) / 8**0.5
        apart = read.scores[0][layer] - m
        assert metrics.max_gap(apart, apart[:, :1].expand_as(apart)) < 1e-4
        other = read.scores[0][layer] - 1.1 * m
        assert metrics.max_gap(other, other[:, :1].expand_as(other)) > WRONG


def test_a_model_that_keeps_its_attention_to_itself_is_refused(saved):
    model = transformers.AutoModelForCausalLM.from_pretrained(saved("gpt2"), attn_implementation="sdpa")
    with pytest.raises(ValueError, match='keeps its attention to itself: load it with attn_implementation="eager"'):
        hugging_face.ask(model, hugging_face.load(saved("gpt2"))[1], QUERIES[:1], LABELS)


def test_fine_tuning_hears_each_demonstration_at_the_weights_of_its_own_step(known):
    model, tokenizer = known
    tokens = [tokenizer(hugging_face.told(demo))["input_ids"] for demo in DEMOS[:2]]
    untouched = [before_attention(model, row).mean(1) for row in tokens]
    with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS[:1], lr=0.5):
        second = before_attention(model, tokens[1]).mean(1)
    with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS[:2], lr=0.5) as heard:
        pass
    assert metrics.max_gap(heard.inputs, torch.stack([untouched[0], second])) < 1e-5
    assert metrics.max_gap(second, untouched[1]) > WRONG  # the twin: the weights of the start
    assert heard.queries.shape[:2] == (2, 2) and metrics.max_gap(heard.queries[1, 0], heard.queries[0, 0]) > WRONG


def test_an_untrained_twin_has_other_weights_of_the_same_shapes(known):
    model, tokenizer = known
    one, again, other = (hugging_face.untrained(model, seed=seed).state_dict() for seed in (0, 0, 1))
    own = model.state_dict()
    assert {name: W.shape for name, W in one.items()} == {name: W.shape for name, W in own.items()}
    embedding = next(name for name in own if name.endswith(("wte.weight", "embed_in.weight", "embed_tokens.weight")))
    assert all(torch.equal(one[name], again[name]) for name in own)
    assert not torch.equal(one[embedding], other[embedding]) and not torch.equal(one[embedding], own[embedding])
    assert hugging_face.ask(hugging_face.untrained(model), tokenizer, QUERIES[:2], LABELS).right.shape == (2,)


def test_labels_that_a_tokenizer_does_not_tell_apart_are_refused(saved):
    with pytest.raises(
        ValueError, match="labels: the model's tokenizer does not tell gut, schlecht apart: rename them"
    ):
        hugging_face.ask(
            *hugging_face.load(saved("gpt2")), QUERIES[:1], ["gut", "schlecht"]
        )  # the tiny tokenizer knows neither


def test_updates_are_read_there_whatever_the_labels_length(known):
    model, tokenizer = known
    short, long = (
        hugging_face.ask(model, tokenizer, QUERIES[:2], labels) for labels in (LABELS, ["Negative film", *LABELS])
    )
    for name in ("updates", "inputs", "queries"):
        assert metrics.max_gap(getattr(long, name), getattr(short, name)) < 1e-5
    assert long.tokens == short.tokens and long.scores[0].shape == short.scores[0].shape


def test_an_answer_that_is_no_number_is_wrong(saved):
    model, tokenizer = hugging_face.load(saved("gpt2"))
    with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS, lr=1e30):
        assert not hugging_face.ask(model, tokenizer, QUERIES[:8], LABELS).right.any()


def test_a_model_in_training_is_refused(saved):
    model, tokenizer = hugging_face.load(saved("gpt2"))
    with pytest.raises(ValueError, match=r"model: expected one that is in use, not in training .*model.eval\(\)"):
        hugging_face.ask(model.train(), tokenizer, QUERIES[:1], LABELS)


def test_weights_that_could_be_trained_can_be_trained_afterwards(saved):
    model, tokenizer = hugging_face.load(saved("gpt2"))
    model.requires_grad_(True)
    with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS, lr=0.1):
        pass
    assert all(W.requires_grad for W in model.parameters())
    with (
        pytest.raises(ValueError, match="demos: expected at least 1"),
        hugging_face.temporarily_finetuned(model, tokenizer, [], 0.1),
    ):
        pass


def test_a_model_that_is_refused_is_left_without_hooks(saved):
    model, tokenizer = hugging_face.load(saved("phi3"))
    with pytest.raises(ValueError, match="model: expected a query projection in each of 2 layers of a phi3, found 0"):
        hugging_face.ask(model, tokenizer, QUERIES[:1], LABELS)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_broken_file_is_said_in_words(saved, tmp_path):
    folder = save(tmp_path / "model", "gpt2")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="model: .* cannot be loaded: "):
        hugging_face.load(folder)


def test_a_label_may_begin_with_another(saved):
    right = [
        hugging_face.ask(*hugging_face.load(saved("gpt2")), [sentences.Example("We laughed", label)], labels).right
        for labels in [["Positive", "Positive film"]]
        for label in labels
    ]
    assert torch.cat(right).sum() == 1


def test_a_prompt_that_is_too_long_is_refused(saved):
    demos, queries = sentences.split(sentences.sentiment(), k=40)
    with pytest.raises(ValueError, match=r"k: a prompt has \d+ tokens, but the model reads 256: take fewer"):
        hugging_face.ask(*hugging_face.load(saved("gpt2")), queries, LABELS, demos)


def test_a_model_whose_keys_and_values_are_not_known_is_refused(saved):
    with pytest.raises(ValueError, match="model: no key and value projections found in a phi3: expected k_proj"):
        projections.key_value_weights(hugging_face.load(saved("phi3"))[0])


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no/folder/at/all"])
def test_offline_it_says_what_is_missing_and_reaches_for_nothing(name, tmp_path, monkeypatch):
    def refused(self, address):
        raise AssertionError(f"reached for {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"model: {name} was not found whole on this machine\. To fetch it"):
        hugging_face.load(name)


TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
TEXT |= {"intermediate_size": 32, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0}
SEES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
SEES |= {"image_size": 28, "patch_size": 14}


def of_several_parts(kind, V):
    """A model that reads pictures, too: its configuration has one for the text in it. Random weights."""
    config = transformers.CONFIG_MAPPING[kind](text_config=TEXT | {"vocab_size": V}, vision_config=SEES)
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(config)
    return model.float().eval().requires_grad_(False)


def test_where_text_is_one_part_of_several_that_part_is_read_and_trained(saved):
    """Held against the text part alone, as a model of its own."""
    tokenizer = hugging_face.load(saved("llama"))[1]
    both = of_several_parts("gemma3", len(tokenizer))
    assert not hasattr(both.config, "num_hidden_layers")
    with torch.random.fork_rng():
        alone = transformers.Gemma3ForCausalLM(copy.deepcopy(both.config.text_config)).eval().requires_grad_(False)
    alone.model.load_state_dict(both.model.language_model.state_dict())
    alone.lm_head.load_state_dict(both.lm_head.state_dict())
    alone.set_attn_implementation("eager")
    seen = []
    for model in (both, alone):
        with hugging_face.temporarily_finetuned(model, tokenizer, DEMOS, lr=0.5) as heard:
            ft = hugging_face.ask(model, tokenizer, QUERIES[:3], LABELS)
        icl = hugging_face.ask(model, tokenizer, QUERIES[:3], LABELS, DEMOS)
        seen.append((ft.updates, icl.updates, icl.queries, heard.inputs))
    assert all(metrics.max_gap(a, b) < 1e-5 for a, b in zip(*seen, strict=True))
    assert metrics.max_gap(seen[0][0], seen[0][1]) > WRONG


@pytest.mark.parametrize(
    "kind, said",
    [
        ("got_ocr2", None),
        ("gemma4", "model: the layers of a gemma4_text make queries of different sizes, 16 and 1024"),
        ("fuyu", "model: no key and value projections found in a persimmon"),
        ("qwen3_5", "model: no key and value projections found in a qwen3_5"),
    ],
)
def test_other_models_of_several_parts_are_read_or_refused_in_words(kind, said, saved):
    tokenizer = hugging_face.load(saved("llama"))[1]
    model = of_several_parts(kind, len(tokenizer))
    if said:
        with pytest.raises(ValueError, match=said):
            real_models.compare(model, tokenizer, sentences.sentiment())
    else:
        assert len(projections.query_projections(model)) == len(projections.attention_outputs(model)) == 2
        assert hugging_face.ask(model, tokenizer, QUERIES[:1], LABELS).updates.shape == (1, 2, 16)


def test_a_model_that_does_not_say_how_many_layers_it_has_is_refused_in_words(saved):
    model = hugging_face.load(saved("llama"))[0]
    model.config = transformers.PreTrainedConfig()
    with pytest.raises(ValueError, match="model: the configuration of a .* does not say how many layers read text"):
        projections.query_projections(model)


def test_a_folder_without_a_model_is_said_to_have_none(tmp_path):
    with pytest.raises(ValueError, match="model: .* cannot be loaded: Unrecognized model"):
        hugging_face.load(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(saved, tmp_path):
    folder, ran = save(tmp_path / "model", "llama"), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M"
    )
    with pytest.raises((ValueError, FileNotFoundError), match="model: .* cannot be loaded"):
        hugging_face.load(folder)
    assert not ran.exists()


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match=r'transformers is not installed: pip install -e "\.\[lm\]" brings it'):
        hugging_face.load("gpt2")
