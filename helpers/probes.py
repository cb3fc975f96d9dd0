"""Questions to a black box: what a learner answers when its prompt is changed in a known way.

A learner is anything called `learner(x, y, x_query) -> y_hat`. None of the probes looks inside; each returns a number
that is 0, or known, for a whole family of learners whatever its parameters are. Answers are measured against their own
size, the root mean square over prompts, so that 0.1 means a tenth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import checks
from helpers.learners import Learner
from helpers.tasks import Prompt


def size(y_hat: Tensor) -> float:
    """The root mean square of some answers.

    >>> size(torch.tensor([[1.0], [-7.0]]))
    5.0
    """
    return y_hat.square().mean().sqrt().item()


def bend_in_labels(learner: Learner, prompt: Prompt, *, seed: int = 0) -> float:
    """How far f(a y + b y') is from a f(y) + b f(y'), for other labels y' on the same inputs; a = 0.7, b = -1.3.

    0 for every learner that is linear in the labels: gradient descent from W = 0, least squares, ridge, attention with
    labels in its values only. Not 0 where the labels decide how they are weighted.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3, noise=0.5)
    >>> bend_in_labels(lambda x, y, x_query: learners.ridge(x, y, x_query, lam=1.0), prompt) < 1e-12
    True
    >>> bend_in_labels(lambda x, y, x_query: y.max(dim=1).values, prompt) > 0.1
    True
    """
    x, y, x_query = prompt.shown
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    other = torch.randn(y.shape, generator=generator, dtype=y.dtype, device="cpu").to(y.device)
    parts = 0.7 * learner(x, y, x_query) - 1.3 * learner(x, other, x_query)
    return size(learner(x, 0.7 * y - 1.3 * other, x_query) - parts) / size(parts)


def bend_in_query(learner: Learner, prompt: Prompt) -> float:
    """How far f(a x_q + b x_q') is from a f(x_q) + b f(x_q'), for another query x_q'; a = 0.7, b = -1.3.

    0 for every learner whose answer is w^T x_q with a w that it took from the context.
    """
    x, y, x_query = prompt.shown
    other = x_query.roll(1, dims=0)
    parts = 0.7 * learner(x, y, x_query) - 1.3 * learner(x, y, other)
    return size(learner(x, y, 0.7 * x_query - 1.3 * other) - parts) / size(parts)


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


def shuffled(learner: Learner, prompt: Prompt, shuffles: int = 200, *, seed: int = 0) -> Tensor:
    """What a learner answers to `shuffles` orders of the same context (shuffles, B, d_y)."""
    x, y, x_query = prompt.shown
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    shuffles = checks.count("shuffles", shuffles, least=2)
    orders = torch.stack([torch.randperm(x.shape[1], generator=generator, device="cpu") for _ in range(shuffles)])
    queries = x_query.repeat_interleave(shuffles, dim=0)
    answers = learner(x[:, orders].flatten(0, 1), y[:, orders].flatten(0, 1), queries)  # (B * shuffles, d_y)
    return answers.unflatten(0, (len(x), shuffles)).transpose(0, 1)


def repeated(learner: Learner, prompt: Prompt, times: int = 3) -> float:
    """How much the answer moves when the whole context is said `times` times over.

    0 for whoever averages over examples (gradient descent with its 1/N, a softmax) and for least squares. Not 0 for a
    learner with a prior, such as ridge: to it, three times the data is three times the evidence.
    """
    x, y, x_query = prompt.shown
    times = checks.count("times", times, least=2)
    once = learner(x, y, x_query)
    return size(learner(x.repeat(1, times, 1), y.repeat(1, times, 1), x_query) - once) / size(once)


def growth(learner: Learner, prompt: Prompt, c: float = 2.0) -> float:
    """By which power of c the answers grow when all inputs are multiplied by c, query included, and the labels are not.

    2 for one step of gradient descent, (eta/N) sum_i y_i x_i^T x_q; 0 for least squares, whatever c is.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3)
    >>> round(growth(lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.5), prompt), 6)
    2.0
    """
    x, y, x_query = prompt.shown
    if checks.number("c", c) <= 0 or c == 1:
        raise ValueError(f"c: expected a factor above 0 and other than 1, got {c}.")
    ratio = size(learner(c * x, y, c * x_query)) / size(learner(x, y, x_query))
    ratio, c = (torch.tensor(number, dtype=torch.float64, device="cpu") for number in (ratio, c))
    return (ratio.log() / c.log()).item()


def relative_error(learner: Learner, prompt: Prompt, c: float = 1.0) -> float:
    """Mean squared error over that of answering 0, with inputs and their labels c times as large as the prompt's.

    >>> from helpers import learners, tasks
    >>> prompt = tasks.linear_regression(B=50, N=8, d_x=3)
    >>> relative_error(learners.least_squares, prompt, c=5.0) < 1e-20
    True
    """
    x, y, x_query, truth = (checks.number("c", c) * part for part in prompt[:4])
    return ((learner(x, y, x_query) - truth).square().mean() / truth.square().mean()).item()
