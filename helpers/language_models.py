"""In-context learning beside fine-tuning in a real language model: any causal one that Hugging Face transformers loads.

    pip install -e ".[lm]"
    python -m helpers.language_models --model gpt2 --download          # fetches the model once, about 0.5 GB
    python -m helpers.language_models --model PATH --data FILE.jsonl   # a folder on this machine, data of your own
    (a line of FILE.jsonl: {"text": "We laughed a lot.", "label": "Positive"}; without --data, 64 such sentences)

The same demonstrations are once a context and once training data, as in Dai et al. 2022: SGD on the projections of keys
and values, a step for each demonstration, in the context's order. In a notebook:

    model, tokenizer = language_models.load("gpt2")
    print(language_models.compare(model, tokenizer, sentences.sentiment(), k=8, rates=(0.01, 0.1)))

Nothing is downloaded unless you ask for it, and no code that comes with a model is run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from helpers import sentences, similarity
from helpers.sentences import Example

TEMPLATE = "Sentence: {text} Label:"  # of Dai et al. 2022 for SST2; the label follows, after a space
BETWEEN = "\n"  # two demonstrations


class Reading(NamedTuple):
    """What a model made of Q queries: right (Q,), and the attention output (Q, layers, d_model) where it answers."""

    right: Tensor
    outputs: Tensor


class Row(NamedTuple):
    """One line of the comparison, as `similarity` defines its measures; the last four are of fine-tuning only."""

    name: str
    accuracy: float
    rec2ftp: float | None = None  # of what fine-tuning put right, the share that the context puts right, too
    chance: float | None = None  # the same share, were the two independent: of what was wrong
    sim_aou: float | None = None  # the cosine of the two updates of the attention outputs
    sim_aou_norm: float | None = None  # the same as first published: outputs set to length 1 before


def load(name: str | Path, *, download: bool = False):
    """The model, frozen, in float32, and its tokenizer; `name` is a folder, or a model's name on the Hub.

    Without `download` only what is on this machine is looked at. Code that comes with a model is never run.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise ImportError('transformers is not installed: pip install -e ".[lm]" brings it.') from None
    options = {"local_files_only": not download, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(str(name), dtype=torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(str(name), **options)
    except OSError as error:
        hint = "" if download else " To fetch it from the Hub, pass download=True (--download)."
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"model: {name} was not found whole on this machine.{hint} ({reason})") from error
    except ValueError as error:
        raise ValueError(f"model: {name} cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.eval().requires_grad_(False), tokenizer


def key_value_weights(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """The weights and biases that make keys and values, each with a mask that is 0 where it makes queries instead.

    Known: projections of their own, k_proj and v_proj (Llama, Qwen, Mistral, OPT, …); c_attn of GPT-2, whose columns
    are queries, keys, values; query_key_value of GPT-NeoX, whose rows are these three for the first head, then for the
    second, and so on.
    """
    kind, found = model.config.model_type, []
    for name, W in model.named_parameters():
        part = name.split(".")[-2]
        if part in ("k_proj", "v_proj"):
            found.append((W, torch.ones(())))
        elif part == "c_attn" and kind == "gpt2":
            found.append((W, (torch.arange(W.shape[-1]) >= W.shape[-1] // 3).float()))
        elif part == "query_key_value" and kind == "gpt_neox":
            head = len(W) // (3 * model.config.num_attention_heads)
            mask = (torch.arange(len(W)) // head % 3 > 0).float()
            found.append((W, mask.view(-1, *[1] * (W.ndim - 1))))
    if not found:
        raise ValueError(
            f"model: no key and value projections found in a {kind}: expected k_proj and v_proj (Llama, Qwen, OPT, …), "
            "GPT-2's c_attn or GPT-NeoX's query_key_value."
        )
    return found


def attention_outputs(model: nn.Module) -> list[nn.Module]:
    """In each layer, the projection at the end of attention, whose output is added to the tokens."""
    ends = ("attn.c_proj", "attention.dense", "attn.o_proj", "attn.out_proj", "attention.out_proj", "attn.dense")
    found = [module for name, module in model.named_modules() if name.endswith(ends)]
    if len(found) != model.config.num_hidden_layers:
        raise ValueError(
            f"model: expected an attention output in each of {model.config.num_hidden_layers} layers of a "
            f"{model.config.model_type}, found {len(found)}, looking for {', '.join(ends)}."
        )
    return found


def _told(example: Example) -> str:
    return f"{TEMPLATE.format(text=example.text)} {example.label}"


def _rows(model, tokenizer, context: str, query: Example, labels: Sequence[str]) -> tuple[list[list[int]], int]:
    """The tokens of a prompt with each label in turn, and how many of them come before the label."""
    prompt = context + TEMPLATE.format(text=query.text)
    start, *rows = (tokenizer(prompt + end)["input_ids"] for end in ("", *(f" {label}" for label in labels)))
    if len(set(map(tuple, rows))) < len(labels):
        raise ValueError(f"labels: the model's tokenizer does not tell {', '.join(labels)} apart: rename them.")
    n = len(os.path.commonprefix([start, *rows]))  # a tokenizer may join the prompt's last token to the label
    most = getattr(model.config, "max_position_embeddings", None)
    if most and max(map(len, rows)) > most:
        raise ValueError(f"k: a prompt has {max(map(len, rows))} tokens, but the model reads {most}: take fewer.")
    return rows, n


@torch.no_grad()
def ask(model, tokenizer, queries: Sequence[Example], labels: Sequence[str], demos: Sequence[Example] = ()) -> Reading:
    """Put queries to the model, after demonstrations or, without any, zero-shot.

    Its answer is the label whose tokens have the greatest mean log-probability. Attention outputs are read at the last
    token before the label, the one that predicts it.
    """
    context = "".join(_told(demo) + BETWEEN for demo in demos)
    right, outputs = [], []
    for query in tqdm(queries, desc="asking", leave=False):
        rows, n = _rows(model, tokenizer, context, query, labels)
        passes = {}  # labels of one token share a pass
        for row in rows:
            if tuple(row[:-1]) not in passes:
                passes[tuple(row[:-1])] = _logits_and_outputs(model, row[:-1], n - 1)
        scores = [_mean_log_p(passes[tuple(row[:-1])][0], row, n) for row in rows]
        right.append(labels[int(torch.stack(scores).argmax())] == query.label)
        outputs.append(passes[tuple(rows[0][:-1])][1])
    return Reading(torch.tensor(right), torch.stack(outputs))


def _logits_and_outputs(model, tokens: list[int], at: int) -> tuple[Tensor, Tensor]:
    """Logits (T, V), and the attention outputs (layers, d_model) at one token."""
    kept = []
    hooks = [end.register_forward_hook(lambda module, x, y: kept.append(y[0, at])) for end in attention_outputs(model)]
    try:
        return model(torch.tensor([tokens])).logits[0], torch.stack(kept)
    finally:
        for hook in hooks:
            hook.remove()


def _mean_log_p(logits: Tensor, row: list[int], n: int) -> Tensor:
    return -F.cross_entropy(logits[n - 1 :], torch.tensor(row[n:]))


@contextlib.contextmanager
def finetuned(model, tokenizer, demos: Sequence[Example], lr: float) -> Iterator[None]:
    """Within a `with`, the model is fine-tuned on the demonstrations; afterwards it is what it was.

    One step of SGD for each demonstration, in their order, on keys and values only: W <- W - lr * dL/dW with the mean
    of -log p over all tokens of the demonstration, as a language model is trained (Dai et al. 2022).
    """
    weights = key_value_weights(model)
    before = [W.detach().clone() for W, _ in weights]
    try:
        for W, _ in weights:
            W.requires_grad_(True)
        for demo in demos:
            tokens = torch.tensor([tokenizer(_told(demo))["input_ids"]])
            loss = F.cross_entropy(model(tokens[:, :-1]).logits[0], tokens[0, 1:])
            slopes = torch.autograd.grad(loss, [W for W, _ in weights])
            with torch.no_grad():
                for (W, mask), slope in zip(weights, slopes, strict=True):
                    W -= lr * mask * slope
        yield
    finally:
        with torch.no_grad():
            for (W, _), old in zip(weights, before, strict=True):
                W.requires_grad_(False).copy_(old)


def compare(
    model, tokenizer, examples: Sequence[Example], *, k: int = 8, rates: Sequence[float] = (0.01, 0.1), seed: int = 0
) -> list[Row]:
    """The same queries zero-shot, after k demonstrations, and fine-tuned on these with each of the learning rates."""
    demos, queries = sentences.split(examples, k, seed)
    labels = sorted({example.label for example in examples})
    zero, few = (ask(model, tokenizer, queries, labels, context) for context in ((), demos))
    rows = [Row("zero-shot", _share(zero.right)), Row(f"{k} demonstrations", _share(few.right))]
    for lr in rates:
        with finetuned(model, tokenizer, demos, lr):
            rows.append(_beside(f"fine-tuned, lr {lr:g}", zero, few, ask(model, tokenizer, queries, labels)))
    return rows


def _beside(name: str, zero: Reading, few: Reading, tuned: Reading) -> Row:
    counts = similarity.corrections(*(reading.right[None] for reading in (zero, tuned, few)))
    recall = similarity.rec2ftp(counts)
    h = [reading.outputs for reading in (few, tuned, zero)]
    alike = [similarity.sim_aou(*h, normalised=normalised).mean().item() for normalised in (False, True)]
    return Row(name, _share(tuned.right), recall.recall.item(), recall.chance.item(), *alike)


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def table(rows: Sequence[Row]) -> str:
    """The comparison as text.

    >>> print(table([Row("zero-shot", 0.5), Row("fine-tuned, lr 0.1", 0.75, 0.9, 0.8, 0.1, 0.2)]))
                          accuracy   Rec2FTP    chance    SimAOU  SimAOU norm.
    zero-shot                0.500
    fine-tuned, lr 0.1       0.750     0.900     0.800     0.100         0.200
    """
    lines = [f"{'':20}{'accuracy':>10}{'Rec2FTP':>10}{'chance':>10}{'SimAOU':>10}{'SimAOU norm.':>14}"]
    for name, *numbers in rows:
        cells = ["" if number is None else f"{number:.3f}" for number in numbers]
        lines.append(f"{name:20}{cells[0]:>10}{cells[1]:>10}{cells[2]:>10}{cells[3]:>10}{cells[4]:>14}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.language_models", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder, or a model's name on the Hub")
    parser.add_argument("--download", action="store_true", help="fetch the model from the Hub if it is not here")
    parser.add_argument(
        "--data", default=sentences.SENTIMENT, help='JSON lines {"text": …, "label": …}; else 64 sentences'
    )
    parser.add_argument("--k", type=int, default=8, help="demonstrations")
    parser.add_argument("--rates", type=float, nargs="+", default=(0.001, 0.01, 0.1), help="learning rates")
    parser.add_argument("--seed", type=int, default=0, help="which demonstrations")
    given = parser.parse_args(arguments)
    try:
        examples = sentences.read(given.data)
        model, tokenizer = load(given.model, download=given.download)
        rows = compare(model, tokenizer, examples, k=given.k, rates=given.rates, seed=given.seed)
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    print(table(rows))


if __name__ == "__main__":
    main()
