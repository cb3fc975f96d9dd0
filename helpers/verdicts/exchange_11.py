"""What notebook 11 measures of answers: who agrees with whom, and in what the exchange of demonstrations changes.

An exchange keeps the queries and replaces the demonstrations by others of the same task. What a learner knows without
just these demonstrations drops out of the difference (a difference in differences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from helpers import learners
from helpers.finetuning import rules, side_by_side, similarity, toy_language
from helpers.finetuning.inside import State
from helpers.finetuning.side_by_side import Conditions
from helpers.finetuning.small_gpt import Recipe
from helpers.finetuning.toy_language import Episode
from helpers.verdicts.measured_11 import (
    SEEDS,
    SHOTS,
    cached,
    conditions,
    episode,
    in_context,
    prompt,
    recipe,
    tuned,
)

COUNTING = "counting (naive Bayes)"
RULES = {
    COUNTING: rules.naive_bayes,
    "matching (kernel)": rules.soft_match,
    "nearest demonstration": rules.nearest,
    "one step of GD on counts": partial(learners.gd, eta=1.0),
    "200 steps of GD on counts": partial(learners.gd, eta=0.5, steps=200),
}
ALL_COUNT = (COUNTING, "matching (kernel)", "one step of GD on counts")  # too much alike to be told apart here
STEPS = (1, 2, 3, 5, 10, 20, 50, 200)  # of GD on counts, at the rate of the last rule
RATES = (0.01, 0.03, 0.1)  # of fine-tuning; whoever picks the rate picks the agreement, so all are tried
GENTLE = Recipe(RATES[0])
LEARNERS = ("ICL", "ICL, in reverse", "ICL, another seed", "FT", "FT, another seed", "FT, random weights", *RULES)


def answers(
    learner: str, seed: int, control: str = "the same", shift: int = 0, k: int = SHOTS, *, of: Recipe | None = None
) -> Tensor:
    """Log-odds (B, Q) of a learner of LEARNERS behind a prompt, or after fine-tuning on its demonstrations."""
    few = prompt(control, shift, k)
    if learner in RULES:
        return RULES[learner](*toy_language.as_numbers(few)).view(few.target.shape)
    if "another seed" in learner:
        seed = SEEDS[(SEEDS.index(seed) + 1) % len(SEEDS)]
    kind = "random" if "random" in learner else "trained"
    if learner == "ICL, in reverse":
        control += ", in reverse"
    if learner.startswith("ICL"):
        return _log_odds(in_context(kind, seed, control, shift, k), few)
    return _log_odds(tuned(kind, seed, of or recipe(kind), control, shift, k), few)


def _log_odds(at: State, few: Episode) -> Tensor:
    return toy_language.log_odds(at.logits, few).double()


@cached
def exchanged(learner: str, seed: int, shift: int = 0, k: int = SHOTS, of: Recipe | None = None) -> Tensor:
    """What changes in its log-odds (B, Q) if the demonstrations are exchanged for others of the task."""
    now, then = (answers(learner, seed, control, shift, k, of=of) for control in ("the same", "others of the task"))
    return now - then


def agreement(a: str, b: str, shift: int = 0, k: int = SHOTS, *, of: Recipe | None = None) -> Tensor:
    """The correlation, over a task's queries, of what the exchange changes in a and in b: (M, B).

    `of` is the recipe of b, if b is fine-tuned.
    """
    pairs = ((exchanged(a, seed, shift, k), exchanged(b, seed, shift, k, of)) for seed in SEEDS)
    return torch.stack([similarity.correlation(*pair) for pair in pairs])


def with_steps(steps: int, shift: int = 0) -> Tensor:
    """The same of ICL and of so many steps of gradient descent on word counts (M, B)."""

    def after(control):
        few = prompt(control, shift)
        return learners.gd(*toy_language.as_numbers(few), eta=0.5, steps=steps).view(few.target.shape)

    change = after("the same") - after("others of the task")
    return torch.stack([similarity.correlation(exchanged("ICL", seed, shift), change) for seed in SEEDS])


def beyond_counting(
    other: str, shift: int = 0, *, of: Recipe | None = None, rules: Sequence[str] = ALL_COUNT
) -> Tensor:
    """The partial correlation (M, B) of what the exchange changes in ICL and in another learner, given counting rules.

    What the changes of these rules explain, by least squares over a task's queries, is taken out of both.
    """
    found = []
    for seed in SEEDS:
        columns = [exchanged(rule, seed, shift) for rule in rules]
        counted = torch.stack([one - one.mean(1, keepdim=True) for one in columns], dim=-1)  # (B, Q, rules)
        rest = []
        for change in (exchanged("ICL", seed, shift), exchanged(other, seed, shift, of=of)):
            centred = (change - change.mean(1, keepdim=True))[..., None]
            rest.append((centred - counted @ torch.linalg.lstsq(counted, centred).solution)[..., 0])
        found.append(torch.cosine_similarity(*rest, dim=1))
    return torch.stack(found)


def agreement_inside(
    a: str = "ICL", b: str = "FT", shift: int = 0, k: int = SHOTS, *, of: Recipe | None = None
) -> Tensor:
    """The same inside trained models, by layer (M, B, L): `side_by_side.exchanged` of "ICL" or "FT" with another.

    The other may be ", in reverse": the same demonstrations in reverse order.
    """

    def inside(learner, seed, control):
        way, _, order = learner.partition(", ")
        control += ", in reverse" if order else ""
        if way == "ICL":
            return in_context("trained", seed, control, shift, k)
        return tuned("trained", seed, of or recipe("trained"), control, shift, k)

    found = []
    for seed in SEEDS:
        pair = [(inside(a, seed, control), inside(b, seed, control)) for control in ("the same", "others of the task")]
        both = [Conditions(zsl=one, ft=other, icl=one, own=4) for one, other in pair]
        found.append(side_by_side.exchanged(*both).mean(1))
    return torch.stack(found)


def at_best_rate(measure: Callable[[Recipe], Tensor]) -> Tensor:
    """The values of the measure at that of RATES where their mean is highest: the best case for fine-tuning."""
    return max((measure(Recipe(lr)) for lr in RATES), key=torch.mean)


# --- answers, and patterns of queries, beside those of others ---------------------------------------------------------

PARTNERS = ("ICL", "ICL, other demonstrations", "ICL, labels shuffled", "ICL, another seed", COUNTING)


def beside_finetuning(partner: str, loss: str = "label", shift: int = 0) -> dict[str, Tensor]:
    """How alike a partner is to the fine-tuning of each trained model: its "answers" (M, B), and its "pattern" (M, B).

    The answers are compared by the correlation of log-odds over a task's queries; the pattern, by how the last layer's
    updates place the queries to each other (`similarity.rsa`). Both can be taken of another model, and of a rule.
    """
    found = {"answers": [], "pattern": []}
    for i, seed in enumerate(SEEDS):
        ft = conditions("trained", seed, loss, shift=shift)
        by_ft = (ft.ft.updates - ft.zsl.updates)[:, :, -1]  # (B, Q, d)
        if partner in RULES:
            said = answers(partner, seed, shift=shift)
            updates = said[..., None].to(by_ft.dtype)  # (B, Q, 1)
        else:
            control = {PARTNERS[1]: "others of the task", PARTNERS[2]: "labels shuffled"}.get(partner, "the same")
            who = SEEDS[(i + 1) % len(SEEDS)] if "another seed" in partner else seed
            icl = conditions("trained", who, loss, control, shift)
            said = _log_odds(icl.icl, episode(shift))
            updates = (icl.icl.updates - icl.zsl.updates)[:, :, -1]  # (B, Q, d)
        found["answers"].append(similarity.correlation(said, _log_odds(ft.ft, episode(shift))))
        found["pattern"].append(similarity.rsa(updates, by_ft))
    return {name: torch.stack(values) for name, values in found.items()}


def lift(partner: str = "ICL", loss: str = "label", shift: int = 0) -> list[float]:
    """Rec2FTP's lift over chance for each model's fine-tuning, with the ICL of the same model or of "another seed"."""
    found = []
    for i, seed in enumerate(SEEDS):
        three = conditions("trained", seed, loss, shift=shift)
        who = SEEDS[(i + 1) % len(SEEDS)] if "another seed" in partner else seed
        counts = side_by_side.recall(three._replace(icl=in_context("trained", who, shift=shift)), episode(shift))
        found.append(similarity.rec2ftp(counts).lift.item())
    return found
