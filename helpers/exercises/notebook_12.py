"""Six black boxes, and the checks for the exercises of notebook 12: what we may conclude."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from helpers import attention, checks, constructions, learners, verdicts
from helpers.exercises import ask, number_verdict
from helpers.theory import bayes

# --- the boxes: do not read on if you want to play -----------------------------------------------------------

D_X = 4  # what the boxes take


def _softmax(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    layer = constructions.gd_step(1.0, x.shape[1], D_X)
    layer = layer._replace(W_Q=1.5 * layer.W_Q, P=torch.eye(D_X + 1, dtype=x.dtype))
    return constructions.learner([layer], attend=attention.softmax)(x, y, x_query)


_TASKS = torch.randn(10, D_X, generator=torch.Generator().manual_seed(120), dtype=torch.float64)
LEARNERS = {
    "one step": lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.55),
    "five steps": lambda x, y, x_query: learners.gd(x, y, x_query, eta=0.3, steps=5),
    "ridge": lambda x, y, x_query: learners.ridge(x, y, x_query, lam=2.5),
    "least squares": learners.least_squares,
    "dMMSE": lambda x, y, x_query: bayes.dmmse(x, y, x_query, _TASKS, noise=1.5),
    "softmax attention": _softmax,
}
_NAMES = dict(zip("ABCDEF", random.Random(1912).sample(list(LEARNERS), len(LEARNERS)), strict=True))


def box(letter: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A black box, "A" to "F": a learner for prompts with d_x = 4 and d_y = 1, and nobody says which.

    >>> box("A")(*(torch.ones(3, *shape).double() for shape in [(12, 4), (12, 1), (4,)])).shape
    torch.Size([3, 1])
    >>> box("G")
    Traceback (most recent call last):
    ValueError: letter: expected one of A, B, C, D, E, F, got 'G'.
    """
    if letter not in _NAMES:
        raise ValueError(f"letter: expected one of {', '.join(_NAMES)}, got {letter!r}.")
    hidden = LEARNERS[_NAMES[letter]]

    def learner(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        sizes = checks.prompt(x, y, x_query)
        if (sizes["d_x"], sizes["d_y"]) != (D_X, 1):
            raise ValueError(f"x, y: expected {D_X} inputs and 1 label a pair, got {sizes['d_x']} and {sizes['d_y']}.")
        return hidden(x, y, x_query)

    return learner


# --- the checks -----------------------------------------------------------------------------------------------


def check_boxes(answer: Mapping[str, str]) -> None:
    """Notebook 12, exercise 1: `answer` says for each letter which learner it is. Only the number of hits is told.

    >>> check_boxes(dict.fromkeys("ABCDEF", "ridge"))
    Not yet: 1 of 6. Hint: bend the labels, bend the query, say the context three times, double the inputs.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(_NAMES):
        return print(f"Not yet: expected a dictionary with the keys {', '.join(_NAMES)}.")
    if any(said is ... for said in answer.values()):
        return print("Not yet: replace the dots.")
    unknown = [said for said in answer.values() if said not in list(LEARNERS)]
    if unknown:
        return print(f"Not yet: expected names from {', '.join(LEARNERS)}, got {unknown[0]!r}.")
    hits = sum(answer[letter] == name for letter, name in _NAMES.items())
    if hits == len(_NAMES):
        return print("✔ Right: all six.")
    print(
        f"Not yet: {hits} of 6. Hint: bend the labels, bend the query, say the context three times, double the inputs."
    )


def check_claim(answer: verdicts.Claim) -> None:
    """Notebook 12, exercise 2: a claim of the reader's own, that holds, says the same twice, and has a control.

    >>> check_claim(None)
    Not yet: expected a claim, got NoneType: put @verdicts.claim(…) above your function.
    """
    if not isinstance(answer, verdicts.Claim):
        return print(
            f"Not yet: expected a claim, got {type(answer).__name__}: put @verdicts.claim(…) above your function."
        )
    if answer.measure is None:
        return print("Not yet: a reported claim is not measured. Choose exact or measured.")
    evidence = ask(answer.measure)
    if evidence is None:
        return
    if not isinstance(evidence, verdicts.Evidence):
        return print(f"Not yet: expected verdicts.Evidence, got {type(evidence).__name__}.")
    if evidence.control is None and evidence.beyond is None:
        return print("Not yet: there is no control. Measure something, too, for which your claim must not hold.")
    verdict = verdicts.judge(evidence)
    if verdict == verdicts.UNDECIDED:
        return print(
            f"Not yet: your control, {evidence.control}, lies across your bound, or is no number. Measure it on more "
            "prompts, or give the difference to it, prompt by prompt, as `beyond`."
        )
    if verdict not in (verdicts.HOLDS, verdicts.RESTATED):
        return print(f"Not yet: the verdict is “{verdict}”: {verdicts.Row(answer, evidence, verdict).ours()}.")
    if answer.measure() != evidence:
        return print(
            "Not yet: measured twice, it says two things. Draw from a torch.Generator with a seed of your own."
        )
    print(f"✔ Right: your row reads “{answer.says}”, {verdicts.Row(answer, evidence, verdict).ours()}: {verdict}.")


def check_best_linear(answer: float) -> None:
    """Notebook 12, exercise 3: the lambda of the ridge regression that no learner linear in the labels can beat, when
    the noise variance is 0.2 with probability 3/4 and 3 with probability 1/4.

    >>> check_best_linear(1.6)
    Not yet: 1.6 is not it. Hint: for such a learner only E[y y^T] and E[y y_q] count.
    """
    if answer is ...:
        return print("Not yet: replace the dots by a number.")
    expected = 0.75 * 0.2 + 0.25 * 3.0
    hint = "for such a learner only E[y y^T] and E[y y_q] count."
    number_verdict(answer, expected, hint)
