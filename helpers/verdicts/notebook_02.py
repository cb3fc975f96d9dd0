"""Claims of notebook 02: linear attention as a matrix that is written to."""

from __future__ import annotations

import torch

from helpers import attention, constructions, learners, metrics, probes, tasks
from helpers.attention import Layer
from helpers.verdicts import EXACT, MEASURED, Bounds, Evidence, claim, identity, number, over_prompts


def _keys_values_query(n: int, d_k: int = 6, d_v: int = 6):
    g = torch.Generator().manual_seed(1)
    return (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in [(d_k, n), (d_v, n), (d_k,)])


def _layer(d_k: int, d_v: int) -> Layer:
    """Reads (key, value) tokens: the answer of a query (q, 0) stands in its value slot."""
    D = torch.eye(d_k + d_v, dtype=torch.float64)
    return Layer(W_Q=D[:d_k], W_K=D[:d_k], W_V=D[d_k:], P=D[:, d_k:])


def _attend(K, V, q, attend=attention.linear):
    tokens = torch.cat([torch.cat([K, V]), torch.cat([q, 0 * V[:, 0]])[:, None]], dim=1)
    return attend(tokens.T[None], _layer(len(K), len(V)))[0, -1, len(K) :]


@claim(
    EXACT,
    "Linear attention is K Vᵀ q.",
    paper="equation (1) of the review, as printed",
    instead="V Kᵀ q = Σᵢ vᵢ (kᵢᵀq): values and keys are swapped in print (margin note S1).",
)
def linear_attention_as_printed():
    K, V, q = _keys_values_query(5)
    ours = _attend(K, V, q)
    stated, corrected = (number(metrics.max_gap(ours, W @ q)) for W in (K @ V.T, V @ K.T))
    return Evidence(Bounds(stated, at_most=1e-12), Bounds(corrected, at_most=1e-12))


@claim(
    EXACT,
    "What two blocks of tokens write adds up, so a prompt acts like a weight update.",
    paper="Dai et al. 2023, eq. 11",
)
def blocks_add_up():
    K, V, q = _keys_values_query(24)

    def gap(attend):
        parts = [_attend(K[:, part], V[:, part], q, attend) for part in (slice(0, 9), slice(9, 24))]
        return metrics.max_gap(_attend(K, V, q, attend), sum(parts))

    return identity(gap(attention.linear), broken=gap(attention.softmax))


@claim(EXACT, "The order of the context changes nothing in one layer, linear or softmax.")
def one_layer_ignores_order():
    prompt = tasks.linear_regression(B=8, N=10, d_x=4, seed=2)
    layer = constructions.gd_step(0.5, N=10, d_x=4)
    spread = [
        probes.order_spread(constructions.learner([layer], attend=attend), prompt, shuffles=40)
        for attend in (attention.linear, attention.softmax)
    ]
    by_turns = probes.order_spread(lambda *prompt: learners.online_gd(*prompt, eta=0.1), prompt, shuffles=40)
    return identity(max(spread), broken=by_turns)


@claim(
    EXACT,
    "Linear attention is a step of gradient descent on the squared error, from any weights W.",
    instead="from W = 0; elsewhere it is a step on a linear loss, as any sum of outer products is.",
)
def a_step_on_which_loss():
    K, V, _ = _keys_values_query(20)
    g = torch.Generator().manual_seed(5)

    def gap(W):
        grad = torch.func.grad(lambda W: (W @ K - V).square().sum() / 2)(W)
        return number(metrics.max_gap(-grad, V @ K.T))

    anywhere = torch.randn(6, 6, generator=g, dtype=torch.float64)
    return Evidence(Bounds(gap(anywhere), at_most=1e-11), Bounds(gap(0 * anywhere), at_most=1e-11))


@claim(EXACT, "The delta rule is one step of gradient descent on one pair.", paper="Schlag et al. 2021")
def delta_rule_is_a_step():
    p = tasks.linear_regression(B=1, N=2, d_x=6, d_y=4, noise=1.0, seed=3)
    W = learners.online_gd_weights(p.x[:, :1], p.y[:, :1], eta=0.3)[0]
    k, v = p.x[0, 1], p.y[0, 1]
    delta, hebb = W + 0.3 * torch.outer(v - W @ k, k), W + 0.3 * torch.outer(v, k)
    both = learners.online_gd_weights(p.x, p.y, eta=0.3)[0]
    return identity(metrics.max_gap(both, delta), broken=metrics.max_gap(both, hebb))


@claim(
    MEASURED,
    "A matrix holds about d_k random pairs: the error of reading is (n − 1)/d_k, so 1 at n = 33, d_k = 32.",
    paper="capacity, Schlag et al. 2021, section 4",
)
def capacity():
    g = torch.Generator().manual_seed(0)
    K, V = (torch.randn(200, 33, d, generator=g, dtype=torch.float64) for d in (32, 16))
    K = K / K.norm(dim=-1, keepdim=True)
    off = (K @ (K.mT @ V) - V).square().mean((1, 2))
    few = (K[:, :9] @ (K[:, :9].mT @ V[:, :9]) - V[:, :9]).square().mean()
    return Evidence(Bounds(over_prompts(off), 0.95, 1.05), control=number(few))


@claim(
    EXACT,
    "Causal linear attention is a recurrent network with a matrix for its state.",
    paper="Katharopoulos et al. 2020",
)
def causal_attention_is_recurrent():
    z = tasks.tokens(tasks.linear_regression(B=4, N=15, d_x=3, seed=6))
    layer = constructions.gd_step(0.7, N=15, d_x=3)
    S, read = torch.zeros(4, 4, 4, dtype=torch.float64), []
    for z_t in z.unbind(1):  # the last token is the query: its value is not written before it reads
        k, v = z_t @ layer.W_K.mT, z_t @ layer.W_V.mT
        if len(read) < 15:
            S = S + v[:, :, None] * k[:, None]
        read.append(z_t + (S @ (z_t @ layer.W_Q.mT)[..., None])[..., 0] @ layer.P.mT)
    by_turns = torch.stack(read, dim=1)
    return identity(
        metrics.max_gap(attention.causal_linear(z, layer), by_turns),
        broken=metrics.max_gap(attention.linear(z, layer), by_turns),
    )
