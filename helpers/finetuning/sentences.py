"""Labelled sentences for a language model: those that come with the series, or your own; some to show, some to ask."""

from __future__ import annotations

import codecs
import json
import random
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from helpers import checks

SENTIMENT = Path(__file__).parent / "data" / "sentiment.jsonl"


class Example(NamedTuple):
    text: str
    label: str


def sentiment() -> list[Example]:
    """64 short sentences that come with the series, half of them Positive, half Negative.

    >>> examples = sentiment()
    >>> len(examples), examples[0]
    (64, Example(text='The soup was warm and full of flavour.', label='Positive'))
    """
    return read(SENTIMENT)


def read(file: str | Path) -> list[Example]:
    """Examples from JSON lines, {"text": "…", "label": "…"} in each; empty lines are skipped.

    A text that stands there twice is an error, with two labels a warning; so is a label that differs in case only.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"data: there is no file {file}.")
    lines = enumerate(_decoded(file).split("\n"), start=1)  # at no other sign: U+2028 may stand in a text
    examples = {number: _example(file, number, line) for number, line in lines if line.strip("\ufeff \t\r")}
    if twice := _alike(examples, lambda example: example):
        raise ValueError(f"{file}: what is shown would be asked for, too: of the same text, keep one: {_lines(twice)}.")
    if len({example.label for example in examples.values()}) < 2:
        raise ValueError(f"{file}: expected examples with at least 2 labels, got {len(examples)} with fewer.")
    if twice := _alike(examples, lambda example: example.text):
        warnings.warn(f"{file}: the same text has two labels: {_lines(twice)}.", stacklevel=2)
    if twice := _alike({label: label for _, label in examples.values()}, _folded):
        alike = "; ".join(" and ".join(labels) for labels in twice)
        warnings.warn(f"{file}: labels differ in case only, and count as different: {alike}.", stacklevel=2)
    return list(examples.values())


def _decoded(file: str | Path) -> str:
    content = Path(file).read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}, line {number}: expected UTF-8, got other bytes: save the file as UTF-8.") from None


def _example(file: str | Path, number: int, line: str) -> Example:
    line = line.strip("\ufeff \t\r")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:  # of a number, or of brackets, without end, too
        hint = "save the file as UTF-8" if "\0" in line else str(error).partition(": line 1")[0]
        raise ValueError(f"{file}, line {number}: expected JSON, got {line[:40]!r} ({hint}).") from None
    parts = [found.get(key) if isinstance(found, dict) else None for key in Example._fields]
    if not all(isinstance(part, str) and part.strip() for part in parts):
        raise ValueError(f'{file}, line {number}: expected {{"text": "…", "label": "…"}}, got {line[:60]!r}.')
    for part in parts:
        if half := next((sign for sign in part if "\ud800" <= sign <= "\udfff"), None):
            raise ValueError(f"{file}, line {number}: {half!r} is half a character: write the whole one, in UTF-8.")
    return Example(*(part.strip() for part in parts))


def _alike(things: dict, key: Callable) -> list[list]:
    """The names of those that have their key in common with others, in groups."""
    groups = {}
    for name, thing in things.items():
        groups.setdefault(key(thing), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _folded(label: str) -> str:
    return unicodedata.normalize("NFKC", label).casefold()


def _lines(groups: list[list[int]], most: int = 20) -> str:
    said = "; ".join(f"lines {' and '.join(map(str, numbers))}" for numbers in groups[:most])
    return said + (f"; and {len(groups) - most} more" if len(groups) > most else "")


def split(examples: Sequence[Example], k: int, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """k demonstrations in random order, each label as often as can be; and the other examples, the queries.

    >>> demos, queries = split(sentiment(), k=8)
    >>> sum(demo.label == "Positive" for demo in demos), len(queries)
    (4, 56)
    """
    if checks.count("k", k) >= len(examples):
        raise ValueError(f"k: expected fewer than the {len(examples)} examples, got {k}: none is left to ask for.")
    rng, seen = random.Random(seed), {}
    order = rng.sample(list(examples), len(examples))
    nth = [seen.setdefault(e.label, []).append(e) or len(seen[e.label]) for e in order]  # first of its label, second, …
    order = [order[i] for i in sorted(range(len(order)), key=nth.__getitem__)]
    return rng.sample(order[:k], k), order[k:]
