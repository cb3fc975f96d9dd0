"""A small GPT, that is a decoder-only transformer of the usual kind; and two heads: for numbers, and for words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import checks
from helpers.usual import usual


class GPT(nn.Module):
    """The core: vectors (B, T, d_model), one for each token, in and out; a token reads itself and those before it.

    What the tokens stand for, and what is read off them, is the head's business (`RegressionGPT` and `WordGPT`
    are two). Where a token stands is told in one of two ways. With `length`, by a learned vector added to each of at
    most so many tokens; without, by a penalty on the attention scores for each token further back, with a slope for
    each head (ALiBi, Press et al. 2022), for any number of tokens. Weights are drawn from torch's global random state:
    the head seeds it.

    >>> with torch.random.fork_rng():
    ...     core = GPT(d_model=8, n_layers=1, n_heads=2, length=5)
    >>> core(torch.zeros(4, 5, 8)).shape
    torch.Size([4, 5, 8])
    >>> core(torch.zeros(4, 6, 8))
    Traceback (most recent call last):
    ValueError: z: expected at most 5 tokens, got 6: there are no positions beyond.
    """

    @usual()
    def __init__(self, d_model: int = 64, n_layers: int = 3, n_heads: int = 4, *, length: int | None = None):
        super().__init__()
        d_model, n_heads = checks.count("d_model", d_model), checks.count("n_heads", n_heads)
        if d_model % n_heads:
            raise ValueError(f"d_model: expected a multiple of the {n_heads} heads, got {d_model}.")
        self.positions = None
        if length is not None:
            self.positions = nn.Parameter(0.02 * torch.randn(checks.count("length", length), d_model))
        self.register_buffer("slopes", 2.0 ** (-8 * torch.arange(1, n_heads + 1) / n_heads), persistent=False)
        self.blocks = nn.ModuleList(_Block(d_model, n_heads) for _ in range(checks.count("n_layers", n_layers)))
        self.norm = nn.LayerNorm(d_model)
        for block in self.blocks:
            block.start(n_layers)

    def forward(self, z: Tensor) -> Tensor:
        T, penalty = z.shape[1], None
        if self.positions is None:
            t = torch.arange(T, device=z.device)
            back = t[:, None] - t  # how far a token (row) looks back to another (column)
            penalty = (-self.slopes[:, None, None] * back).masked_fill(back < 0, -torch.inf)[None]
        elif T > len(self.positions):
            raise ValueError(
                f"z: expected at most {len(self.positions)} tokens, got {T}: there are no positions beyond."
            )
        else:
            z = z + self.positions[:T]
        for block in self.blocks:
            z = block(z, penalty)
        return self.norm(z)


class _Block(nn.Module):
    """Attention, then an MLP. Each reads a normalised copy of the tokens, and adds to the tokens (pre-norm)."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.norm_1, self.norm_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.W_QKV, self.P = nn.Linear(d_model, 3 * d_model, bias=False), nn.Linear(d_model, d_model, bias=False)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def start(self, n_layers: int) -> None:
        """N(0, 1/width) for all matrices; less for the two that add to the tokens, as 2 n_layers of them add up."""
        for linear in (self.W_QKV, self.P, self.mlp[0], self.mlp[2]):
            adds = linear in (self.P, self.mlp[2])
            nn.init.normal_(linear.weight, std=(linear.in_features * (2 * n_layers if adds else 1)) ** -0.5)

    def forward(self, z: Tensor, penalty: Tensor | None) -> Tensor:
        each = self.W_QKV(self.norm_1(z)).unflatten(-1, (3, self.n_heads, -1))  # (B, T, 3, H, d_k)
        q, k, v = each.permute(2, 0, 3, 1, 4)  # each (B, H, T, d_k)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=penalty, is_causal=penalty is None)
        z = z + self.P(read.transpose(1, 2).flatten(2))
        return z + self.mlp(self.norm_2(z))


class RegressionGPT(nn.Module):
    """A GPT that reads prompts of numbers; called as `learner(x, y, x_query) -> y_hat`, even without any example.

    The tokens are x_1, y_1, x_2, y_2, …, x_N, y_N, x_q (Garg et al. 2022): inputs and labels are tokens of their own,
    and the prediction is read where the query stands. x may have fewer than d_x coordinates: the others are then 0.
    At most `longest` pairs. The same seed gives the same weights; the global random state is left as it was.

    >>> model = RegressionGPT(d_x=3, longest=5, d_model=8, n_layers=1, n_heads=2)
    >>> model(torch.ones(4, 5, 3), torch.ones(4, 5, 1), torch.ones(4, 3)).shape
    torch.Size([4, 1])
    >>> model(torch.ones(4, 0, 3), torch.ones(4, 0, 1), torch.ones(4, 3)).shape    # zero-shot
    torch.Size([4, 1])
    """

    @usual()
    def __init__(
        self,
        d_x: int,
        d_y: int = 1,
        *,
        longest: int,
        d_model: int = 64,
        n_layers: int = 3,
        n_heads: int = 4,
        seed: int = 0,
    ):
        super().__init__()
        self.d_x, self.d_y, self.longest = checks.count("d_x", d_x), checks.count("d_y", d_y), longest
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(checks.count("seed", seed, least=0))
            self.embed = nn.Linear(d_x + d_y + 1, d_model)
            self.core = GPT(d_model, n_layers, n_heads, length=2 * checks.count("longest", longest) + 1)
            self.head = nn.Linear(d_model, d_y)

    def forward(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        return self.path(x, y, x_query)[:, -1]

    def path(self, x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
        """Predictions (B, N+1, d_y) after 0, 1, …, N pairs, in one pass: for x_1, x_2, …, x_N, and last for x_query.

        No token reads a later one, so each is what the model says to the shorter prompt; training uses them all.
        """
        self._check(x, y, x_query)
        inputs = torch.cat([x, x_query[:, None]], dim=1)  # (B, N+1, d_x)
        labels = F.pad(y, (0, 0, 0, 1))  # (B, N+1, d_y): the query has none, its token is cut off below
        missing = self.d_x - inputs.shape[-1]
        asks = F.pad(inputs, (0, missing + self.d_y))  # rows (x, 0 …, 0): a question
        tells = F.pad(labels, (self.d_x, 0))  # rows (0, y): an answer
        which = torch.tensor([1.0, 0.0], dtype=x.dtype, device=x.device)  # of the two a token is
        kind = which.expand(*inputs.shape[:2], 2)[..., None]
        z = torch.cat([torch.stack([asks, tells], dim=2), kind], dim=-1).flatten(1, 2)[:, :-1]  # (B, 2N+1, .)
        return self.head(self.core(self.embed(z))[:, ::2])

    def _check(self, x: Tensor, y: Tensor, x_query: Tensor) -> None:
        if all(isinstance(t, Tensor) and t.ndim == 3 and t.shape[1] == 0 for t in (x, y)):  # zero-shot
            x, y = x.new_zeros(len(x), 1, x.shape[2]), y.new_zeros(len(y), 1, y.shape[2])
        sizes = checks.prompt(x, y, x_query)
        checks.same_dtype(x=x, weights=self.head.weight)
        if sizes["d_x"] > self.d_x or sizes["d_y"] != self.d_y or sizes["N"] > self.longest:
            got = f"{sizes['N']} pairs of {sizes['d_x']} and {sizes['d_y']}"
            raise ValueError(
                f"x, y: expected at most {self.longest} pairs of at most {self.d_x} inputs and {self.d_y} labels, "
                f"got {got}: the model was made for those."
            )


class WordGPT(nn.Module):
    """A GPT that reads words: tokens (B, T), whole numbers below V, to the logits (B, T, V) of the token after each.

    Positions are ALiBi's, so a prompt may be of any length. The same seed gives the same weights; the global random
    state is left as it was.

    >>> model = WordGPT(80, d_model=8, n_layers=1, n_heads=2)
    >>> model(torch.zeros(4, 9, dtype=torch.long)).shape
    torch.Size([4, 9, 80])
    """

    @usual()
    def __init__(self, V: int, *, d_model: int = 64, n_layers: int = 3, n_heads: int = 4, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(checks.count("seed", seed, least=0))
            self.embed = nn.Embedding(checks.count("V", V), d_model)
            self.core = GPT(d_model, n_layers, n_heads)
            self.unembed = nn.Linear(d_model, V, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        self._check(tokens)
        return self.unembed(self.core(self.embed(tokens)))

    def _check(self, tokens: Tensor) -> None:
        if not isinstance(tokens, Tensor) or tokens.dtype != torch.long or tokens.ndim != 2 or tokens.shape[1] == 0:
            got = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
            raise TypeError(f"tokens: expected (B, T) of dtype int64 with T >= 1, got {got}.")
        V = self.embed.num_embeddings
        if len(tokens) and not (0 <= tokens.min() and tokens.max() < V):
            raise ValueError(
                f"tokens: expected numbers from 0 to {V - 1}, got {tokens.min()} to {tokens.max()}: "
                "is it the vocabulary that the model was made for?"
            )
