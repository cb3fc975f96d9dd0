"""Claims of notebook 10: from raw tokens to pairs."""

from __future__ import annotations

import torch

from helpers import attention, constructions, learners, metrics, tasks
from helpers.attention import Layer
from helpers.models import copying, induction
from helpers.trained import copying_runs, induction_runs
from helpers.verdicts import EXACT, MEASURED, REPORTED, Bounds, Evidence, Number, claim, identity, number, over_seeds


@claim(
    EXACT,
    "With the ones below the diagonal, the copying layer fetches the next token.",
    paper="von Oswald et al. 2023, A.5",
    instead="the previous one, with tokens as columns (margin note P4).",
)
def which_neighbour():
    s, d = tasks.linear_regression(B=1, N=9, d_x=4).x, 4
    shift = torch.diag(torch.ones(8, dtype=torch.float64), -1)
    I, zero = torch.eye(13, dtype=torch.float64), torch.zeros(13, 13, dtype=torch.float64)
    W_K, W_Q, W_V = zero.clone(), zero.clone(), zero.clone()
    W_K[d:, d:], W_Q[d:, d:], W_V[d : 2 * d, :d], W_V[d:, d:] = I[d:, d:], shift.mT, I[:d, :d], -shift
    z = torch.cat([s, torch.eye(9, dtype=torch.float64)[None]], dim=-1)
    copied = attention.linear(z, Layer(W_Q, W_K, W_V, I), include_query=True)[..., d : 2 * d]
    gaps = metrics.max_gap(copied[:, :-1], s[:, 1:]), metrics.max_gap(copied[:, 1:], s[:, :-1])
    return Evidence(*(Bounds(number(gap), at_most=1e-12) for gap in gaps))


@claim(
    EXACT,
    "A copying layer and the layer of notebook 03 are one gradient step on raw tokens.",
    paper="proposition 3 and 1",
)
def copy_then_step():
    p = tasks.linear_regression(B=32, N=10, d_x=5, seed=1)
    z = copying.tokens(p, torch.eye(21, dtype=torch.float64))
    step = constructions.widen(constructions.gd_step(eta=0.7, N=10, d_x=5), D=z.shape[-1])
    y_gd = learners.gd(*p.shown, eta=0.7)
    pairs = attention.linear(z, constructions.copying(5, 1, T=21))
    answers = [copying.read(attention.linear(tokens, step), d_x=5) for tokens in (pairs, z)]
    return identity(*(metrics.max_gap(answer, y_gd) for answer in answers))


def _to_steps(frame: int, steps: int) -> Number:
    """How far the trained two-layer models' answers are from those of one or two steps, over their distance to 0."""
    p = copying_runs.prompts(B=2048, seed=77)
    etas = copying_runs.GD_ETA if steps == 1 else [4.0, 12.0]
    wanted = learners.gd(*p.shown, eta=etas, steps=steps)

    def apart(seed):
        answer = copying_runs.load(seed).frame(frame)(*p.shown)
        return metrics.squared_prediction_difference(answer, wanted) / wanted.square().mean().item()

    return over_seeds(apart(seed) for seed in copying_runs.SEEDS)


@claim(
    MEASURED,
    "Two trained layers on raw tokens take two gradient steps (squared difference of the answers, over their size).",
    paper="one step, von Oswald et al. 2023, fig. 5",
    instead="one step: the first layer is spent on making pairs.",
)
def two_layers_one_step():
    return Evidence(
        Bounds(_to_steps(-1, steps=2), at_most=0.02),
        Bounds(_to_steps(-1, steps=1), at_most=0.02),
        _to_steps(0, steps=1),
    )


@claim(
    MEASURED,
    "In that training the first layer turns to its neighbour: inputs read their labels (attention to the next token).",
    paper="von Oswald et al. 2023, fig. 5",
)
def the_first_layer_copies():
    p = copying_runs.prompts(B=8, seed=100)

    def attends(seed, frame):
        model = copying_runs.load(seed).frame(frame)
        weights = attention.pattern(model.tokens(*p.shown), model.layers()[0])[:, 0]
        return copying.neighbours(weights)["next"]

    late, early = ([attends(seed, frame) for seed in copying_runs.SEEDS] for frame in (-1, 4))
    return Evidence(Bounds(over_seeds(late), at_least=0.3), control=over_seeds(early))


@claim(
    EXACT,
    "An induction head written by hand is never wrong where words differ (share of errors).",
    paper="Olsson et al. 2022",
)
def the_head_by_hand():
    V, L = 20, 32
    words, _ = induction.sequences(200, L, V, distinct=True, seed=2)
    first, second = constructions.induction(V, L, beta=20.0)
    blind = first._replace(W_Q=0 * first.W_Q)

    def errors(layers):
        prediction = induction.run(induction.one_hot(words, V), layers)[0][..., 2 * V : 3 * V]
        return 1 - induction.accuracy(prediction, words)

    return identity(errors([first, second]), broken=errors([blind, second]))


@claim(
    MEASURED,
    "Two trained attention layers continue a repeated text, one layer does not (share right in the second half).",
    paper="Olsson et al. 2022",
)
def two_layers_are_needed():
    words, _ = induction.sequences(300, 32, 20, seed=9)
    share = {
        n: over_seeds(
            induction.accuracy(induction_runs.load(seed)[n].frame(-1)(words), words) for seed in induction_runs.SEEDS
        )
        for n in (1, 2)
    }
    return Evidence(Bounds(share[2], at_least=0.75), control=share[1])


@claim(EXACT, "One causal softmax layer does not see the order of its examples; two do.")
def causal_layers_and_order():
    p = tasks.linear_regression(B=1, N=10, d_x=4, seed=8)
    g = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(10, generator=g) for _ in range(50)])
    z = tasks.tokens(tasks.Prompt(p.x[0][orders], p.y[0][orders], p.x_query.expand(50, -1)))
    layers = [Layer(*0.5 * torch.randn(4, 5, 5, generator=g, dtype=torch.float64)) for _ in range(2)]
    once = attention.causal_softmax(z, layers[0])
    return identity(
        *(tasks.read(answers).std().item() for answers in (once, attention.causal_softmax(once, layers[1])))
    )


@claim(
    REPORTED,
    "Induction heads appear in language models as a bump in the loss, and are most of their in-context learning.",
    paper="up to 13 billion weights; for large ones correlational, Olsson et al. 2022",
)
def induction_in_large_models(): ...
