"""One attention layer and one gradient step, number by number.

`numbers` does the arithmetic of both roads, one product at a time; `origins` asks of each number what it is made of;
`compute` and `in_words` are what the stepped figure of notebook 03 computes and says. `walkthrough_sheet` draws it.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from helpers import constructions, metrics, tasks
from helpers.usual import usual

SOURCES = ("inputs", "labels", "query", "W₀", "η")  # what all numbers are made of
FIRST_SUM, LAST_STEP = 5, 9  # the step that adds up the first token; the step that ends at the predictions


def numbers(x: Tensor, y: Tensor, x_query: Tensor, W_0: Tensor, eta: float) -> dict[str, Tensor]:
    """Every number on both roads from one prompt to its prediction, by name; each is a matrix, with tokens as rows.

    x (N, d_x), y (N, 1), x_query (1, d_x), W_0 (1, d_x). First the layer `constructions.gd_step`: tokens z, then q,
    k and v; score = k q^T; product = score * v; their running sums; update = P times the last sum; after = the
    query's token + update; y_attn = minus its slot. Then gradient descent, which knows none of these: error = W_0 x
    - y; outer = error x^T; gradient = its running sums, and what they say at the query (gradient_seen); delta_W =
    -eta/N times the last sum, at the query delta_seen; W = W_0 + delta_W; y_gd = W x_query.

    >>> now = numbers(*example(x_q=1.0, y_1=2.0, eta=1.2))
    >>> now["score"].flatten().tolist(), now["sums"][:, 2].tolist(), now["gradient_seen"].flatten().tolist()
    ([1.0, 2.0, -1.0], [-1.5, -3.5, -4.5], [-1.5, -3.5, -4.5])
    """
    N, d_x = x.shape
    z = tasks.tokens(tasks.Prompt(x[None], y[None], x_query), W_0)[0]
    W_Q, W_K, W_V, P = constructions.gd_step(eta, N, d_x, W_0=W_0)
    q, k, v = z[-1:] @ W_Q.mT, z[:-1] @ W_K.mT, z[:-1] @ W_V.mT
    score = k @ q.mT
    product = score * v
    sums = product.cumsum(0)
    update = sums[-1:] @ P.mT
    after = z[-1:] + update
    y_attn = -after[:, d_x:]

    error = x @ W_0.mT - y
    outer = error * x
    gradient = outer.cumsum(0)
    delta_W = -eta / N * gradient[-1:]
    W = W_0 + delta_W
    gradient_seen, delta_seen, y_gd = gradient @ x_query.mT, delta_W @ x_query.mT, W @ x_query.mT
    matrices = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "P": P}
    layer = {"z": z, "q": q, "k": k, "v": v, "score": score, "product": product, "sums": sums}
    ends = {"update": update, "after": after, "y_attn": y_attn, "delta_W": delta_W, "W": W, "y_gd": y_gd}
    descent = {"x": x, "error": error, "outer": outer, "gradient": gradient, "gradient_seen": gradient_seen}
    return matrices | layer | descent | ends | {"delta_seen": delta_seen}


@usual()
def example(x_q: float, y_1: float, eta: float) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Three examples and a query, small enough to be followed by eye: (x, y, x_query, W_0, eta)."""
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-2.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[y_1], [1.0], [-2.0]], dtype=torch.float64)
    return x, y, torch.tensor([[x_q, 1.0]], dtype=torch.float64), torch.tensor([[0.5, 0.0]], dtype=torch.float64), eta


@usual()
def origins(given: tuple) -> dict[str, Tensor]:
    """What each number is made of, found by trying: which of the five `SOURCES` change it when they change.

    A mask (5, rows, columns) for each name in `numbers`.

    >>> made_of = origins(example(x_q=1.0, y_1=2.0, eta=1.2))
    >>> [name for name, here in zip(SOURCES, made_of["score"][:, 0, 0], strict=True) if here]
    ['inputs', 'query']
    """
    before, changed = numbers(*given), []
    for i, source in enumerate(given):
        nudge = torch.arange(1.0, 1 + source.numel()).sqrt().view_as(source) if isinstance(source, Tensor) else 1.0
        changed.append(numbers(*given[:i], source + 0.1 * nudge, *given[i + 1 :]))
    return {name: torch.stack([(after[name] - before[name]).abs() > 1e-9 for after in changed]) for name in before}


def compute(step: int, x_q: float, y_1: float, eta: float) -> SimpleNamespace:
    """All numbers, and what they are made of, for the example with this query, label and step size."""
    given = example(x_q, y_1, eta)
    added = min(max(step - FIRST_SUM + 1, 0), len(given[0]))  # how many tokens are in the sum
    return SimpleNamespace(step=step, added=added, numbers=numbers(*given), origins=origins(given))


# --- the words ------------------------------------------------------------------------------------------------


def written(value: float) -> str:
    """A number as one writes it, to two decimals: −2.25, 0.5, 1.

    >>> [written(value) for value in (-2.25, 0.5, 1.0, -0.001, 0.125)]
    ['−2.25', '0.5', '1', '0', '0.12']
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "−")


def row(values: Tensor) -> str:
    """Several, with commas between; in brackets if they are one vector.

    >>> row(torch.tensor([[1.0], [0.5]])), row(torch.tensor([[1.0, 0.5]]))
    ('1, 0.5', '(1, 0.5)')
    """
    text = ", ".join(written(value) for value in values.flatten().tolist())
    return text if values.shape[-1] == 1 else f"({text})"


def in_words(now: SimpleNamespace) -> str:
    """The numbers of one step, as a sentence: for the line under the picture, and for whoever cannot see it.

    >>> in_words(compute(step=4, x_q=1.0, y_1=2.0, eta=1.2))
    'Step 4 of 9: scores, key times query: 1, 2, −1. Gradient descent has not met the query yet.'
    """
    n, i = now.numbers, max(now.added - 1, 0)
    gap = metrics.gap_in_roundoff(n["y_attn"], n["y_gd"])
    adding = (
        f"token {i + 1}: score {row(n['score'][i])} × value {row(n['v'][i, -1:])} = {row(n['product'][i, -1:])}. "
        f"The sum is now {row(n['sums'][i, -1:])}. Gradient descent adds error × input {row(n['outer'][i])}; "
        f"at x_q its sum says {row(n['gradient_seen'][i])}."
    )
    said = [
        f"three tokens {', '.join(row(token) for token in n['z'][:-1])} and the query {row(n['z'][-1:])}, whose slot "
        f"starts at −W₀x_q. η/N = {row(n['P'][0, :1])}.",
        f"W_Q: the query asks with its input alone, {row(n['q'])}.",
        f"W_K: a token is found by its input alone: {', '.join(row(key) for key in n['k'])}.",
        f"W_V: values hold the errors W₀x − y: {row(n['v'][:, -1:])}. Gradient descent has errors {row(n['error'])}.",
        f"scores, key times query: {row(n['score'])}. Gradient descent has not met the query yet.",
        *[adding] * 3,
        f"P = η/N: the update of the slot is {row(n['update'][:, -1:])}. "
        f"Gradient descent: ΔW = {row(n['delta_W'])}, which at x_q is {row(n['delta_seen'])}.",
        f"the slot holds {row(n['z'][-1, -1:])} + ({row(n['update'][0, -1:])}) = {row(n['after'][0, -1:])}: prediction "
        f"{row(n['y_attn'])}. Gradient descent: {row(n['W'])} at x_q is {row(n['y_gd'])}. "
        f"Gap: <b>{gap:.1f} × float64 round-off</b>.",
    ]
    return f"Step {now.step} of {LAST_STEP}: {said[now.step]}"
