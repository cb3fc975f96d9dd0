"""Claims of notebook 11, continued, of the papers: measures on trial, layer causality, momentum attention."""

from __future__ import annotations

import torch

from helpers import metrics
from helpers.finetuning import effects, similarity
from helpers.finetuning.small_gpt import Recipe
from helpers.verdicts import EXACT, MEASURED, REPORTED, Bounds, Evidence, claim, identity, number, over_seeds
from helpers.verdicts import over_models_and_prompts as mean
from helpers.verdicts.exchange_11 import lift
from helpers.verdicts.measured_11 import (
    AOU,
    KINDS,
    LAST,
    PER_QUERY,
    RATES,
    alike,
    below,
    contrast,
    episode,
    orders,
    with_filter,
)  # fmt: skip


@claim(
    REPORTED,
    "A normalised SimAOU of 0.19 to 0.23 shows agreement.",
    paper="0.186 and 0.225, Dai et al. 2023, table 3; cannot be told from no agreement without the updates' lengths",
)
def the_normalised_measure(): ...


@claim(
    EXACT,
    "Updates that have nothing in common score ½√((1 − a)(1 − a′)) by the normalised measure, a = 1/√(1 + ρ²).",
    paper="1/4 for ρ = √3, Deutch et al. 2023, section 3.1",
)
def the_floor():
    z, r, s = torch.eye(3, dtype=torch.float64)
    scores = similarity.sim_aou(z + 1.7 * r, z + 0.6 * s, z, normalised=True)
    floors = [similarity.aou_floor(*torch.tensor([1.7 * off, 0.6], dtype=torch.float64)) for off in (1.0, 2.0)]
    return identity(*(abs(scores - floor).item() for floor in floors))


@claim(
    MEASURED,
    "Fine-tuning brings attention maps nearer to those of ICL (SimAM after it, less before; mean over layers, "
    "in hundredths).",
    paper="0.34 before, 0.44 after, 1.3 billion weights, Dai et al. 2023, table 4",
)
def attention_maps(shift: int = 0):
    after, before = (alike(name, "trained", shift=shift).mean(2) for name in ("SimAM", "SimAM, before FT"))
    return Evidence(Bounds(mean(100 * (after - before)), at_least=2))


@claim(
    EXACT,
    "SimAM compares what attention does.",
    paper="Dai et al. 2023, section 4.3",
    instead="with the mean of each row taken out; a bias on all keys moves SimAM, and no attention.",
)
def simam_has_a_gauge():
    g = torch.Generator().manual_seed(0)
    m_icl, m_ft = (torch.randn(50, 12, generator=g, dtype=torch.float64) for _ in range(2))
    bias = torch.randn(50, 1, generator=g, dtype=torch.float64)

    def moved(centred):
        scores = [similarity.sim_am(m_icl + by, m_ft + by, centred=centred) for by in (0, bias)]
        return number(metrics.max_gap(*scores))

    return Evidence(*(Bounds(moved(centred), at_most=1e-12) for centred in (False, True)))


@claim(
    REPORTED,
    "ICL corrects what fine-tuning corrects (Rec2FTP).",
    paper="85.6 %, 1.3 billion weights, Dai et al. 2023, table 2; chance, from its counts, is 69.8 %",
)
def recall_above_chance(): ...


@claim(
    MEASURED,
    "Above chance, ICL corrects what its own fine-tuning corrects (lift of Rec2FTP, less that of another seed's ICL; a "
    "tenth at least).",
)
def recall_knows_the_model(shift: int = 0):
    own, other = (torch.tensor(lift(who, shift=shift)) for who in ("ICL", "ICL, another seed"))
    return Evidence(Bounds(over_seeds(own - other), at_least=0.1))


@claim(
    MEASURED,
    "Attention listens to demonstrations whose gradients help the query (Kendall's τ, last layer; control: an order "
    "that only knows who has the query's label).",
    paper="attention queries, τ = 0.19 and 0.21 beside random weights, Dai et al. 2023, table 5",
)
def gradients_order_the_demonstrations(shift: int = 0):
    taus = (orders(shift)[name][..., LAST] for name in (("content", "gradients"), "class"))
    return contrast(*taus, at_least=0.05)


@claim(
    EXACT,
    "Fine-tuning's update of a layer comes from below, as in-context learning's does (change when the layer above is "
    "another).",
    paper="layer causality, Deutch et al. 2023, section 4",
    instead="ICL's does; the gradient comes down from all layers above.",
)
def layer_causality():
    return Evidence(*(Bounds(number(metrics.max_gap(*below(way))), at_most=1e-12) for way in ("FT", "ICL")))


@claim(
    EXACT,
    "What demonstrations change at a layer is what its attention reads from them: λ (A(X′) − A(X)).",
    paper="the query as if it came unchanged, Dai et al. 2023, section 3.2",
    instead="and what layers below did to the query's own tokens; in the last layer that is the larger part.",
)
def the_query_changes_too():
    parts = effects.effects(KINDS["trained"](0).double(), episode().tasks(2))
    left = [
        (parts.total - known).norm() / parts.total.norm() for known in (parts.direct, parts.direct + parts.indirect)
    ]
    return Evidence(*(Bounds(number(rest), at_most=1e-12) for rest in left))


def _gains(measure: str, shift: int) -> Evidence:
    """The last layer's measure after layer-causal steps, less that after GD, at the same rate."""
    steps = {kind: Recipe(RATES[kind, "label"], "layer-causal (code)") for kind in KINDS}
    ours = (alike(measure, kind, shift=shift, of=steps[kind]) - alike(measure, kind, shift=shift) for kind in KINDS)
    return contrast(*(gain[..., LAST] for gain in ours), at_least=0.05)


@claim(
    MEASURED,
    "Layer-causal gradient descent is nearer to ICL than gradient descent (SimAOU, last layer, less that of GD; "
    "control: the same with random weights).",
    paper="0.167 and 0.102, 1.3 billion weights, Deutch et al. 2023, table 2",
)
def layer_causal_is_nearer(shift: int = 0):
    return _gains(AOU, shift)


@claim(MEASURED, "It is nearer in what tells one query from another, too (SimAOU per query, less that of GD).")
def layer_causal_is_nearer_per_query(shift: int = 0):
    return _gains(PER_QUERY, shift)


@claim(
    MEASURED,
    "GPTs with momentum attention learn more from a prompt (points of accuracy with 4 classes, less that without).",
    paper="54.7 and 51.9 %, 350 million weights, Dai et al. 2023, table 5",
    instead="with β = 0.5; with β = 0.9 they learn less, or nothing.",
)
def moattn_learns_more():
    half, slow, learned = (
        100 * with_filter(kind) for kind in ("MoAttn, β = 0.5", "MoAttn, β = 0.9", "4 taps, learned")
    )
    ours = contrast(half, learned, at_least=5)
    return ours._replace(stated=Bounds(mean(torch.cat([half, slow])), at_least=5), restated=ours.stated)


@claim(
    MEASURED,
    "With β = 0.5 it gains more than a plain mean of the 4 values before does (the same; in two of three seeds).",
)
def more_than_a_plain_mean():
    half, plain = (100 * with_filter(kind) for kind in ("MoAttn, β = 0.5", "mean of 4"))
    return contrast(half, plain, at_least=5)


@claim(
    REPORTED,
    "In GPTs of 1.3 and 2.7 billion weights in-context learning acts as implicit fine-tuning.",
    paper="Dai et al. 2023; disputed: Shen et al. 2023, Deutch et al. 2023",
)
def implicit_fine_tuning(): ...
