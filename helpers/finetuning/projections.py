"""Where a causal language model of Hugging Face transformers makes its queries, keys and values, family by family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def text_part(model: nn.Module) -> nn.Module:
    """The part of a model that reads text, if it is one of several, as where pictures can be asked about."""
    part = model.get_decoder() if hasattr(model, "get_decoder") else None
    return model if part is None else part


def setting(model: nn.Module, name: str, default: Any = None) -> Any:
    """A value of the model's configuration; where it reads more than text, of the text's."""
    return getattr(model.config.get_text_config(), name, default)


def kind(model: nn.Module) -> str:
    return setting(model, "model_type") or model.config.model_type


def key_value_weights(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """The weights and biases that make keys and values, each with a mask that is 0 where it makes queries instead.

    Known: projections of their own, k_proj and v_proj (Llama, Qwen, Mistral, OPT, …); c_attn of GPT-2, whose columns
    are queries, keys, values; query_key_value of GPT-NeoX, whose rows are these three for the first head, then for the
    second, and so on.
    """
    found = []
    for name, W in text_part(model).named_parameters():
        part = name.split(".")[-2:][0]
        if part in ("k_proj", "v_proj"):
            found.append((W, torch.ones((), device=W.device)))
        elif part in _joint(model):
            columns = W.ndim == 2 and part == "c_attn"  # GPT-2 multiplies from the right
            mask = (~_asks(model, W.shape[-1] if columns else len(W))).float()
            found.append((W, mask if columns else mask.view(-1, *[1] * (W.ndim - 1))))
    if not found:
        raise ValueError(
            f"model: no key and value projections found in a {kind(model)}: expected k_proj and v_proj "
            "(Llama, Qwen, OPT, …), GPT-2's c_attn or GPT-NeoX's query_key_value."
        )
    return found


def query_projections(model: nn.Module) -> list[tuple[nn.Module, Tensor | slice]]:
    """In each layer, the module that makes the queries, and which of its outputs they are."""
    found = []
    for name, module in text_part(model).named_modules():
        part = name.split(".")[-1]
        if part == "q_proj":
            found.append((module, slice(None)))
        elif part in _joint(model):
            found.append((module, _asks(model, module.weight.numel() // setting(model, "hidden_size"))))
    found = _one_a_layer(model, found, "a query projection", ("q_proj", *_joint(model)))
    sizes = sorted({module.weight.shape[0] for module, _ in found})
    if len(sizes) > 1:
        said = " and ".join(map(str, sizes))
        raise ValueError(f"model: the layers of a {kind(model)} make queries of different sizes, {said}.")
    return found


def _joint(model: nn.Module) -> tuple[str, ...]:
    """The module that makes queries, keys and values in one, if this kind of model has one that we know."""
    return {"gpt2": ("c_attn",), "gpt_neox": ("query_key_value",)}.get(kind(model), ())


def _asks(model: nn.Module, n: int) -> Tensor:
    """Which of the n outputs of a joint projection are queries."""
    heads = 1 if kind(model) == "gpt2" else setting(model, "num_attention_heads")
    return torch.arange(n, device=model.device) // (n // (3 * heads)) % 3 == 0


def attention_outputs(model: nn.Module) -> list[nn.Module]:
    """In each layer, the projection at the end of attention.

    Most models add its output to the tokens as it is. Gemma 2 and OLMo 2 normalise it before, Granite scales it.
    """
    ends = ("attn.c_proj", "attention.dense", "attn.o_proj", "attn.out_proj", "attention.out_proj", "attn.dense")
    found = [module for name, module in text_part(model).named_modules() if name.endswith(ends)]
    return _one_a_layer(model, found, "an attention output", ends)


def _one_a_layer(model: nn.Module, found: list, what: str, names: Sequence[str]) -> list:
    layers = setting(model, "num_hidden_layers")
    if layers is None:
        raise ValueError(f"model: the configuration of a {kind(model)} does not say how many layers read text.")
    if len(found) != layers:
        raise ValueError(
            f"model: expected {what} in each of {layers} layers of a {kind(model)}, found {len(found)}, "
            f"looking for {', '.join(names)}."
        )
    return found
