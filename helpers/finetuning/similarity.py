"""How alike are in-context learning and fine-tuning? The measures of the papers, each with what chance gives.

h is what attention adds to the token that predicts, m its scores before the softmax, zero-shot (ZSL), fine-tuned (FT)
and in context (ICL). The last dimension is compared; all others are kept: tasks, queries, layers, heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import checks


class Interval(NamedTuple):
    """A number and its 95 % bootstrap interval."""

    value: Tensor
    low: Tensor
    high: Tensor


def bootstrap(values: Tensor, statistic: Callable[[Tensor], Tensor] | None = None, *, seed: int = 0) -> Interval:
    """A percentile bootstrap: the mean over the first dimension, and between what 95 % of 1,000 resamples of it lie.

    The first dimension must be the demonstration sets: all queries of one set share its prompt and its fine-tuning, so
    they are not independent, and are drawn or left out together. `statistic` maps (…, B, rest) to (…, rest).

    >>> [round(x.item()) for x in bootstrap(torch.arange(100.0))]
    [50, 44, 55]
    """
    statistic = statistic or (lambda resampled: resampled.mean(-values.ndim))
    generator = torch.Generator().manual_seed(checks.count("seed", seed, least=0))
    drawn = torch.randint(len(values), (1000, len(values)), generator=generator, device="cpu")
    ends = torch.tensor([0.025, 0.975], dtype=values.dtype, device=values.device)
    low, high = statistic(values[drawn]).nanquantile(ends, dim=0)
    return Interval(statistic(values), low, high)


# --- predictions ----------------------------------------------------------------------------------------------


class Recall(NamedTuple):
    """Of the errors of ZSL that FT corrects, how many does ICL, too?

    - `recall`: that share, Rec2FTP (Dai et al. 2023);
    - `chance`: what it would be if ICL knew nothing of FT: the share of *all* errors of ZSL that ICL corrects;
    - `lift`: how far recall is on the way from chance to 1;
    - `jaccard`: corrected by both, of those corrected by either.
    """

    recall: Tensor
    chance: Tensor
    lift: Tensor
    jaccard: Tensor


def corrections(zsl: Tensor, ft: Tensor, icl: Tensor) -> Tensor:
    """A contingency table (B, 4) from who was right (B, Q): corrected by both, by FT, by ICL; all errors of ZSL.

    >>> right = torch.tensor([[True, False, False, False]])
    >>> corrections(right, ~right, torch.tensor([[True, True, False, True]]))
    tensor([[2., 3., 2., 3.]])
    """
    for name, value in {"zsl": zsl, "ft": ft, "icl": icl}.items():
        if value.dtype != torch.bool or value.shape != zsl.shape:
            raise ValueError(
                f"{name}: expected bool of shape {tuple(zsl.shape)}, got {value.dtype} {tuple(value.shape)}."
            )
    return torch.stack([(part & ~zsl).sum(-1) for part in (ft & icl, ft, icl, ~zsl)], dim=-1).float()


def rec2ftp(counts: Tensor) -> Recall:
    """From counts (…, B, 4), summed over the B demonstration sets; NaN where FT corrects nothing.

    >>> recall = rec2ftp(torch.tensor([[2.0, 3.0, 4.0, 6.0]]))
    >>> [round(part.item(), 2) for part in recall]
    [0.67, 0.67, 0.0, 0.4]
    """
    both, ft, icl, wrong = counts.sum(-2).unbind(-1)
    recall, chance = both / ft, icl / wrong
    return Recall(recall, chance, (recall - chance) / (1 - chance), both / (ft + icl - both))


# --- attention's output ---------------------------------------------------------------------------------------


def sim_aou(h_icl: Tensor, h_ft: Tensor, h_zsl: Tensor, *, normalised: bool = False) -> Tensor:
    """SimAOU: cos(h_ICL - h_ZSL, h_FT - h_ZSL) (Deutch et al. 2023). `normalised` divides each h by its length before
    (Dai et al. 2023), which has a floor: see `aou_floor`.

    >>> z = torch.tensor([1.0, 0.0, 0.0])
    >>> sim_aou(z + torch.tensor([0, 1.0, 0]), z + torch.tensor([0, 0, 1.0]), z)
    tensor(0.)
    """
    if normalised:
        h_icl, h_ft, h_zsl = (torch.nn.functional.normalize(h, dim=-1) for h in (h_icl, h_ft, h_zsl))
    return torch.cosine_similarity(h_icl - h_zsl, h_ft - h_zsl, dim=-1)


def aou_floor(rho_icl: Tensor, rho_ft: Tensor) -> Tensor:
    """The normalised SimAOU of two updates that have nothing to do with each other.

    For updates r, r' at right angles to each other and to h_ZSL, of lengths rho |h_ZSL| and rho' |h_ZSL|,
    sqrt((1 - a)(1 - a')) / 2 with a = 1 / sqrt(1 + rho^2). It is below 1/2. (Deutch et al. 2023 give the case 1/4.)

    >>> root3 = torch.tensor(3.0).sqrt()
    >>> round(aou_floor(root3, root3).item(), 6)
    0.25
    """
    a, b = ((1 + torch.as_tensor(rho).square()).rsqrt() for rho in (rho_icl, rho_ft))
    return ((1 - a) * (1 - b)).sqrt() / 2


def aou_floor_of(h_icl: Tensor, h_ft: Tensor, h_zsl: Tensor) -> Tensor:
    """The floor for given h: if what of h_ICL and of h_FT is at right angles to h_ZSL were at right angles, too.

    As `aou_floor`, with a = cos(h_ICL, h_ZSL) as it is, so that updates along h_ZSL are counted right.

    >>> z = torch.tensor([1.0, 0.0, 0.0])
    >>> h, h_other = z + torch.tensor([1.0, 2.0, 0.0]), z + torch.tensor([0.5, 0.0, -1.0])
    >>> torch.isclose(sim_aou(h, h_other, z, normalised=True), aou_floor_of(h, h_other, z)).item()
    True
    """
    a, b = (torch.cosine_similarity(h, h_zsl, dim=-1).clamp(max=1) for h in (h_icl, h_ft))
    return ((1 - a) * (1 - b)).sqrt() / 2


def rsa(a: Tensor, b: Tensor) -> Tensor:
    """Representational similarity analysis: do Q things lie to each other in a (…, Q, d) as they do in b (…, Q, e)?

    The correlation, over all pairs of two of the Q, of their inner products, each side's mean taken out before
    (Kriegeskorte et al. 2008). Turning or mirroring a changes nothing, so a and b may be of different models.

    >>> a = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    >>> round(rsa(a, a @ torch.linalg.qr(a[:3]).Q).item(), 4), round(rsa(a, a[:, :1]).item(), 1) < 1
    (1.0, True)
    """
    if a.shape[:-1] != b.shape[:-1] or a.shape[-2] < 3:
        raise ValueError(f"expected the same at least 3 things, got {tuple(a.shape)} and {tuple(b.shape)}.")
    i, j = torch.triu_indices(a.shape[-2], a.shape[-2], offset=1, device=a.device)
    a, b = (x - x.mean(-2, keepdim=True) for x in (a, b))
    return correlation(*((x @ x.mT)[..., i, j] for x in (a, b)))  # (…, pairs)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation along the last dimension; 0 where one side is constant.

    >>> correlation(torch.tensor([-1.0, 0, 1]), torch.tensor([1.0, 1, 1])).item()
    0.0
    """
    return torch.cosine_similarity(*(x - x.mean(-1, keepdim=True) for x in (a, b)), dim=-1)


# --- attention's scores ---------------------------------------------------------------------------------------


def sim_am(m_icl: Tensor, m_ft: Tensor, m_zsl: Tensor | None = None, *, centred: bool = False) -> Tensor:
    """SimAM: cos(m_ICL, m_FT) (Dai et al. 2023); with m_ZSL, of the changes from it (SimAM_Δ, Deutch et al. 2023).

    Adding a constant to all scores of a row changes no attention, but it changes this. `centred` takes out the mean
    of each row before, so it does not.

    >>> m, other = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])
    >>> [round(sim_am(m + b, other + b).item(), 2) for b in (0, 1, 10)]
    [-1.0, 0.0, 0.98]
    >>> [round(sim_am(m + b, other + b, centred=True).item(), 2) for b in (0, 1, 10)]
    [-1.0, -1.0, -1.0]
    """
    if m_zsl is not None:
        m_icl, m_ft = m_icl - m_zsl, m_ft - m_zsl
    if centred:
        m_icl, m_ft = (m - m.mean(-1, keepdim=True) for m in (m_icl, m_ft))
    return torch.cosine_similarity(m_icl, m_ft, dim=-1)


# --- orders ---------------------------------------------------------------------------------------------------


def kendall(a: Tensor, b: Tensor, groups: Tensor | None = None) -> Tensor:
    """Kendall's tau-b (rank correlation) along the last dimension, as scipy.stats.kendalltau.

    With `groups`, of the same shape, only pairs within a group count: a difference between groups, such as a label that
    both orders know, says nothing then. NaN where one side is all ties, or holds a NaN.

    >>> kendall(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 4, 3])).item()    # 5 pairs agree, 1 does not
    0.6666666865348816
    """
    if a.shape != b.shape or (groups is not None and a.shape != groups.shape) or a.shape[-1] < 2:
        raise ValueError(f"expected one shape with at least 2 to order, got {tuple(a.shape)} and {tuple(b.shape)}.")

    def signs(x):
        return (x[..., :, None] - x[..., None, :]).sign().flatten(-2)

    def of_row(a, b, *groups):
        s, t = signs(a), signs(b)  # (rows, n * n)
        if groups:
            together = signs(groups[0]) == 0
            s, t = s * together, t * together
        tau = (s * t).sum(-1) * (s.square().sum(-1) * t.square().sum(-1)).rsqrt()
        return tau.masked_fill((a.isnan() | b.isnan()).any(-1), torch.nan)

    rows = (x.reshape(-1, x.shape[-1]) for x in (a, b, groups) if x is not None)
    parts = zip(*(x.split(256) for x in rows), strict=True)  # 256 rows at a time: a pair is a number
    return torch.cat([of_row(*part) for part in parts]).reshape(a.shape[:-1])


def kendall_sd(n: int) -> float:
    """The standard deviation of tau between an order of n things and a random one, sqrt(2 (2n + 5) / (9n (n - 1))).

    >>> round(kendall_sd(160), 3)
    0.053
    """
    n = checks.count("n", n, least=2)
    return (2 * (2 * n + 5) / (9 * n * (n - 1))) ** 0.5
