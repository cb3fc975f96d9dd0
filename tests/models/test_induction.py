"""Repeated sequences, the hand-made induction head, and the attention-only model."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers import attention, constructions
from helpers.attention import Layer
from helpers.models import induction

EXACT = 1e-12


def by_hand(words, V, beta=40.0, layers=None):
    layers = constructions.induction(V, words.shape[1], beta=beta) if layers is None else layers
    z, patterns = induction.run(induction.one_hot(words, V), layers)
    return z[..., 2 * V : 3 * V], patterns


# --- causal attention -----------------------------------------------------------------------------------------


def random_layer(D=6, H=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Layer(*(torch.randn(s, generator=g, dtype=torch.float64) for s in [(H, 4, D)] * 3 + [(H, D, 4)]))


def test_causal_attention_is_torchs_own():
    z, (W_Q, W_K, W_V, P) = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(1)).double(), random_layer()
    q, k, v = (torch.einsum("btd,hkd->bhtk", z, W) for W in (W_Q, W_K, W_V))
    read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    expected = z + torch.einsum("bhtk,hdk->btd", read, P)
    layer = random_layer()
    assert (attention.causal_softmax(z, layer) - expected).abs().max() <= EXACT
    assert (attention.softmax(z, layer, include_query=True) - expected).abs().max() > 1e-2  # without the mask


def test_the_pattern_is_what_the_layer_reads_with():
    z, layer = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(1)).double(), random_layer()
    for causal, attend in [(False, attention.softmax), (True, attention.causal_softmax)]:
        weights = attention.pattern(z, layer, causal=causal)
        context = z if causal else z[:, :-1]
        update = sum(weights[:, h] @ context @ layer.W_V[h].mT @ layer.P[h].mT for h in range(2))
        assert (z + update - attend(z, layer)).abs().max() <= EXACT
        assert (weights.sum(-1) - 1).abs().max() <= EXACT and weights.shape == (3, 2, 7, context.shape[1])
    assert not weights.triu(1).any()


# --- sequences ------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), low=st.integers(2, 8), more=st.integers(0, 8), distinct=st.booleans())
def test_sequences_repeat_with_their_period(seed, low, more, distinct):
    words, period = induction.sequences(4, 32, 20, periods=(low, low + more), distinct=distinct, seed=seed)
    for s, p in zip(words, period.tolist(), strict=True):
        assert low <= p <= low + more and torch.equal(s[p:], s[:-p])
        assert not distinct or len(set(s[:p].tolist())) == p
    assert torch.equal(
        words, induction.sequences(4, 32, 20, periods=(low, low + more), distinct=distinct, seed=seed)[0]
    )


def test_words_and_periods_are_uniform():
    words, period = induction.sequences(8000, 16, 5, periods=(3, 6), seed=1)
    share = torch.stack([(words[:, 0] == v).float().mean() for v in range(5)])
    assert (share - 0.2).abs().max() < 4 * (0.2 * 0.8 / 8000) ** 0.5
    assert abs((period == 3).float().mean() - 0.25) < 4 * (0.25 * 0.75 / 8000) ** 0.5


# --- the head by hand -----------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999), V=st.integers(8, 30), L=st.integers(8, 40), low=st.integers(2, 4), beta=st.floats(8, 60)
)
def test_the_hand_made_head_is_right_wherever_it_can_be(seed, V, L, low, beta):
    words, period = induction.sequences(6, L, V, periods=(low, min(V, L // 2)), distinct=True, seed=seed)
    predicted = by_hand(words, V, beta)[0].argmax(-1)
    for s, said, p in zip(words, predicted, period.tolist(), strict=True):
        assert torch.equal(said[p:-1], s[p + 1 :])  # from the second word of the first repetition on


@pytest.mark.parametrize("beta", [0.0, 2.0, 7.0])
def test_beta_is_the_inverse_temperature_of_both_layers(beta):
    words = torch.tensor([[4, 1, 3, 0, 5, 2, 4, 1, 3, 0, 5]])
    z, (first, second) = induction.one_hot(words, 6), constructions.induction(6, 11, beta=beta)
    weights = attention.pattern(z, first, causal=True)[0, 0]
    for t in range(1, 11):  # one previous word, and t others
        assert abs(weights[t, t - 1].item() - 1 / (1 + t * math.exp(-beta))) < 1e-12
    z[:, 1:, 6:12], z[:, 0, 6:12] = z[:, :-1, :6], z[:, 0, :6].clone()  # noted without a leak
    weights = attention.pattern(z, second, causal=True)[0, 0]
    for t in range(7, 11):  # one match, the first token at -2 beta, and t - 1 others
        expected = 1 / (1 + (t - 1) * math.exp(-beta) + math.exp(-3 * beta))
        assert abs(weights[t, t - 5].item() - expected) < 1e-12


@settings(max_examples=20)
@given(seed=st.integers(0, 999), V=st.integers(8, 30))
def test_it_needs_both_layers_the_right_shift_and_the_positions(seed, V):
    words, _ = induction.sequences(50, 24, V, periods=(6, 8), distinct=True, seed=seed)
    first, second = constructions.induction(V, 24, beta=40.0)

    def accuracy(layers):
        return induction.accuracy(by_hand(words, V, layers=layers)[0], words)

    assert accuracy([first, second]) == 1
    assert accuracy([second]) < 0.5 and accuracy([first]) < 0.5
    wrong_shift = first._replace(W_Q=torch.cat([first.W_Q[:, : 3 * V], first.W_Q[:, 3 * V :].mT], dim=1))
    assert accuracy([wrong_shift, second]) < 0.5
    assert accuracy([first._replace(W_Q=0 * first.W_Q), second]) < 0.5
    assert accuracy([first, second._replace(W_Q=-second.W_Q)]) < 0.5


def test_without_the_coordinate_for_the_first_token_it_would_be_torn():
    V, s = 9, torch.tensor([[3, 5, 7, 3, 5, 7]])
    first, second = constructions.induction(V, 6, beta=40.0)
    without = second._replace(W_K=torch.cat([second.W_K[:-1], 0 * second.W_K[-1:]]))
    logits = by_hand(s, V, layers=[first, without])[0][0, 3]
    assert abs(logits[3] - logits[5]) < 1e-6  # "3 after 3, as in the beginning" against "5 after 3"
    assert by_hand(s, V)[0][0, 3].argmax() == 5


def test_in_the_limit_repeated_words_are_answered_by_the_mean_of_what_followed():
    words, _ = induction.sequences(40, 32, 6, periods=(10, 15), seed=3)
    logits = by_hand(words, 6, beta=60.0)[0]
    for s, said in zip(words.tolist(), logits, strict=True):
        for t in range(1, 32):
            followers = [s[j + 1] for j in range(t) if s[j] == s[t]]
            if followers:
                share = F.one_hot(torch.tensor(followers), 6).double().mean(0)
                assert (said[t] - share).abs().max() < 1e-9


def test_a_hotter_head_is_less_sure_and_at_zero_it_averages_all():
    words, _ = induction.sequences(200, 32, 20, distinct=True, seed=4)
    scores = [induction.prefix_matching_score(by_hand(words, 20, beta)[1][1], words) for beta in (0, 1, 3, 5, 8, 20)]
    assert scores == sorted(scores) and scores[0] < 0.1 and scores[-1] > 0.999
    every = torch.ones(32, 32).tril().double()
    assert (by_hand(words, 20, 0.0)[1][1] - every / every.sum(-1, keepdim=True)).abs().max() <= EXACT


# --- scores and the model -------------------------------------------------------------------------------------


def test_losses_are_torchs_cross_entropy():
    logits, words = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0)), torch.arange(24).view(3, 8) % 20
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), words[:, 1:].flatten(), reduction="none").view(3, 7)
    assert (induction.losses(logits, words) - expected).abs().max() < 1e-5
    assert induction.losses(torch.zeros(3, 8, 20), words).mean().item() == pytest.approx(math.log(20))


def test_the_scores_by_plain_loops():
    words, _ = induction.sequences(3, 12, 6, periods=(4, 5), seed=2)
    pattern = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0)).tril()
    back = sum(pattern[b, t, t - 1].item() for b in range(3) for t in range(1, 12)) / 33
    match = sum(
        pattern[b, t, j].item() for b in range(3) for t in range(6, 12) for j in range(1, t + 1)
        if words[b, j - 1] == words[b, t]
    ) / 18  # fmt: skip
    assert induction.previous_token_score(pattern) == pytest.approx(back)
    assert induction.prefix_matching_score(pattern, words) == pytest.approx(match)
    each = torch.arange(11.0)[None]  # the losses of words 2 … 12
    assert induction.in_context_score(each) == pytest.approx((5 + 6 + 7 + 8 + 9 + 10) / 6 - (0 + 1 + 2 + 3 + 4) / 5)


def test_the_model_cannot_see_what_is_to_come():
    model, words = induction.AttentionOnly(seed=1), induction.sequences(4, 32, 20, seed=5)[0]
    changed = words.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 20
    gap = (model(words) - model(changed)).abs().amax((0, 2))
    assert not gap[:20].any() and (gap[20:] > 0).all()


def test_run_and_the_model_are_one_computation():
    model, words = induction.AttentionOnly(seed=1), induction.sequences(4, 32, 20, seed=5)[0]
    z, patterns = induction.run(model.tokens(words), model.layers())
    assert torch.equal(z @ model.read.mT, model(words)) and len(patterns) == 2


WORDS = torch.zeros(1, 40, dtype=torch.long)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: induction.sequences(1, 8, 20, periods=(0, 4)), "periods: expected 1 <= first <= last <= L = 8, got"),
        (lambda: induction.sequences(1, 8, 20, periods=(4, 9)), "periods: expected 1 <= first"),
        (
            lambda: induction.sequences(1, 8, 3, periods=(2, 4), distinct=True),
            "distinct: expected periods of at most V",
        ),
        (lambda: induction.AttentionOnly()(WORDS), "words: expected at most 32 in a sequence, got 40"),
        (lambda: induction.AttentionOnly()(WORDS[:, :5] + 20), "words: expected numbers from 0 to V - 1 = 19, got 20"),
        (lambda: induction.AttentionOnly()(WORDS.float()), "words: expected a tensor .* torch.float32"),
        (lambda: induction.one_hot([1, 2], 5), "words: expected a tensor .* got list"),
        (lambda: constructions.induction(0, 5, beta=1.0), "V: expected a whole number of at least 1"),
        (lambda: constructions.induction(5, 5, beta=math.inf), "beta: expected one finite number"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# --- votes, doubt, and a first layer that is given ------------------------------------------------------------


def followers(text, t):
    return [text[j + 1] for j in range(t) if text[j] == text[t]]


@given(seed=st.integers(0, 99), V=st.integers(3, 9), first=st.integers(1, 4), more=st.integers(0, 6))
def test_a_vote_counts_what_followed_the_present_word(seed, V, first, more):
    words, _ = induction.sequences(3, 12, V, periods=(2, 6), seed=seed)
    plain, near = induction.vote(words, V), induction.vote(words, V, distances=(first, first + more))
    for b, text in enumerate(words.tolist()):
        for t in range(12):
            counted = [text.count(-1)] * V
            for word in followers(text, t):
                counted[word] += 1
            share = [count / max(sum(counted), 1) for count in counted]
            assert plain[b, t].tolist() == pytest.approx(share)
            places = [j + 1 for j in range(t) if text[j] == text[t] and first <= t + 1 - (j + 1) <= first + more]
            share = [sum(text[j] == word for j in places) / max(len(places), 1) for word in range(V)]
            assert near[b, t].tolist() == pytest.approx(share)


def test_doubt_is_two_different_followers():
    words, _ = induction.sequences(20, 24, 6, periods=(4, 11), seed=5)
    doubt = [[len(set(followers(text, t))) > 1 for t in range(11, 23)] for text in words.tolist()]
    assert torch.equal(induction.in_doubt(words), torch.tensor(doubt))
    assert 0.1 < induction.in_doubt(words).float().mean() < 0.9


def test_hits_are_the_places_that_accuracy_counts():
    words, _ = induction.sequences(20, 24, 6, periods=(4, 11), seed=5)
    votes = induction.vote(words, 6)
    by_hand = [[float(votes[b, t].argmax() == words[b, t + 1]) for t in range(11, 23)] for b in range(20)]
    assert torch.equal(induction.hits(votes, words), torch.tensor(by_hand))
    assert induction.accuracy(votes, words) == pytest.approx(torch.tensor(by_hand).mean().item())


def test_sharp_notes_are_the_textbooks_first_layer_in_the_first_half():
    model, words = induction.AttentionOnly(seed=3).requires_grad_(False), induction.sequences(4, 32, 20, seed=1)[0]
    given_first = induction.TextbookFirst(seed=3).requires_grad_(False)
    sharp, own, textbook = induction.with_sharp_notes(model, words), model(words), given_first(words)
    assert (sharp - textbook)[:, :16].abs().max() < 1e-5 < 1e-2 < (sharp - textbook)[:, 16:].abs().max()
    assert (sharp - own)[:, 1:].abs().max() > 1e-2 and (sharp - own)[:, 0].abs().max() < 1e-5
