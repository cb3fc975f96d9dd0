"""Files that have gone wrong, drawn at random, for bad_inputs.py: cut, taken for others, wrongly encoded."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import torch

from helpers.finetuning import hugging_face, sentences

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A name of what was done to it, and what is left."""
    cut = rng.randrange(1, max(2, len(content) - 1))
    bit = bytearray(content or b"\0")
    bit[rng.randrange(len(bit))] ^= 1 << rng.randrange(8)
    other = io.BytesIO()
    torch.save({"what": "run", "of": rng.random()}, other)
    ways = {"empty": b"", "cut": content[:cut], "without its begin": content[cut:], "a pointer": POINTER}
    ways |= {"noise": rng.randbytes(100), "notes": "Zwölf Läufe, später mehr.\n".encode("cp1252")}
    ways |= {"another .pt": other.getvalue(), "JSON of something": json.dumps([1, {"a": None}]).encode()}
    if content[:2] == b"PK":
        ways["a bit turned"] = bytes(bit)
    return rng.choice(list(ways.items()))


def sentences_gone_wrong(file: Path, rng: random.Random) -> str:
    rows = [json.dumps(example._asdict(), ensure_ascii=False) for example in sentences.sentiment()]
    i, text = rng.randrange(len(rows)), "\n".join(rows)
    broken = {
        "a line cut": [*rows[:i], rows[i][:-3], *rows[i + 1 :]],
        "a line twice": [*rows, rows[i]],
        "one label": [row.replace("Negative", "Positive") for row in rows],
        "a label that is a number": [*rows, '{"text": "So so.", "label": 3}'],
        "another key": [*rows, '{"sentence": "So so.", "label": "Positive"}'],
        "a list": [*rows, '["So so.", "Positive"]'],
        "half a character": [*rows, r'{"text": "So \ud83d so.", "label": "Positive"}'],
        "an empty text": [*rows, '{"text": " ", "label": "Positive"}'],
        "numbers deep as a well": [*rows, "[" * 100_000],
        "a number without end": [*rows, '{"text": ' + "1" * 5000 + "}"],
        "few": rows[:8:4],
        "a CSV": ["text,label", "So so.,Positive"],
    }
    as_bytes = {
        "UTF-16 without its mark": text.encode("utf-16-le"),
        "UTF-16, cut": text.encode("utf-16")[:-1],
        "cp1252": text.encode() + '\n{"text": "Très bon.", "label": "Positive"}'.encode("cp1252"),
        "NULs": b"\0" * 100,
        "empty": b"",
        "a pointer": POINTER,
        "noise": rng.randbytes(200),
    }
    kind = rng.choice([*broken, *as_bytes])
    file.write_bytes("\n".join(broken[kind]).encode() if kind in broken else as_bytes[kind])
    return kind


def whole_model(folder: Path) -> Path:
    """A tiny GPT-2 with a token for each word of the sentences."""
    import tokenizers
    import transformers

    told = [word for example in sentences.sentiment() for word in hugging_face.told(example).split()]
    words = {word: i for i, word in enumerate(dict.fromkeys(["[UNK]", *told]))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 256, "bos_token_id": 0, "eos_token_id": 0}
    with torch.random.fork_rng():
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(words), **sizes))
    model.save_pretrained(folder)
    return folder


def model_gone_wrong(folder: Path, whole: Path, rng: random.Random) -> str:
    files = {file.name: file.read_bytes() for file in whole.iterdir() if file.name != "generation_config.json"}
    config = json.loads(files["config.json"])
    changes = {
        "of no known type": {"model_type": "gpt2000"},
        "that is no language model": {"model_type": "vit"},
        "of an encoder": {"model_type": "bert"},
        "that translates": {"model_type": "t5"},
        "with code of its own": {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Mine"}},
        "wider than its weights": {"n_embd": 16},
        "deeper than its weights": {"n_layer": 2},
        "of negative width": {"n_embd": -8},
        "with heads that do not fit": {"n_head": 3},
        "with words for numbers": {"n_layer": "one"},
    }
    name, how = rng.choice(sorted(files)), rng.choice(["missing", "damaged", "changed", "changed"])
    if how == "changed":
        how, change = rng.choice(list(changes.items()))
        name, files["config.json"] = "config", json.dumps(config | change).encode()
    elif how == "missing" and name != "tokenizer_config.json":  # which can be done without
        del files[name]
    else:
        how, files[name] = damaged(files[name], rng)
    folder.mkdir()
    for each, content in files.items():
        (folder / each).write_bytes(content)
    return f"{name} {how}"
