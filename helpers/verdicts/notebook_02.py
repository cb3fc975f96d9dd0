"""Claims of notebook 02: linear attention as a matrix that is written to."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from helpers import attention, constructions, learners, metrics, probes, tasks
from helpers.attention import Layer
from helpers.theory import fast_weights
from helpers.verdicts import EXACT, PROVED, Bounds, Evidence, claim, identity, number, over_prompts

# --- measurements that figures and claims share -----------------------------------------------------------------


def columns(*sizes: int, N: int, seed: int) -> list[Tensor]:
    """Random matrices of N columns, one for each size.

    >>> [tuple(M.shape) for M in columns(6, 4, N=3, seed=0)]
    [(6, 3), (4, 3)]
    """
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(d, N, generator=g, dtype=torch.float64) for d in sizes]


def attend(V: Tensor, K: Tensor, q: Tensor, by=attention.linear) -> Tensor:
    """What a layer reads for q (d_k,) from tokens (key, value), V (d_v, N) and K (d_k, N): V K^T q if it is linear."""
    D = torch.eye(len(K) + len(V), dtype=torch.float64)
    layer = Layer(W_Q=D[: len(K)], W_K=D[: len(K)], W_V=D[len(K) :], P=D[:, len(K) :])
    tokens = torch.cat([torch.cat([K, V]), torch.cat([q, 0 * V[:, 0]])[:, None]], dim=1)
    return by(tokens.T[None], layer)[0, -1, len(K) :]


def cut_gap(by, n: int) -> float:
    """A prompt of 24 tokens, cut after token n: the largest difference between the whole and the sum of the parts."""
    K, V, (q, *_) = *columns(6, 4, N=24, seed=1), columns(6, N=1, seed=2)[0].T
    parts = [attend(V[:, part], K[:, part], q, by) for part in (slice(0, n), slice(n, 24))]
    return metrics.max_gap(attend(V, K, q, by), sum(parts))


class Largest(TorchDispatchMode):
    """Watches torch, and remembers the size of the largest tensor that an operation handed on."""

    numel = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        tensors = made if isinstance(made, (tuple, list)) else [made]
        self.numel = max([self.numel, *(each.numel() for each in tensors if isinstance(each, Tensor))])
        return made


def kernel(z: Tensor, layer: Layer) -> Tensor:
    """The layer of `attention.softmax` by torch's own kernel, which reads the keys in blocks (FlashAttention)."""
    q, k, v = z @ layer.W_Q.mT, z[:, :-1] @ layer.W_K.mT, z[:, :-1] @ layer.W_V.mT
    read = torch.nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    return z + read @ layer.P.mT


def cost(by, N: int) -> tuple[int, int]:
    """Operations that torch counts, and the size of the largest tensor, of a layer on a prompt of N pairs, d_x = 10.

    torch counts matrix products; what happens inside a kernel of its own it does not see.
    """
    z, layer = tasks.tokens(tasks.linear_regression(B=1, N=N, d_x=10)), constructions.gd_step(1.0, N, d_x=10)
    with Largest() as largest, FlopCounterMode(display=False) as counter:
        by(z, layer)
    return counter.get_total_flops(), largest.numel


# --- the claims -------------------------------------------------------------------------------------------------


@claim(
    EXACT,
    "Linear attention is K Vᵀ q.",
    paper="equation (1) of the review, as printed",
    instead="V Kᵀ q = Σᵢ vᵢ (kᵢᵀq): values and keys are swapped in print (margin note S1).",
)
def linear_attention_as_printed():
    K, V, (q, *_) = *columns(6, 6, N=5, seed=1), columns(6, N=1, seed=2)[0].T
    ours = attend(V, K, q)
    stated, corrected = (number(metrics.max_gap(ours, W @ q)) for W in (K @ V.T, V @ K.T))
    return Evidence(Bounds(stated, at_most=1e-12), Bounds(corrected, at_most=1e-12))


@claim(
    EXACT,
    "What two blocks of tokens write adds up, so a prompt acts like a weight update.",
    paper="Dai et al. 2023, eq. 11",
)
def blocks_add_up():
    return identity(cut_gap(attention.linear, 9), broken=cut_gap(attention.softmax, 9))


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


@claim(EXACT, "A prompt of n demonstrations is a weight update of rank at most n.")
def the_rank_of_the_update():
    K, V = columns(12, 8, N=4, seed=4)
    left = [torch.linalg.svdvals(V[:, :n] @ K[:, :n].T)[3].item() for n in (3, 4)]  # the fourth singular value
    return identity(left[0], broken=left[1])


@claim(
    EXACT,
    "Softmax attention needs memory for N² scores (its largest tensor grows like N to the power of 2).",
    instead="its N² multiplications remain, but N numbers are enough (power 1), if keys are read in blocks.",
    paper="Rabe and Staats 2021, Dao et al. 2022",
)
def softmax_needs_n2_memory():
    def power(by):
        return number(math.log2(cost(by, 2000)[1] / cost(by, 1000)[1]))

    ours = power(kernel)
    return Evidence(Bounds(ours, at_least=1.9), Bounds(ours, at_most=1.1), control=power(attention.softmax))


@claim(EXACT, "Softmax attention is a kernel smoother, a weighted mean of the values.", paper="Nadaraya, Watson 1964")
def softmax_is_a_smoother():
    K, V, (q, *_) = *columns(6, 4, N=24, seed=1), columns(6, N=1, seed=2)[0].T
    likeness = [math.exp(k @ q / 6**0.5) for k in K.T]
    mean = sum(v * weight for v, weight in zip(V.T, likeness, strict=True)) / sum(likeness)
    return identity(*(metrics.max_gap(attend(V, K, q, by), mean) for by in (attention.softmax, attention.linear)))


@claim(EXACT, "The delta rule is one step of gradient descent on one pair.", paper="Schlag et al. 2021")
def delta_rule_is_a_step():
    p = tasks.linear_regression(B=1, N=2, d_x=6, d_y=4, noise=1.0, seed=3)
    W = learners.online_gd_weights(p.x[:, :1], p.y[:, :1], eta=0.3)[0]
    k, v = p.x[0, 1], p.y[0, 1]
    delta, hebb = W + 0.3 * torch.outer(v - W @ k, k), W + 0.3 * torch.outer(v, k)
    both = learners.online_gd_weights(p.x, p.y, eta=0.3)[0]
    return identity(metrics.max_gap(both, delta), broken=metrics.max_gap(both, hebb))


@claim(
    PROVED,
    "A matrix holds about d_k random pairs: the mean error of reading is (n − 1)/d_k, so 1 at n = 33, d_k = 32.",
    paper="capacity, Schlag et al. 2021, section 4",
)
def capacity(shift: int = 0):
    hebb, few = (
        fast_weights.recall_errors(33, 32, draws=300, counts=(9, 33), seed=shift)[n][0].mean(1) for n in (33, 9)
    )
    return Evidence(Bounds(over_prompts(hebb), 0.95, 1.05), control=over_prompts(few))


@claim(PROVED, "The delta rule forgets: a pair written long ago ends at an error of 2, worse than no memory.")
def the_delta_rule_forgets(shift: int = 0):
    delta = fast_weights.recall_errors(60, 8, draws=1000, seed=shift)[60][1]
    formula = fast_weights.delta_rule_errors(60, 8, 1.0)[0, 59].item()
    oldest, newest = (over_prompts(delta[:, pair]) for pair in (0, -1))
    return Evidence(Bounds(oldest, 0.9 * formula, 1.1 * formula), control=newest)


@claim(
    EXACT,
    "Linear attention is a step of gradient descent on the squared error, from any weights W.",
    instead="from W = 0; elsewhere it is a step on a linear loss, as any sum of outer products is.",
)
def a_step_on_which_loss():
    K, V = columns(6, 6, N=20, seed=1)
    anywhere = columns(6, N=6, seed=5)[0]

    def gap(W):
        grad = torch.func.grad(lambda W: (W @ K - V).square().sum() / 2)(W)
        return number(metrics.max_gap(-grad, V @ K.T))

    return Evidence(Bounds(gap(anywhere), at_most=1e-11), Bounds(gap(0 * anywhere), at_most=1e-11))


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
