"""Claims of notebook 11: in-context learning beside fine-tuning. Alike compared with what?"""

from __future__ import annotations

import torch

from helpers.verdicts import MEASURED, Bounds, Evidence, Number, claim
from helpers.verdicts import over_models_and_prompts as mean
from helpers.verdicts.exchange_11 import (
    ALL_COUNT,
    COUNTING,
    GENTLE,
    agreement,
    agreement_inside,
    at_best_rate,
    beside_finetuning,
    beyond_counting,
    with_steps,
)
from helpers.verdicts.measured_11 import (
    AOU,
    KINDS,
    LAST,
    LOSSES,
    PER_QUERY,
    accuracies,
    alike,
    contrast,
    excess,
    excess_of_finetuning,
    excess_of_readers,
    excess_with,
    over_sizes,
)  # fmt: skip


@claim(
    MEASURED,
    "A small GPT learns tasks it has never seen from its prompt (points of accuracy, 32 demonstrations less none).",
    paper="20 points on average, 1.3 billion weights, Dai et al. 2023, table 1",
)
def a_gpt_learns_new_tasks(shift: int = 0):
    trained, random = (icl - zsl for zsl, _, icl in (accuracies(kind, shift=shift) for kind in KINDS))
    return contrast(100 * trained, 100 * random, at_least=20)


@claim(
    MEASURED,
    "ICL and fine-tuning push attention's output the same way (SimAOU as published: loss on all tokens, mean over "
    "layers).",
    paper="0.10 on average, 1.3 billion weights, Deutch et al. 2023, table 2",
    instead="with the loss on the label, and in the last layer; the control is random weights, there, too.",
)
def the_updates_agree(shift: int = 0):
    published = Bounds(mean(alike(AOU, "trained", "all tokens", shift=shift).mean(2)), at_least=0.1)
    ours = contrast(*(alike(AOU, kind, shift=shift)[..., LAST] for kind in KINDS), at_least=0.3)
    return ours._replace(stated=published, restated=ours.stated)


@claim(
    MEASURED,
    "Untrained models score as high as trained ones (SimAOU as published; random less trained; control: with the loss "
    "on the label).",
    paper="0.09 and 0.05 on SST2, 0.18 and 0.17 on MR, Deutch et al. 2023, table 1",
)
def untrained_match_trained(shift: int = 0):
    def ahead(loss):
        random, trained = (alike(AOU, kind, loss, shift=shift).mean(2) for kind in ("random", "trained"))
        return mean(random - trained)

    return Evidence(Bounds(ahead("all tokens"), at_least=0), control=ahead("label"))


@claim(
    MEASURED,
    "The similarity is about these demonstrations (SimAOU per query, last layer; control: other demonstrations of the "
    "same task; more by 5 hundredths at least; in hundredths).",
    paper="Dai et al. 2023, section 4; the control is in no paper that we have read",
)
def these_demonstrations(shift: int = 0):
    prompts = ("the same", "others of the task")
    ours = (100 * alike(PER_QUERY, "trained", "label", each, shift)[..., LAST] for each in prompts)
    return contrast(*ours, at_least=20, more=5)


@claim(
    MEASURED,
    "SimAOU needs a task that both have learned (last layer; control: random words with the same two label words, in "
    "random order; more by a tenth at least).",
)
def a_learned_task(shift: int = 0):
    prompts = ("the same", "random words")
    return contrast(
        *(alike(AOU, "trained", "label", each, shift)[..., LAST] for each in prompts), at_least=0.3, more=0.1
    )


@claim(
    MEASURED,
    "With 4 demonstrations similarity does know which (excess over others of the task, SimAOU per query, last layer; "
    "in hundredths; control: with 32).",
)
def with_few_it_knows_which(shift: int = 0):
    return contrast(*(100 * excess_with(k, shift=shift) for k in (4, 32)), at_least=2)


@claim(
    MEASURED,
    "With 32, fine-tuning beside itself at a third of the rate hardly stands out, either (the same excess, at most 20 "
    "hundredths; control: two learners that store demonstrations).",
)
def finetuning_beside_itself(shift: int = 0):
    ours, readers = (mean(100 * each) for each in (excess_of_finetuning(shift), excess_of_readers(shift)[..., LAST]))
    return Evidence(Bounds(ours, at_most=20), control=readers)


@claim(
    MEASURED,
    "With 32 demonstrations similarity does not know which (excess over others of the task, the largest of 24: two "
    "measures, trained and random, both losses, all layers; in hundredths; control: two learners that store "
    "demonstrations).",
)
def no_measure_knows_which(shift: int = 0):
    cells = (excess(name, kind, loss, shift=shift) for name in (AOU, PER_QUERY) for kind in KINDS for loss in LOSSES)
    each = [mean(100 * cell[..., layer]) for cell in cells for layer in range(cell.shape[2])]
    largest = max(each, key=lambda one: max(one.high, -one.low))
    readers = mean(100 * excess_of_readers(shift)[..., LAST])
    return Evidence(Bounds(largest, at_least=-6, at_most=6), control=readers)


@claim(
    MEASURED,
    "Nor does it at any of five sizes up to 151 million weights (excess in hundredths, last layer, both "
    "measures; one H200).",
)
def at_five_sizes():
    each = 100 * torch.cat([over_sizes(measure) for measure in (AOU, PER_QUERY)])
    found = Number(each.mean().item(), each.min().item(), each.max().item(), f"{len(each)} values, 14 models")
    return Evidence(Bounds(found, at_least=-6, at_most=6), control=mean(100 * excess_of_readers()[..., LAST]))


@claim(
    MEASURED,
    "Right labels matter to it in trained models, not in random ones (SimAOU per query, mean over layers, less behind "
    "shuffled labels; in hundredths).",
    paper="shuffled labels: Min et al. 2022; flipped ones: Wei et al. 2023",
)
def labels_matter_to_trained_models(shift: int = 0):
    ours = (100 * excess(PER_QUERY, kind, "label", "labels shuffled", shift).mean(2) for kind in KINDS)
    return contrast(*ours, at_least=5)


@claim(
    MEASURED,
    "A model's ICL is nearer to its fine-tuning than counting words is (log-odds' correlation; control: naive Bayes).",
)
def nearer_than_counting(shift: int = 0):
    return contrast(*(beside_finetuning(who, shift=shift)["answers"] for who in ("ICL", COUNTING)), at_least=0.5)


@claim(
    MEASURED,
    "What other demonstrations change in ICL's last layer they hardly change in fine-tuning's (SimAOU of the two "
    "changes, at the best of three rates; control: ICL with the same demonstrations in reverse).",
)
def the_exchange_inside(shift: int = 0):
    ours = at_best_rate(lambda recipe: agreement_inside(shift=shift, of=recipe)[..., LAST])
    reverse = agreement_inside("ICL", "ICL, in reverse", shift)[..., LAST]
    return Evidence(Bounds(mean(ours), at_most=0.3), control=mean(reverse))


@claim(
    MEASURED,
    "What other demonstrations change in ICL's answers is more like its own fine-tuning than like counting words "
    "(correlation, at the best of three rates; control: naive Bayes).",
)
def the_exchange_in_answers(shift: int = 0):
    ours = at_best_rate(lambda recipe: agreement("ICL", "FT", shift, of=recipe))
    return contrast(ours, agreement("ICL", COUNTING, shift), at_least=0.1)


@claim(
    MEASURED,
    "ICL counts words: one step of GD on word counts moves with its answers (correlation under exchange; control: the "
    "nearest demonstration).",
)
def it_counts(shift: int = 0):
    rules = ("one step of GD on counts", "nearest demonstration")
    return contrast(*(agreement("ICL", rule, shift) for rule in rules), at_least=0.1)


@claim(
    MEASURED,
    "Only the first steps of GD on word counts do so (the same after 5 steps; control: after 50).",
)
def the_first_steps(shift: int = 0):
    return contrast(*(with_steps(steps, shift) for steps in (5, 50)), at_least=0.1)


@claim(
    MEASURED,
    "With naive Bayes taken out, ICL still moves with its own fine-tuning (partial correlation under exchange, rate "
    "0.01; control: another seed's fine-tuning).",
)
def beyond_naive_bayes(shift: int = 0):
    return _beyond((COUNTING,), shift)


@claim(
    MEASURED,
    "And with the kernel and one step of GD on counts taken out as well (the same; control: another seed's "
    "fine-tuning).",
)
def beyond_all_counting(shift: int = 0):
    return _beyond(ALL_COUNT, shift)


def _beyond(rules: tuple[str, ...], shift: int) -> Evidence:
    """What is left of the agreement of ICL with its own, and with another seed's, gentle fine-tuning."""
    own, other = (beyond_counting(who, shift, of=GENTLE, rules=rules) for who in ("FT", "FT, another seed"))
    return contrast(own, other, at_least=0)


# The second half: what the papers measure and claim, on trial. In this order the table shows them.
from helpers.verdicts.papers_notebook_11 import (  # noqa: E402, F401, I001
    the_normalised_measure, the_floor, attention_maps, simam_has_a_gauge,
    recall_above_chance, recall_knows_the_model, gradients_order_the_demonstrations, layer_causality,
    the_query_changes_too, layer_causal_is_nearer, layer_causal_is_nearer_per_query, moattn_learns_more,
    more_than_a_plain_mean, implicit_fine_tuning,
)  # fmt: skip
