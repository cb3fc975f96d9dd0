"""Questions to a black box: what a learner answers when its prompt is changed in a known way.

A learner is anything called `learner(x, y, x_query) -> y_hat`. None of the probes looks inside. Each returns what was
answered beside what a whole family of learners would answer, whatever its parameters are; or a number that is 0, or
known, for that family. Answers are measured against their own size, the root mean square over prompts, so that 0.1
means a tenth.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import checks
from helpers.learners import Learner
from helpers.tasks import Prompt

AT_ONCE = 500  # contexts that a learner is asked at a time: what a small GPT needs some 100 MB for


class Answers(NamedTuple):
    """What a learner answered to changed prompts (B, d_y), and what all learners of a family answer."""

    got: Tensor
    expected: Tensor

    def change(self) -> float:
        """How far the two are apart, over the size of what was expected.

        >>> Answers(torch.tensor([[3.0]]), torch.tensor([[2.0]])).change()
        0.5
        """
        return size(self.got - self.expected) / size(self.expected)


def size(y_hat: Tensor) -> float:
    """The root mean square of some answers.

    >>> size(torch.tensor([[1.0], [-7.0]]))
    5.0
    """
    return y_hat.square().mean().sqrt().item()


# --- linear in the labels, linear in the query ----------------------------------------------------------------


def labels_added(learner: Learner, prompt: Prompt, *, seed: int = 0) -> Answers:
    """f(a y + b y') beside a f(y) + b f(y'), for other labels y' on the same inputs; a = 0.7, b = -1.3.

    The same for every learner that is linear in the labels: gradient descent from W = 0, least squares, ridge,
    attention with labels in its values only. Not so where the labels decide how they are weighted.
    """
    x, y, x_query = prompt.shown
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    other = torch.randn(y.shape, generator=generator, dtype=y.dtype, device="cpu").to(y.device)
    parts = 0.7 * learner(x, y, x_query) - 1.3 * learner(x, other, x_query)
    return Answers(learner(x, 0.7 * y - 1.3 * other, x_query), parts)


def bend_in_labels(learner: Learner, prompt: Prompt, *, seed: int = 0) -> float:
    """How far f(a y + b y') is from a f(y) + b f(y'): the change of `labels_added`.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3, noise=0.5)
    >>> bend_in_labels(lambda x, y, x_query: learners.ridge(x, y, x_query, lam=1.0), prompt) < 1e-12
    True
    >>> bend_in_labels(lambda x, y, x_query: y.max(dim=1).values, prompt) > 0.1
    True
    """
    return labels_added(learner, prompt, seed=seed).change()


def bend_in_query(learner: Learner, prompt: Prompt) -> float:
    """How far f(a x_q + b x_q') is from a f(x_q) + b f(x_q'), for another query x_q'; a = 0.7, b = -1.3.

    0 for every learner whose answer is w^T x_q with a w that it took from the context.
    """
    x, y, x_query = prompt.shown
    other = x_query.roll(1, dims=0)
    parts = 0.7 * learner(x, y, x_query) - 1.3 * learner(x, y, other)
    return Answers(learner(x, y, 0.7 * x_query - 1.3 * other), parts).change()


def labels_scaled(learner: Learner, prompt: Prompt, c: float) -> Answers:
    """The answers to c times the labels, beside c times the answers: the same for who is linear in the labels."""
    x, y, x_query = prompt.shown
    return Answers(learner(x, checks.number("c", c) * y, x_query), c * learner(x, y, x_query))


def query_scaled(learner: Learner, prompt: Prompt, c: float) -> Answers:
    """The answers to c times the query, beside c times the answers: the same for who is linear in the query."""
    x, y, x_query = prompt.shown
    return Answers(learner(x, y, checks.number("c", c) * x_query), c * learner(x, y, x_query))


# --- another scale --------------------------------------------------------------------------------------------


def inputs_scaled(learner: Learner, prompt: Prompt, c: float, power: int = 0) -> Answers:
    """The answers to c times all inputs, query included, with the labels as they are, beside c^power times the answers.

    With power 0 the same for least squares, to which the scale is nothing; with power 2 for one step of gradient
    descent, (eta/N) sum_i y_i x_i^T x_q.
    """
    x, y, x_query = prompt.shown
    return Answers(learner(checks.number("c", c) * x, y, c * x_query), c**power * learner(x, y, x_query))


def growth(learner: Learner, prompt: Prompt, c: float = 2.0) -> float:
    """By which power of c the answers grow when all inputs are multiplied by c, query included, and the labels are not.

    2 for one step of gradient descent; 0 for least squares, whatever c is.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3)
    >>> round(growth(lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.5), prompt), 6)
    2.0
    """
    if checks.number("c", c) <= 0 or c == 1:
        raise ValueError(f"c: expected a factor above 0 and other than 1, got {c}.")
    answers = inputs_scaled(learner, prompt, c)
    return math.log(size(answers.got) / size(answers.expected), c)


def squared_errors(learner: Learner, prompt: Prompt, c: float = 1.0) -> Tensor:
    """The squared error at each prompt (B,), with inputs and their labels c times as large, in units of c^2."""
    x, y, x_query, truth = (checks.number("c", c) * part for part in prompt[:4])
    return (learner(x, y, x_query) - truth).square().mean(1) / c**2


def relative_error(learner: Learner, prompt: Prompt, c: float = 1.0) -> float:
    """Mean squared error over that of answering 0, with inputs and their labels c times as large as the prompt's.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3)
    >>> relative_error(learners.least_squares, prompt, c=5.0) < 1e-20
    True
    """
    return (squared_errors(learner, prompt, c).mean() / prompt.y_query.square().mean()).item()


# --- the context said again, or in another order --------------------------------------------------------------


def said_again(learner: Learner, prompt: Prompt, times: int = 3) -> Answers:
    """The answers when the whole context is said `times` times over, beside those when it is said once.

    The same for whoever averages over examples (gradient descent with its 1/N, a softmax) and for least squares. Not so
    for a learner with a prior, such as ridge: to it, three times the data is three times the evidence.
    """
    x, y, x_query = prompt.shown
    times = checks.count("times", times, least=1)
    return Answers(learner(x.repeat(1, times, 1), y.repeat(1, times, 1), x_query), learner(x, y, x_query))


def repeated(learner: Learner, prompt: Prompt, times: int = 3) -> float:
    """How much the answer moves when the whole context is said `times` times over: the change of `said_again`."""
    return said_again(learner, prompt, checks.count("times", times, least=2)).change()


def reordered(learner: Learner, prompt: Prompt, *, seed: int = 0) -> Answers:
    """The answers when the context stands in another order, beside those as it is."""
    x, y, x_query = prompt.shown
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    order = torch.randperm(x.shape[1], generator=generator, device="cpu")
    return Answers(learner(x[:, order], y[:, order], x_query), learner(x, y, x_query))


def shuffled(learner: Learner, prompt: Prompt, shuffles: int = 200, *, seed: int = 0) -> Tensor:
    """What a learner answers to `shuffles` orders of the same context (shuffles, B, d_y)."""
    x, y, x_query = prompt.shown
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    shuffles = checks.count("shuffles", shuffles, least=2)
    orders = torch.stack([torch.randperm(x.shape[1], generator=generator, device="cpu") for _ in range(shuffles)])
    queries = x_query.repeat_interleave(shuffles, dim=0)
    contexts = (x[:, orders].flatten(0, 1), y[:, orders].flatten(0, 1), queries)  # B * shuffles of them
    parts = zip(*(part.split(AT_ONCE) for part in contexts), strict=True)
    answers = torch.cat([learner(*part) for part in parts])  # (B * shuffles, d_y)
    return answers.unflatten(0, (len(x), shuffles)).transpose(0, 1)


def order_spread(learner: Learner, prompt: Prompt, shuffles: int = 200, *, seed: int = 0) -> float:
    """The standard deviation of an answer over shuffles of the context, in units of the answers' size.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3)
    >>> order_spread(lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.5), prompt) < 1e-12
    True
    >>> order_spread(lambda x, y, x_query: y[:, 0], prompt) > 0.5
    True
    """
    answers = shuffled(learner, prompt, shuffles, seed=seed)
    return size(answers.std(dim=0)) / size(answers)
