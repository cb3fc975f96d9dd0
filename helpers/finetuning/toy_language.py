"""A toy language of few-shot classification tasks: each is a data set in words, told in a prompt.

An input is four words; after them comes a label word. A task says which words make which label likely. Most tasks are
drawn afresh for each sequence (`meaning="fresh"`), so nothing but the prompt can tell their labels; in a minority the
labels mean the same in all sequences (`"fixed"`), so weights can know them. A sequence is the flattened demonstrations,
and then a query:    w w w w l   w w w w l   …   w w w w.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from helpers import checks
from helpers.usual import usual

WORDS = 64  # tokens 0 … 63
FRESH_LABELS, FIXED_LABELS = 12, 4  # tokens 64 … 75, and 76 … 79
VOCABULARY = WORDS + FRESH_LABELS + FIXED_LABELS
LENGTH = 4  # words of an input
OF_CLASS = 0.8  # chance of a word to come from its class's list; else it is any of the 64
MEANINGS = ("fresh", "fixed", "flipped")


class Task(NamedTuple):
    """B tasks of C classes: the words that speak for a class, words (B, C, m), and its label word, labels (B, C)."""

    words: Tensor
    labels: Tensor


class Episode(NamedTuple):
    """Demonstrations and queries of B tasks, all of them token numbers; L = 5 tokens a demonstration.

    demos (B, k, L), the label last; query (B, Q, L-1); target (B, Q), its label; options (B, C), the task's labels.
    """

    demos: Tensor
    query: Tensor
    target: Tensor
    options: Tensor

    def first(self, k: int) -> Episode:
        """The same queries after the first k demonstrations only; k = 0 is zero-shot."""
        if checks.count("k", k, least=0) > self.demos.shape[1]:
            raise ValueError(f"k: expected 0 to {self.demos.shape[1]}, the demonstrations there are, got {k}.")
        return self._replace(demos=self.demos[:, :k])

    def prompts(self) -> Tensor:
        """One row of tokens (B*Q, k*L + L-1) for each query; the label is asked for at the last token."""
        B, Q = self.target.shape
        return torch.cat([self.demos.flatten(1).repeat_interleave(Q, 0), self.query.flatten(0, 1)], dim=1)


@usual()
def draw(
    B: int, n_classes: int = 2, m: int = 8, *, meaning: str = "fresh", held_out: bool = True, seed: int = 0
) -> Task:
    """B tasks, each with m words for each of its classes; no word speaks for two classes.

    - "fresh": words and label words are drawn at random. Tasks whose word numbers have an even sum are held out:
      training draws `held_out=False`, so none of its tasks has the word lists of a held-out one.
    - "fixed": the four fixed labels own 16 words each, 0 … 15, 16 … 31, …; a task uses some of the labels, and m words
      of each.
    - "flipped": as fixed, but each class is called by the name of another.

    >>> task = draw(B=3, n_classes=4, m=8)
    >>> task.words.shape, task.labels.shape
    (torch.Size([3, 4, 8]), torch.Size([3, 4]))
    >>> task.words.sum((1, 2)) % 2
    tensor([0, 0, 0])
    """
    B, m, C = checks.count("B", B), checks.count("m", m), checks.count("n_classes", n_classes, least=2)
    most = WORDS // (2 * C) if meaning == "fresh" else WORDS // FIXED_LABELS  # half of the words, odd ones and even
    if meaning not in MEANINGS:
        raise ValueError(f"meaning: expected one of {', '.join(MEANINGS)}, got {meaning!r}.")
    if C > FIXED_LABELS:
        raise ValueError(f"n_classes: expected at most {FIXED_LABELS}, got {C}.")
    if m > most:
        raise ValueError(f"m: expected at most {most} words for each of {C} classes, got {m}: {WORDS} are shared.")
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    if meaning == "fresh":
        labels = WORDS + _shuffled(FRESH_LABELS, (B,), generator)[:, :C]
        words = _word_lists(_shuffled(WORDS, (B,), generator), C * m, odd=not held_out)
        return Task(words.unflatten(1, (C, m)), labels)
    classes = _shuffled(FIXED_LABELS, (B,), generator)[:, :C]
    size = WORDS // FIXED_LABELS
    words = classes[..., None] * size + _shuffled(size, (B, C), generator)[..., :m]
    return Task(words, WORDS + FRESH_LABELS + (classes.roll(1, dims=1) if meaning == "flipped" else classes))


def _shuffled(n: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The numbers 0 … n-1 in random orders, shape (*shape, n)."""
    return torch.rand(*shape, n, generator=generator).argsort(-1)


def _word_lists(order: Tensor, n: int, odd: bool) -> Tensor:
    """The first n-1 words of each row, and then the next one with which their sum is odd, or even: (B, n)."""
    words, rest = order[:, : n - 1], order[:, n - 1 :]
    fits = (words.sum(1, keepdim=True) + rest) % 2 == int(odd)
    return torch.cat([words, rest.gather(1, fits.int().argmax(1, keepdim=True))], dim=1)


@usual()
def few_shot(task: Task, k: int, Q: int = 32, *, seed: int = 0) -> Episode:
    """k demonstrations of each task, of random classes, and Q queries, of each class in turn.

    At least one word of an input comes from its class, each other one with probability .8. No query repeats the words
    of one of its demonstrations.

    >>> episode = few_shot(draw(B=3), k=16, Q=8)
    >>> [tuple(part.shape) for part in episode], episode.prompts().shape
    ([(3, 16, 5), (3, 8, 4), (3, 8), (3, 2)], torch.Size([24, 84]))
    """
    B, C = task.labels.shape
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    classes = torch.randint(0, C, (B, checks.count("k", k, least=0)), generator=generator)
    inputs = _inputs(task.words, classes, generator)
    demos = torch.cat([inputs, task.labels.gather(1, classes)[..., None]], dim=-1)
    classes = (torch.arange(checks.count("Q", Q)) % C).expand(B, -1)
    query = _inputs(task.words, classes, generator)
    while (again := (query[:, :, None] == inputs[:, None]).all(-1).any(-1)).any():
        query = torch.where(again[..., None], _inputs(task.words, classes, generator), query)
    return Episode(demos, query, task.labels.gather(1, classes), task.labels)


def answers(logits: Tensor, episode: Episode) -> Tensor:
    """What a model says: of each task's label words the likeliest, by the logits (B*Q, V) after its prompts: (B, Q).

    >>> episode = few_shot(draw(B=3), k=16, Q=8)
    >>> answers(torch.zeros(24, VOCABULARY), episode).shape
    torch.Size([3, 8])
    """
    B, Q = episode.target.shape
    options = episode.options[:, None].expand(-1, Q, -1)
    best = logits.unflatten(0, (B, Q)).gather(2, options).argmax(2, keepdim=True)
    return options.gather(2, best)[..., 0]


def _inputs(words: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """One input of four words for each of the classes (B, n) -> (B, n, 4)."""
    (B, _, m), n = words.shape, classes.shape[1]
    lists = words.gather(1, classes[..., None].expand(-1, -1, m))  # (B, n, m)
    own = lists.gather(2, torch.randint(0, m, (B, n, LENGTH), generator=generator))
    any_word = torch.randint(0, WORDS, (B, n, LENGTH), generator=generator)
    is_own = torch.rand(B, n, LENGTH, generator=generator) < OF_CLASS
    is_own |= torch.arange(LENGTH) == torch.randint(0, LENGTH, (B, n, 1), generator=generator)
    return torch.where(is_own, own, any_word)
