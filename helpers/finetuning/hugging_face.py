"""A causal language model of Hugging Face transformers, seen from inside: asked, fine-tuned, and put back.

Nothing is downloaded unless you ask for it, and no code that comes with a model is run.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import progress
from helpers.finetuning import projections
from helpers.finetuning.sentences import Example
from helpers.usual import usual

TEMPLATE = "Sentence: {text} Label:"  # of Dai et al. 2023 for SST2; the label follows, after a space
BETWEEN = "\n"  # two demonstrations
NOTHING = math.log(torch.finfo(torch.float32).tiny)  # the score of a token that is not attended to at all


class Reading(NamedTuple):
    """What a model of L layers made of Q queries; but for `right`, at the last token before the label."""

    right: Tensor  # (Q,): whether it found the label
    updates: Tensor  # (Q, L, d): what attention says, after its last projection
    inputs: Tensor  # (Q, L, d): what attention gets
    queries: Tensor  # (Q, L, d_q): what it asks, as its projection makes them (before a norm, or a rotation)
    tokens: list[list[int]]  # Q lists of T tokens, up to this one
    scores: list[Tensor]  # Q of (L, H, T): logarithms of its attention, which are the scores but for a constant a row


class TrainingTrace(NamedTuple):
    """What fine-tuning saw of k demonstrations, each at the weights of its own step, as a mean over its tokens."""

    inputs: Tensor  # (k, L, d)
    queries: Tensor  # (k, L, d_q)


# --- a model and its parts --------------------------------------------------------------------------------------


def load(name: str | Path, *, download: bool = False):
    """The model, frozen, in float32, and its tokenizer; `name` is a folder, or a model's name on the Hub.

    Without `download` only what is on this machine is looked at. Code that comes with a model is never run. A model
    that lacks some of its weights is refused: they would be random.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging
    except ImportError:
        raise ImportError('transformers is not installed: pip install -e ".[lm]" brings it.') from None
    options = {"local_files_only": not download, "trust_remote_code": False}
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # what is wrong is said below, in a line
    try:
        with torch.random.fork_rng(devices=[]):  # weights that are missing are drawn, before they are refused below
            model, found = AutoModelForCausalLM.from_pretrained(
                str(name),
                dtype=torch.float32,
                attn_implementation="eager",  # the others keep their attention to themselves
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
        tokenizer = AutoTokenizer.from_pretrained(str(name), **options)
    except OSError as error:
        wrong = (
            "could not be fetched."
            if download
            else ("was not found whole on this machine. To fetch it from the Hub, pass download=True (--download).")
        )
        raise FileNotFoundError(f"model: {name} {wrong} ({_first_line(error)})") from error
    except Exception as error:  # files can be broken in as many ways as there are formats
        raise ValueError(f"model: {name} cannot be loaded: {_first_line(error)}") from error
    finally:
        logging.set_verbosity(before)
    without = sorted(found["missing_keys"]) + sorted(key for key, *_ in found["mismatched_keys"])
    if without:
        raise ValueError(f"model: {name} has no {without[0]} of its size, and {len(without) - 1} others: is it whole?")
    if not tokens_of(tokenizer, TEMPLATE):
        raise ValueError(f"model: {name} has a tokenizer that makes no tokens: is its vocabulary missing?")
    return _frozen(model), tokenizer


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def untrained(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """The same model before its training: random weights, as its own code draws them."""
    with torch.random.fork_rng(devices=[]), usual():
        torch.manual_seed(seed)
        return _frozen(type(model)(copy.deepcopy(model.config)))


def _frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)


# --- asked ------------------------------------------------------------------------------------------------------


def told(example: Example) -> str:
    """A demonstration: the sentence, and its label.

    >>> told(Example("We laughed a lot.", "Positive"))
    'Sentence: We laughed a lot. Label: Positive'
    """
    return f"{TEMPLATE.format(text=example.text)} {example.label}"


def context_of(demos: Sequence[Example]) -> str:
    """The demonstrations, one behind the other, as a query's context."""
    return "".join(told(demo) + BETWEEN for demo in demos)


@torch.no_grad()
def ask(model, tokenizer, queries: Sequence[Example], labels: Sequence[str], demos: Sequence[Example] = ()) -> Reading:
    """Put queries to the model, after demonstrations or, without any, zero-shot.

    Its answer is the label whose tokens have the greatest mean log-probability. Where several have, or these are no
    numbers, as in a model that fine-tuning has blown up, it has no answer, and is not right.
    """
    if model.training:
        raise ValueError("model: expected one that is in use, not in training (dropout): call model.eval().")
    context, right, readings, tokens = context_of(demos), [], [], []
    for query in progress.through(queries, "asking", leave=False):
        rows, n = prompts(model, tokenizer, context, query, labels)
        passes = {}  # labels of one token share a pass
        for row in rows:
            if tuple(row[:-1]) not in passes:
                passes[tuple(row[:-1])] = _read(model, row[:-1], n - 1)
        logits, *reading = zip(*[passes[tuple(row[:-1])] for row in rows], strict=True)
        scores = [
            -F.cross_entropy(z, torch.tensor(row[n:], device=z.device)) for z, row in zip(logits, rows, strict=True)
        ]
        scores = torch.stack(scores)
        best = [label for label, score in zip(labels, scores, strict=True) if score == scores.max()]
        right.append(best == [query.label])
        readings.append([part[0] for part in reading])
        tokens.append(rows[0][:n])
    *parts, scores = zip(*readings, strict=True)
    return Reading(torch.tensor(right, device=parts[0][0].device), *map(torch.stack, parts), tokens, list(scores))


def tokens_of(tokenizer, text: str) -> list[int]:
    """The tokens of a text that goes on: if the tokenizer adds one that ends texts, without that."""
    tokens = tokenizer(text)["input_ids"]
    return tokens[:-1] if len(tokens) > 1 and tokens[-1] == tokenizer.eos_token_id else tokens


def prompts(model, tokenizer, context: str, query: Example, labels: Sequence[str]) -> tuple[list[list[int]], int]:
    """The tokens of a prompt with each label in turn, and how many of them come before the label."""
    prompt = context + TEMPLATE.format(text=query.text)
    start, *rows = (tokens_of(tokenizer, prompt + end) for end in ("", *(f" {label}" for label in labels)))
    if len(set(map(tuple, rows))) < len(labels):
        raise ValueError(f"labels: the model's tokenizer does not tell {', '.join(labels)} apart: rename them.")
    n = len(os.path.commonprefix([start, *rows]))  # a tokenizer may join the prompt's last token to the label
    most = projections.setting(model, "max_position_embeddings")
    if most and max(map(len, rows)) > most:
        raise ValueError(f"k: a prompt has {max(map(len, rows))} tokens, but the model reads {most}: take fewer.")
    return rows, n


def _read(model, tokens: list[int], at: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits (T - at, V) from one token on; and its updates, inputs, queries (L, d) and scores (L, H, at + 1)."""
    with _watched(model) as (updates, inputs, queries):
        out = model(torch.tensor([tokens], device=model.device), output_attentions=True)
    if not out.attentions or out.attentions[0] is None:
        raise ValueError('model: it keeps its attention to itself: load it with attn_implementation="eager".')
    attention = torch.stack([layer[0, :, at, : at + 1] for layer in out.attentions])
    parts = (torch.stack([layer[at] for layer in part]) for part in (updates, inputs, queries))
    return out.logits[0, at:], *parts, attention.log().clamp_min(NOTHING)


@contextlib.contextmanager
def _watched(model: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor], list[Tensor]]]:
    """For a while, what attention says, gets and asks is kept, one tensor (T, d) a layer."""
    updates, inputs, queries, hooks = [], [], [], []
    ends, asking = projections.attention_outputs(model), projections.query_projections(model)

    def of_queries(which):
        def hook(module, arguments, out):
            inputs.append(arguments[0][0].detach())
            queries.append(out[0].detach()[:, which])

        return hook

    try:
        for end in ends:
            hooks.append(end.register_forward_hook(lambda module, _, out: updates.append(out[0].detach())))
        for module, which in asking:
            hooks.append(module.register_forward_hook(of_queries(which)))
        yield updates, inputs, queries
    finally:
        for hook in hooks:
            hook.remove()


# --- fine-tuned -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def temporarily_finetuned(model, tokenizer, demos: Sequence[Example], lr: float) -> Iterator[TrainingTrace]:
    """Within a `with`, the model is fine-tuned on the demonstrations; afterwards it is what it was.

    One step of SGD for each demonstration, in their order, on keys and values only: W <- W - lr * dL/dW with the mean
    of -log p over all tokens of the demonstration, as a language model is trained (Dai et al. 2023).
    """
    if not demos:
        raise ValueError("demos: expected at least 1 demonstration, got none.")
    weights = projections.key_value_weights(model)
    before, heard = [(W.detach().clone(), W.requires_grad) for W, _ in weights], []
    try:
        for W, _ in weights:
            W.requires_grad_(True)
        for demo in demos:
            tokens = torch.tensor([tokens_of(tokenizer, told(demo))], device=model.device)
            with _watched(model) as (_, inputs, queries), torch.enable_grad():
                loss = F.cross_entropy(model(tokens).logits[0, :-1], tokens[0, 1:])
            slopes = torch.autograd.grad(loss, [W for W, _ in weights])
            with torch.no_grad():
                for (W, mask), slope in zip(weights, slopes, strict=True):
                    W -= lr * mask * slope
            heard.append([torch.stack(part).mean(1) for part in (inputs, queries)])
        yield TrainingTrace(*map(torch.stack, zip(*heard, strict=True)))
    finally:
        with torch.no_grad():
            for (W, _), (old, trains) in zip(weights, before, strict=True):
                W.requires_grad_(trains).copy_(old)
