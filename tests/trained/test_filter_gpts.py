"""GPTs with a filter of the values in each head: the filter, its place in the model, and what came of training."""

import pytest
import torch

from helpers import metrics
from helpers.finetuning import toy_language
from helpers.models.gpt import WordGPT
from helpers.trained import filter_gpts, word_gpts

EXACT, WRONG = 1e-12, 1e-3


def small(**changed):
    return WordGPT(80, **({"d_model": 8, "n_layers": 2, "n_heads": 2} | changed)).double().requires_grad_(False)


def some_tokens(*shape, seed=0):
    return torch.randint(0, 80, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows, J", [(1, 3), (4, 3), (1, 40), (4, 40)])
def test_the_filter_is_a_sum_over_the_values_before(rows, J):
    g = torch.Generator().manual_seed(rows + J)
    v, taps = torch.randn(2, 4, 12, 5, generator=g).double(), torch.randn(rows, J, generator=g).double()
    by_hand = torch.zeros_like(v)
    for head in range(4):
        for t in range(12):
            for j in range(1, min(J, t) + 1):
                by_hand[:, head, t] += taps[head % rows, j - 1] * v[:, head, t - j]
    assert metrics.max_gap(filter_gpts.filtered(v, taps), by_hand) <= EXACT
    assert metrics.max_gap(filter_gpts.filtered(v.roll(1, dims=2), taps), by_hand) > WRONG  # its own value, too


def test_moattn_is_the_recurrence_of_an_exponential_average():
    v, beta = torch.randn(2, 4, 30, 5, generator=torch.Generator().manual_seed(0)).double(), 0.8
    taps = beta ** torch.arange(1.0, 1000, dtype=torch.float64)
    m, by_hand = torch.zeros(2, 4, 5).double(), []
    for t in range(30):
        by_hand.append(m)
        m = beta * (m + v[:, :, t])
    assert metrics.max_gap(filter_gpts.filtered(v, taps), torch.stack(by_hand, 2)) <= EXACT


def test_it_is_added_in_each_head_before_P():
    """One layer: what the filter adds to the logits is that of P applied to each head's filtered values."""
    model, other, tokens = small(n_layers=1), small(n_layers=1), some_tokens(3, 9)
    filter_gpts.with_filter(other, "MoAttn, β = 0.5")
    block = model.core.blocks[0]
    z = model.embed(tokens)
    each = block.W_QKV(block.norm_1(z)).unflatten(-1, (3, 2, 4))
    lag = torch.arange(9)[:, None] - torch.arange(9)
    extra = torch.einsum("ti,bihd->bthd", torch.where(lag > 0, 0.5**lag, 0.0).double(), each[:, :, 2]).flatten(2)
    seen = []
    for made in (model, other):
        hook = made.core.blocks[0].P.register_forward_hook(lambda layer, arguments, out: seen.append(out))
        made(tokens)
        hook.remove()
    assert metrics.max_gap(seen[1] - seen[0], block.P(extra)) <= EXACT
    assert metrics.max_gap(seen[1] - seen[0], block.P(1.1 * extra)) > WRONG


@pytest.mark.parametrize("kind", filter_gpts.FILTERS)
def test_no_token_reads_a_later_one(kind):
    model = filter_gpts.with_filter(small(), kind)
    for block in model.core.blocks:
        if hasattr(block, "taps"):
            block.taps.data = torch.ones_like(block.taps)
    tokens = some_tokens(4, 12)
    other = torch.cat([tokens[:, :7], some_tokens(4, 5, seed=1)], dim=1)
    assert torch.equal(model(tokens)[:, :7], model(other)[:, :7])
    assert metrics.max_gap(model(tokens)[:, 7:], model(other)[:, 7:]) > WRONG


def test_learned_taps_start_at_nothing_and_are_trained_by_adamw():
    model, tokens = WordGPT(80), some_tokens(2, 20)
    before = model(tokens)
    filter_gpts.with_filter(model, "4 taps, learned")
    assert torch.equal(model(tokens), before)
    muon, adam = word_gpts.optimizer(model, "Muon").parts
    taps = [block.taps for block in model.core.blocks]
    assert all(any(W is tap for group in adam.param_groups for W in group["params"]) for tap in taps)
    assert not any(W is tap for group in muon.param_groups for W in group["params"] for tap in taps)
    model(tokens).square().mean().backward()
    assert all(tap.grad.abs().max() > 0 for tap in taps)


def test_moattn_has_no_weights_of_its_own():
    model = filter_gpts.with_filter(WordGPT(80), "MoAttn, β = 0.9")
    assert sum(W.numel() for W in model.parameters()) == sum(W.numel() for W in WordGPT(80).parameters())


def test_at_the_end_unseen_tasks_are_tried(monkeypatch):
    """On a quarter of the tasks: the numbers that were written down come from 256."""
    monkeypatch.setattr(filter_gpts, "TASKS", 64)
    shares = filter_gpts.tried(word_gpts.load(0))
    assert shares.shape == (2, 64, 3)
    for row, C in zip(shares, (2, 4), strict=True):
        episode = toy_language.few_shot(toy_language.draw(64, C, seed=31), 32, 4, seed=32)
        assert row[:, 2].mean().item() == pytest.approx(word_gpts.score(word_gpts.load(0), episode))
        assert row[:, 0].mean() < row[:, 1].mean() < row[:, 2].mean()
    written_down = filter_gpts.load("none", 0)[2]
    assert torch.allclose(written_down.mean(1), shares.mean(1), atol=0.08)  # four standard errors


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="kind: expected one of MoAttn, β = 0.5; .*, got 'MoAttn'"):
        filter_gpts.with_filter(small(), "MoAttn")
    with pytest.raises(ValueError, match="kind, seed: expected one of none 0; .*, got none 3"):
        filter_gpts.load("none", 3)
