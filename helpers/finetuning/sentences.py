"""Labelled sentences for a language model: those that come with the series, or your own; some to show, some to ask."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
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
    """Examples from JSON lines, {"text": "…", "label": "…"} in each; empty lines are skipped."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"data: there is no file {file}.")
    examples = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number}: expected JSON, got {line[:40]!r} ({error.msg}).") from None
        parts = [found.get(key) if isinstance(found, dict) else None for key in Example._fields]
        if not all(isinstance(part, str) and part.strip() for part in parts):
            raise ValueError(f'{file}, line {number}: expected {{"text": "…", "label": "…"}}, got {line[:60]!r}.')
        example = Example(*(part.strip() for part in parts))
        if example in examples:
            raise ValueError(f"{file}, line {number}: it stands there twice: what is shown would be asked for, too.")
        examples.append(example)
    if len({example.label for example in examples}) < 2:
        raise ValueError(f"{file}: expected examples with at least 2 labels, got {len(examples)} with fewer.")
    return examples


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
