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
from torch.nn.functional import one_hot

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
    """Demonstrations and queries of B tasks (few-shot prompts), all of them token numbers; L = 5 a demonstration."""

    demos: Tensor  # (B, k, L), the label last
    query: Tensor  # (B, Q, L-1)
    target: Tensor  # (B, Q): the label of each query
    options: Tensor  # (B, C): the task's labels
    words: Tensor  # (B, C, m): the words that speak for each of them

    def first(self, k: int) -> Episode:
        """The same queries after the first k demonstrations only; k = 0 is zero-shot."""
        if checks.count("k", k, least=0) > self.demos.shape[1]:
            raise ValueError(f"k: expected 0 to {self.demos.shape[1]}, the demonstrations there are, got {k}.")
        return self._replace(demos=self.demos[:, :k])

    def tasks(self, n: int) -> Episode:
        """The first n tasks only."""
        return Episode(*(part[:n] for part in self))

    def to(self, device: torch.device | str) -> Episode:
        """The same on another device."""
        return Episode(*(part.to(device) for part in self))

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
    ([(3, 16, 5), (3, 8, 4), (3, 8), (3, 2), (3, 2, 8)], torch.Size([24, 84]))
    """
    B, C = task.labels.shape
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    classes = torch.randint(0, C, (B, checks.count("k", k, least=0)), generator=generator)
    inputs = _inputs(task.words, classes, generator)  # (B, k, 4)
    demos = torch.cat([inputs, task.labels.gather(1, classes)[..., None]], dim=-1)
    classes = (torch.arange(checks.count("Q", Q)) % C).expand(B, -1)  # (B, Q)
    query = _unlike(inputs, task.words, classes, generator)
    return Episode(demos, query, task.labels.gather(1, classes), task.labels, task.words)


def other_demonstrations(episode: Episode, *, same_labels: bool = False, seed: int = 0) -> Episode:
    """The same queries behind as many fresh demonstrations of the same tasks: another draw of the same data sets.

    `same_labels` keeps the label at each place of the prompt, and with it how often each occurs; only words are new.

    >>> episode = few_shot(draw(B=3), k=16, Q=8)
    >>> other = other_demonstrations(episode, seed=1)
    >>> torch.equal(other.query, episode.query), torch.equal(other.demos, episode.demos)
    (True, False)
    """
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    classes = (episode.demos[..., -1:] == episode.options[:, None]).int().argmax(-1)  # (B, k)
    if not same_labels:
        classes = torch.randint(0, episode.options.shape[1], classes.shape, generator=generator)
    inputs = _unlike(episode.query, episode.words, classes, generator)
    labels = episode.options.gather(1, classes)
    return episode._replace(demos=torch.cat([inputs, labels[..., None]], dim=-1))


def as_numbers(episode: Episode) -> tuple[Tensor, Tensor, Tensor]:
    """Two-class tasks as regression prompts (bag of words): x (BQ, k, 64), y (BQ, k, 1) in ±1, x_query (BQ, 64).

    One row for each query, as in `Episode.prompts`; x counts each word, y is 1 for the first of the task's labels. So
    any `learner(x, y, x_query) -> y_hat` can be asked what the GPT is asked.

    >>> [tuple(part.shape) for part in as_numbers(few_shot(draw(B=3), k=16, Q=8))]
    [(24, 16, 64), (24, 16, 1), (24, 64)]
    """
    if episode.options.shape[1] != 2:
        raise ValueError(f"episode: expected tasks of 2 classes, got {episode.options.shape[1]}.")
    Q = episode.target.shape[1]
    x, x_query = (one_hot(part, WORDS).sum(-2).double() for part in (episode.demos[..., :-1], episode.query))
    y = 1 - 2 * (episode.demos[..., -1:] == episode.options[:, None, 1:]).double()  # (B, k, 1)
    return x.repeat_interleave(Q, 0), y.repeat_interleave(Q, 0), x_query.flatten(0, 1)


def log_odds(logits: Tensor, episode: Episode) -> Tensor:
    """log p(first label) - log p(second), (B, Q), from the logits (B, Q, V); the sign is the answer.

    >>> log_odds(torch.zeros(3, 8, VOCABULARY), few_shot(draw(B=3), k=16, Q=8)).shape
    torch.Size([3, 8])
    """
    two = logits.gather(2, episode.options[:, None].expand(-1, logits.shape[1], -1))  # (B, Q, 2)
    return two[..., 0] - two[..., 1]


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


def _unlike(others: Tensor, words: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Inputs of the classes (B, n) -> (B, n, 4) of which none repeats the words of one of the others (B, n', 4)."""
    found = _inputs(words, classes, generator)
    while (again := (found[:, :, None] == others[:, None]).all(-1).any(-1)).any():
        found = torch.where(again[..., None], _inputs(words, classes, generator), found)
    return found


def _inputs(words: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """One input of four words for each of the classes (B, n) -> (B, n, 4)."""
    (B, _, m), n = words.shape, classes.shape[1]
    lists = words.gather(1, classes[..., None].expand(-1, -1, m))  # (B, n, m)
    own = lists.gather(2, torch.randint(0, m, (B, n, LENGTH), generator=generator))
    any_word = torch.randint(0, WORDS, (B, n, LENGTH), generator=generator)
    is_own = torch.rand(B, n, LENGTH, generator=generator) < OF_CLASS
    is_own |= torch.arange(LENGTH) == torch.randint(0, LENGTH, (B, n, 1), generator=generator)
    return torch.where(is_own, own, any_word)
