"""Sequences that repeat themselves, an attention-only language model to read them, and what an induction head does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from helpers import attention, checks
from helpers.attention import Layer
from helpers.usual import usual


@usual()
def sequences(
    B: int, L: int, V: int, *, periods: tuple[int, int] = (8, 15), distinct: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """B sequences of L words out of V, each a random pattern that repeats: words (B, L) long, and its period (B,).

    Each sequence draws its own period, uniform from the first to the last of `periods`. The words of a pattern are
    independent and uniform: a word may well occur twice in it; with `distinct` none does. With periods below L/2, each
    word of the second half comes after one that has been seen, with what followed it.

    >>> words, period = sequences(B=1, L=8, V=20, periods=(3, 3))
    >>> torch.equal(words[:, 3:], words[:, :-3])
    True
    """
    B, L, V = checks.count("B", B), checks.count("L", L, least=2), checks.count("V", V)
    low, high = periods
    if not 1 <= low <= high <= L:
        raise ValueError(f"periods: expected 1 <= first <= last <= L = {L}, got {periods}.")
    if distinct and high > V:
        raise ValueError(f"distinct: expected periods of at most V = {V} different words, got {high}.")
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    period = torch.randint(low, high + 1, (B,), generator=generator)
    if distinct:
        pattern = torch.rand(B, V, generator=generator).argsort(dim=1)
    else:
        pattern = torch.randint(V, (B, high), generator=generator)
    return pattern.gather(1, torch.arange(L) % period[:, None]), period


def losses(logits: Tensor, words: Tensor) -> Tensor:
    """Minus the log of the probability that was given to each word from the second on: (B, L-1), in nats.

    >>> losses(torch.zeros(1, 3, 20), torch.tensor([[4, 7, 4]]))             # ln 20: chance
    tensor([[2.9957, 2.9957]])
    """
    return -logits[:, :-1].log_softmax(dim=-1).gather(2, words[:, 1:, None]).squeeze(-1)


def hits(logits: Tensor, words: Tensor) -> Tensor:
    """Where the likeliest word is the one that comes, in the second half of the sequences: 0 or 1, (B, L/2).

    >>> hits(torch.eye(3)[torch.tensor([[1, 2, 2, 0]])], torch.tensor([[0, 1, 2, 0]]))          # 2 came, then not 2
    tensor([[1., 0.]])
    """
    half = words.shape[1] // 2
    return (logits[:, half - 1 : -1].argmax(dim=-1) == words[:, half:]).float()


def accuracy(logits: Tensor, words: Tensor) -> float:
    """Top-1 accuracy in the second half of the sequences: the mean of `hits`.

    >>> accuracy(torch.eye(3)[torch.tensor([[1, 2, 2, 0]])], torch.tensor([[0, 1, 2, 0]]))
    0.5
    """
    return hits(logits, words).mean().item()


def followed(words: Tensor) -> Tensor:
    """[t, j]: the place j, no later than t, holds a word that followed an earlier occurrence of word t; (B, L, L).

    >>> followed(torch.tensor([[5, 7, 3, 5]])).nonzero().tolist()          # at the second 5: the 7 followed a 5
    [[0, 3, 1]]
    """
    match = words[:, :, None] == words.roll(1, dims=1)[:, None]  # the word before j is the word at t
    match[:, :, 0] = False
    return match.tril()


def vote(words: Tensor, V: int, *, distances: tuple[int, int] | None = None) -> Tensor:
    """The textbook's induction head for beta -> infinity: what followed the present word so far, in shares (B, L, V).

    With `distances` (first, last), only places that lie so many words before the one to be predicted have a vote: a
    head that knows the periods of the texts. Zeros where nobody votes.

    >>> vote(torch.tensor([[0, 1, 0, 2, 0]]), V=3)[0, -1]
    tensor([0.0000, 0.5000, 0.5000], dtype=torch.float64)
    >>> vote(torch.tensor([[0, 1, 0, 2, 0]]), V=3, distances=(3, 4))[0, -1]
    tensor([0., 1., 0.], dtype=torch.float64)
    """
    _check(words, V)
    votes, place = followed(words).double(), torch.arange(words.shape[1])
    if distances is not None:
        back = place[:, None] + 1 - place
        votes = votes * ((distances[0] <= back) & (back <= distances[1]))
    return votes / votes.sum(dim=-1, keepdim=True).clamp(min=1) @ torch.eye(V, dtype=torch.float64)[words]


def in_doubt(words: Tensor) -> Tensor:
    """Where the present word has had two different followers or more: (B, L/2), at the places of `hits`.

    >>> in_doubt(torch.tensor([[0, 1, 0, 2, 0, 1]]))
    tensor([[False, False,  True]])
    """
    votes = vote(words, int(words.max()) + 1)
    return ((votes > 0).sum(dim=-1) > 1)[:, words.shape[1] // 2 - 1 : -1]


def in_context_score(each: Tensor) -> float:
    """Mean of `losses` in the second half of the sequence, less that in the first: negative when context helps.

    ○ Olsson et al. 2022 take the loss of the 500th token less that of the 50th.

    >>> in_context_score(torch.tensor([[3.0, 3.0, 1.0]]))                    # words 2 | 3 and 4 of four
    -1.0
    """
    half = (each.shape[1] + 1) // 2
    return (each[:, half - 1 :].mean() - each[:, : half - 1].mean()).item()


def previous_token_score(pattern: Tensor) -> float:
    """How much of the attention (B, L, L) goes one word back; mean over all words but the first.

    >>> previous_token_score(torch.tensor([[[1.0, 0.0], [0.25, 0.75]]]))
    0.25
    """
    checks.tensor("pattern", pattern, "B L L")
    return pattern.diagonal(-1, 1, 2).mean().item()


def prefix_matching_score(pattern: Tensor, words: Tensor) -> float:
    """How much of the attention (B, L, L) goes to words that followed an earlier occurrence of the present one.

    Mean over the second half of the sequences (after Olsson et al. 2022).

    >>> words = torch.tensor([[5, 7, 3, 5]])                       # 5 has been followed by 7
    >>> prefix_matching_score(torch.full((1, 4, 4), 0.25), words)  # the 3 was never followed by anything: 0
    0.125
    """
    return (pattern * followed(words))[:, words.shape[1] // 2 :].sum(-1).mean().item()


@usual()
def one_hot(words: Tensor, V: int) -> Tensor:
    """Tokens for `constructions.induction`: word | previous word | prediction | position, z (B, L, 3V + L), float64.

    >>> one_hot(torch.tensor([[1, 0]]), V=2)[0, 0]
    tensor([0., 1., 0., 0., 0., 0., 1., 0.], dtype=torch.float64)
    """
    _check(words, V)
    B, L = words.shape
    empty, position = torch.zeros(B, L, 2 * V).double(), torch.eye(L).double().expand(B, -1, -1)
    return torch.cat([torch.eye(V).double()[words], empty, position], dim=-1)


def run(z: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, list[Tensor]]:
    """Causal layer after causal layer: the last tokens, and the attention (B, L, L) of each layer's first head.

    >>> eye = torch.eye(2)
    >>> z, patterns = run(torch.ones(1, 3, 2), [Layer(eye, eye, eye, eye)] * 2)
    >>> patterns[1][0, 1]
    tensor([0.5000, 0.5000, 0.0000])
    """
    patterns = []
    for layer in layers:
        patterns.append(attention.pattern(z, layer, causal=True)[:, 0])
        z = attention.causal_softmax(z, layer)
    return z, patterns


class AttentionOnly(nn.Module):
    """A language model of causal attention layers and nothing else: words (B, L) in, logits (B, L, V) out.

    One head a layer, W_Q, W_K, W_V, P all (d_model, d_model); a learned vector for each word and for each of at most L
    positions, and a matrix that reads the logits off. All are drawn from N(0, 1/d_model); float32.

    >>> model = AttentionOnly(n_layers=1)
    >>> model(torch.zeros(4, 32, dtype=torch.long)).shape, sum(W.numel() for W in model.parameters())
    (torch.Size([4, 32, 20]), 6400)
    """

    @usual()
    def __init__(self, V: int = 20, L: int = 32, *, n_layers: int = 2, d_model: int = 32, seed: int = 0):
        super().__init__()
        V, L, n_layers = checks.count("V", V), checks.count("L", L), checks.count("n_layers", n_layers)
        d, generator = checks.count("d_model", d_model), torch.Generator().manual_seed(checks.count("seed", seed, 0))
        shapes = {"words": (V, d), "positions": (L, d), "read": (V, d), "attention": (n_layers, 4, d, d)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape, generator=generator) / d**0.5))

    def layers(self) -> list[Layer]:
        """The layers, first to last, as `attention.causal_softmax` takes them."""
        return [Layer(*Ws) for Ws in self.attention]

    def tokens(self, words: Tensor) -> Tensor:
        """What the first layer reads: word and position, added."""
        V, L = len(self.words), len(self.positions)
        _check(words, V)
        if words.shape[1] > L:
            raise ValueError(f"words: expected at most {L} in a sequence, got {words.shape[1]}: no positions beyond.")
        return self.words[words] + self.positions[: words.shape[1]]

    def forward(self, words: Tensor) -> Tensor:
        z = self.tokens(words)
        for layer in self.layers():
            z = attention.causal_softmax(z, layer)
        return z @ self.read.mT


def with_sharp_notes(model: AttentionOnly, words: Tensor) -> Tensor:
    """What a two-layer model says (B, L, V) if words 2 to L/2 note the word before them, and nothing else.

    An ablation without training: the textbook's attention in place of the first layer's own, the rest as it was.

    >>> words = torch.zeros(4, 32, dtype=torch.long)
    >>> with_sharp_notes(AttentionOnly(), words).shape
    torch.Size([4, 32, 20])
    """
    z, (first, second) = model.tokens(words), model.layers()
    pattern, half = attention.pattern(z, first, causal=True)[:, 0].clone(), words.shape[1] // 2
    pattern[:, 1:half] = torch.eye(words.shape[1], dtype=z.dtype)[: half - 1]
    noted = z + pattern @ z @ first.W_V.mT @ first.P.mT
    return attention.causal_softmax(noted, second) @ model.read.mT


class TextbookFirst(AttentionOnly):
    """The same with two layers, of which the first does not choose whom to read: each word reads the one before it.

    The first word reads itself. What is noted of the word before (W_V and P of layer 1), and layer 2, are learned.

    >>> TextbookFirst()(torch.zeros(4, 32, dtype=torch.long)).shape
    torch.Size([4, 32, 20])
    """

    def forward(self, words: Tensor) -> Tensor:
        z, (first, second) = self.tokens(words), self.layers()
        before = torch.cat([z[:, :1], z[:, :-1]], dim=1)
        return attention.causal_softmax(z + before @ first.W_V.mT @ first.P.mT, second) @ self.read.mT


def _check(words: Tensor, V: int) -> None:
    if not isinstance(words, Tensor) or words.dtype != torch.long or words.ndim != 2:
        got = f"{words.dtype} {tuple(words.shape)}" if isinstance(words, Tensor) else type(words).__name__
        raise TypeError(f"words: expected a tensor (B, L) of whole numbers (torch.long), got {got}.")
    if words.min() < 0 or words.max() >= V:
        raise ValueError(f"words: expected numbers from 0 to V - 1 = {V - 1}, got {words.min()} to {words.max()}.")
