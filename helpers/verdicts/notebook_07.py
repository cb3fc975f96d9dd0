"""Claims of notebook 07: a layer that was trained is attention over its training run."""

from __future__ import annotations

import torch
from torch import nn

from helpers import metrics
from helpers.theory import dual
from helpers.verdicts import EXACT, REPORTED, Bounds, Evidence, claim, identity, number


def _run(**settings):
    """A network of two layers, trained for 60 steps, one example each; its output layer, history and test inputs."""
    g = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    optim = torch.optim.SGD(net.parameters(), lr=0.02, **settings)
    history = dual.record(net[2], optim)
    for x, y in zip(*(torch.randn(60, n, generator=g, dtype=torch.float64) for n in (6, 3)), strict=True):
        optim.zero_grad()
        (net(x[None]) - y).square().sum().backward()
        optim.step()
    inputs = net[:2](torch.randn(20, 6, generator=g, dtype=torch.float64)).detach()
    return net[2], history, inputs


@claim(
    EXACT,
    "A trained linear layer is attention over the inputs and errors of its training run, in any network.",
    paper="Aizerman et al. 1964; Irie et al. 2022; Dai et al. 2023, eq. 9",
)
def a_trained_layer_is_attention():
    layer, history, inputs = _run()
    z = layer(inputs).detach()
    one_step_short = history.dual(inputs, 59)
    return identity(metrics.max_gap(history.dual(inputs), z), metrics.max_gap(one_step_short, z))


@claim(
    EXACT,
    "The errors may be taken all at once, at the start.",
    paper="the review does not say when (margin note S8)",
    instead="each at the weights of its own step: T small steps, not one on all examples.",
)
def errors_of_their_own_step():
    g = torch.Generator().manual_seed(3)
    x, y = (torch.randn(40, n, generator=g, dtype=torch.float64) for n in (4, 2))
    W, live = torch.zeros(2, 4, dtype=torch.float64), []
    for x_i, y_i in zip(x, y, strict=True):
        live.append(-0.1 * (W @ x_i - y_i))
        W = W + torch.outer(live[-1], x_i)
    query = torch.randn(4, generator=g, dtype=torch.float64)
    gaps = [metrics.max_gap(values.T @ (x @ query), W @ query) for values in (0.1 * y, torch.stack(live))]
    return Evidence(*(Bounds(number(gap), at_most=1e-12) for gap in gaps))


@claim(
    EXACT,
    "Momentum and weight decay only change what each error counts.",
    paper="derived here; Irie et al. 2022 for SGD",
)
def momentum_changes_the_values():
    layer, history, inputs = _run(momentum=0.9, weight_decay=0.03)
    z = layer(inputs).detach()
    naive = history.queries(inputs) @ (history.W_0 - 0.02 * history.errors.T @ history.keys).T
    return identity(metrics.max_gap(history.dual(inputs), z), metrics.max_gap(naive, z))


def _rank(optimizer, steps, **settings):
    """The rank of a weight's change after so many steps, each on one example."""
    W = nn.Parameter(torch.randn(10, 20, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    before, optim, g = W.detach().clone(), optimizer([W], lr=0.01, **settings), torch.Generator().manual_seed(5)
    for _ in range(steps):
        x, y = torch.randn(20, generator=g).double(), torch.randn(10, generator=g).double()
        optim.zero_grad()
        (W @ x - y).square().sum().backward()
        optim.step()
    return number(int(torch.linalg.matrix_rank(W.detach() - before, rtol=1e-9)))


@claim(EXACT, "Adam's first step on one example is still an outer product, sign(e) sign(x)ᵀ (rank, with ε = 0).")
def adams_first_step():
    first, second = (_rank(torch.optim.Adam, steps, eps=0.0) for steps in (1, 2))
    return Evidence(Bounds(first, at_most=1), control=second)


@claim(
    EXACT,
    "Any optimiser has a dual form (rank of the change after two examples, which must be 2).",
    instead="SGD and its relatives; Adam's second step divides by a mixture of sizes, and the outer products are gone.",
)
def any_optimiser():
    return Evidence(*(Bounds(_rank(each, 2), at_most=2) for each in (torch.optim.Adam, torch.optim.SGD)))


def _weights(V, K, X):
    return (V @ X) @ (K @ X).T


def _matrices():
    g = torch.Generator().manual_seed(5)
    shapes = [(5, 8), (5, 8), (8, 4), (8, 6), (8, 6), (5,), (5, 8), (5, 8)]
    return [torch.randn(*shape, generator=g, dtype=torch.float64) / 3 for shape in shapes]


@claim(
    EXACT,
    "Without softmax, attention to demonstrations is a weight update ΔW_ICL.",
    paper="Dai et al. 2023, eqs. 10–12",
)
def demonstrations_are_an_update():
    W_V, W_K, demos, X, _, q, *_ = _matrices()
    both = torch.cat([demos, X], dim=1)
    keys, values = W_K @ both, W_V @ both
    split = (_weights(W_V, W_K, X) + _weights(W_V, W_K, demos)) @ q
    softmax = values @ torch.softmax(keys.T @ q, dim=0)
    return identity(metrics.max_gap(values @ (keys.T @ q), split), broken=metrics.max_gap(softmax, split))


@claim(
    EXACT,
    "ΔW_ICL and the update of fine-tuning are the same kind of object: neither depends on the query's context.",
    paper="“dual”, Dai et al. 2023, eq. 13",
    instead="ΔW_ICL does not; every term of ΔW_FT contains the query's context, twice.",
)
def two_updates():
    W_V, W_K, demos, A, B, _, dV, dK = _matrices()

    def icl(X):
        both = torch.cat([demos, X], dim=1)
        return _weights(W_V, W_K, both) - _weights(W_V, W_K, X)

    def tuned(X):
        return _weights(W_V + 0.1 * dV, W_K + 0.1 * dK, X) - _weights(W_V, W_K, X)

    gaps = [metrics.max_gap(update(A), update(B)) for update in (tuned, icl)]
    return Evidence(*(Bounds(number(gap), at_most=1e-12) for gap in gaps))


@claim(
    EXACT,
    "Attention with momentum weighs tokens as momentum weighs gradients (newest over oldest, 1 or less).",
    paper="MoAttn, Dai et al. 2023, section 6",
    instead="the other way round: momentum lets the oldest gradient count most, MoAttn the newest value.",
)
def moattn_is_not_momentum():
    _, c = dual.coefficients([{"lr": 0.05, "momentum": 0.9}] * 60)
    moattn = 0.9 ** torch.arange(60, 0, -1.0)
    ratios = [number(weights[-1] / weights[0]) for weights in (moattn, c)]
    return Evidence(*(Bounds(ratio, at_most=1) for ratio in ratios))


@claim(
    REPORTED,
    "MoAttn lowers the perplexity of a 350-million-weight model and helps in context.",
    paper="15.14 to 15.02; 51.9 % to 54.7 %, Dai et al. 2023, table 5",
)
def moattn_helps(): ...
